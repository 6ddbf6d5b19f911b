//! A real nginx that does to requests what self-hosted's does: on a free loopback port, with everything that
//! it writes in a folder of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::send;
use crate::database::NOBODY;
use crate::gate::open_folder;

const CONFIG: &str = include_str!("nginx.conf");
/// Its workers write into the folder, so all of it runs as nobody. It ends when its standard input does: with
/// the test process, however that ends.
const RUN: &str = r#"
"$1" -e "$2/error.log" -p "$2" -c "$2/nginx.conf" &
server=$!
read -r _
kill -TERM "$server" 2>/dev/null
wait "$server"
"#;

pub struct Nginx {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    process: Child,
}

impl Nginx {
    pub fn start(web: SocketAddr, relay: SocketAddr) -> Self {
        // Somebody else may take the port before nginx does.
        (0..5).find_map(|_| Self::try_start(web, relay)).expect("a free port for nginx")
    }

    fn try_start(web: SocketAddr, relay: SocketAddr) -> Option<Self> {
        let folder = open_folder();
        let path = folder.path();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = CONFIG
            .replace("FOLDER", path.to_str().unwrap())
            .replace("PORT", &port.to_string())
            .replace("WEB", &web.to_string())
            .replace("RELAY", &relay.to_string());
        std::fs::write(path.join("nginx.conf"), config).unwrap();
        std::fs::create_dir_all(path.join("www/js-sdk/9.1.0")).unwrap();
        std::fs::create_dir(path.join("temp")).unwrap();
        std::fs::write(path.join("www/js-sdk/9.1.0/bundle.min.js"), path.to_str().unwrap())
            .unwrap();
        let root = chown(path, Some(NOBODY), Some(NOBODY)).is_ok();
        if root {
            chown(path.join("temp"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let as_nobody = |command: &mut Command| {
            if root {
                command.uid(NOBODY).gid(NOBODY);
            }
        };
        let mut command = Command::new(program());
        command.arg("-t").arg("-e").arg(path.join("error.log"));
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf"));
        as_nobody(&mut command);
        let tried = command.output().expect("nginx; run `make setup`");
        assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));

        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh", program()]).arg(path).current_dir(path);
        as_nobody(&mut command);
        let process = command.stdin(Stdio::piped()).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let nginx = Self { address, folder, process };
        nginx.serves().then_some(nginx)
    }

    /// Waits until it serves; `false` if somebody else has its port.
    fn serves(&self) -> bool {
        let own = self.folder.path().to_str().unwrap();
        let file = b"GET /js-sdk/9.1.0/bundle.min.js HTTP/1.1\r\nHost: x\r\n\r\n";
        for _ in 0..2_400 {
            // Another server on this port would answer otherwise.
            let answers =
                || send(self.address, file).is_some_and(|reply| reply.body == own.as_bytes());
            if self.log().contains("still could not bind()") {
                return false;
            }
            if TcpStream::connect(self.address).is_ok() && answers() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("nginx did not start: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Where Debian has it, which is not in everybody's path.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}
