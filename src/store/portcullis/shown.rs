//! A token as people and programs are shown it.

use std::time::Duration;

use serde_json::{Value, json};

use super::row::Token;
use crate::clock::Timestamp;
use crate::policy::identity::{Binding, Narrowing};
use crate::policy::scope::Scope;

impl Token {
    /// What is known of it, as JSON: everything but its secret, which nobody knows.
    pub fn shown(&self, now: Timestamp) -> Value {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let millis = |millis: Option<u64>| time(millis.map(Timestamp::from_millis));
        let names = |binding: &Binding| match binding {
            Binding::Only(names) => json!(names),
            Binding::Any => json!("any"),
            Binding::Unknown => json!("unknown"),
        };
        let Narrowing { read_only, profile, groups, networks } = &self.narrowing;
        let census = &self.census;
        let agents = census.user_agents.iter().map(
            |agent| json!({ "name": agent.name, "last_used_at": millis(Some(agent.last_used_at)) }),
        );
        let refusals = census.refusals.iter().map(|(reason, refusals)| {
            let shown = json!({
                "count": refusals.count,
                "last_at": millis(Some(refusals.last_at)),
            });
            (reason.to_string(), shown)
        });
        json!({
            "id": self.id,
            "name": self.name,
            "kind": self.kind.as_str(),
            "state": self.condition(now),
            "canary": self.canary,
            "fingerprint": self.fingerprint().to_string(),
            "scopes": self.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
            "organizations": names(&self.organizations),
            "projects": names(&self.projects),
            "origins": self.allowed_origins,
            "read_only": read_only,
            "profile": profile,
            "groups": groups,
            "networks": networks,
            "rotated_from": self.rotated_from,
            "successor": self.successor,
            "created_at": time(Some(self.created_at)),
            "expires_at": time(self.expires_at),
            "revoked_at": time(self.revoked_at),
            "last_used_at": time(self.last_used_at),
            "use": {
                "requests": census.requests,
                "first_used_at": millis(census.first_used_at),
                "first_route": census.first_route,
                "last_route": census.last_route,
                "last_network": census.last_network,
                "user_agents": agents.collect::<Vec<_>>(),
                "refusals": refusals.collect::<serde_json::Map<_, _>>(),
            },
        })
    }

    /// Whether nobody has used it for so long; one that was never used, since it was created. One that was
    /// revoked is no matter any more, and a canary is there not to be used.
    pub fn is_unused_for(&self, duration: Duration, now: Timestamp) -> bool {
        let matters = self.revoked_at.is_none() && !self.canary;
        matters && self.last_used_at.unwrap_or(self.created_at).after(duration) <= now
    }

    /// Whether it is in force, and ends within so long.
    pub fn expires_within(&self, duration: Duration, now: Timestamp) -> bool {
        let ends = |expiry: Timestamp| now < expiry && expiry <= now.after(duration);
        self.revoked_at.is_none() && self.expires_at.is_some_and(ends)
    }
}
