//! Whether what the manifests name is there: Services find pods, ports are listened on, files are mounted. A cluster
//! takes a manifest whose names lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::cases::cases;
use super::chart::{Objects, name_of, render, text};
use super::policy::selects;
use super::sidecar;

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// All that there is to check: each case of the chart, and the sidecar.
pub fn all() -> Vec<(String, Objects)> {
    let mut all: Vec<_> = cases().iter().map(|case| (case.name.to_owned(), render(case))).collect();
    all.push(("the sidecar".to_owned(), sidecar::objects()));
    all
}

/// The labels of pods that stay the same with another version: what selects by more loses the pods of a roll.
pub fn labels(template: &Value) -> Map<String, Value> {
    let mut labels = template["metadata"]["labels"].as_object().unwrap().clone();
    labels.remove("app.kubernetes.io/version");
    labels.remove("helm.sh/chart");
    labels
}

/// The gateway's container: the first of the sidecars, or of the containers.
fn gateway(pod: &Value) -> &Value {
    items(&pod["initContainers"]).first().unwrap_or(&pod["containers"][0])
}

pub fn config(objects: &Objects) -> toml::Table {
    text(&objects.kind("ConfigMap")[0]["data"]["portcullis.toml"]).parse().unwrap()
}

fn port(address: &toml::Value) -> u64 {
    address.as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

/// The ports that the config has the gateway listen on, and the admin listener's.
fn listened(config: &toml::Table) -> (BTreeSet<u64>, u64) {
    let listeners = config["listen"].as_array().unwrap();
    let public = listeners.iter().map(|one| port(&one["address"])).collect();
    (public, port(&config["admin"]["address"]))
}

#[test]
fn the_containers_ports_are_those_that_the_config_listens_on() {
    for (name, objects) in all() {
        let pod = &objects.kind("Deployment")[0]["spec"]["template"]["spec"];
        let ports = items(&gateway(pod)["ports"]);
        let named: BTreeSet<_> =
            ports.iter().map(|port| port["containerPort"].as_u64().unwrap()).collect();
        let (mut listened, admin) = listened(&config(&objects));
        listened.insert(admin);
        assert_eq!(named, listened, "{name}");
        assert_eq!(ports.len(), listened.len(), "{name}");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let get = &gateway(pod)[probe]["httpGet"];
            assert_eq!(target(&get["port"], ports), Some(admin), "{name}: {probe}");
            assert!(["/livez", "/readyz"].contains(&text(&get["path"])), "{name}: {probe}");
        }
    }
}

/// The port that a name or a number means, if the container has it.
fn target(port: &Value, ports: &[Value]) -> Option<u64> {
    let is = |one: &&Value| one["name"] == *port || one["containerPort"] == *port;
    ports.iter().find(is).and_then(|one| one["containerPort"].as_u64())
}

#[test]
fn services_lead_to_ports_that_are_listened_on() {
    for (name, objects) in all() {
        let template = &objects.kind("Deployment")[0]["spec"]["template"];
        let ports = items(&gateway(&template["spec"])["ports"]);
        let labels = labels(template);
        let (public, admin) = listened(&config(&objects));
        let mut reached = BTreeSet::new();
        for service in objects.kind("Service") {
            let of = format!("{name}: {}", name_of(service));
            let selector = serde_json::json!({"matchLabels": service["spec"]["selector"]});
            assert!(selects(&selector, &labels), "{of}");
            for port in items(&service["spec"]["ports"]) {
                let target = target(&port["targetPort"], ports).unwrap_or_else(|| panic!("{of}"));
                let of_admin =
                    service["metadata"]["labels"]["app.kubernetes.io/component"] == "admin";
                assert_eq!(target == admin, of_admin, "{of}: {target}");
                reached.insert(target);
            }
        }
        let wanted = public.into_iter().chain([admin]).collect();
        assert_eq!(reached, wanted, "{name}");
    }
}

