//! The unit for systemd. There is none that runs here as the first process; what systemd itself says of the
//! unit is asked of it, and what the gateway does is watched and held against what the unit permits.

mod directives;
mod permitted;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::tool::{Tool, lossy};

use directives::Unit;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd")
}

/// The unit with this program in place of the installed one, and these drop-ins.
fn unit_with(folder: &Path, drop_ins: &[&str]) -> PathBuf {
    let unit = fs::read_to_string(shipped().join("portcullis.service")).unwrap();
    assert_eq!(unit.matches("/usr/bin/portcullis ").count(), 1);
    let unit = unit.replace("/usr/bin/portcullis ", concat!(env!("CARGO_BIN_EXE_portcullis"), " "));
    let path = folder.join("portcullis.service");
    fs::write(&path, unit).unwrap();
    let there = folder.join("portcullis.service.d");
    fs::create_dir(&there).unwrap();
    for name in drop_ins {
        fs::copy(shipped().join("portcullis.service.d").join(name), there.join(name)).unwrap();
    }
    path
}

/// With which drop-ins, and how exposed systemd may find it then, of a hundred.
const TABLE: &[(&[&str], u32)] = &[
    (&[], 15),
    (&["credentials.conf"], 15),
    (&["low-ports.conf"], 18),
    (&["credentials.conf", "low-ports.conf"], 18),
];

#[test]
fn systemd_knows_every_word_of_it_and_finds_little_exposed() {
    for (drop_ins, most) in TABLE {
        let folder = tempfile::tempdir().unwrap();
        let unit = unit_with(folder.path(), drop_ins);
        let verified = Tool::new(Tool::path("systemd-analyze"))
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .args([&unit])
            .output();
        // A word that it does not know is a line, and no failure.
        let said = lossy(&verified.stderr) + &lossy(&verified.stdout);
        let own: Vec<_> = said.lines().filter(|line| line.contains("portcullis")).collect();
        assert!(verified.status.success() && own.is_empty(), "{drop_ins:?}: {own:#?}");
        let rated = Tool::new(Tool::path("systemd-analyze"))
            .args(["security", "--offline=true", "--no-pager"])
            .args([format!("--threshold={most}")])
            .args([&unit])
            .output();
        assert!(rated.status.success(), "{drop_ins:?}: {}", lossy(&rated.stdout));
    }
    let all = fs::read_dir(shipped().join("portcullis.service.d")).unwrap();
    for drop_in in all {
        let name = drop_in.unwrap().file_name().into_string().unwrap();
        assert!(TABLE.iter().any(|(names, _)| names.contains(&&*name)), "{name} is not checked");
    }
}

#[test]
fn it_is_told_of_hand_overs_and_waits_for_a_stop() {
    let unit = Unit::read(&shipped().join("portcullis.service"));
    // `notify-reload` is not known before 253, which takes it for `simple` then.
    assert_eq!(unit.one("Type"), "notify");
    assert_eq!(unit.one("NotifyAccess"), "all", "a new main process says itself that it is that");
    assert_eq!(unit.one("KillSignal").as_str(), "", "SIGTERM, the default");
    let defaults: toml::Table = portcullis::config::DEFAULT.parse().unwrap();
    let server = |key: &str| {
        let text = defaults["server"][key].as_str().unwrap();
        humantime(text)
    };
    // As the README says of a stop at which stores and readers hang.
    let longest = server("stop_delay") + server("drain") + Duration::from_secs(13);
    let patience = humantime(&unit.one("TimeoutStopSec"));
    assert!(patience > longest, "{patience:?} for {longest:?}");
}

fn humantime(text: &str) -> Duration {
    Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())
}

#[test]
fn its_user_can_be_made() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let option = format!("--root={}", root.path().display());
    let file = shipped().join("portcullis.sysusers.conf");
    Tool::new(Tool::path("systemd-sysusers")).args([option]).args([file]).text();
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let unit = Unit::read(&shipped().join("portcullis.service"));
    let line = users.lines().find(|line| line.starts_with(&format!("{}:", unit.one("User"))));
    let fields: Vec<_> = line.expect("the user of the unit").split(':').collect();
    assert_ne!(fields[2], "0");
    assert!(fields[6].ends_with("/nologin"), "{fields:?}");
    let groups = fs::read_to_string(root.path().join("etc/group")).unwrap();
    assert!(groups.lines().any(|line| line.starts_with(&format!("{}:", unit.one("Group")))));
}

/// The config that is shipped beside it writes where the unit lets it, and nowhere else, and is accepted.
#[test]
fn its_config_is_accepted_and_writes_where_the_unit_lets_it() {
    let folder = tempfile::tempdir().unwrap();
    let unit = Unit::read(&shipped().join("portcullis.service"));
    let mut config = fs::read_to_string(shipped().join("portcullis.toml")).unwrap();
    let mut left = config.clone();
    for (key, there) in [
        ("StateDirectory", "/var/lib"),
        ("CacheDirectory", "/var/cache"),
        ("LogsDirectory", "/var/log"),
    ] {
        let own = format!("{there}/{}", unit.one(key));
        assert!(config.contains(&own), "{key} is not used");
        let here = folder.path().join(key);
        fs::create_dir(&here).unwrap();
        left = left.replace(&own, "");
        config = config.replace(&own, here.to_str().unwrap());
    }
    assert!(!left.contains("/var/"), "{left}");
    config = config.replace("\"/etc/portcullis/", &format!("\"{}/", folder.path().display()));
    let exec = unit.one("ExecStart");
    let words: Vec<_> = exec.split(' ').collect();
    assert_eq!(
        words,
        ["/usr/bin/portcullis", "serve", "--config", "/etc/portcullis/portcullis.toml"]
    );
    let path = folder.path().join("portcullis.toml");
    fs::write(&path, config).unwrap();
    fs::write(folder.path().join("sentry-token"), "a-credential-of-the-upstream").unwrap();
    let said = Tool::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check", "--config"])
        .args([&path])
        .output();
    let text = lossy(&said.stdout) + &lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(0), "{text}");
    assert!(text.contains("fine") && !text.contains("spool"), "{text}");
}
