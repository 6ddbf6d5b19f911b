//! What upstreams are told of decisions, as it is in force.

use http::HeaderName;

use crate::policy::Policy;
use crate::policy::decision::{Caller, Permit};
use crate::policy::exposure::Service;

/// What the config has upstreams told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouching<'a> {
    /// Whether identity headers say who called.
    pub identity_headers: bool,
    /// The header of assertions, and the upstreams that get one.
    pub assertion: Option<(&'a HeaderName, &'a [Service])>,
}

impl<'a> Vouching<'a> {
    /// Whether an upstream is told who this is; of nobody there is nothing to tell.
    pub(super) const fn names(&self, caller: &Caller) -> bool {
        self.identity_headers && caller.identity.is_some()
    }

    /// The header with the assertion of a request that is let through; what is only observed was not
    /// authorised and has none.
    pub(super) fn asserts(&self, permit: &Permit, policy: &Policy) -> Option<&'a HeaderName> {
        let (header, upstreams) = self.assertion?;
        let service = policy.rules.rule(permit.rule()).service;
        (upstreams.contains(&service) && permit.observed().is_none()).then_some(header)
    }
}
