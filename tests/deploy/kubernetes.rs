//! The Helm chart and the manifests of the sidecar: rendered by the real Helm and kubectl, held against the
//! schemas of Kubernetes, scanned, and read as a cluster would read them. Only a cluster is missing.

mod cases;
mod chart;
mod peers;
mod policy;
mod refusals;
mod rollout;
mod schemas;
mod serving;
mod sidecar;
mod tools;
mod values;
mod wiring;
