//! The config of each ConfigMap, taken by the real gateway: its paths, hosts and ports are moved to this machine,
//! and nothing else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::chart::{Objects, text};
use super::tools::run;
use super::wiring::{all, config};
use crate::process::Serving;

/// Writes the files of a ConfigMap, and of its secrets, as they would be mounted.
fn mount(folder: &Path, objects: &Objects) {
    let root = folder.display();
    for path in ["run/secrets", "run/portcullis", "var/lib/portcullis", "var/spool/portcullis"] {
        std::fs::create_dir_all(folder.join(path)).unwrap();
    }
    for folder in ["run/secrets", "run/portcullis"].map(|path| folder.join(path)) {
        for name in ["admin", "sentry-token", "portcullis-db"] {
            std::fs::write(folder.join(name), "a-secret-of-a-test-0123456789").unwrap();
        }
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        let words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let mut openssl = Command::new("openssl");
        openssl.args(words).args(["-nodes", "-days", "2", "-subj", "/CN=sentry-api.example.com"]);
        run(openssl.arg("-keyout").arg(key).arg("-out").arg(certificate));
    }
    let data = objects.kind("ConfigMap")[0]["data"].as_object().unwrap();
    for (name, body) in data {
        std::fs::write(folder.join(name), moved(text(body), &root.to_string())).unwrap();
    }
}

/// The ports are any that are free; nobody answers where Sentry and its database would be.
fn moved(body: &str, root: &str) -> String {
    let mut lines = Vec::new();
    for line in body.lines() {
        let mut line = line
            .replace("\"/run/", &format!("\"{root}/run/"))
            .replace("\"/var/", &format!("\"{root}/var/"))
            .replace("sqlite:///var/", &format!("sqlite://{root}/var/"));
        for host in [
            "sentry-web.sentry",
            "sentry-web",
            "sentry-relay.sentry",
            "sentry-relay",
            "sentry-nginx",
        ] {
            line = line.replace(&format!("http://{host}:"), "http://127.0.0.1:");
        }
        if let Some(port) = line.strip_prefix("address = ").and_then(|rest| rest.rsplit(':').next())
        {
            assert!(port.ends_with('"'), "{line}");
            line = "address = \"127.0.0.1:0\"".to_owned();
        }
        if line.starts_with("url = \"postgres://") {
            "url = \"postgres://portcullis@127.0.0.1:1/sentry\"".clone_into(&mut line);
            if !body.contains("required_at_start") {
                line.push_str("\nrequired_at_start = false");
            }
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// The status of an answer; what does not speak plain HTTP has none.
fn status(address: SocketAddr, path: &str) -> u16 {
    let answer = answer(address, path);
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// An answer; the connection ends with it.
fn answer(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let host = "sentry-api.example.com";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // What does not speak plain HTTP may end the connection in any way.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until an answer has this in it: stores are looked at after the listeners are there.
fn wait_for(address: SocketAddr, path: &str, wanted: &str, name: &str) {
    for _ in 0..600 {
        if answer(address, path).contains(wanted) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{name}: {path} does not say {wanted:?}: {}", answer(address, path));
}

#[test]
fn the_gateway_serves_what_the_manifests_give_it() {
    for (name, objects) in all() {
        let folder = tempfile::tempdir().unwrap();
        mount(folder.path(), &objects);
        let config = config(&objects);
        let listeners = config["listen"].as_array().unwrap();
        let serving = Serving::start(folder.path());
        assert_eq!(serving.addresses.len(), listeners.len(), "{name}");
        for probe in probes(&objects) {
            // A database that nobody can ask keeps it from being ready, and not from living.
            let first = config.get("store").and_then(|stores| stores.get(0));
            let asked = first.is_some_and(|store| store["kind"].as_str() == Some("sentry"));
            let unready = asked && probe == "/readyz";
            let wanted = if unready { "a token store can't be asked yet" } else { " 200 " };
            wait_for(serving.admin, &probe, wanted, &name);
        }
        assert_eq!(status(serving.admin, "/metrics"), 200, "{name}");
        for (address, listener) in serving.addresses.iter().zip(listeners) {
            let status = status(*address, "/api/0/projects/");
            if listener.get("tls").is_some() {
                assert!([0, 400].contains(&status), "{name}: {status}");
            } else {
                assert!([401, 404, 421].contains(&status), "{name}: {status}");
            }
        }
    }
}

/// The paths that kubelet asks.
fn probes(objects: &Objects) -> Vec<String> {
    let pod = &objects.kind("Deployment")[0]["spec"]["template"]["spec"];
    let container = pod["initContainers"].get(0).unwrap_or(&pod["containers"][0]);
    let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
    let paths = probes.map(|probe| text(&container[probe]["httpGet"]["path"]).to_owned());
    assert!(container["args"] != Value::Null);
    paths.into()
}

/// Where nothing has to be asked, `portcullis check` says that all is fine.
#[test]
fn check_takes_the_config_of_one_pod() {
    let (_, objects) = all().into_iter().find(|(name, _)| name.contains("SQLite")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), &objects);
    let mut check = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let said = run(check.args(["check", "--config"]).arg(folder.path().join("portcullis.toml")));
    assert!(said.contains("fine"), "{said}");
}
