//! The clients that are installed, and how one is run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};

/// How long a client may take before a test gives up; no test depends on it being short.
pub const PATIENCE: Duration = Duration::from_secs(180);

const LOCKS: [&[u8]; 4] = [
    include_bytes!("versions/python.txt"),
    include_bytes!("versions/sentry-cli-2.txt"),
    include_bytes!("versions/package.json"),
    include_bytes!("versions/package-lock.json"),
];

/// Where `.ci/clients` has installed them.
fn installed() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        crate::installed::installed("clients", "the clients of these tests are", &LOCKS)
    })
}

/// The clients by name.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    /// `sentry-cli` 3.x.
    SentryCli,
    /// `sentry-cli` 2.x, which other routes serve.
    SentryCli2,
    /// The npm package `sentry`.
    Sentry,
    /// `@sentry/mcp-server`.
    Mcp,
    /// `qsentry`.
    Qsentry,
    /// Python with `sentry-sdk`.
    Python,
    /// Node with `@sentry/node`.
    Node,
}

impl Client {
    fn command(self) -> Command {
        let home = installed();
        let python = home.join("python/bin");
        let node = |script: Option<&str>| {
            let mut command = Command::new(home.join("node/node"));
            command.args(script.map(|script| home.join("node_modules").join(script)));
            command
        };
        match self {
            Self::SentryCli => Command::new(python.join("sentry-cli")),
            Self::SentryCli2 => Command::new(home.join("sentry-cli-2/bin/sentry-cli")),
            Self::Sentry => node(Some("sentry/dist/bin.cjs")),
            Self::Mcp => node(Some("@sentry/mcp-server/dist/index.js")),
            Self::Qsentry => Command::new(python.join("qsentry")),
            Self::Python => Command::new(python.join("python")),
            Self::Node => node(None),
        }
    }
}

/// Where a client lives: a home of its own, in which it may remember what it likes.
pub struct Home {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Home {
    /// `outside` is the URL of the proxy for everything that is not on loopback.
    pub fn new(outside: &str) -> Self {
        let modules = installed().join("node_modules").display().to_string();
        let mut environment = vec![("NODE_PATH".to_owned(), modules)];
        let fixed = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            ("TERM", "dumb"),
            ("NO_COLOR", "1"),
            ("CI", "1"),
            ("DO_NOT_TRACK", "1"),
            ("SENTRY_CLI_NO_TELEMETRY", "1"),
            ("SENTRY_CLI_NO_UPDATE_CHECK", "1"),
            ("SENTRY_DISABLE_UPDATE_CHECK", "1"),
            ("SENTRY_LOAD_DOTENV", "0"),
            ("SENTRY_NO_PROGRESS_BARS", "1"),
            ("NO_PROXY", "127.0.0.1,localhost"),
            ("no_proxy", "127.0.0.1,localhost"),
        ];
        environment.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            environment.push((name.to_owned(), outside.to_owned()));
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self { folder, environment }
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder that it is run in.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// A client that is not started yet.
    pub fn command(&self, client: Client, words: &[&str]) -> Command {
        let mut command = client.command();
        command
            .args(words)
            .current_dir(self.work())
            .env_clear()
            .env("HOME", self.folder.path())
            .envs(self.environment.iter().cloned());
        command
    }

    /// Runs a client to its end.
    pub fn run(&self, client: Client, words: &[&str]) -> Outcome {
        let (out, err) = (self.folder.path().join("out"), self.folder.path().join("err"));
        let mut child = self
            .command(client, words)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(std::fs::File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let code = wait(&mut child);
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let outcome = Outcome { code, out: read(&out), err: read(&err) };
        let what = format!("{client:?} {}", words.join(" "));
        assert!(outcome.code.is_some(), "{what}: not within {PATIENCE:?}: {outcome:?}");
        outcome
    }
}

/// Waits until it has ended, and ends it itself when that takes too long.
pub fn wait(child: &mut Child) -> Option<i32> {
    let start = SystemClock.instant();
    while SystemClock.instant().saturating_duration_since(start) < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().expect("an exit code"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// What became of a client.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// What it printed, of a client that must have ended well.
    pub fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// All that it printed, of a client that must have failed.
    pub fn failed(self) -> String {
        assert_ne!(self.code, Some(0), "{self:?}");
        format!("{}\n{}", self.out, self.err)
    }
}
