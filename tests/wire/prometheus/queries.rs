//! Every query has something to show, of requests that met every `code`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::dashboard::{dashboard, queries};
use super::fleet::Fleet;
use super::server::Prometheus;

/// An alert as Prometheus has read it.
struct Alert {
    name: String,
    query: String,
    annotations: BTreeMap<String, String>,
}

/// The rules of one type that Prometheus has.
fn rules(prometheus: &Prometheus, kind: &str) -> Vec<Value> {
    let data = prometheus.get("/api/v1/rules").unwrap();
    let groups = data["groups"].as_array().unwrap().iter();
    let all = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
    all.filter(|rule| rule["type"] == kind).collect()
}

fn alert(rule: &Value) -> Alert {
    let annotations = rule["annotations"].as_object().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Alert {
        name: text(&rule["name"]),
        query: text(&rule["query"]),
        annotations: annotations.map(|(name, value)| (name.clone(), text(value))).collect(),
    }
}

/// A query whose comparisons say 0 or 1 of each series, where they would leave out those that are fine.
fn of_what_is_fine_too(query: &str) -> String {
    [" > ", " < ", " >= ", " <= ", " == "].iter().fold(query.to_owned(), |query, comparison| {
        query.replace(comparison, &format!("{comparison}bool "))
    })
}

/// The labels that a template names.
fn labels_in(template: &str) -> impl Iterator<Item = &str> {
    let names = template.split("$labels.").skip(1);
    names.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
}

#[test]
fn every_query_shows_something_of_requests_that_met_every_code() {
    let fleet = Fleet::start();
    let prometheus = Prometheus::scraping(&fleet.admins(), str::to_owned);
    // A rate is of what came between two scrapes, so requests come before and after one.
    for _ in 0..2 {
        fleet.admins().into_iter().for_each(|admin| prometheus.scraped(admin));
        fleet.traffic();
    }
    for code in Fleet::codes() {
        let counted = |metric: &str| format!("sum(increase({metric}{{reason=\"{code}\"}}[5m]))");
        let of = ["portcullis_decisions_total", "portcullis_upstream_failures_total"].map(counted);
        prometheus.eventually_so(&of.join(" or "), |found| found.iter().any(|one| one.value > 0.0));
    }

    for (place, query) in queries(&dashboard()) {
        let found = prometheus.eventually(&query);
        assert!(!found.is_empty(), "{place}: {query}");
    }
    let recorded = rules(&prometheus, "recording");
    assert!(!recorded.is_empty());
    for rule in &recorded {
        prometheus.eventually(rule["name"].as_str().unwrap());
    }
    let alerts: Vec<_> = rules(&prometheus, "alerting").iter().map(alert).collect();
    let names: BTreeSet<_> = alerts.iter().map(|one| one.name.clone()).collect();
    assert_eq!(names, super::alerts().into_iter().collect());
    for Alert { name, query, annotations } in &alerts {
        if name == "PortcullisDown" {
            // It is of what is not there, and something is.
            assert!(query.starts_with("absent("), "{query}");
            continue;
        }
        let found = prometheus.eventually(&of_what_is_fine_too(query));
        for (annotation, text) in annotations {
            for label in labels_in(text) {
                let all = found.iter().all(|series| series.labels.contains_key(label));
                assert!(all, "`{name}`: {annotation} names `{label}`, of {found:?}");
            }
        }
    }
}
