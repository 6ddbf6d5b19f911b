//! Everything that is rendered, held against the schemas of Kubernetes and scanned by checkov.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cases::cases;
use super::chart::{Objects, name_of, render, rendered, text};
use super::sidecar;
use super::tools::{documents, run, said, tool};

/// The oldest that the chart takes, one in between, and the newest whose schemas there are.
const VERSIONS: [&str; 3] = ["1.29", "1.33", "1.37"];

/// Each case and the sidecar in a file of its own.
fn write_all(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = cases().iter().map(|case| (case.name, rendered(case))).collect();
    all.push(("the sidecar", sidecar::yaml()));
    let path = |name: &str| folder.join(format!("{}.yaml", name.replace([' ', ','], "-")));
    let files = all.into_iter().map(|(name, yaml)| {
        let path = path(name);
        std::fs::write(&path, yaml).unwrap();
        path
    });
    files.collect()
}

#[test]
fn every_manifest_fits_the_schemas_of_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_all(folder.path());
    for version in VERSIONS {
        let mut validate = tool("kubernetes-validate");
        validate.args(["--strict", "--kubernetes-version", version]).args(&files);
        let output = validate.output().unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{version}: {said}");
        let passed = said.lines().filter(|line| line.contains(" passed for resource ")).count();
        let without = said.lines().filter(|line| line.contains("Couldn't find schema")).count();
        let objects: usize =
            files.iter().map(|file| documents(&std::fs::read_to_string(file).unwrap()).len()).sum();
        // Of the two kinds of the Prometheus operator there is no schema.
        assert_eq!((passed, without), (objects - 2, 2), "{version}: {said}");
    }
}

/// What is no manifest is told by the same program.
#[test]
fn a_manifest_that_does_not_fit_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = sidecar::yaml();
    for (from, to) in [
        ("restartPolicy: Always", "restartPolice: Always"),
        ("containerPort: 8080", "containerPort: http"),
        ("sizeLimit:", "size:"),
    ] {
        let file = folder.path().join("broken.yaml");
        assert!(yaml.contains(from), "{from}");
        std::fs::write(&file, yaml.replace(from, to)).unwrap();
        let mut validate = tool("kubernetes-validate");
        validate.args(["--strict", "--kubernetes-version", VERSIONS[0]]).arg(&file);
        assert!(!validate.output().unwrap().status.success(), "{to}");
    }
}

/// Fields that the Prometheus operator takes, as far as the chart writes them.
fn fits_the_operator(object: &Value) -> bool {
    let only = |value: &Value, known: &[&str]| {
        let fields = value.as_object().unwrap();
        !fields.is_empty() && fields.keys().all(|key| known.contains(&key.as_str()))
    };
    let each = |value: &Value, known: &[&str]| {
        let all = value.as_array().unwrap();
        !all.is_empty() && all.iter().all(|one| only(one, known))
    };
    let spec = &object["spec"];
    let of_kind = match text(&object["kind"]) {
        "ServiceMonitor" => {
            only(spec, &["jobLabel", "selector", "endpoints"])
                && only(&spec["selector"], &["matchLabels"])
                && each(&spec["endpoints"], &["port", "path", "interval", "scrapeTimeout"])
        }
        "PrometheusRule" => {
            let rule = ["alert", "record", "expr", "for", "labels", "annotations"];
            let groups = spec["groups"].as_array().unwrap();
            only(spec, &["groups"])
                && each(&spec["groups"], &["name", "rules", "interval"])
                && groups.iter().all(|group| each(&group["rules"], &rule))
        }
        other => panic!("{other} has a schema of its own, or needs a row here"),
    };
    of_kind && object["apiVersion"] == "monitoring.coreos.com/v1"
}

#[test]
fn what_the_prometheus_operator_takes_has_the_fields_that_it_knows() {
    let case = cases().into_iter().find(|case| case.name == "monitored").unwrap();
    let objects = render(&case);
    let rules = objects.get("PrometheusRule/gw");
    let monitor = objects.get("ServiceMonitor/gw");
    assert!(fits_the_operator(rules) && fits_the_operator(monitor));
    let mut broken = monitor.clone();
    broken["spec"]["endpoints"][0]["targetPort"] = Value::Null;
    assert!(!fits_the_operator(&broken));
    // All of what deploy/prometheus has, in its order, and the address of the runbooks before each link.
    let mut found = Vec::new();
    let mut wanted = Vec::new();
    for file in ["portcullis.rules.yml", "portcullis.alerts.yml"] {
        let path = format!("{}/deploy/prometheus/{file}", super::tools::ROOT);
        let text = std::fs::read_to_string(path).unwrap();
        let text =
            text.replace("runbook_url: ", "runbook_url: https://wiki.example.com/portcullis/");
        wanted.extend(documents(&text)[0]["groups"].as_array().unwrap().clone());
    }
    found.extend(rules["spec"]["groups"].as_array().unwrap().clone());
    assert_eq!(found, wanted);
}

