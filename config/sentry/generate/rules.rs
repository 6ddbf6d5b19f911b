//! From routes and corrections to rules.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::data::{Access, Correction, METHODS, Origin, Requirement, Route, in_order, sorted};
use super::render::render;

/// The versions of Sentry in which a route asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// All that are known.
    Always,
    /// The newest.
    Since,
    /// What came before it.
    Until,
}

type Methods = BTreeMap<String, Option<Vec<String>>>;

/// A `[[rule]]`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    path: String,
    /// Where the first of its methods is in [`METHODS`].
    first: usize,
    pub(super) text: String,
}

pub(super) fn rules(routes: &[Route], corrections: &[Correction]) -> Result<Vec<Rule>> {
    for correction in corrections {
        for wanted in &correction.paths {
            ensure!(
                routes.iter().any(|route| names(wanted, &route.path)),
                "corrections.jsonl corrects `{wanted}`, which routes.jsonl has not; remove it"
            );
        }
    }
    let mut rules = Vec::new();
    for route in routes {
        let about = || format!("cannot make the rules of `{}`", route.path);
        rules.extend(rules_of(route, corrections).with_context(about)?);
    }
    rules.sort();
    Ok(rules)
}

/// Whether `wanted` is `path`, or a prefix of it where it ends with `*`.
fn names(wanted: &str, path: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == wanted,
    }
}

/// One rule for each set of methods that ask for the same in the same versions.
fn rules_of(route: &Route, corrections: &[Correction]) -> Result<Vec<Rule>> {
    let named =
        |correction: &&Correction| correction.paths.iter().any(|wanted| names(wanted, &route.path));
    let corrections: Vec<&Correction> = corrections.iter().filter(named).collect();
    let now = requirements(route, &route.methods, &corrections)?;
    let before = match (&route.before, route.from) {
        (Some(methods), _) if methods.is_empty() => Vec::new(),
        (Some(methods), _) => requirements(route, methods, &corrections)?,
        (None, Origin::Source) => now.clone(),
        (None, Origin::Document | Origin::Name) => Vec::new(),
    };
    let of = |list: &[(&str, Requirement)], method| {
        list.iter().find(|(other, _)| *other == method).map(|(_, wanted)| wanted.clone())
    };
    let mut groups: Vec<(Vec<&str>, Era, Requirement)> = Vec::new();
    for method in METHODS {
        let eras = match (of(&now, method), of(&before, method)) {
            (now, before) if now == before => [now.map(|wanted| (Era::Always, wanted)), None],
            // What is closed is closed in every version: a wider route must not take it over.
            (Some(now), None) if now.access == Access::NotExposed => {
                [Some((Era::Always, now)), None]
            }
            (now, before) => {
                [now.map(|wanted| (Era::Since, wanted)), before.map(|wanted| (Era::Until, wanted))]
            }
        };
        for (era, wanted) in eras.into_iter().flatten() {
            match groups.iter_mut().find(|(_, of, other)| *of == era && *other == wanted) {
                Some((methods, ..)) => methods.push(method),
                None => groups.push((vec![method], era, wanted)),
            }
        }
    }
    let paths = templates(route, &corrections);
    let rule = |(methods, era, wanted): (Vec<&str>, Era, Requirement)| Rule {
        path: paths[0].clone(),
        first: METHODS.iter().position(|method| methods[0] == *method).unwrap_or_default(),
        text: render(&paths, &methods, era, &wanted),
    };
    Ok(groups.into_iter().map(rule).collect())
}

/// What each of `methods` asks for, corrections in.
fn requirements(
    route: &Route,
    methods: &Methods,
    corrections: &[&Correction],
) -> Result<Vec<(&'static str, Requirement)>> {
    let (known, every) = (listed(methods)?, listed(&route.methods)?);
    let mut wanted: Vec<(&str, Requirement)> = known
        .iter()
        .map(|method| (*method, Requirement::of(route, methods.get(*method))))
        .collect();
    for correction in corrections {
        // One that the route has not is an error; one that it had not yet is passed over.
        let corrected = match &correction.methods {
            Some(list) => in_order(&every, list)?,
            None => every.clone(),
        };
        for (_, requirement) in wanted.iter_mut().filter(|(method, _)| corrected.contains(method)) {
            requirement.apply(correction)?;
        }
    }
    Ok(wanted)
}

/// The methods of a route; all where they are unknown.
fn listed(methods: &Methods) -> Result<Vec<&'static str>> {
    if methods.is_empty() {
        return Ok(METHODS.to_vec());
    }
    in_order(&METHODS, &methods.keys().collect::<Vec<_>>())
}

/// The route's own template first, then its aliases, with what their parameters may hold.
fn templates(route: &Route, corrections: &[&Correction]) -> Vec<String> {
    let digits = route.digits.iter().map(|name| (name.as_str(), "digits"));
    let constraints = corrections.iter().flat_map(|correction| &correction.constrain);
    let constraints: Vec<(&str, &str)> =
        digits.chain(constraints.map(|(name, kind)| (name.as_str(), kind.as_str()))).collect();
    let corrected = corrections.iter().find_map(|correction| correction.template.as_ref());
    let mut paths = vec![corrected.unwrap_or(&route.path).clone()];
    paths.extend(sorted(&route.aliases));
    for path in &mut paths {
        for (name, kind) in &constraints {
            *path = path.replace(&format!("{{{name}}}"), &format!("{{{name}:{kind}}}"));
        }
    }
    paths
}
