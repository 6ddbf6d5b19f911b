//! The chart, rendered by Helm for each of [`cases`], and the objects that come out of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::cases::{Case, cases};
use super::tools::{ROOT, documents, run, said, tool};

pub const CHART: &str = "deploy/helm/portcullis";
/// What the release is called, and its namespace.
pub const RELEASE: &str = "gw";
pub const NAMESPACE: &str = "gateways";

/// Objects as they would be applied.
#[derive(Clone)]
pub struct Objects(pub Vec<Value>);

impl Objects {
    pub fn of(yaml: &str) -> Self {
        Self(documents(yaml))
    }

    /// All of a kind.
    pub fn kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// By `Kind/name`.
    pub fn get(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|object| name_of(object) == name);
        found.unwrap_or_else(|| panic!("there is no {name}: {:?}", self.names()))
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.0.iter().map(name_of).collect()
    }
}

pub fn name_of(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// What Helm makes of the chart with an example of it and values on top.
pub fn helm(command: &[&str], example: &str, values: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.yaml");
    std::fs::write(&own, values).unwrap();
    let mut helm = tool("helm");
    helm.args(command);
    if !example.is_empty() {
        helm.arg("--values").arg(Path::new(CHART).join("examples").join(format!("{example}.yaml")));
    }
    helm.arg("--values").arg(own).output().unwrap()
}

pub fn render(case: &Case) -> Objects {
    Objects::of(&rendered(case))
}

/// The same, as Helm writes it.
pub fn rendered(case: &Case) -> String {
    template(case.example, case.values)
}

/// What comes of an example with these values on top.
pub fn template(example: &str, values: &str) -> String {
    let words = ["template", RELEASE, CHART, "--namespace", NAMESPACE];
    let output = helm(&words, example, values);
    assert!(output.status.success(), "{values}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_case_has_the_objects_and_the_fields_that_its_values_ask_for() {
    for case in cases() {
        let objects = render(&case);
        let names = objects.names();
        assert_eq!(names.len(), objects.0.len(), "{}: twice the same: {names:?}", case.name);
        for name in case.with {
            assert!(names.contains(*name), "{}: no {name} in {names:?}", case.name);
        }
        for name in case.without {
            assert!(!names.contains(*name), "{}: {name} is there", case.name);
        }
        for (name, pointer, wanted) in case.fields {
            let found = objects.get(name).pointer(pointer).unwrap_or(&Value::Null);
            let wanted: Value = serde_json::from_str(wanted).unwrap();
            assert_eq!(*found, wanted, "{}: {name} {pointer}", case.name);
        }
    }
}

#[test]
fn helm_lints_each_case_without_a_complaint() {
    for case in cases() {
        let output = helm(&["lint", "--strict", "--quiet", CHART], case.example, case.values);
        assert!(output.status.success(), "{}: {}", case.name, said(&output));
    }
}

#[test]
fn every_object_has_the_labels_and_the_namespace_that_it_should() {
    let version = env!("CARGO_PKG_VERSION");
    for case in cases() {
        for object in render(&case).0 {
            let name = format!("{}: {}", case.name, name_of(&object));
            let labels = &object["metadata"]["labels"];
            for (label, wanted) in [
                ("app.kubernetes.io/name", "portcullis"),
                ("app.kubernetes.io/instance", RELEASE),
                ("app.kubernetes.io/version", version),
                ("app.kubernetes.io/managed-by", "Helm"),
                ("helm.sh/chart", &format!("portcullis-{version}")),
            ] {
                assert_eq!(labels[label], wanted, "{name}");
            }
            let sentry = name.contains("-sentry-") && case.example == "api-beside";
            let namespace = if sentry { "sentry" } else { NAMESPACE };
            assert_eq!(object["metadata"]["namespace"], namespace, "{name}");
        }
    }
}

/// What is installed says what comes next, and warns where there is no boundary.
#[test]
fn the_notes_tell_the_next_step() {
    let words = ["install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client"];
    for (values, wanted) in [
        ("", "portcullis doctor --config /etc/portcullis/portcullis.toml"),
        ("", "rollout status deployment/gw"),
        ("", "sentry-api.example.com"),
        ("ingress: {enabled: false}", "port-forward service/gw 8080:80"),
        ("networkPolicy: {enabled: false}", "WARNING: `networkPolicy.enabled` is false"),
    ] {
        let output = helm(&words, "api-beside", values);
        let notes = said(&output);
        let notes = notes.split("NOTES:").nth(1).unwrap_or_else(|| panic!("{notes}"));
        assert!(output.status.success() && notes.contains(wanted), "{values}: {notes}");
        assert_eq!(notes.contains("WARNING"), values.contains("networkPolicy"), "{notes}");
    }
}

/// A package is what an operator gets: it renders as the folder does.
#[test]
fn the_package_renders_as_the_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    run(tool("helm").args(["package", CHART, "--destination"]).arg(folder.path()));
    let package = folder.path().join(format!("portcullis-{}.tgz", env!("CARGO_PKG_VERSION")));
    let case = cases().into_iter().find(|case| case.name == "monitored").unwrap();
    let words = ["template", RELEASE, package.to_str().unwrap(), "--namespace", NAMESPACE];
    let output = helm(&words, case.example, case.values);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), rendered(&case));
    assert!(Path::new(ROOT).join(CHART).join("examples/front-door.yaml").exists());
}
