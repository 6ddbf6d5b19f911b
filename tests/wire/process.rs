//! `portcullis serve` in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A gateway that serves. It ends with this value.
pub struct Serving {
    /// The first of its addresses.
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    pub admin: SocketAddr,
    pub process: Child,
    /// Its standard error so far.
    pub log: Arc<Mutex<String>>,
}

impl Serving {
    /// Serves `portcullis.toml` of the folder; access lines go to `access.log` there.
    pub fn start(folder: &Path) -> Self {
        Self::start_in(folder, &[], None)
    }

    /// The same with these variables in its environment, by these words.
    pub fn start_in(
        folder: &Path,
        environment: &[(String, String)],
        program: Option<&[String]>,
    ) -> Self {
        let access = std::fs::File::create(folder.join("access.log")).unwrap();
        let mut process = by(program, folder)
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(access)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (addresses, admin) = follow(process.stderr.take().unwrap(), Arc::clone(&log));
        Self { address: addresses[0], addresses, admin, process, log }
    }
}

/// `portcullis serve` of the folder. A limit on the size of its files is an error to it, as a full disk
/// is, and no signal.
pub fn command(folder: &Path) -> Command {
    by(None, folder)
}

fn by(program: Option<&[String]>, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    let built = [env!("CARGO_BIN_EXE_portcullis").to_owned()];
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .args(program.unwrap_or(&built))
        .args(["serve", "--config"])
        .arg(folder.join("portcullis.toml"));
    command
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Collects the messages of a gateway, and gives the addresses that it says it serves on.
pub fn follow(stderr: ChildStderr, log: Arc<Mutex<String>>) -> (Vec<SocketAddr>, SocketAddr) {
    let (sender, addresses) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let line = line.unwrap();
            log.lock().unwrap().push_str(&format!("{line}\n"));
            let Ok(message) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            if message["message"] == "serving" {
                let text =
                    |key: &str| message[key].as_str().unwrap().trim_matches(['[', ']']).to_owned();
                let _ = sender.send((text("addresses"), text("admin")));
            }
        }
    });
    let (addresses, admin) =
        addresses.recv_timeout(Duration::from_secs(60)).expect("a gateway that serves");
    let own = addresses.split(", ").map(|address| address.parse().unwrap());
    (own.collect(), admin.parse().unwrap())
}
