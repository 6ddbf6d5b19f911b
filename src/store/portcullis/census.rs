//! How a token is used, as the store keeps it: one JSON text in its row.
//!
//! Several gateways write it, each what it saw since it last did, under a lock on the row: counts add up
//! and the latest counts. It says nothing of what a token may do, so one that can't be read begins anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::policy::reason::Reason;
use crate::store::usage::{MAX_AGENTS, Seen, Totals};

/// How a token is used. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Census {
    /// When it was used first; `None` when never, and when that was before anybody counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_used_at: Option<u64>,
    /// The template of the route that it was presented at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_route: Option<Box<str>>,
    /// And last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_route: Option<Box<str>>,
    /// The network that its client was in then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_network: Option<Box<str>>,
    /// When that was.
    pub seen_at: u64,
    /// What clients call themselves that came with it last, the latest first.
    pub user_agents: Vec<Agent>,
    /// How many requests it was presented with.
    pub requests: u64,
    /// How many of these were refused, by reason.
    pub refusals: BTreeMap<Box<str>, Refusals>,
}

/// A client by what it calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// That.
    pub name: Box<str>,
    /// When it last came.
    pub last_used_at: u64,
}

/// The refusals for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// When the last one was, give or take a few seconds.
    pub last_at: u64,
}

impl Census {
    pub(super) fn read(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// The text; none for nothing.
    pub(super) fn written(&self) -> Option<String> {
        serde_json::to_string(self).ok().filter(|_| *self != Self::default())
    }

    /// Takes up what one gateway saw between two looks at its counters. `last_used_at` is what the store
    /// had until now.
    pub(super) fn add(
        &mut self,
        from: &Totals,
        to: &Totals,
        seen: Seen,
        last_used_at: Option<Timestamp>,
    ) {
        let first = to.first.map(Timestamp::as_millis);
        self.first_used_at = match (self.first_used_at, first, last_used_at) {
            (Some(known), Some(new), _) => Some(known.min(new)),
            (Some(known), None, _) => Some(known),
            (None, new, None) => new,
            // It was used before anybody counted.
            (None, _, Some(_)) => None,
        };
        self.requests = self.requests.saturating_add(to.requests.saturating_sub(from.requests));
        let refused_at = to.refused_at.map_or(0, Timestamp::as_millis);
        for (reason, count) in Reason::ALL.iter().zip(&to.refusals) {
            let before = from.refusals.get(*reason as usize).copied().unwrap_or(0);
            let more = count.saturating_sub(before);
            if more > 0 {
                let refusals = self.refusals.entry(reason.code().into()).or_default();
                refusals.count = refusals.count.saturating_add(more);
                refusals.last_at = refusals.last_at.max(refused_at);
            }
        }
        self.see(seen);
    }

    fn see(&mut self, seen: Seen) {
        let Some(at) = seen.at.map(Timestamp::as_millis) else { return };
        let text = |text: String| Some(text.into_boxed_str()).filter(|text| !text.is_empty());
        if self.first_used_at.is_some() && self.first_route.is_none() {
            self.first_route = seen.first_route;
        }
        if at >= self.seen_at {
            self.seen_at = at;
            self.last_route = text(seen.last_route).or_else(|| self.last_route.take());
            self.last_network = text(seen.last_network);
        }
        for (name, last) in seen.agents {
            let last = last.as_millis();
            match self.user_agents.iter_mut().find(|agent| *agent.name == *name) {
                Some(agent) => agent.last_used_at = agent.last_used_at.max(last),
                None => self.user_agents.push(Agent { name: name.into(), last_used_at: last }),
            }
        }
        self.user_agents
            .sort_by(|a, b| b.last_used_at.cmp(&a.last_used_at).then_with(|| a.name.cmp(&b.name)));
        self.user_agents.truncate(MAX_AGENTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Option<Timestamp> {
        Some(Timestamp::from_millis(millis))
    }

    fn totals(first: u64, requests: u64, scope: u64) -> Totals {
        let mut refusals = vec![0; Reason::ALL.len()];
        refusals[Reason::MissingScope as usize] = scope;
        let refused_at = at(first + 5);
        Totals { first: at(first), last: at(first), requests, refused_at, refusals }
    }

    fn seen(millis: u64, route: &str, agents: &[&str]) -> Seen {
        Seen {
            at: at(millis),
            first_route: Some(route.into()),
            last_route: route.to_owned(),
            last_network: "10.0.0.0/24".to_owned(),
            agents: agents.iter().map(|name| ((*name).to_owned(), at(millis).unwrap())).collect(),
        }
    }

    #[test]
    fn what_several_saw_adds_up() {
        let mut census = Census::default();
        census.add(&Totals::default(), &totals(100, 7, 2), seen(110, "/a/", &["x"]), None);
        census.add(&totals(100, 7, 2), &totals(100, 9, 2), seen(130, "/b/", &["x"]), at(110));
        // The other one saw it earlier, and says so later.
        let other = seen(120, "/c/", &["y", "z"]);
        census.add(&Totals::default(), &totals(90, 1, 1), other, at(130));
        let refusals = Refusals { count: 3, last_at: 105 };
        let agent = |name: &str, last_used_at| Agent { name: name.into(), last_used_at };
        let wanted = Census {
            first_used_at: Some(90),
            first_route: Some("/a/".into()),
            last_route: Some("/b/".into()),
            last_network: Some("10.0.0.0/24".into()),
            seen_at: 130,
            user_agents: vec![agent("x", 130), agent("y", 120), agent("z", 120)],
            requests: 10,
            refusals: [("missing_scope".into(), refusals)].into(),
        };
        assert_eq!(census, wanted);
        assert_eq!(Census::read(&census.written().unwrap()), wanted);
        for number in 0..20 {
            let seen = seen(200 + number, "/d/", &[&number.to_string()]);
            census.add(&Totals::default(), &Totals::default(), seen, at(130));
        }
        assert_eq!(census.user_agents.len(), MAX_AGENTS);
        assert_eq!(&*census.user_agents[0].name, "19");
    }

    #[test]
    fn when_it_was_used_first_is_not_guessed() {
        let mut census = Census::default();
        census.add(&Totals::default(), &totals(100, 1, 0), seen(110, "/a/", &[]), at(50));
        assert_eq!((census.first_used_at, census.first_route), (None, None));
        assert_eq!(census.last_route.as_deref(), Some("/a/"));
    }

    #[test]
    fn what_can_not_be_read_begins_anew() {
        assert_eq!(Census::default().written(), None);
        for json in ["", "{", "[]", "null", r#"{"requests":"x"}"#, r#"{"user_agents":{}}"#] {
            assert_eq!(Census::read(json), Census::default(), "{json}");
        }
        let newer = Census::read(r#"{"requests":3,"weekdays":[1]}"#);
        assert_eq!(newer, Census { requests: 3, ..Census::default() });
    }
}
