//! Certificates that are replaced while clients are served: nobody is refused, and nothing ends.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::authority::{Authority, Made};
use super::client::{Http2, Sent, Speaks, der, exchange, run, shown, soon};
use crate::client::request;
use crate::gate::{ADMIN, Ending, Gate, HOST, Options, eventually};
use crate::upstream::Upstream;

const PATH: &str = "/api/0/organizations/acme/issues/";

/// As Kubernetes writes a secret: a folder for each state of it, a link to the one that counts, and
/// links to the files by way of that.
fn swap(folder: &Path, name: &str, files: &[(&str, &str)]) {
    let own = folder.join(name);
    fs::create_dir(&own).unwrap();
    for (file, text) in files {
        fs::write(own.join(file), text).unwrap();
    }
    symlink(name, folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
}

fn both(made: &Made) -> [(&str, &str); 2] {
    [("tls.crt", &made.certificate), ("tls.key", &made.key)]
}

/// A gateway with a certificate in such a folder.
fn gate(first: &Made) -> Gate {
    // The files are there before it starts, and become links before they change.
    let gate_files = both(first).map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec();
    let listen =
        "tls = { certificates = [{ certificate = \"tls.crt\", key = \"tls.key\" }] }".to_owned();
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let options = Options { listen, admin, files: gate_files, ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let folder = gate.folder.path();
    swap(folder, "..first", &both(first));
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.join("link")).unwrap();
        fs::rename(folder.join("link"), folder.join(name)).unwrap();
    }
    gate
}

fn reloads(gate: &Gate, result: &str) -> f64 {
    gate.metric("portcullis_config_reloads_total", &[&format!("\"{result}\"")])
}

fn not_after(gate: &Gate) -> f64 {
    gate.metric("portcullis_certificate_not_after_seconds", &["certificate=\"tls.crt\""])
}

/// Which certificate somebody new is shown.
fn shown_now(gate: &Gate) -> Vec<u8> {
    run(async {
        let speaks = Speaks::new(&["http/1.1"]);
        shown(&speaks.connect(gate.address, HOST).await.unwrap())
    })
}

#[test]
fn a_certificate_is_replaced_under_load_and_nobody_notices() {
    let authority = Authority::new("ours");
    let names = format!("subjectAltName = DNS:{HOST}");
    let [first, second, third] = [2, 30, 60].map(|days| authority.make("leaf", &names, days));
    let gate = gate(&first);
    let folder = gate.folder.path();
    let bearer = format!("Bearer {}", gate.token("read"));
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = not_after(&gate);
    let ok = |status: u16| {
        assert_eq!(status, 200);
        served.fetch_add(1, Ordering::Relaxed);
    };
    // One that panics ends the others too.
    let goes_on = || !stop.load(Ordering::Relaxed);
    let fields = [("Authorization", &*bearer)];
    let sent = Sent { method: "GET", authority: HOST, path: PATH, headers: &fields, body: b"" };
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        // HTTP/2 on one connection all the time, and on new ones.
        scope.spawn(|| {
            let _ending = Ending(&stop);
            run(async {
                let mut kept = Http2::open(gate.address, HOST).await;
                while goes_on() {
                    ok(kept.send(&sent).await.unwrap().status);
                }
            });
        });
        scope.spawn(|| {
            let _ending = Ending(&stop);
            run(async {
                while goes_on() {
                    let mut new = Http2::open(gate.address, HOST).await;
                    ok(new.send(&sent).await.unwrap().status);
                }
            });
        });
        // The same with HTTP/1.1.
        scope.spawn(|| {
            let _ending = Ending(&stop);
            run(async {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let speaks = Speaks::new(&["http/1.1"]);
                let mut kept = speaks.connect(gate.address, HOST).await.unwrap();
                let last =
                    request(&format!("GET {PATH}"), &[fields[0], ("Connection", "close")], b"");
                let next = request(&format!("GET {PATH}"), &fields, b"");
                while goes_on() {
                    let mut new = speaks.connect(gate.address, HOST).await.unwrap();
                    let answer = exchange(&mut new, &last).await;
                    ok(if answer.starts_with(b"HTTP/1.1 200 ") { 200 } else { 0 });
                    kept.write_all(&next).await.unwrap();
                    let mut answer = Vec::new();
                    while !answer.ends_with(b"}") {
                        let read = soon("an answer", kept.read_buf(&mut answer)).await.unwrap();
                        assert!(read > 0, "a kept connection has ended");
                    }
                    ok(if answer.starts_with(b"HTTP/1.1 200 ") { 200 } else { 0 });
                }
                assert!(shown(&kept) == der(&first.certificate), "it goes on as it began");
            });
        });
        let more = || {
            let before = served.load(Ordering::Relaxed);
            eventually("requests", || served.load(Ordering::Relaxed) >= before + 30);
        };
        more();
        assert!(shown_now(&gate) == der(&first.certificate));
        swap(folder, "..second", &both(&second));
        eventually("the new certificate", || shown_now(&gate) == der(&second.certificate));
        assert!(not_after(&gate) > before + 20.0 * 86_400.0);
        more();

        // A certificate whose key has not come yet.
        let after = not_after(&gate);
        let refused = reloads(&gate, "refused");
        swap(folder, "..half", &[both(&third)[0], both(&second)[1]]);
        eventually("a refusal", || reloads(&gate, "refused") > refused);
        assert!(shown_now(&gate) == der(&second.certificate));
        assert_eq!(not_after(&gate), after);
        more();
        swap(folder, "..whole", &both(&third));
        eventually("the last certificate", || shown_now(&gate) == der(&third.certificate));
        assert!(not_after(&gate) > after + 20.0 * 86_400.0);
        more();
    });
    println!("{} served while certificates were replaced, none failed", served.into_inner());
    gate.counts("portcullis_tls_handshake_failures_total", &[], 0.0);
    let asked = gate.operator("POST /reload", &[("Authorization", &format!("Bearer {ADMIN}"))], "");
    assert_eq!(asked.json()["result"], "unchanged");
}
