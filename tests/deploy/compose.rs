//! The overrides of Docker Compose: as Compose itself merges them with a file in the shape of self-hosted's,
//! in the folder that the README's own commands make.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LAYOUTS: [&str; 3] = ["front-door", "api-beside", "public-edge"];
const ADDRESSES: &[(&str, &str)] =
    &[("PORTCULLIS_EDGE_IP", "203.0.113.7"), ("PORTCULLIS_INSIDE_IP", "10.0.0.5")];

/// Docker Compose, which `.ci/compose` installs.
fn compose() -> Command {
    let lock: &[u8] = include_bytes!("compose/docker-compose.txt");
    let home = crate::installed::installed("compose", "Docker Compose is", &[lock]);
    let mut command = Command::new(home.join("docker-compose"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command
}

/// What an operator has after the README's second step.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new(layout: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["docker-compose.yml", ".env"] {
            let own = Path::new(ROOT).join("tests/deploy/compose").join(name);
            std::fs::copy(own, folder.path().join(name)).unwrap();
        }
        let steps = file_steps()
            .replace("layout=api-beside", &format!("layout={layout}"))
            .replace("portcullis=../portcullis", &format!("portcullis='{ROOT}'"));
        assert!(steps.contains(&format!("layout={layout} ")) && steps.contains(ROOT), "{steps}");
        let mut shell = Command::new("sh");
        let done = shell.args(["-euc", &steps]).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        Self { folder }
    }

    fn config(&self, environment: &[(&str, &str)]) -> Output {
        let mut command = compose();
        command.current_dir(self.folder.path()).envs(environment.iter().copied());
        command.args(["config", "--format", "json"]).output().unwrap()
    }

    /// What Compose makes of both files. It refuses what its schema does not know.
    fn merged(&self) -> Value {
        let output = self.config(ADDRESSES);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A path of the machine, which begins in this folder.
    fn own<'a>(&self, path: &'a Value) -> &'a str {
        let folder = self.folder.path().canonicalize().unwrap();
        let path = path.as_str().unwrap();
        let own = path.strip_prefix(folder.to_str().unwrap());
        own.unwrap_or_else(|| panic!("{path} is not beside docker-compose.yml"))
    }
}

/// The commands of the README that make the files.
fn file_steps() -> String {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("deploy/compose/README.md")).unwrap();
    let blocks: Vec<_> = readme.split("```sh\n").skip(1).collect();
    let [block] = blocks[..] else { panic!("one block of the README is run") };
    block.split("```").next().unwrap().to_owned()
}

