//! What decisions are made by.

use std::sync::Arc;

use super::exposure::{Exposures, Service};
use super::frame::HeadLimits;
use super::issuers::TrustedIssuers;
use super::profile::Profiles;
use super::rules::{RuleId, RuleTable};
use super::site::Site;
use crate::clock::Timestamp;

/// The largest request body where nothing says otherwise.
const MAX_BODY: u64 = 100 << 20;
/// The cookie of Sentry's browser sessions, as self-hosted names it.
pub const SESSION_COOKIE: &str = "sentrysid";

/// Everything that a decision depends on besides the request, the identity and the time.
#[derive(Debug)]
pub struct Policy {
    /// The rules.
    pub rules: RuleTable,
    /// The public names.
    pub site: Site,
    /// The largest request body to each service, in bytes, where a rule does not say; in the order
    /// of [`Service::ALL`].
    pub max_body: [u64; Service::ALL.len()],
    /// How much a request head may have.
    pub head: HeadLimits,
    /// What some listener lets in.
    pub exposed: Exposures,
    /// The cookie of a browser session of Sentry's (`SESSION_COOKIE_NAME`).
    pub session_cookie: Box<str>,
    /// Until when what is only about entitlement is let through and told, instead of refused; never
    /// when `None`.
    pub observe_until: Option<Timestamp>,
    /// What tokens may be narrowed to, by name.
    pub profiles: Profiles,
    /// The hosts that Sentry is called by, in lower case.
    pub sentry_hosts: Arc<[Box<str>]>,
    /// Whose JWTs are for the gateway alone.
    pub issuers: TrustedIssuers,
}

impl Policy {
    /// A policy that lets in the Web API, by these rules, under these names.
    pub fn new(rules: RuleTable, site: Site) -> Self {
        let sentry_hosts = site.names().iter().map(|name| name.host().into()).collect();
        Self {
            rules,
            site,
            sentry_hosts,
            max_body: [MAX_BODY; Service::ALL.len()],
            head: HeadLimits::default(),
            exposed: Exposures::API,
            session_cookie: SESSION_COOKIE.into(),
            observe_until: None,
            profiles: Profiles::default(),
            issuers: TrustedIssuers::default(),
        }
    }

    /// Until when refusals that are only about entitlement are told and not made, if they are at
    /// `now`.
    pub fn observing(&self, now: Timestamp) -> Option<Timestamp> {
        self.observe_until.filter(|until| now < *until)
    }

    /// The largest request body that a rule takes, in bytes.
    pub fn max_body(&self, rule: RuleId) -> u64 {
        let rule = self.rules.rule(rule);
        rule.max_body.unwrap_or(self.max_body[rule.service as usize])
    }
}
