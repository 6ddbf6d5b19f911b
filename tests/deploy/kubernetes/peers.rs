//! Who gets to the gateway and to Sentry under the policies that are shipped: every pod of a Sentry against every
//! port, and strangers with it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::cases::{Case, cases};
use super::chart::{NAMESPACE, Objects, render};
use super::policy::{Place, connects};
use super::sidecar;
use super::wiring::labels;

/// The pods of a chart of Sentry's by their labels, and whoever else there is in a cluster.
fn world(sentry: &str, gateway: &str, labels: &Value) -> Vec<Place> {
    let role = |role: &str| json!({"app": "sentry", "release": "sentry", "role": role});
    let nginx = json!({"app.kubernetes.io/name": "nginx", "app.kubernetes.io/instance": "sentry"});
    let database = json!({"app.kubernetes.io/name": "sentry-postgresql"});
    let pods = [
        ("web", sentry, role("web")),
        ("relay", sentry, role("relay")),
        ("symbolicator", sentry, role("symbolicator-api")),
        ("worker", sentry, role("worker")),
        ("cron", sentry, role("cron")),
        ("nginx", sentry, nginx),
        ("database", sentry, database),
        ("gateway", gateway, labels.clone()),
        ("ingress controller", "ingress-nginx", json!({"app.kubernetes.io/name": "ingress-nginx"})),
        ("prometheus", "monitoring", json!({"app.kubernetes.io/name": "prometheus"})),
        ("dns", "kube-system", json!({"k8s-app": "kube-dns"})),
        // Strangers: without a label, and with the labels of those who are let in, from elsewhere.
        ("no labels", sentry, json!({})),
        ("relay elsewhere", "elsewhere", role("relay")),
        ("gateway elsewhere", "elsewhere", labels.clone()),
        ("prometheus elsewhere", "elsewhere", json!({"app.kubernetes.io/name": "prometheus"})),
    ];
    let mut world: Vec<_> = pods
        .into_iter()
        .enumerate()
        .map(|(at, (name, namespace, labels))| Place {
            name,
            pod: Some((namespace.to_owned(), labels.as_object().unwrap().clone())),
            address: [10, 1, 1, u8::try_from(at).unwrap()].into(),
        })
        .collect();
    world.push(Place { name: "internet", pod: None, address: [192, 0, 2, 1].into() });
    world
}

/// Who connects to a place's port.
fn connected(world: &[Place], objects: &Objects, to: &str, port: u16) -> BTreeSet<&'static str> {
    let policies = objects.kind("NetworkPolicy");
    let to = named(world, to);
    let others = world.iter().filter(|place| place.name != to.name);
    others.filter(|from| connects(&policies, from, to, port, "TCP")).map(|from| from.name).collect()
}

fn named<'a>(world: &'a [Place], name: &str) -> &'a Place {
    world.iter().find(|place| place.name == name).unwrap()
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

fn gateway_labels(objects: &Objects) -> Value {
    labels(&objects.kind("Deployment")[0]["spec"]["template"]).into()
}

/// Everybody but the one who is connected to, and but those who may not connect to anything there.
fn everybody(world: &[Place], but: &[&str]) -> BTreeSet<&'static str> {
    world.iter().map(|place| place.name).filter(|name| !but.contains(name)).collect()
}