/// The config of a layout, as TOML.
fn config(layout: &str) -> toml::Table {
    let path = Path::new(ROOT).join(format!("config/layouts/{layout}.toml"));
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Every text in a config.
fn texts(value: &toml::Value) -> Vec<&str> {
    match value {
        toml::Value::String(text) => vec![text],
        toml::Value::Array(values) => values.iter().flat_map(texts).collect(),
        toml::Value::Table(table) => table.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().map(|value| value.as_str().unwrap()).collect()
}

/// Every port that is published: service, address, port, port of the container.
fn published(merged: &Value) -> BTreeSet<String> {
    let services = merged["services"].as_object().unwrap();
    let ports = services.iter().flat_map(|(name, service)| {
        service["ports"].as_array().into_iter().flatten().map(move |port| {
            let address = port["host_ip"].as_str().unwrap_or("*");
            let published = port["published"].as_str().unwrap();
            format!("{name} {address}:{published} {}/{}", port["target"], port["protocol"])
                .replace('"', "")
        })
    });
    ports.collect()
}

#[test]
fn each_layout_publishes_what_it_promises_and_nothing_else() {
    let rows: &[(&str, &[&str])] = &[
        ("front-door", &["portcullis *:9000 8080/tcp"]),
        ("api-beside", &["nginx *:9000 80/tcp", "portcullis *:9001 8080/tcp"]),
        (
            "public-edge",
            &["portcullis 203.0.113.7:9001 8080/tcp", "portcullis 10.0.0.5:9000 8081/tcp"],
        ),
    ];
    for (layout, wanted) in rows {
        let merged = Machine::new(layout).merged();
        let wanted: BTreeSet<_> = wanted.iter().map(|port| (*port).to_owned()).collect();
        assert_eq!(published(&merged), wanted, "{layout}");
        // What is published is what the config listens on.
        let ports = merged["services"]["portcullis"]["ports"].as_array().unwrap();
        let targets: BTreeSet<_> = ports.iter().map(|port| port["target"].as_u64()).collect();
        let config = config(layout);
        let listen = config["listen"].as_array().unwrap().iter().map(|listen| {
            let (address, port) = listen["address"].as_str().unwrap().rsplit_once(':').unwrap();
            assert_eq!(address, "0.0.0.0", "{layout}");
            port.parse::<u64>().ok()
        });
        assert_eq!(targets, listen.collect(), "{layout}");
    }
}

#[test]
fn what_the_gateway_is_not_to_be_published_at_is_asked_for() {
    let machine = Machine::new("public-edge");
    for (missing, _) in ADDRESSES {
        let rest: Vec<_> = ADDRESSES.iter().copied().filter(|(name, _)| name != missing).collect();
        let output = machine.config(&rest);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{missing}");
        assert!(said.contains(missing) && said.contains("set it to"), "{said}");
    }
}

#[test]
fn every_file_that_is_mounted_is_there_and_where_the_config_looks_for_it() {
    for layout in LAYOUTS {
        let machine = Machine::new(layout);
        let merged = machine.merged();
        let gateway = &merged["services"]["portcullis"];
        let mut mounts = Vec::new();
        for volume in gateway["volumes"].as_array().unwrap() {
            assert_eq!(volume["type"], "bind", "{layout}");
            let source = machine.own(&volume["source"]);
            assert!(Path::new(volume["source"].as_str().unwrap()).is_dir(), "{layout}: {source}");
            let target = volume["target"].as_str().unwrap();
            mounts.push((source, target, volume["read_only"] == true));
        }
        // Unless it is told, Compose may make a folder of root's. What it merges does not show it.
        let text = machine.folder.path().join("docker-compose.override.yml");
        let told =
            std::fs::read_to_string(text).unwrap().matches("create_host_path: false").count();
        assert_eq!(told, mounts.len(), "{layout}");
        // The config is mounted, is the one that is served, and can't be changed from within.
        assert!(mounts.contains(&("/portcullis/config", "/etc/portcullis", true)), "{mounts:?}");
        let served = format!("/etc/portcullis/{layout}.toml");
        assert_eq!(gateway["command"], json!(["serve", "--config", served]));
        let asks = json!(["CMD", "portcullis", "ready"]);
        assert_eq!(gateway["healthcheck"]["test"], asks);
        let config = config(layout);
        let files = config.get("rules").map(|rules| texts(&rules["files"])).unwrap_or_default();
        for file in files.into_iter().chain([&*format!("{layout}.toml")]) {
            let copied = machine.folder.path().join("portcullis/config").join(file);
            let shipped = Path::new(ROOT).join("config/layouts").join(file);
            assert_eq!(std::fs::read(copied).unwrap(), std::fs::read(shipped).unwrap(), "{file}");
        }

        // The secrets that it names, and no other, each from a file beside.
        let config = toml::Value::Table(config);
        let named = texts(&config).into_iter().filter(|text| text.starts_with("/run/secrets/"));
        let mut given = BTreeSet::new();
        for secret in gateway["secrets"].as_array().unwrap() {
            let name = secret["source"].as_str().unwrap();
            let target = secret["target"].as_str().map(str::to_owned);
            given.insert(target.unwrap_or_else(|| format!("/run/secrets/{name}")));
            let file = machine.own(&merged["secrets"][name]["file"]);
            assert_eq!(file, format!("/portcullis/secrets/{name}"), "{layout}");
            // Compose ignores these for files, so who reads the override would be misled.
            for ignored in ["uid", "gid", "mode"] {
                assert!(secret.get(ignored).is_none(), "{layout}: {secret}");
            }
        }
        assert_eq!(given, named.map(str::to_owned).collect(), "{layout}");

        // And what it writes: the folder of a SQLite store, and bodies.
        let writable = mounts.iter().filter(|(_, _, read_only)| !read_only).map(|mount| mount.1);
        let stores = texts(&config).into_iter().filter_map(|text| text.strip_prefix("sqlite://"));
        let folders = stores.map(|path| path.rsplit_once('/').unwrap().0);
        assert_eq!(writable.collect::<BTreeSet<_>>(), folders.collect(), "{layout}");
        assert_eq!(strings(&gateway["tmpfs"]), BTreeSet::from(["/tmp:size=1g,mode=1777"]));
    }
}

#[test]
fn the_gateway_may_do_nothing_that_it_need_not() {
    for layout in LAYOUTS {
        let merged = Machine::new(layout).merged();
        let gateway = &merged["services"]["portcullis"];
        for (key, wanted) in [
            ("read_only", json!(true)),
            ("cap_drop", json!(["ALL"])),
            ("security_opt", json!(["no-new-privileges:true"])),
            ("restart", json!("unless-stopped")),
            // Somebody else's image may have this name.
            ("pull_policy", json!("never")),
            ("image", json!(format!("portcullis:{}", env!("CARGO_PKG_VERSION")))),
        ] {
            assert_eq!(gateway[key], wanted, "{layout}: {key}");
        }
        for key in ["cap_add", "privileged", "network_mode", "pid", "devices", "environment"] {
            assert!(gateway.get(key).is_none(), "{layout}: {key}");
        }
        let (user, group) = gateway["user"].as_str().unwrap().split_once(':').unwrap();
        assert!(user.parse::<u32>().unwrap() > 0 && group.parse::<u32>().unwrap() > 0, "{layout}");
        assert!(gateway["logging"]["options"]["max-size"].is_string(), "{layout}");
    }
}

#[test]
fn the_gateway_reaches_what_it_asks_and_waits_for_it() {
    for layout in LAYOUTS {
        let merged = Machine::new(layout).merged();
        let gateway = &merged["services"]["portcullis"];
        // Self-hosted has no network but the one that everything is in by default.
        assert_eq!(gateway["networks"], json!({ "default": null }), "{layout}");
        let config = toml::Value::Table(config(layout));
        let hosts: BTreeSet<_> = texts(&config)
            .into_iter()
            .filter_map(|text| text.split_once("http://").or(text.split_once("portcullis@")))
            .map(|(_, rest)| rest.split([':', '/']).next().unwrap())
            .collect();
        assert!(hosts.contains("web") && hosts.contains("postgres"), "{layout}: {hosts:?}");
        let awaited = gateway["depends_on"].as_object().unwrap();
        assert_eq!(hosts, awaited.keys().map(String::as_str).collect(), "{layout}");
        for (name, how) in awaited {
            let healthy = merged["services"][name].get("healthcheck").is_some();
            let condition = if healthy { "service_healthy" } else { "service_started" };
            assert_eq!(how["condition"], condition, "{layout}: {name}");
        }
    }
}

#[test]
fn a_stop_is_given_the_time_that_it_may_take() {
    /// What stores and readers of logs that hang may add, as the README says.
    const HANGING: Duration = Duration::from_secs(13);
    let defaults = std::fs::read_to_string(Path::new(ROOT).join("config/portcullis.toml")).unwrap();
    let defaults: toml::Table = defaults.parse().unwrap();
    for layout in LAYOUTS {
        let own = config(layout);
        let time = |name: &str| {
            let of =
                |table: &toml::Table| Some(table.get("server")?.get(name)?.as_str()?.to_owned());
            let text = of(&own).or_else(|| of(&defaults)).unwrap();
            text.parse::<humantime::Duration>().unwrap()
        };
        let longest = *time("stop_delay") + *time("drain") + HANGING;
        let merged = Machine::new(layout).merged();
        let given = merged["services"]["portcullis"]["stop_grace_period"].as_str().unwrap();
        let given = *given.parse::<humantime::Duration>().unwrap();
        assert!(given > longest, "{layout}: {given:?} for {longest:?}");
    }
}

#[test]
fn the_readme_is_about_these_files() {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("deploy/compose/README.md")).unwrap();
    let image = format!("--tag portcullis:{} ", env!("CARGO_PKG_VERSION"));
    assert!(readme.contains(&image), "{image}");
    // What it has Compose run is understood: only the config is not there.
    let commands: Vec<_> = readme.split("--no-deps portcullis ").skip(1).collect();
    assert_eq!(commands.len(), 2);
    for command in commands {
        let command = command.split(['\n', '`']).collect::<Vec<_>>();
        let words = command[0].split_whitespace().collect::<Vec<_>>();
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(&words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/etc/portcullis/api-beside.toml"), "{words:?}: {said}");
        assert!(!said.contains("Usage"), "{words:?}: {said}");
    }
}
