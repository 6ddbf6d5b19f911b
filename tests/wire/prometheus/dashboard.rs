//! The dashboard as Grafana reads it: its shape, and the queries in it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// The dashboard that is shipped.
pub fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/portcullis.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Its panels, rows among them.
fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

/// Every query in it, after where it is, with Grafana's variables filled in as if all were chosen.
pub fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].clone()))
    };
    let notes = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let notes = notes.map(|note| ("an annotation".to_owned(), note["expr"].clone()));
    let all = panels(dashboard).iter().flat_map(of_panel).chain(notes);
    all.map(|(place, query)| (place, filled(query.as_str().unwrap()))).collect()
}

fn filled(query: &str) -> String {
    let filled =
        query.replace("$job", ".+").replace("$instance", ".+").replace("$__rate_interval", "5m");
    assert!(!filled.contains('$'), "a variable that is not known in `{query}`");
    filled
}

#[test]
fn every_panel_says_what_it_shows_and_in_what_unit() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut titles = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        assert!(titles.insert(title), "{title}: its title is another's");
        if panel["type"] == "row" {
            continue;
        }
        let description = panel["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{title}: no sentence describes it");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(unit.is_some_and(|unit| !unit.is_empty()), "{title}: it has no unit");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}: it asks for nothing");
        let mut letters = BTreeSet::new();
        for target in targets {
            assert!(letters.insert(target["refId"].as_str().unwrap()), "{title}: {target}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!target["legendFormat"].as_str().unwrap().is_empty(), "{title}");
        }
    }
}

#[test]
fn panels_lie_beside_one_another_in_rows() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}: it is too wide", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{}: it lies on another", panel["title"]);
            }
        }
    }
    assert_eq!(panels(&dashboard)[0]["type"], "row");
}

#[test]
fn the_data_source_the_job_and_the_gateway_can_be_chosen() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            // Alerts are of all gateways together.
            let chosen = query.matches("{job=~\"$job\", instance=~\"$instance\"").count();
            let metrics = query.matches('{').count();
            assert!(chosen == metrics || query.contains("ALERTS"), "{query}");
        }
    }
}
