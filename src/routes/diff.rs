//! What one set of routes has that another has not, and where they ask for something else.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Key, Route, RouteSet, scope_names};
use crate::policy::rules::Access;

/// How two sets of routes differ, sorted by path.
#[derive(Debug, Default, Serialize)]
pub struct Diff {
    /// What only the second has.
    pub added: Vec<Change>,
    /// What asks for something else.
    pub changed: Vec<Change>,
    /// What only the first has.
    pub gone: Vec<Change>,
}

/// Methods of one route that changed in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The methods.
    pub methods: Vec<&'static str>,
    /// The template, as the set that has it writes it; where both do, the first.
    pub path: String,
    /// What it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Scopes that suffice now and did not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<&'static str>,
    /// Scopes that sufficed and don't any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fewer: Vec<&'static str>,
    /// The wider route of the first set that takes the path of an added one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
    /// What a document says of it besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

impl Diff {
    /// What changes from one set to another. Of a set that is not complete nothing is said to be
    /// missing.
    pub fn between(from: &RouteSet, to: &RouteSet) -> Self {
        let whole = from.is_complete && to.is_complete;
        let (old, new) = (by_key(from, whole), by_key(to, whole));
        let mut diff = Self::default();
        for (key, route) in &new {
            let Some(was) = old.get(key) else {
                let change = Change { to: Some(route.asks(whole)), ..Change::of(route, route) };
                push(&mut diff.added, Change { under: under(route, from), ..change });
                continue;
            };
            let (before, now) = (was.asks(whole), route.asks(whole));
            if before == now {
                continue;
            }
            let (held, holds) = (scope_names(was.access), scope_names(route.access));
            let only = |these: &[&'static str], those: &[&str]| {
                these.iter().copied().filter(|scope| !those.contains(scope)).collect()
            };
            let (more, fewer) = (only(&holds, &held), only(&held, &holds));
            let (from, to) = (Some(before), Some(now));
            let change = Change { from, to, more, fewer, ..Change::of(was, route) };
            push(&mut diff.changed, change);
        }
        if to.is_complete {
            for (_, was) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
                let change = Change { from: Some(was.asks(whole)), ..Change::of(was, was) };
                push(&mut diff.gone, change);
            }
        }
        diff
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.gone.is_empty()
    }
}

/// The most specific route that takes paths of `added`, and what it asks for; nothing if they are
/// refused.
fn under(added: &Route, from: &RouteSet) -> Option<String> {
    let wider = from.routes.iter().filter(|route| {
        route.method == added.method
            && route.template.overlaps(&added.template)
            && added.template.compare(&route.template).is_some_and(|order| order.is_gt())
    });
    let nearest = wider.reduce(|a, b| {
        if b.template.compare(&a.template).is_some_and(|order| order.is_gt()) { b } else { a }
    })?;
    let open = nearest.access != Access::NotExposed;
    open.then(|| format!("{}, which asks for {}", nearest.template, nearest.asks(true)))
}

/// Adds a change, to the last one if that is the same of another method.
fn push(changes: &mut Vec<Change>, change: Change) {
    let same = |last: &&mut Change| {
        let methods = last.methods.clone();
        **last == Change { methods, ..change.clone() }
    };
    match changes.last_mut().filter(same) {
        Some(last) => last.methods.extend(change.methods),
        None => changes.push(change),
    }
}

/// One route for each key: of those that differ only in what a parameter may hold, the widest.
fn by_key(set: &RouteSet, digits_apart: bool) -> BTreeMap<Key, &Route> {
    let mut map: BTreeMap<Key, &Route> = BTreeMap::new();
    for route in &set.routes {
        map.entry(Key::of(route.method, &route.template, digits_apart))
            .and_modify(|other| {
                if route.template.compare(&other.template).is_some_and(|order| order.is_lt()) {
                    *other = route;
                }
            })
            .or_insert(route);
    }
    map
}

