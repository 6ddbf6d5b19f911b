//! Who comes most.

use std::sync::Arc;

use serde::Serialize;

use super::Identities;
use super::entry::{Known, Place};

/// How often a credential was presented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// The name of the store that knows it.
    pub store: String,
    /// The name by which logs know it.
    pub id: String,
    /// What it stands for.
    pub kind: &'static str,
    /// How often, for as long as it has been remembered without a break.
    pub requests: u64,
}

impl Identities {
    /// The credentials that are remembered, those that were presented most, most first. Every one that is
    /// remembered is looked at, so this is nothing for a thread that serves.
    pub fn most_used(&self, number: usize) -> Vec<Used> {
        let mut most: Vec<(u64, Place, Arc<Known>)> = Vec::with_capacity(number.saturating_add(1));
        for (key, known) in &self.known {
            let uses = known.uses();
            if most.len() == number && most.last().is_none_or(|(least, ..)| *least >= uses) {
                continue;
            }
            let place = most.partition_point(|(more, ..)| *more >= uses);
            most.insert(place, (uses, key.store, known));
            most.truncate(number);
        }
        let named = |(uses, place, known): (u64, Place, Arc<Known>)| {
            let store = self.stores.get(usize::from(place))?.store.name().to_owned();
            let (id, kind) = (known.identity.id.to_string(), known.identity.kind.as_str());
            Some(Used { store, id, kind, requests: uses })
        };
        most.into_iter().filter(|(uses, ..)| *uses > 0).filter_map(named).collect()
    }
}
