//! Releases.

use crate::client::Client;
use crate::stage::Stage;

#[test]
fn probe() {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token("org:ci"));
    eprintln!("{:?}", home.run(Client::SentryCli, &["releases", "new", "1.0.0"]));
    eprintln!(
        "{:?}",
        home.run(
            Client::SentryCli,
            &[
                "releases",
                "set-commits",
                "1.0.0",
                "--commit",
                "acme/web@deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
            ]
        )
    );
    for s in stage.seen() {
        eprintln!("{} {}", s.line(), String::from_utf8_lossy(&s.body));
    }
}
