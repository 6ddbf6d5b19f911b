//! What requests are served by, out of one config.
//!
//! **Invariant:** a request is decided, forwarded and recorded by one of these, the one that was in
//! force when its head had come. A new config is a new one, which takes the place of the old one whole.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use super::{Listeners, Upstreams};
use crate::forward::Outbound;
use crate::gateway::Gateway;
use crate::policy::credential::Digest;
use crate::policy::decision::Permit;
use crate::policy::rules::Rule;
use crate::rewrite::UrlRewriter;
use crate::spool::Spool;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

/// What is in force.
pub type InForce = Arc<ArcSwap<Serving>>;

/// Everything of one config that serving a request takes.
#[derive(Debug)]
pub struct Serving {
    /// The start of the config's digest.
    pub config_hash: Box<str>,
    /// Decides.
    pub gateway: Arc<Gateway>,
    /// What each listener lets in.
    pub listeners: Listeners,
    /// Where permitted requests go.
    pub upstreams: Upstreams,
    /// What every upstream request gets.
    pub outbound: Outbound,
    /// Rewrites the upstream's URLs.
    pub rewriter: UrlRewriter,
    /// Whose `X-Forwarded-For` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Keeps chunked bodies for an upstream that must be told their length.
    pub spool: Arc<Spool>,
    /// Is told of events.
    pub metrics: Arc<Metrics>,
    /// Gets a line for each request; `None` when switched off.
    pub access_log: Option<Arc<AccessLog>>,
    /// What operators present at the admin listener; without one, there is nothing to ask for.
    pub admin_credential: Option<Digest>,
    /// Host names that a browser may call the status page by.
    pub admin_names: Vec<String>,
    /// How long new connections are taken after SIGTERM, while `/readyz` says that it stops.
    pub stop_delay: Duration,
    /// How long requests in flight may take to end then.
    pub drain: Duration,
}

impl Serving {
    /// The rule that let a request through.
    pub(super) fn rule(&self, permit: &Permit) -> &Rule {
        self.gateway.policy().rules.rule(permit.rule())
    }
}
