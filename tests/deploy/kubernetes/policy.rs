//! What NetworkPolicies let through, decided as their specification says.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::chart::text;

/// Who connects, or is connected to: a pod, or something outside.
#[derive(Clone)]
pub struct Place {
    pub name: &'static str,
    /// `None`: outside the cluster.
    pub pod: Option<(String, Map<String, Value>)>,
    pub address: IpAddr,
}

/// Whether a connection is made: the policies of both ends have a say.
pub fn connects(policies: &[&Value], from: &Place, to: &Place, port: u16, protocol: &str) -> bool {
    let leaves = side(policies, from, to, "Egress", "egress", "to", port, protocol);
    let enters = side(policies, to, from, "Ingress", "ingress", "from", port, protocol);
    leaves && enters
}

/// Whether the policies of a place let this through. Without one that is about this direction, all is.
#[expect(clippy::too_many_arguments, reason = "one direction, spelled out")]
fn side(
    policies: &[&Value],
    of: &Place,
    peer: &Place,
    kind: &str,
    rules: &str,
    peers: &str,
    port: u16,
    protocol: &str,
) -> bool {
    let Some((namespace, labels)) = &of.pod else { return true };
    let mut isolated = false;
    for policy in policies {
        let spec = &policy["spec"];
        let here = text(&policy["metadata"]["namespace"]) == namespace;
        if !here || !selects(&spec["podSelector"], labels) || !types(spec).contains(&kind) {
            continue;
        }
        isolated = true;
        for rule in items(&spec[rules]) {
            let listed = items(&rule[peers]);
            let known = listed.is_empty() || listed.iter().any(|one| is(one, peer, namespace));
            let ports = items(&rule["ports"]);
            let open = ports.is_empty()
                || ports.iter().any(|one| {
                    one["port"] == port && one["protocol"].as_str().unwrap_or("TCP") == protocol
                });
            if known && open {
                return true;
            }
        }
    }
    !isolated
}

fn types(spec: &Value) -> Vec<&str> {
    items(&spec["policyTypes"]).iter().map(text).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a peer of a policy in this namespace is this place.
fn is(peer: &Value, place: &Place, namespace: &str) -> bool {
    if let Some(block) = peer.get("ipBlock") {
        let within = |cidr: &Value| text(cidr).parse::<IpNet>().unwrap().contains(&place.address);
        return within(&block["cidr"]) && !items(&block["except"]).iter().any(within);
    }
    let Some((home, labels)) = &place.pod else { return false };
    let mut named = Map::new();
    named.insert("kubernetes.io/metadata.name".to_owned(), home.clone().into());
    let at_home = match peer.get("namespaceSelector") {
        Some(selector) => selects(selector, &named),
        None => home == namespace,
    };
    at_home && peer.get("podSelector").is_none_or(|selector| selects(selector, labels))
}

/// Whether a label selector picks these labels. An empty one picks everything.
pub fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    let equal = |(key, value): (&String, &Value)| labels.get(key) == Some(value);
    let expression = |one: &Value| {
        let found = labels.get(text(&one["key"]));
        let among = found.is_some_and(|value| items(&one["values"]).contains(value));
        match text(&one["operator"]) {
            "In" => among,
            "NotIn" => !among,
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            other => panic!("{other} is no operator"),
        }
    };
    selector["matchLabels"].as_object().is_none_or(|all| all.iter().all(equal))
        && items(&selector["matchExpressions"]).iter().all(expression)
}

/// The evaluator by itself: each row is a part of the specification.
#[test]
fn policies_are_read_as_their_specification_says() {
    let labels = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
    let pod = |namespace: &str, text: &str| Place {
        name: "pod",
        pod: Some((namespace.to_owned(), labels(text))),
        address: [10, 1, 2, 3].into(),
    };
    let web = pod("a", r#"{"role": "web"}"#);
    let relay = pod("a", r#"{"role": "relay"}"#);
    let outside = Place { name: "outside", pod: None, address: [192, 0, 2, 7].into() };
    for (spec, from, connected) in [
        // No rule: nobody. No peer in a rule: everybody.
        (r#"{"podSelector": {}, "policyTypes": ["Ingress"]}"#, &relay, false),
        (r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}"#, &outside, true),
        // About somebody else, or about the other direction.
        (
            r#"{"podSelector": {"matchLabels": {"role": "cron"}}, "policyTypes": ["Ingress"]}"#,
            &relay,
            true,
        ),
        (
            r#"{"podSelector": {"matchLabels": {"role": "web"}}, "policyTypes": ["Egress"]}"#,
            &relay,
            true,
        ),
        (
            r#"{"podSelector": {"matchLabels": {"role": "relay"}}, "policyTypes": ["Egress"]}"#,
            &relay,
            false,
        ),
        // A podSelector alone is of the policy's own namespace; beside a namespaceSelector both must hold.
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "relay"}}}]}]}"#,
            &relay,
            true,
        ),
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "relay"}}}]}]}"#,
            &pod("b", r#"{"role": "relay"}"#),
            false,
        ),
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"role": "relay"}}}]}]}"#,
            &pod("b", r#"{"role": "relay"}"#),
            true,
        ),
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}]}]}"#,
            &pod("b", r#"{"role": "relay"}"#),
            false,
        ),
        // Addresses, with exceptions.
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]}"#,
            &outside,
            true,
        ),
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["192.0.2.0/24"]}}]}]}"#,
            &outside,
            false,
        ),
        // Ports, and their protocol.
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 9000}]}]}"#,
            &outside,
            true,
        ),
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 9001}]}]}"#,
            &outside,
            false,
        ),
        (
            r#"{"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 9000, "protocol": "UDP"}]}]}"#,
            &outside,
            false,
        ),
        // Expressions.
        (
            r#"{"podSelector": {"matchExpressions": [{"key": "role", "operator": "In", "values": ["web"]}]}, "policyTypes": ["Ingress"]}"#,
            &relay,
            false,
        ),
        (
            r#"{"podSelector": {"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["web"]}]}, "policyTypes": ["Ingress"]}"#,
            &relay,
            true,
        ),
        (
            r#"{"podSelector": {"matchExpressions": [{"key": "role", "operator": "Exists"}]}, "policyTypes": ["Ingress"]}"#,
            &relay,
            false,
        ),
        (
            r#"{"podSelector": {"matchExpressions": [{"key": "role", "operator": "DoesNotExist"}]}, "policyTypes": ["Ingress"]}"#,
            &relay,
            true,
        ),
    ] {
        let spec: Value = serde_json::from_str(spec).unwrap();
        let policy = serde_json::json!({"metadata": {"namespace": "a"}, "spec": spec});
        assert_eq!(connects(&[&policy], from, &web, 9000, "TCP"), connected, "{policy}");
    }
}
