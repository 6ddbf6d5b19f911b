//! What one set of routes has that another has not, and where they ask for something else.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Key, Route, asks, scope_names};
use crate::policy::rules::Access;

/// How two sets of routes differ, sorted by path.
#[derive(Debug, Default, Serialize)]
pub struct Diff {
    /// What only the second has: refused until it has a rule.
    pub added: Vec<Change>,
    /// What asks for something else.
    pub changed: Vec<Change>,
    /// What only the first has.
    pub gone: Vec<Change>,
}

/// Methods of one route that changed in the same way.
#[derive(Debug, PartialEq, Eq, Serialize)]
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
}

/// Whether a set that has no such route says by that that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It does.
    Complete,
    /// It lists some alone, as a public document does.
    Partial,
}

impl Diff {
    /// What changes from one set to another.
    pub fn between(from: &[Route], to: &[Route], completeness: Completeness) -> Self {
        let (old, new) = (by_key(from), by_key(to));
        let mut diff = Self::default();
        for (key, route) in &new {
            match old.get(key) {
                None => push(&mut diff.added, Change::new(route, None, Some(route.access))),
                Some(was) if was.access == route.access => {}
                Some(was) => {
                    let change = Change::new(was, Some(was.access), Some(route.access));
                    push(&mut diff.changed, change);
                }
            }
        }
        if completeness == Completeness::Complete {
            for (_, was) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
                push(&mut diff.gone, Change::new(was, Some(was.access), None));
            }
        }
        diff
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.gone.is_empty()
    }
}

/// Adds a change, to the last one if that is the same of another method.
fn push(changes: &mut Vec<Change>, change: Change) {
    match changes.last_mut() {
        Some(last)
            if (&last.path, &last.from, &last.to) == (&change.path, &change.from, &change.to) =>
        {
            last.methods.extend(change.methods);
        }
        Some(_) | None => changes.push(change),
    }
}

/// One route for each key: of those that differ only in what a parameter may hold, the widest,
/// which comes last in the order of the paths it takes.
fn by_key(routes: &[Route]) -> BTreeMap<Key, &Route> {
    let mut map: BTreeMap<Key, &Route> = BTreeMap::new();
    for route in routes {
        map.entry(Key::of(route.method, &route.template))
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
    fn new(route: &Route, from: Option<Access>, to: Option<Access>) -> Self {
        let of = |access: Option<Access>| access.map(scope_names).unwrap_or_default();
        let only = |these: Vec<&'static str>, those: &[&str]| {
            these.into_iter().filter(|scope| !those.contains(scope)).collect()
        };
        let both = from.is_some() && to.is_some();
        Self {
            methods: vec![route.method.as_str()],
            path: route.template.to_string(),
            more: if both { only(of(to), &of(from)) } else { Vec::new() },
            fewer: if both { only(of(from), &of(to)) } else { Vec::new() },
            from: from.map(asks),
            to: to.map(asks),
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change { methods, path, to, .. } in &self.added {
            let methods = methods.join(",");
            writeln!(f, "+ {methods} {path}\n    asks for {}", to.as_deref().unwrap_or_default())?;
        }
        for change in &self.changed {
            let Change { methods, path, from, to, more, fewer } = change;
            let methods = methods.join(",");
            let (from, to) =
                (from.as_deref().unwrap_or_default(), to.as_deref().unwrap_or_default());
            writeln!(f, "~ {methods} {path}\n    asked for {from}\n    asks for  {to}")?;
            if !more.is_empty() {
                writeln!(f, "    more      {}", more.join(" "))?;
            }
            if !fewer.is_empty() {
                writeln!(f, "    fewer     {}", fewer.join(" "))?;
            }
        }
        for Change { methods, path, from, .. } in &self.gone {
            let methods = methods.join(",");
            writeln!(
                f,
                "- {methods} {path}\n    asked for {}",
                from.as_deref().unwrap_or_default()
            )?;
        }
        let Self { added, changed, gone } = self;
        let [added, changed, gone] = [added, changed, gone]
            .map(|changes| changes.iter().map(|change| change.methods.len()).sum::<usize>());
        writeln!(f, "{added} added, {changed} changed, {gone} gone (methods of routes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::method::Method;
    use crate::policy::scope::ScopeSet;

    fn route(method: Method, path: &str, scopes: &str) -> Route {
        let scopes: ScopeSet =
            scopes.split_whitespace().map(|name| name.parse().unwrap()).collect();
        let access = if scopes.is_empty() { Access::NotExposed } else { Access::AnyOf(scopes) };
        Route { method, template: path.parse().unwrap(), access, remark: None }
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
            route(Method::Get, "/b/{x}/", "org:read"),
            route(Method::Get, "/d/", "org:read"),
            route(Method::Put, "/d/", "org:read"),
        ];
        let diff = Diff::between(&old, &new, Completeness::Complete);
        let wanted = "+ GET,PUT /d/\n    asks for org:read\n\
            ~ PUT /a/{x}/\n    asked for org:write\n    asks for  org:admin\n    more      org:admin\n    fewer     org:write\n\
            ~ GET /b/{x:digits}/\n    asked for not_exposed\n    asks for  org:read\n    more      org:read\n\
            - GET /c/\n    asked for org:read\n\
            2 added, 2 changed, 1 gone (methods of routes)\n";
        assert_eq!(diff.to_string(), wanted);
        assert!(Diff::between(&old, &new, Completeness::Partial).gone.is_empty());
        assert!(Diff::between(&old, &old, Completeness::Complete).is_empty());
    }
}