#[test]
fn what_leads_to_the_pods_finds_them() {
    for (name, objects) in all() {
        let deployment = objects.kind("Deployment")[0];
        let labels = labels(&deployment["spec"]["template"]);
        let own = &deployment["spec"]["selector"];
        assert!(selects(own, &labels), "{name}");
        for budget in objects.kind("PodDisruptionBudget") {
            assert!(selects(&budget["spec"]["selector"], &labels), "{name}");
        }
        for spread in items(&deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]) {
            assert!(selects(&spread["labelSelector"], &labels), "{name}");
        }
        for scaler in objects.kind("HorizontalPodAutoscaler") {
            let target = &scaler["spec"]["scaleTargetRef"];
            assert_eq!(
                name_of(deployment),
                format!("Deployment/{}", text(&target["name"])),
                "{name}"
            );
        }
        let services = objects.kind("Service");
        for monitor in objects.kind("ServiceMonitor") {
            let spec = &monitor["spec"];
            let found: Vec<_> = services
                .iter()
                .filter(|one| {
                    selects(&spec["selector"], one["metadata"]["labels"].as_object().unwrap())
                })
                .collect();
            assert_eq!(found.len(), 1, "{name}: each pod is to be scraped once");
            assert_eq!(
                found[0]["spec"]["ports"][0]["name"], spec["endpoints"][0]["port"],
                "{name}"
            );
            // The alerts go by this name.
            assert_eq!(
                found[0]["metadata"]["labels"][text(&spec["jobLabel"])],
                "portcullis",
                "{name}"
            );
        }
        for ingress in objects.kind("Ingress") {
            let rules = items(&ingress["spec"]["rules"]);
            for path in rules.iter().flat_map(|rule| items(&rule["http"]["paths"])) {
                let backend = &path["backend"]["service"];
                let service = objects.get(&format!("Service/{}", text(&backend["name"])));
                assert_eq!(
                    service["spec"]["ports"][0]["port"], backend["port"]["number"],
                    "{name}"
                );
            }
        }
    }
}

/// Each file that the config names is one that a volume puts there.
#[test]
fn secrets_and_rule_files_are_mounted_where_the_config_names_them() {
    for (name, objects) in all() {
        let map = objects.kind("ConfigMap")[0];
        let pod = &objects.kind("Deployment")[0]["spec"]["template"]["spec"];
        let (files, folders) = mounted(pod, map);
        let text = text(&map["data"]["portcullis.toml"]);
        let config = config(&objects);
        let mut named = 0;
        for word in text.split('"').skip(1).step_by(2).filter(|word| word.starts_with("/run/")) {
            assert!(files.contains(word), "{name}: {word} in {files:?}");
            named += 1;
        }
        let rules = config.get("rules").and_then(|rules| rules.get("files"));
        for file in rules.into_iter().flat_map(|files| files.as_array().unwrap()) {
            let path = format!("/etc/portcullis/{}", file.as_str().unwrap());
            assert!(files.contains(&path), "{name}: {path} in {files:?}");
            named += 1;
        }
        assert!(named > 0, "{name} names no file");
        let spool = config.get("spool").and_then(|spool| spool.get("folder"));
        let spool = spool.map_or("/tmp", |folder| folder.as_str().unwrap());
        assert!(folders.contains(spool), "{name}: {spool} in {folders:?}");
        if text.contains("sqlite:///var/lib/portcullis/") {
            assert!(folders.contains("/var/lib/portcullis"), "{name}: {folders:?}");
        }
        let args: Vec<_> = items(&gateway(pod)["args"]).iter().map(self::text).collect();
        assert_eq!(args[..2], ["serve", "--config"], "{name}");
        assert!(files.contains(args[2]), "{name}: {args:?}");
    }
}

/// The files that volumes put into the gateway's container, and the folders that it may write to.
fn mounted(pod: &Value, map: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let volumes = items(&pod["volumes"]);
    let volumes: BTreeMap<_, _> =
        volumes.iter().map(|volume| (text(&volume["name"]), volume)).collect();
    let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for mount in items(&gateway(pod)["volumeMounts"]) {
        let folder = text(&mount["mountPath"]);
        assert!(mount["subPath"].is_null(), "{mount} would never change");
        let volume = volumes[text(&mount["name"])];
        if let Some(named) = volume["configMap"]["name"].as_str() {
            assert_eq!(named, text(&map["metadata"]["name"]));
            let data = map["data"].as_object().unwrap();
            files.extend(data.keys().map(|name| format!("{folder}/{name}")));
        } else if let Some(sources) = volume["projected"]["sources"].as_array() {
            let keys = sources.iter().flat_map(|source| items(&source["secret"]["items"]));
            files.extend(keys.map(|item| format!("{folder}/{}", text(&item["path"]))));
        } else {
            assert!(mount["readOnly"] != true, "{mount}");
            folders.insert(folder.to_owned());
        }
    }
    (files, folders)
}

#[test]
fn accounts_and_claims_are_there_or_are_said_to_be() {
    for (name, objects) in all() {
        let pod = &objects.kind("Deployment")[0]["spec"]["template"]["spec"];
        if let Some(account) = pod["serviceAccountName"].as_str() {
            let made = objects.names().contains(&format!("ServiceAccount/{account}"));
            assert_eq!(made, account != "gateways", "{name}: {account}");
        }
        for volume in items(&pod["volumes"]) {
            if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                let made = objects.names().contains(&format!("PersistentVolumeClaim/{claim}"));
                assert_eq!(made, claim != "tokens", "{name}: {claim}");
            }
        }
    }
}
