//! A real Redis, which a test starts, stops and holds up.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::gate::eventually;

/// Starts the server, and kills it, holds it up or lets it go on as its standard input says; ends it when
/// that does: with the test process, however that ends.
const RUN: &str = r#"
start() { redis-server "$@" >/dev/null 2>&1 & server=$!; }
start "$@"
while read -r word; do
    case "$word" in
        kill) kill -KILL "$server"; wait "$server" 2>/dev/null ;;
        start) start "$@" ;;
        hold) kill -STOP "$server" ;;
        go-on) kill -CONT "$server" ;;
        *) break ;;
    esac
done
kill -CONT "$server" 2>/dev/null
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
"#;

pub struct Redis {
    pub port: u16,
    folder: tempfile::TempDir,
    runner: Child,
    /// What `redis-cli` needs besides the port.
    cli: Vec<String>,
}

impl Redis {
    pub fn start() -> Self {
        Self::with(&[], &[])
    }

    /// With these options, and what `redis-cli` needs for them.
    pub fn with(options: &[&str], cli: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Over TLS it listens nowhere else.
        let listens = if options.contains(&"--tls-cert-file") { "--tls-port" } else { "--port" };
        let text = port.to_string();
        let own =
            [listens, &text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"];
        let runner = Command::new("sh")
            .args(["-c", RUN, "sh"])
            .args(own)
            .arg(folder.path())
            .args(options)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let cli = cli.iter().map(ToString::to_string).collect();
        let redis = Self { port, folder, runner, cli };
        redis.wait();
        redis
    }

    fn wait(&self) {
        eventually("a Redis that answers", || self.cli(&["PING"]) == "PONG");
    }

    /// What it answers, on a line each.
    pub fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        let output = command.args(&self.cli).args(words).output().expect("redis-cli");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn say(&mut self, word: &str) {
        use std::io::Write as _;
        let input = self.runner.stdin.as_mut().unwrap();
        writeln!(input, "{word}").unwrap();
    }

    pub fn kill(&mut self) {
        self.say("kill");
        eventually("a Redis that is gone", || self.cli(&["PING"]) != "PONG");
    }

    pub fn restart(&mut self) {
        self.say("start");
        self.wait();
    }

    /// Connections stay, and nobody answers on them.
    pub fn hold(&mut self) {
        self.say("hold");
    }

    pub fn go_on(&mut self) {
        self.say("go-on");
        self.wait();
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.runner.stdin.take());
        let _ = self.runner.wait();
    }
}
