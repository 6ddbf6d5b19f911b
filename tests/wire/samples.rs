//! Configs: those that are shipped or printed in the README pass `portcullis check` and can be
//! served; broken ones are refused with every problem, each with its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn portcullis(words: &[&str], config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words).arg("--config").arg(config).output().unwrap()
}

/// Where samples have secrets: a container's and a service's.
const SECRETS: [&str; 2] = ["run/secrets", "etc/portcullis"];

/// A folder in which the paths that samples name exist.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for own in ["var/lib/portcullis", "var/log/portcullis", "var/cache/portcullis"] {
            fs::create_dir_all(folder.path().join(own)).unwrap();
        }
        for secrets in SECRETS {
            fs::create_dir_all(folder.path().join(secrets)).unwrap();
            fs::write(folder.path().join(secrets).join("sentry-token"), "sntryu_of-sentry\n")
                .unwrap();
        }
        Self { folder }
    }

    /// Writes a file; its absolute paths, and nothing else of it, move into the folder.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let root = self.folder.path().display();
        let moved = text
            .replace("\"/run/secrets/", &format!("\"{root}/run/secrets/"))
            .replace("\"/etc/portcullis/", &format!("\"{root}/etc/portcullis/"))
            .replace("\"/var/", &format!("\"{root}/var/"))
            .replace("sqlite:///var/lib/", &format!("sqlite://{root}/var/lib/"));
        let path = self.folder.path().join(name);
        fs::write(&path, moved).unwrap();
        path
    }
}

/// The TOML of the README: a config, two other stores for it, what makes it observe, limits of one and of many, assertions, a
/// file of rules, and where spans and audit records go.
fn readme_blocks() -> [String; 11] {
    let text = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let blocks = text.split("```toml\n").skip(1);
    let blocks: Vec<_> = blocks.map(|b| b.split("```").next().unwrap().to_owned()).collect();
    blocks.try_into().expect("the README has a config, nine additions to it, and a file of rules")
}

fn readme() -> String {
    let [config, ..] = readme_blocks();
    config
}

/// Every config that is shipped, wherever it is.
fn shipped() -> Vec<(String, String)> {
    let mut samples = vec![("README.md".to_owned(), readme())];
    let mut folders: Vec<_> = ["config", "deploy"].map(|name| Path::new(ROOT).join(name)).into();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            // The layouts ask a database, and are tested with one.
            if path.is_dir() && !path.ends_with("layouts") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let text = fs::read_to_string(&path).unwrap();
                if text.lines().any(|line| line.starts_with("public_url")) {
                    samples.push((path.display().to_string(), text));
                }
            }
        }
    }
    samples
}

#[test]
fn every_config_that_is_shipped_passes() {
    let samples = shipped();
    assert!(samples.iter().any(|(name, _)| name.ends_with("portcullis.toml")), "{samples:?}");
    for (name, text) in samples {
        let machine = Machine::new();
        let config = machine.write("portcullis.toml", &text);
        let output = portcullis(&["check"], &config);
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("fine") && said.contains("1 store"), "{name}: {said}");
        // The commands that the README prints below its config work with it too.
        let scope = "--name ci --scope org:ci --organization acme --expires 30d";
        let words: Vec<_> = ["token", "create"].into_iter().chain(scope.split(' ')).collect();
        let output = portcullis(&words, &config);
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("portcullis_t_"), "{name}");
        // With a token in it the store is opened as well.
        assert_eq!(portcullis(&["check"], &config).status.code(), Some(0), "{name}");
        // What it takes from the machine is missed when it is gone.
        for secrets in SECRETS {
            fs::remove_file(machine.folder.path().join(secrets).join("sentry-token")).unwrap();
        }
        assert_eq!(portcullis(&["check"], &config).status.code(), Some(1), "{name}");
    }
}

#[test]
fn the_shipped_rules_are_a_rule_file_like_any_other() {
    let machine = Machine::new();
    let rules = ["config/sentry.toml", "config/edge.toml"].map(|file| Path::new(ROOT).join(file));
    let own = format!("{}\n[rules]\nsentry = false\nfiles = {rules:?}\n", readme());
    let count = |config: &Path| {
        let output = portcullis(&["check"], config);
        let said = String::from_utf8(output.stdout).unwrap();
        let count = said.split('(').nth(1).and_then(|rest| rest.split(' ').next());
        count.unwrap_or_else(|| panic!("{said}")).parse::<usize>().unwrap()
    };
    let embedded = count(&machine.write("embedded.toml", &readme()));
    assert!(embedded > 100, "{embedded} rules");
    assert_eq!(count(&machine.write("own.toml", &own)), embedded);
}

