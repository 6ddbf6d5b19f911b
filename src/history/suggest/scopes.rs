//! The least that satisfies every rule of a list: a hitting set of their scopes.
//!
//! What is least: as few scopes as can be that administer, then as few that write, then as few as can be,
//! and of those the ones that are held already. So two scopes that read come before one that
//! administers. With a scope comes what it implies, as when a token is issued.

use crate::policy::scope::{Scope, ScopeSet};

/// After so many steps the search ends, with the best that was found.
const STEPS: usize = 200_000;

/// The scopes of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Least {
    /// Those to ask for; what they imply is not among them.
    pub(super) scopes: ScopeSet,
    /// Whether nothing less would do. If not, the search was ended.
    pub(super) is_least: bool,
}

/// How much a set is: scopes that administer, that write, all, and those that are not held.
type Cost = [u32; 4];

struct Search {
    needs: Vec<ScopeSet>,
    held: ScopeSet,
    best: Option<(Cost, ScopeSet)>,
    steps: usize,
}

/// The least set that has a scope of each of `needs`, none of which is empty.
pub(super) fn least(needs: &[ScopeSet], held: ScopeSet) -> Least {
    // Who satisfies a set satisfies every larger one.
    let mut small: Vec<ScopeSet> = Vec::new();
    let mut sorted = needs.to_vec();
    sorted.sort_by_key(|need| need.iter().count());
    for need in sorted {
        if !small.iter().any(|other| other.without(need).is_empty()) {
            small.push(need);
        }
    }
    let mut search = Search { needs: small, held, best: None, steps: 0 };
    search.greedy();
    search.go(ScopeSet::EMPTY, [0; 4]);
    let scopes = search.best.map_or(ScopeSet::EMPTY, |(_, scopes)| scopes);
    Least { scopes, is_least: search.steps < STEPS }
}

impl Search {
    fn cost(&self, scope: Scope) -> Cost {
        let reads = ScopeSet::READ.contains(scope);
        let administers = scope.as_str().ends_with(":admin");
        let held = self.held.contains(scope);
        [u32::from(administers), u32::from(!administers && !reads), 1, u32::from(!held)]
    }

    /// The first need that a set does not satisfy.
    fn open(&self, scopes: ScopeSet) -> Option<ScopeSet> {
        let all = scopes.with_implied();
        self.needs.iter().copied().find(|need| !need.intersects(all))
    }

    /// A bound to begin with: the cheapest scope of each need that is open.
    fn greedy(&mut self) {
        let (mut scopes, mut cost) = (ScopeSet::EMPTY, [0; 4]);
        while let Some(need) = self.open(scopes) {
            let Some(scope) = need.iter().min_by_key(|scope| self.cost(*scope)) else { return };
            scopes = scopes.with(scope);
            cost = sum(cost, self.cost(scope));
        }
        self.best = Some((cost, scopes));
    }

    /// Every set that could be less than the best so far.
    fn go(&mut self, scopes: ScopeSet, cost: Cost) {
        if self.steps >= STEPS {
            return;
        }
        self.steps += 1;
        let is_less = self.best.is_none_or(|(best, _)| cost < best);
        if !is_less {
            return;
        }
        let Some(need) = self.open(scopes) else {
            self.best = Some((cost, scopes));
            return;
        };
        // One that is not in it may imply one that is, and satisfy another need besides.
        let satisfies =
            |scope: &Scope| need.intersects(ScopeSet::EMPTY.with(*scope).with_implied());
        let mut choices: Vec<_> = ScopeSet::ALL.iter().filter(satisfies).collect();
        choices.sort_by_key(|scope| self.cost(*scope));
        for scope in choices {
            self.go(scopes.with(scope), sum(cost, self.cost(scope)));
        }
    }
}

fn sum(a: Cost, b: Cost) -> Cost {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(names: &str) -> ScopeSet {
        names.split_whitespace().map(|name| name.parse::<Scope>().unwrap()).collect()
    }

    #[test]
    fn the_least_is_proposed() {
        let rows: &[(&[&str], &str, &str)] = &[
            (&[], "", ""),
            (&["event:read event:write event:admin"], "", "event:read"),
            (&["event:read event:write event:admin", "event:write event:admin"], "", "event:write"),
            // Two that read are less than one that administers.
            (&["org:read org:admin", "event:read org:admin"], "org:admin", "event:read org:read"),
            // Of equals the one that is held.
            (&["project:read org:read"], "org:read", "org:read"),
            (&["project:read org:read"], "", "org:read"),
            (&["org:ci project:releases"], "project:releases", "project:releases"),
            // What reads comes before what is held and does more.
            (&["event:read event:write"], "event:write", "event:read"),
            // What is implied counts.
            (&["team:write", "team:read"], "", "team:write"),
            (&["org:write", "org:integrations", "org:read"], "", "org:integrations org:write"),
            // One scope for two rules rather than two.
            (&["project:read org:read", "project:read event:read"], "", "project:read"),
        ];
        for (needs, held, wanted) in rows {
            let needs: Vec<_> = needs.iter().map(|need| set(need)).collect();
            let found = least(&needs, set(held));
            assert_eq!(found, Least { scopes: set(wanted), is_least: true }, "{needs:?}");
        }
    }

    proptest! {
        #[test]
        fn every_need_is_met_and_nothing_less_does(
            needs in prop::collection::vec(1_u32..1 << 8, 0..6),
            held in 0_u32..1 << 8,
        ) {
            // Alerts, events and members.
            let eight = &Scope::ALL[..8];
            let of = |bits: u32| -> ScopeSet {
                let chosen = eight.iter().enumerate().filter(|(index, _)| bits & 1 << index != 0);
                chosen.map(|(_, scope)| *scope).collect()
            };
            let needs: Vec<_> = needs.into_iter().map(of).collect();
            let held = of(held);
            let found = least(&needs, held);
            prop_assert!(found.is_least);
            let meets = |scopes: ScopeSet| needs.iter().all(|need| need.intersects(scopes.with_implied()));
            prop_assert!(meets(found.scopes));
            let search = Search { needs: Vec::new(), held, best: None, steps: 0 };
            let cost = |scopes: ScopeSet| scopes.iter().fold([0; 4], |so_far, scope| sum(so_far, search.cost(scope)));
            let cheapest = (0_u32..1 << 8).map(of).filter(|scopes| meets(*scopes)).map(cost).min();
            prop_assert_eq!(Some(cost(found.scopes)), cheapest);
        }
    }
}
