//! What the chart says of itself: versions, its table of values, its schema, and files that it has a copy of.

use std::fmt::Write as _;

use serde_json::Value;

use super::chart::{CHART, text};
use super::tools::{ROOT, documents};

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

fn chart_file(name: &str) -> String {
    read(&format!("{CHART}/{name}"))
}

#[test]
fn chart_image_and_gateway_have_one_version() {
    let chart = &documents(&chart_file("Chart.yaml"))[0];
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_rules_and_alerts_are_those_of_deploy_prometheus() {
    for file in ["portcullis.rules.yml", "portcullis.alerts.yml"] {
        let same =
            chart_file(&format!("files/{file}")) == read(&format!("deploy/prometheus/{file}"));
        assert!(same, "{file} is another than in deploy/prometheus; run `make generate`");
    }
}

/// A value: its path, its default as it is written, and the comment above it.
struct Row {
    path: String,
    default: String,
    what: String,
}

/// The values that have no values below them, as `values.yaml` writes them: one line each, with a comment.
fn rows() -> Vec<Row> {
    let mut path: Vec<&str> = Vec::new();
    let mut comment = String::new();
    let mut rows = Vec::new();
    let text = chart_file("values.yaml");
    for line in text.lines() {
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(words) = line.strip_prefix("# ") {
            assert!(comment.is_empty(), "a comment of two lines: {words}");
            words.clone_into(&mut comment);
        } else if let Some((key, value)) = line.split_once(':') {
            path.truncate(indent / 2);
            path.push(key);
            if !value.is_empty() {
                assert!(comment.ends_with('.'), "{} has no sentence above it", path.join("."));
                let (path, default) = (path.join("."), value.trim().to_owned());
                rows.push(Row { path, default, what: std::mem::take(&mut comment) });
            }
        } else {
            assert!(line.is_empty(), "{line}");
        }
    }
    rows
}

/// The rows are what YAML makes of the file, too.
#[test]
fn every_value_has_a_row() {
    fn leaves(value: &Value, path: &str, rows: &[Row], found: &mut Vec<String>) {
        if rows.iter().any(|row| row.path == path) {
            found.push(path.to_owned());
            return;
        }
        for (key, below) in value.as_object().unwrap_or_else(|| panic!("{path} has no row")) {
            leaves(below, [path, key].join(".").trim_start_matches('.'), rows, found);
        }
    }
    let rows = rows();
    let mut found = Vec::new();
    leaves(&documents(&chart_file("values.yaml"))[0], "", &rows, &mut found);
    assert_eq!(found.len(), rows.len());
    for row in &rows {
        let default = &documents(&format!("x: {}", row.default))[0]["x"];
        let pointer = format!("/{}", row.path.replace('.', "/"));
        let values = &documents(&chart_file("values.yaml"))[0];
        assert_eq!(values.pointer(&pointer), Some(default), "{}", row.path);
    }
}

#[test]
fn the_readme_has_the_table_of_the_values() {
    let mut table = String::from("| value | default | what |\n| --- | --- | --- |\n");
    for Row { path, default, what } in rows() {
        writeln!(table, "| `{path}` | `{default}` | {what} |").unwrap();
    }
    let readme = chart_file("README.md");
    assert!(readme.contains(&table), "write into {CHART}/README.md:\n{table}");
    assert_eq!(readme.matches("\n| `").count(), rows().len());
}

/// The schema knows each value, and no other: an unknown one is a mistake.
#[test]
fn the_schema_knows_the_values_and_refuses_all_others() {
    let schema: Value = serde_json::from_str(&chart_file("values.schema.json")).unwrap();
    let mut known = Vec::new();
    fn below(schema: &Value, path: &str, rows: &[Row], known: &mut Vec<String>) {
        for (key, value) in schema["properties"].as_object().unwrap() {
            let path = [path, key].join(".").trim_start_matches('.').to_owned();
            if rows.iter().any(|row| row.path == path) {
                known.push(path);
            } else {
                assert_eq!(value["additionalProperties"], false, "{path}");
                below(value, &path, rows, known);
            }
        }
    }
    let rows = rows();
    assert_eq!(schema["additionalProperties"], false);
    // Helm hands this down to every chart.
    let mut own = schema.clone();
    own["properties"].as_object_mut().unwrap().remove("global");
    below(&own, "", &rows, &mut known);
    known.sort();
    let mut wanted: Vec<_> = rows.iter().map(|row| row.path.clone()).collect();
    wanted.sort();
    assert_eq!(known, wanted);
    for definition in schema["$defs"].as_object().unwrap().values() {
        assert_eq!(definition["additionalProperties"], false, "{definition}");
    }
    assert_eq!(text(&schema["type"]), "object");
}
