//! The command against a real nginx: one that only stands in front, and one that leads around the gateway.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::command::{rows, run, sentry, with};
use crate::gate::Gate;

/// Everything is handed to the first; what begins like a public path to the second, where there is one.
const CONFIG: &str = r#"
daemon off;
master_process off;
pid FOLDER/pid;
error_log FOLDER/error.log;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER;
    proxy_temp_path FOLDER;
    fastcgi_temp_path FOLDER;
    uwsgi_temp_path FOLDER;
    scgi_temp_path FOLDER;
    map $request_uri $behind { AROUND default GATEWAY; }
    server {
        listen 127.0.0.1:PORT;
        location / {
            proxy_pass http://$behind;
            proxy_set_header Host $http_host;
        }
    }
}
"#;

struct Nginx {
    address: SocketAddr,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Nginx {
    fn start(gateway: SocketAddr, around: Option<SocketAddr>) -> Self {
        // Somebody else may take the port before nginx does.
        (0..5).find_map(|_| Self::try_start(gateway, around)).expect("an nginx; run `make setup`")
    }

    fn try_start(gateway: SocketAddr, around: Option<SocketAddr>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let around = around.map_or(String::new(), |to| format!("~^/_health/ {to};"));
        let config = CONFIG
            .replace("FOLDER", &path)
            .replace("PORT", &address.port().to_string())
            .replace("AROUND", &around)
            .replace("GATEWAY", &gateway.to_string());
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        // Where Debian has it, which is not in everybody's path.
        let debians = "/usr/sbin/nginx";
        let program = if Path::new(debians).exists() { debians } else { "nginx" };
        let mut command = Command::new(program);
        command.args(["-p", &path, "-c", "nginx.conf", "-e", "error.log"]);
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx");
        let mut nginx = Self { address, process, _folder: folder };
        for _ in 0..800 {
            if nginx.process.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(address).is_ok() {
                return Some(nginx);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        None
    }
}

#[test]
fn what_stands_in_front_and_writes_anew_is_no_hole() {
    let gate = Gate::before(sentry());
    let nginx = Nginx::start(gate.address, None);
    let output = run(nginx.address, &gate.token("event:read"), &["--format", "json"]);
    let rows = rows(&output);
    assert_eq!(with(&rows, "through"), [""; 0]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // It takes bare line feeds for the ends of lines, and hands on what has one reading.
    assert!(with(&rows, "noted").contains(&"AC-055".to_owned()), "{rows:?}");
    assert!(with(&rows, "held").len() > 80, "{rows:?}");
}

#[test]
fn an_nginx_that_leads_around_the_gateway_is_found() {
    let gate = Gate::before(sentry());
    let nginx = Nginx::start(gate.address, Some(gate.upstream.address));
    let words = ["--format", "json", "--marker", "acme/members"];
    let output = run(nginx.address, &gate.token("event:read"), &words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let rows = rows(&output);
    let through = with(&rows, "through");
    for id in ["AC-002", "AC-003", "AC-004", "AC-006", "PC-007"] {
        assert!(through.contains(&id.to_owned()), "{id}: {through:?}");
    }
    // What does not begin like that is the gateway's.
    let held = with(&rows, "held");
    for id in ["PC-001", "AC-001", "AC-005", "AC-059"] {
        assert!(held.contains(&id.to_owned()), "{id}: {through:?}");
    }
}