/// A listener, and who gets there: all others don't.
type Row = (&'static str, u16, &'static [&'static str]);

fn check(world: &[Place], objects: &Objects, name: &str, rows: &[Row]) {
    for (to, port, wanted) in rows {
        let found = connected(world, objects, to, *port);
        assert_eq!(found, wanted.iter().copied().collect(), "{name}: {to}:{port}");
    }
}

#[test]
fn beside_the_pages_sentry_is_open_to_the_gateway_and_to_its_own_parts() {
    let objects = render(&case("the API beside the pages"));
    let world = world("sentry", NAMESPACE, &gateway_labels(&objects));
    check(
        &world,
        &objects,
        "beside",
        &[
            ("gateway", 8080, &["ingress controller"]),
            ("gateway", 9090, &["prometheus"]),
            ("gateway", 22, &[]),
            ("web", 9000, &["gateway", "relay", "symbolicator", "nginx"]),
            ("web", 9001, &[]),
        ],
    );
    // Relay is not closed there: SDKs get to it as they did. The gateway has no business with it.
    assert_eq!(
        connected(&world, &objects, "relay", 3000),
        everybody(&world, &["relay", "gateway"])
    );
}

#[test]
fn behind_the_front_door_nobody_gets_around_it() {
    let objects = render(&case("the front door"));
    let world = world(NAMESPACE, NAMESPACE, &gateway_labels(&objects));
    check(
        &world,
        &objects,
        "front door",
        &[
            ("gateway", 8080, &["ingress controller"]),
            ("gateway", 9090, &[]),
            ("web", 9000, &["gateway", "relay", "symbolicator"]),
            ("relay", 3000, &["gateway"]),
        ],
    );
    assert_eq!(connected(&world, &objects, "nginx", 8080), everybody(&world, &["nginx"]));
}

#[test]
fn each_listener_has_clients_of_its_own() {
    let objects = render(&case("two listeners, one with TLS"));
    let mut world = world("sentry", NAMESPACE, &gateway_labels(&objects));
    let pod = Some(("vpn".to_owned(), Map::new()));
    world.push(Place { name: "vpn", pod, address: [10, 2, 0, 1].into() });
    check(
        &world,
        &objects,
        "two listeners",
        &[
            ("gateway", 8081, &["ingress controller"]),
            ("gateway", 8443, &["vpn"]),
            ("gateway", 9191, &["prometheus"]),
            ("gateway", 8080, &[]),
            ("relay", 3000, &["gateway", "nginx"]),
        ],
    );
}

#[test]
fn everybody_is_let_in_where_that_is_said() {
    let objects = render(&case("a load balancer"));
    let world = world("sentry", NAMESPACE, &gateway_labels(&objects));
    assert_eq!(connected(&world, &objects, "gateway", 8080), everybody(&world, &["gateway"]));
}

/// Nginx gets the keys of assertions; the issuer is on the Internet, and nothing of the cluster is.
#[test]
fn those_who_verify_assertions_get_the_keys_and_the_gateway_those_of_its_issuer() {
    let objects = render(&case("an issuer of JWTs, and those who verify assertions"));
    let mut world = world("sentry", NAMESPACE, &gateway_labels(&objects));
    let (_, nginx) = named(&world, "nginx").pod.clone().unwrap();
    let pod = Some(("elsewhere".to_owned(), nginx));
    world.push(Place { name: "nginx elsewhere", pod, address: [10, 1, 2, 1].into() });
    check(
        &world,
        &objects,
        "verifiers",
        &[("gateway", 8080, &["ingress controller"]), ("gateway", 9090, &["prometheus", "nginx"])],
    );
    let (policies, gateway) = (objects.kind("NetworkPolicy"), named(&world, "gateway"));
    for (to, port, reached) in [
        ("internet", 443, true),
        ("internet", 80, false),
        ("database", 443, false),
        ("database", 5432, false),
    ] {
        let found = connects(&policies, gateway, named(&world, to), port, "TCP");
        assert_eq!(found, reached, "{to}:{port}");
    }
}

/// The same without policies: the tables above would notice.
#[test]
fn without_policies_everybody_gets_everywhere() {
    let objects = render(&case("no policies, no Ingress"));
    let world = world("sentry", NAMESPACE, &gateway_labels(&objects));
    for (to, port) in [("web", 9000), ("gateway", 8080), ("gateway", 9090)] {
        assert_eq!(connected(&world, &objects, to, port), everybody(&world, &[to]), "{to}:{port}");
    }
}

#[test]
fn the_gateway_gets_to_sentry_to_names_and_to_its_store_alone() {
    for (name, sentry, more) in [
        ("the API beside the pages", "sentry", &[][..]),
        ("the front door", NAMESPACE, &[("relay", 3000), ("nginx", 8080)]),
    ] {
        let objects = render(&case(name));
        let world = world(sentry, NAMESPACE, &gateway_labels(&objects));
        let policies = objects.kind("NetworkPolicy");
        let gateway = named(&world, "gateway");
        let mut reached = BTreeSet::new();
        for to in world.iter().filter(|place| place.name != "gateway") {
            for port in [22, 53, 80, 443, 3000, 5432, 8080, 9000, 9090] {
                if connects(&policies, gateway, to, port, "TCP") {
                    reached.insert((to.name, port));
                }
            }
        }
        let mut wanted = BTreeSet::from([("web", 9000), ("dns", 53), ("database", 5432)]);
        wanted.extend(more);
        assert_eq!(reached, wanted, "{name}");
        assert!(connects(&policies, gateway, named(&world, "dns"), 53, "UDP"), "{name}");
        assert!(!connects(&policies, gateway, named(&world, "web"), 9000, "UDP"), "{name}");
    }
}

/// The gateway is in the pods of web: its port is everybody's, and Sentry's own is not.
#[test]
fn beside_web_in_its_pod_the_gateways_port_is_open_and_sentrys_is_not() {
    let objects = sidecar::objects();
    let labels = gateway_labels(&objects);
    let mut world = world("sentry", "sentry", &labels);
    world.retain(|place| place.name != "gateway");
    let all = everybody(&world, &["web"]);
    assert_eq!(connected(&world, &objects, "web", 8080), all);
    check(
        &world,
        &objects,
        "sidecar",
        &[
            ("web", 9090, &["prometheus"]),
            ("web", 9000, &["relay", "symbolicator", "nginx"]),
            ("web", 22, &[]),
        ],
    );
}
