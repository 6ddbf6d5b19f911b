//! No secret of a token gets into the database, its log, or what the gateway says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::backup::dump;
use super::{all_answer, disabled};
use crate::database::{PASSWORD, Server};
use crate::gate::Gate;
use crate::outage::fine;
use crate::tokens::{Tokens, create, create_with, printed, revoke, told};

#[test]
fn no_secret_of_a_token_leaves_the_command() {
    let tokens = Tokens::on(Server::own());
    let gate = Gate::with_stores(&tokens.listening(), "");
    let bearer = create(&gate, "bearer");
    let key = create_with(&gate, "key", &["--kind", "api-key"]);
    let dsn = create_with(
        &gate,
        "dsn",
        &["--kind", "dsn", "--organization", "acme", "--project", "42", "--project-slug", "web"],
    );
    let public = dsn.secret.split("://").nth(1).unwrap().split('@').next().unwrap();
    all_answer(&[&gate], &bearer.secret, &fine());
    let basic = format!("Authorization: Basic {}", STANDARD.encode(format!("{}:", key.secret)));
    for header in [basic, format!("Authorization: DSN {}", dsn.secret)] {
        gate.wait_until(|| {
            let reply = gate.send("GET /api/0/projects/", "HTTP/1.1", &[&header], b"").unwrap();
            [200, 401, 403].contains(&reply.status)
        });
    }
    let explain = ["explain", "--token-stdin", "GET", "/api/0/projects/"];
    let explained = printed(&gate.portcullis_reading(&bearer.secret, &explain), 0);
    told(&gate.portcullis(&["block", "add", &key.fingerprint]), 0);
    revoke(&gate, "bearer");
    all_answer(&[&gate], &bearer.secret, &disabled());
    let used = "SELECT count(*)::text FROM token WHERE last_used_at IS NOT NULL";
    gate.wait_until(|| tokens.database.value(used) != "0");
    let listed = printed(&gate.portcullis(&["token", "list"]), 0);

    let log = tokens.database.server.log();
    // The log is one that would have had them.
    for statement in ["INSERT INTO token", "FROM token WHERE digest", "parameters: $1 ="] {
        assert!(log.contains(statement), "{statement}");
    }
    let access = std::fs::read_to_string(gate.folder.path().join("access.log")).unwrap();
    let dumped = dump(&tokens);
    assert!(dumped.contains(&bearer.id) && access.contains(&bearer.fingerprint));
    let messages = gate.messages();
    let hex = |secret: &str| secret.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    for secret in [bearer.secret.as_str(), &key.secret, public] {
        for secret in
            [secret.to_owned(), secret[12..].to_owned(), STANDARD.encode(secret), hex(secret)]
        {
            for (place, text) in [
                ("dump", &dumped),
                ("log of the server", &log),
                ("messages", &messages),
                ("access log", &access),
                ("list", &listed),
                ("explanation", &explained),
            ] {
                assert!(!text.contains(&secret), "{secret} is in the {place}");
            }
        }
    }
    assert!(!messages.contains(PASSWORD) && !access.contains(PASSWORD));
    tokens.database.server.stop();
}
