//! What requests are served by, out of one config.
//!
//! **Invariant:** a request is decided, forwarded and recorded by one of these, the one that was in
//! force when its head had come. A new config is a new one, which takes the place of the old one whole.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use super::{Listeners, Upstreams};
use crate::assertion::Assertion;
use crate::budget::Budget;
use crate::forward::Outbound;
use crate::gateway::Gateway;
use crate::policy::credential::Digest;
use crate::policy::decision::Permit;
use crate::policy::rules::Rule;
use crate::rewrite::UrlRewriter;
use crate::spool::Spool;
use crate::store::portcullis::PortcullisStore;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::privacy::Privacy;
use crate::telemetry::spans::Spans;

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
    /// Whether upstreams are told who called.
    pub identity_headers: bool,
    /// Tells them of the decision, signed; `None` when they are not.
    pub assertion: Option<Assertion>,
    /// Rewrites the upstream's URLs.
    pub rewriter: UrlRewriter,
    /// Whose `X-Forwarded-For` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Keeps bodies that have to be whole before they are sent on.
    pub spool: Arc<Spool>,
    /// What answers that are held to be rewritten may take in memory, all together.
    pub held: Arc<Budget>,
    /// Is told of events.
    pub metrics: Arc<Metrics>,
    /// Gets a line for each request; `None` when switched off.
    pub access_log: Option<Arc<AccessLog>>,
    /// Gets a record of what is worth one; `None` when nothing is.
    pub audit: Option<Arc<Audit>>,
    /// How much of clients is recorded.
    pub privacy: Privacy,
    /// Makes spans of requests; `None` when none are.
    pub spans: Option<Arc<Spans>>,
    /// What operators present at the admin listener; without one, there is nothing to ask for.
    pub admin_credential: Option<Digest>,
    /// The stores of the gateway's own, whose tokens operators administer.
    pub own_stores: Box<[Arc<PortcullisStore>]>,
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
