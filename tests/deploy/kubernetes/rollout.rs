//! What a changed config does to the pods: nothing where the gateway takes it up itself.

use serde_json::Value;

use super::chart::{CHART, Objects, template};
use super::tools::ROOT;

/// The annotations of the pods with these values on top, and this in place of that in the config.
fn annotations(values: &str, from: &str, to: &str) -> Value {
    let example = format!("{ROOT}/{CHART}/examples/api-beside.yaml");
    let text = std::fs::read_to_string(example).unwrap();
    let config: String = text
        .lines()
        .skip_while(|line| *line != "config: |")
        .take_while(|line| !line.starts_with("secrets"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(config.contains(from), "{config}");
    let changed = format!("{values}\n{}", config.replace(from, to));
    let objects = Objects::of(&template("api-beside", &changed));
    objects.get("Deployment/gw")["spec"]["template"]["metadata"]["annotations"].clone()
}

#[test]
fn pods_are_rolled_by_what_needs_a_restart_alone() {
    let before = annotations("", "8080", "8080");
    assert_eq!(before["checksum/config"], Value::Null);
    for (from, to, rolls) in [
        ("0.0.0.0:8080", "0.0.0.0:8081", true),
        ("0.0.0.0:9090", "0.0.0.0:9091", true),
        ("max_in_flight = 12", "max_in_flight = 12\n\n  [server]\n  threads = 2", true),
        (
            "\"0.0.0.0:8080\"",
            "\"0.0.0.0:8080\"\n  tls = { certificates = [{ certificate = \"a\", key = \"b\" }] }",
            true,
        ),
        ("max_in_flight = 12", "max_in_flight = 24", false),
        ("trusted_proxies = [\"10.0.0.0/8\"]", "trusted_proxies = []", false),
        ("max_in_flight = 12", "max_in_flight = 12\n\n  [server]\n  drain = \"25s\"", false),
    ] {
        let after = annotations("", from, to);
        assert_eq!(after["checksum/restart"] != before["checksum/restart"], rolls, "{to}");
    }
}

#[test]
fn every_change_rolls_them_where_that_is_asked_for() {
    let before = annotations("rollOnConfigChange: true", "12", "12");
    let after = annotations("rollOnConfigChange: true", "max_in_flight = 12", "max_in_flight = 24");
    assert!(before["checksum/config"].is_string());
    assert_ne!(before["checksum/config"], after["checksum/config"]);
    let other = annotations("{rollOnConfigChange: true, files: {own.toml: ''}}", "12", "12");
    assert_ne!(before["checksum/config"], other["checksum/config"]);
}
