//! A container of the image: the first process of a name space, as some user, on a root that can't be written
//! to, without new privileges. The network is the machine's.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use portcullis::policy::credential::Digest;

use crate::gate::open_folder;
use crate::process::follow;
use crate::tool::{Tool, wait_for};

use super::builder::Image;

/// What a runtime does: mounts, and then the program as the user.
const RUN: &str = r#"
set -e
root="$1" config="$2" volume="$3" user="$4"
shift 4
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind "$config" "$root/etc/portcullis"
mount -o remount,bind,ro "$root/etc/portcullis"
mount -o remount,bind,ro "$root"
[ -z "$volume" ] || mount --bind "$volume" "$root/var/lib/portcullis"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"
"#;
const TOKEN: &str = "a-token-of-a-file-0123456789abcdef";

pub struct Container {
    root: PathBuf,
    folder: tempfile::TempDir,
    volume: bool,
    user: String,
    words: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Container {
    /// With this config, and a volume as the image has its folder.
    pub fn new(image: &Image<'_>, user: &str, volume: bool, config: &str) -> Self {
        let folder = open_folder();
        let own = folder.path().join("config");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("portcullis.toml"), config).unwrap();
        fs::write(own.join("token"), "a-credential-of-the-upstream").unwrap();
        let tokens = format!(
            "[[token]]\nname = \"ci\"\ndigest = \"{}\"\nscopes = [\"event:read\"]\n",
            Digest::of(TOKEN).hex()
        );
        fs::write(own.join("tokens.toml"), tokens).unwrap();
        let root = image.root();
        fs::create_dir_all(root.join("etc/portcullis")).unwrap();
        if volume {
            // As an engine fills a volume that is empty.
            let there = root.join("var/lib/portcullis");
            Tool::new("cp").args(["-a"]).args([there, folder.path().join("volume")]).text();
        }
        let text = image.config();
        let words = ["Entrypoint", "Cmd"].iter().flat_map(|part| text[part].as_array().unwrap());
        let words = words.map(|word| word.as_str().unwrap().to_owned()).collect();
        let variables = text["Env"].as_array().unwrap().iter().map(|own| own.as_str().unwrap());
        let environment = variables
            .map(|own| own.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { root, folder, volume, user: user.to_owned(), words, environment }
    }

    fn run(&self, words: &[String]) -> Command {
        let mut command = Command::new("unshare");
        let volume = if self.volume { self.folder.path().join("volume") } else { PathBuf::new() };
        command
            .args(["--mount", "--pid", "--fork", "sh", "-c", RUN, "sh"])
            .args([&self.root, &self.folder.path().join("config"), &volume])
            .arg(&self.user)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// A token that the store knows: made by a second program in the container, where it is the gateway's.
    pub fn token(&self) -> String {
        if !self.volume {
            return TOKEN.to_owned();
        }
        let config = self.words.last().unwrap();
        let words = [
            &self.words[0],
            "token",
            "create",
            "--config",
            config,
            "--name",
            "ci",
            "--scope",
            "event:read",
            "--expires",
            "1d",
        ];
        // As it is at first: `serve` makes the store.
        self.serve().stop();
        let made = self.run(&words.map(str::to_owned)).output().unwrap();
        let (text, said) = (crate::tool::lossy(&made.stdout), crate::tool::lossy(&made.stderr));
        let token = text.split_whitespace().find(|word| word.starts_with("portcullis_"));
        token.unwrap_or_else(|| panic!("no token: {text} {said}")).to_owned()
    }

    /// What the image starts.
    pub fn serve(&self) -> Serving {
        let mut command = self.run(&self.words);
        let process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut process = Process(process);
        let log = Arc::new(Mutex::new(String::new()));
        let (addresses, admin) = follow(process.0.stderr.take().unwrap(), Arc::clone(&log));
        Serving { address: addresses[0], admin, process, log }
    }
}

/// What made the name space, and in it the gateway; both end with this value.
struct Process(Child);

impl Process {
    /// The gateway, by its number outside the name space.
    fn inside(&self) -> Option<String> {
        let own = self.0.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already. What it runs would not end with it, since it became another user.
        if let Some(inside) = self.inside() {
            let _ = Command::new("kill").args(["-KILL", &inside]).stderr(Stdio::null()).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Serving {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    process: Process,
    log: Arc<Mutex<String>>,
}

impl Serving {
    pub fn output(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// It is what the container was to be.
    pub fn assert_confined(&self, user: &str) {
        let inside = self.process.inside().expect("a process in the name space");
        let status = fs::read_to_string(format!("/proc/{inside}/status")).unwrap();
        let field = |name: &str| {
            let mut lines =
                status.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            lines.next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("NSpid").last().unwrap(), "1", "the first process");
        assert_eq!(field("CapEff"), ["0000000000000000"]);
        assert_eq!(field("NoNewPrivs"), ["1"]);
        assert_eq!(field("Groups"), [""; 0]);
        let (uid, gid) = user.split_once(':').unwrap();
        assert_eq!((field("Uid")[0].as_str(), field("Gid")[0].as_str()), (uid, gid));
        let mounts = fs::read_to_string(format!("/proc/{inside}/mountinfo")).unwrap();
        let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root: Vec<_> = root.filter(|words| words[4] == "/").collect();
        assert!(root.iter().all(|words| words[5].split(',').any(|own| own == "ro")), "{mounts}");
    }

    /// The signal that the image names; what it ended with.
    pub fn stop(&mut self) -> Option<i32> {
        let inside = self.process.inside().expect("a process in the name space");
        Tool::new("kill").args(["-TERM", &inside]).text();
        let mut status = None;
        wait_for("its end", || {
            status = self.process.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}
