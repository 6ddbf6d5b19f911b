//! What `deploy/` has for Prometheus and Grafana, held against a real Prometheus that scrapes running
//! gateways: rules and alerts are valid and do what their unit tests say, every query has something to
//! show, and alerts fire on what they are for.

mod dashboard;
mod firing;
mod fleet;
mod queries;
mod runbooks;
mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with rules, alerts, their tests and their runbooks.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

/// A file of that folder.
fn shipped(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of the alerts, in their order.
fn alerts() -> Vec<String> {
    let text = shipped("portcullis.alerts.yml");
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// Runs `promtool` in that folder, which must find all in order.
fn promtool(words: &[&str]) -> String {
    let run = Command::new("promtool").args(words).current_dir(folder()).output();
    let run = run.expect("`promtool`; run `make setup`");
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(run.status.success(), "{words:?}:\n{said}");
    said
}

#[test]
fn the_rules_are_valid_and_do_what_their_tests_say() {
    promtool(&["check", "config", "prometheus.yml"]);
    let rules = ["portcullis.rules.yml", "portcullis.alerts.yml"];
    promtool(&[&["check", "rules", "--lint=all", "--lint-fatal"], &rules[..]].concat());
    promtool(&["test", "rules", "portcullis.test.yml"]);
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_nothing_does() {
    let text = shipped("portcullis.test.yml");
    let groups: Vec<_> = text.split("\n  - name: ").skip(1).collect();
    let names = alerts();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    for name in names {
        let of_it = |group: &&&str| {
            let title = group.lines().next().unwrap_or_default();
            title.split([' ', ',']).any(|word| word == name)
        };
        let own: Vec<_> = groups.iter().filter(of_it).collect();
        let fires = format!("alertname=\"{name}\"");
        assert!(own.iter().any(|group| group.contains(&fires)), "`{name}` fires in no test");
        // A check without samples is one in which no alert fires at all.
        let silent = |group: &&&&str| {
            let mut lines = group.lines().map(str::trim);
            lines.any(|line| line.ends_with("expr: 'ALERTS{alertstate=\"firing\"}'}"))
        };
        assert!(own.iter().any(|group| silent(&group)), "`{name}` is silent in no test");
    }
}