impl Change {
    /// Of a route by the name of the one, with the remark of the other.
    fn of(named: &Route, remarked: &Route) -> Self {
        Self {
            methods: vec![named.method.as_str()],
            path: named.template.to_string(),
            remark: remarked.remark.clone(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.methods.join(","), self.path)?;
        if let Some(from) = &self.from {
            writeln!(f, "    asked for {from}")?;
        }
        if let Some(to) = &self.to {
            writeln!(f, "    asks for  {to}")?;
        }
        for (word, scopes) in [("more", &self.more), ("fewer", &self.fewer)] {
            if !scopes.is_empty() {
                writeln!(f, "    {word:<9} {}", scopes.join(" "))?;
            }
        }
        if let Some(under) = &self.under {
            writeln!(f, "    now under {under}")?;
        }
        if let Some(remark) = &self.remark {
            writeln!(f, "    note      {}", remark.escape_debug())?;
        }
        Ok(())
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [("+", &self.added), ("~", &self.changed), ("-", &self.gone)];
        for (sign, changes) in lists {
            changes.iter().try_for_each(|change| write!(f, "{sign} {change}"))?;
        }
        let count = |changes: &[Change]| changes.iter().map(|c| c.methods.len()).sum::<usize>();
        let [added, changed, gone] = lists.map(|(_, changes)| count(changes));
        writeln!(f, "{added} added, {changed} changed, {gone} gone (methods of routes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::identity::{IdentityKind, KindSet};
    use crate::policy::method::Method;
    use crate::policy::scope::ScopeSet;

    fn route(method: Method, path: &str, scopes: &str) -> Route {
        let scopes: ScopeSet =
            scopes.split_whitespace().map(|name| name.parse().unwrap()).collect();
        let access = if scopes.is_empty() { Access::NotExposed } else { Access::AnyOf(scopes) };
        let template = path.parse().unwrap();
        Route { method, template, access, terms: Some((KindSet::DEFAULT, true)), remark: None }
    }

    fn set(routes: &[Route], is_complete: bool) -> RouteSet {
        RouteSet { routes: routes.to_vec(), is_complete }
    }

    #[test]
    fn added_changed_and_gone() {
        let old = [
            route(Method::Get, "/a/{x}/", "org:read"),
            route(Method::Put, "/a/{x}/", "org:write"),
            route(Method::Get, "/b/{x:digits}/", ""),
            route(Method::Get, "/c/", "org:read"),
        ];
        let new = [
            route(Method::Get, "/a/{y}/", "org:read"),
            route(Method::Put, "/a/{y}/", "org:admin"),
            route(Method::Put, "/a/all/", "org:admin"),
            route(Method::Get, "/b/{x}/", "org:read"),
            route(Method::Get, "/d/", "org:read"),
            route(Method::Put, "/d/", "org:read"),
        ];
        let document = set(&new, false);
        let diff = Diff::between(&set(&old, true), &document).to_string();
        let wanted = "+ PUT /a/all/\n    asks for  org:admin\n    now under /a/{x}/, which asks for org:write\n\
            + GET,PUT /d/\n    asks for  org:read\n\
            ~ PUT /a/{x}/\n    asked for org:write\n    asks for  org:admin\n    more      org:admin\n    fewer     org:write\n\
            ~ GET /b/{x:digits}/\n    asked for not_exposed\n    asks for  org:read\n    more      org:read\n\
            3 added, 2 changed, 0 gone (methods of routes)\n";
        assert_eq!(diff, wanted);
        // Rules say what a parameter may hold, and have all routes.
        let diff = Diff::between(&set(&old, true), &set(&new, true));
        assert_eq!((diff.added.len(), diff.changed.len(), diff.gone.len()), (3, 1, 2), "{diff}");
        assert!(Diff::between(&set(&old, true), &set(&old, true)).is_empty());
    }

    #[test]
    fn whatever_a_rule_says_is_compared() {
        let plain = route(Method::Get, "/a/", "org:read");
        let dsn = KindSet::DEFAULT.with(IdentityKind::ProjectKey);
        for (terms, wanted) in [
            ((KindSet::DEFAULT, false), "org:read, no exchange"),
            ((dsn, true), "org:read, by user_token org_token api_key dsn"),
        ] {
            let other = Route { terms: Some(terms), ..plain.clone() };
            let (old, new) = (std::slice::from_ref(&plain), std::slice::from_ref(&other));
            let diff = Diff::between(&set(old, true), &set(new, true));
            assert_eq!(diff.changed[0].to.as_deref(), Some(wanted));
            // A document says nothing of it.
            assert!(Diff::between(&set(old, true), &set(new, false)).is_empty());
        }
    }
}