/// What is left as it is, and why: `exceptions.txt`. The check and the file or resource, `*` for any.
fn exceptions() -> Vec<(&'static str, &'static str)> {
    let text = include_str!("exceptions.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let words = lines.map(|line| line.splitn(3, ' ').collect::<Vec<_>>());
    words
        .map(|words| <[&str; 3]>::try_from(words).expect("a check, a resource, a reason"))
        .map(|[check, place, _]| (check, place))
        .collect()
}

/// checkov passes over what begins with a dot.
fn visible_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("manifests").tempdir().unwrap()
}

/// The checks that fail, with what fails them. No network is asked.
fn scan(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut checkov = tool("checkov");
    checkov.args(["--skip-download", "--framework", "kubernetes", "--compact", "--quiet"]);
    checkov.args(["--output", "json", "--soft-fail", "--directory"]).arg(folder);
    let report: Value = serde_json::from_str(&run(&mut checkov)).unwrap();
    let (passed, errors) = (&report["summary"]["passed"], &report["summary"]["parsing_errors"]);
    assert!(passed.as_u64() > Some(50) && *errors == 0, "{report}");
    let mut failed = BTreeMap::<String, BTreeSet<String>>::new();
    for check in report["results"]["failed_checks"].as_array().unwrap() {
        let [file, resource, says] =
            ["file_path", "resource", "check_name"].map(|key| text(&check[key]));
        let what = format!("{file} {resource} ({says})");
        failed.entry(text(&check["check_id"]).to_owned()).or_default().insert(what);
    }
    failed
}

#[test]
fn checkov_finds_what_is_argued_and_nothing_else() {
    let folder = visible_folder();
    write_all(folder.path());
    // Of Sentry's own pod the gateway is judged, and not what a stand-in has.
    let web = folder.path().join("the-sidecar.yaml");
    let beside = sidecar::objects().0.into_iter().filter(|object| object["kind"] != "Deployment");
    let list: Vec<_> = beside.chain([sidecar::alone()]).collect();
    let list: Vec<_> = list.iter().map(|object| serde_json::to_string(object).unwrap()).collect();
    std::fs::write(web, list.join("\n---\n")).unwrap();
    let mut unused: BTreeSet<_> = exceptions().into_iter().collect();
    for (check, resources) in scan(folder.path()) {
        for resource in resources {
            let argued: Vec<_> = exceptions()
                .into_iter()
                .filter(|(id, place)| *id == check && (*place == "*" || resource.contains(place)))
                .collect();
            assert!(!argued.is_empty(), "{check}: {resource}");
            argued.iter().for_each(|one| _ = unused.remove(one));
        }
    }
    assert!(unused.is_empty(), "exceptions that nothing needs: {unused:?}");
}

/// A pod that lacks what the gateway's has is found.
#[test]
fn checkov_finds_a_pod_that_may_do_more() {
    let folder = visible_folder();
    write_all(folder.path());
    let mut pod = sidecar::alone();
    pod["spec"]["containers"][0]["securityContext"] = serde_json::json!({});
    std::fs::write(folder.path().join("pod.yaml"), pod.to_string()).unwrap();
    let failed = scan(folder.path());
    assert!(
        failed["CKV_K8S_22"].iter().any(|what| what.contains("Pod.sentry.sidecar")),
        "{failed:?}"
    );
}

#[test]
fn the_kinds_are_those_that_are_known() {
    let mut kinds = BTreeSet::new();
    for case in cases() {
        let Objects(all) = render(&case);
        kinds
            .extend(all.iter().map(|object| name_of(object).split('/').next().unwrap().to_owned()));
    }
    let wanted = "ConfigMap Deployment HorizontalPodAutoscaler Ingress NetworkPolicy PersistentVolumeClaim \
                  PodDisruptionBudget PrometheusRule Service ServiceAccount ServiceMonitor";
    assert_eq!(
        kinds.iter().map(String::as_str).collect::<Vec<_>>(),
        wanted.split_whitespace().collect::<Vec<_>>()
    );
}
