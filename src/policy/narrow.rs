//! What narrows a token besides its bindings, held against the request.

use std::net::IpAddr;

use super::decision::Denial;
use super::identity::{Identity, Narrowing};
use super::method::Method;
use super::profile::{Grant, Profile, Profiles};
use super::reason::Reason;
use super::rules::{Rule, RuleId};
use super::scope::ScopeSet;

/// Whether the client is where the token may be used.
pub(super) fn network(narrowing: &Narrowing, client: Option<IpAddr>) -> Result<(), Denial> {
    let Some(networks) = &narrowing.networks else { return Ok(()) };
    let inside = |client: IpAddr| networks.iter().any(|network| network.contains(&client));
    match client.map(|client| client.to_canonical()) {
        Some(client) if inside(client) => Ok(()),
        Some(_) | None => Err(Denial::new(Reason::Network)),
    }
}

/// The profile of the token, if it has one; or the refusal of what it is not for.
pub(super) fn granted<'a>(
    profiles: &'a Profiles,
    narrowing: &'a Narrowing,
    rule: RuleId,
    method: Method,
) -> Result<Option<&'a Profile>, Denial> {
    match profiles.grant(narrowing, rule, method) {
        Grant::Granted(profile) => Ok(profile),
        Grant::NotGranted => Err(Denial::new(Reason::RuleNotGranted)),
        Grant::Unknown(name) => {
            let note = format!(
                "the token is for `{}`, which the gateway's config has not any more; ask its operator",
                name.escape_debug()
            );
            Err(Denial::new(Reason::RuleNotGranted).note(note))
        }
    }
}

/// What the token may do: what it holds, and its profile has.
pub(super) fn scopes(identity: &Identity, profile: Option<&Profile>) -> ScopeSet {
    identity.scopes.intersection(profile.map_or(ScopeSet::ALL, |profile| profile.scopes))
}

/// What of these scopes a token has left that only reads: those that read, and where the rule takes none of
/// them, those by which it is met.
pub(super) fn reading(rule: &Rule, scopes: ScopeSet) -> ScopeSet {
    let (reading, taken) = (scopes.intersection(ScopeSet::READ), rule.access.scopes());
    if reading.intersects(taken) {
        return reading;
    }
    scopes.intersection(taken).iter().fold(reading, ScopeSet::with)
}
