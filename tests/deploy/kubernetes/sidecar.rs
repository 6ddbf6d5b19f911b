//! The manifests of the sidecar, put into a stand-in for Sentry's web Deployment by the two ways that are described.

use serde_json::{Value, json};

use super::chart::{Objects, text};
use super::tools::{ROOT, run, tool};

const SIDECAR: &str = "deploy/kubernetes/sidecar";
const WEB: &str = "tests/deploy/kubernetes/sidecar/web.yaml";

/// What `kubectl apply -k` would apply.
fn beside() -> String {
    run(tool("kubectl").args(["kustomize", SIDECAR]))
}

/// What `kubectl patch` makes of web.
fn patched() -> String {
    let patch = format!("{SIDECAR}/web/patch.yaml");
    let words = ["patch", "--local", "--filename", WEB, "--patch-file", &patch, "--output", "yaml"];
    run(tool("kubectl").args(words))
}

pub fn yaml() -> String {
    format!("{}\n---\n{}", beside(), patched())
}

/// All of it, with web.
pub fn objects() -> Objects {
    Objects::of(&yaml())
}

/// The gateway of it as the only container of a pod, for a scan that shall not judge Sentry's own.
pub fn alone() -> Value {
    let objects = objects();
    let spec = &objects.get("Deployment/sentry-web")["spec"]["template"]["spec"];
    let mut container = spec["initContainers"][0].clone();
    container.as_object_mut().unwrap().remove("restartPolicy");
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "sidecar", "namespace": "sentry"},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [container],
            "volumes": spec["volumes"],
        },
    })
}

#[test]
fn kustomize_makes_the_same_of_web_as_kubectl() {
    let folder = tempfile::tempdir_in(format!("{ROOT}/target")).unwrap();
    let at = |path: &str| format!("{ROOT}/{path}");
    std::fs::copy(at(WEB), folder.path().join("web.yaml")).unwrap();
    let component = folder.path().join("component");
    std::fs::create_dir(&component).unwrap();
    for file in ["kustomization.yaml", "patch.yaml"] {
        std::fs::copy(at(&format!("{SIDECAR}/web/{file}")), component.join(file)).unwrap();
    }
    let list = "resources: [web.yaml]\ncomponents: [component]\n";
    std::fs::write(folder.path().join("kustomization.yaml"), list).unwrap();
    let made = Objects::of(&run(tool("kubectl").arg("kustomize").arg(folder.path())));
    assert_eq!(made.0, Objects::of(&patched()).0);
}

#[test]
fn what_web_had_is_still_there_and_the_gateway_is_a_sidecar_of_it() {
    let objects = objects();
    let pod = &objects.get("Deployment/sentry-web")["spec"]["template"]["spec"];
    let names = |value: &Value| -> Vec<String> {
        let all = value.as_array().unwrap().iter();
        all.map(|one| text(&one["name"]).to_owned()).collect()
    };
    assert_eq!(names(&pod["containers"]), ["sentry-web"]);
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["name"], "config");
    assert!(names(&pod["volumes"]).contains(&"config".to_owned()), "{pod}");
    let gateway = &pod["initContainers"][0];
    assert_eq!(gateway["restartPolicy"], "Always");
    let image = format!("registry.example.com/portcullis:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(gateway["image"], image);
    // It waits for nobody, or web would wait for it.
    assert_eq!(gateway["startupProbe"]["httpGet"]["path"], "/livez");
    // web begins to end after connections stop coming, and the gateway ends after web.
    let wait = text(&pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1]);
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let config = text(&objects.get("ConfigMap/portcullis")["data"]["portcullis.toml"]);
    let config: toml::Table = config.parse().unwrap();
    let server = &config["server"];
    assert_eq!(server["stop_delay"].as_str(), Some("0s"));
    let drain: u64 = server["drain"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    // A plain container of Sentry's is given 30 s by Kubernetes.
    assert!(grace >= wait.parse::<u64>().unwrap() + 30 + drain + 13, "{grace}");
    assert_eq!(config["upstream"]["web"]["urls"][0].as_str(), Some("http://127.0.0.1:9000"));
}