#[test]
fn the_rules_of_the_readme_go_on_top() {
    let machine = Machine::new();
    let [config, _, _, _, _, _, _, rules, ..] = readme_blocks();
    machine.write("own.toml", &rules);
    let config = format!("{config}\n[rules]\nfiles = [\"own.toml\"]\n");
    let output = portcullis(&["check"], &machine.write("portcullis.toml", &config));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn the_additions_of_the_readme_fit_its_config() {
    let machine = Machine::new();
    let [config, store, endpoint, observe, limits, shared, assertion, _, traces, errors, audit] =
        readme_blocks();
    let check = |text: String| portcullis(&["check"], &machine.write("portcullis.toml", &text));
    let output = check(format!("{observe}\n{config}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("note: mode: "), "{output:?}");
    let dsn = machine.folder.path().join("run/secrets/portcullis-dsn");
    fs::write(dsn, "http://a94a8fe5ccb19ba61c4c0873d391e987@relay:3000/1\n").unwrap();
    fs::write(machine.folder.path().join("run/secrets/redis"), "a-password\n").unwrap();
    let output =
        check(format!("{config}\n{limits}\n{shared}\n{assertion}\n{traces}\n{errors}\n{audit}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // All is well with it but that there is no such host.
    fs::write(machine.folder.path().join("run/secrets/sentry-db"), "a-password\n").unwrap();
    let output = check(format!("{config}\n{store}"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].starts_with("error: store[1] `sentry`: Sentry's database can't be reached"));
    assert!(!said.contains("a-password"), "{said}");
    let output = check(format!("{config}\n{endpoint}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// A rule of an operator's, with this in place of what it asks for.
fn rule(lines: &str) -> String {
    format!("[[rule]]\nmethods = [\"GET\"]\npath = \"/api/0/own/\"\n{lines}\n")
}

#[test]
fn a_config_with_problems_is_refused_with_every_one_and_its_place() {
    let with = |from: &str, to: &str| {
        let text = readme();
        assert!(text.contains(from), "the README has no {from}");
        text.replacen(from, to, 1)
    };
    let files = "[rules]\nfiles = [\"own.toml\"]\n";
    let ruled = || format!("{}{files}", readme());
    let several = with("0.0.0.0:8080", "8080")
        .replace("\"http://web:9000\"", "\"web\"")
        .replace("kind = \"portcullis\"", "kind = \"postgres\"");
    let nothing = String::new();
    let public_and_scopes = "access = \"public\"\nscopes = [\"org:read\"]";
    // What is wrong, the config, the operator's rules, and what must be said of it.
    let rows: &[(&str, String, String, &[&str])] = &[
        ("syntax", with("[[store]]", "[[store]"), nothing.clone(), &["line 12", "expected `]`"]),
        (
            "an unknown key",
            with("urls =", "url ="),
            nothing.clone(),
            &["line 8", "unknown field `url`"],
        ),
        (
            "a number for a time",
            format!("{}[cache]\nttl = 60\n", readme()),
            nothing.clone(),
            &["line 16", "60", "\"30s\""],
        ),
        (
            "no credential",
            with("credential", "# credential"),
            nothing.clone(),
            &["upstream.web.credential"],
        ),
        (
            "no rules",
            format!("{}[rules]\nsentry = false\n", readme()),
            nothing.clone(),
            &["rules: there is none, so every request would be refused"],
        ),
        (
            "a rule file without rules",
            format!("{}[rules]\nsentry = false\nfiles = [\"own.toml\"]\n", readme()),
            "# Nothing yet.\n".into(),
            &["rules: there is none, so every request would be refused"],
        ),
        (
            "a rule file that is not there",
            format!("{}[rules]\nfiles = [\"missing.toml\"]\n", readme()),
            nothing.clone(),
            &["rules.files[0]", "missing.toml"],
        ),
        (
            "several",
            several,
            nothing.clone(),
            &[
                "3 problems",
                "listen[0].address: `8080`",
                "upstream.web.urls[0]: `web`",
                "store[0].kind: `postgres`",
            ],
        ),
        (
            "a misspelt key of a rule",
            ruled(),
            rule("scope = [\"org:read\"]"),
            &["own.toml:4", "unknown field `scope`"],
        ),
        ("public with scopes", ruled(), rule(public_and_scopes), &["own.toml:3", "only one"]),
        ("a rule without access", ruled(), rule(""), &["own.toml:3", "asks for nothing"]),
        ("no scopes", ruled(), rule("scopes = []"), &["own.toml:3", "empty list of scopes"]),
        (
            "an unknown scope",
            ruled(),
            rule("scopes = [\"org:wirte\"]"),
            &["own.toml:3", "org:wirte"],
        ),
        (
            "each bad rule",
            ruled(),
            [rule("access = \"everyone\""), rule("scopes = []")].concat(),
            &["2 problems", "own.toml:3", "everyone", "own.toml:7", "empty list"],
        ),
        (
            "two rules for one route",
            ruled(),
            [rule("access = \"public\""), rule("scopes = [\"org:read\"]")].concat(),
            &["own.toml:3", "own.toml:7"],
        ),
    ];
    for (what, config, rules, wanted) in rows {
        let machine = Machine::new();
        let config = machine.write("portcullis.toml", config);
        machine.write("own.toml", rules);
        let output = portcullis(&["check"], &config);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(output.stdout.is_empty(), "{what}: {output:?}");
        assert!(said.contains(&config.display().to_string()), "{what}: {said}");
        for words in *wanted {
            assert!(said.contains(words), "{what}: no `{words}` in\n{said}");
        }
        let several = wanted.iter().find_map(|words| words.strip_suffix(" problems"));
        let count: usize = several.unwrap_or("1").parse().unwrap();
        assert_eq!(said.matches("help: ").count(), count, "{what}: {said}");
        // Nothing is served with it either.
        let output = portcullis(&["serve"], &config);
        assert_eq!(output.status.code(), Some(2), "{what}: {output:?}");
        let refused = String::from_utf8_lossy(&output.stderr);
        assert!(wanted.iter().all(|words| refused.contains(words)), "{what}: {refused}");
    }
}

#[test]
fn a_config_that_is_not_there_could_not_be_checked() {
    let machine = Machine::new();
    let missing = machine.folder.path().join("missing.toml");
    for command in ["check", "serve"] {
        let output = portcullis(&[command], &missing);
        assert_eq!(output.status.code(), Some(2), "{command}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("missing.toml"), "{output:?}");
    }
}
