//! The narrowest tokens that would have been let through with what callers did.
//!
//! Only what was let through counts, in shadow and by a gateway that observes too: a refusal is nothing
//! that a caller is to be given. Names that are proposed are slugs or ids; what a path may name besides is
//! told, and never put into a command.

mod print;
mod proposal;
mod scopes;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use print::{Told, profiles};
pub use proposal::Proposal;

use super::Entry;
use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::method::Method;
use crate::policy::path::CanonicalPath;
use crate::policy::rules::{Found, RuleId};
use crate::policy::scope::ScopeSet;

/// How many callers are kept apart.
const CALLERS: usize = 10_000;
/// How many organizations or projects a caller may name to be bound to them.
const NAMES: usize = 64;
/// How many other things are listed for a caller.
const LISTED: usize = 32;

/// What callers did, gathered.
#[derive(Debug)]
pub struct Suggest<'a> {
    policy: &'a Policy,
    now: Timestamp,
    index: HashMap<(&'a str, Method), RuleId>,
    only: BTreeSet<String>,
    since: Option<String>,
    callers: BTreeMap<String, Seen>,
    /// Requests of callers beyond those that are kept.
    beyond: u64,
    /// What was let through and reads, and what else was let through.
    reads: u64,
    writes: u64,
    /// Requests that nobody was known for.
    strangers: u64,
}

/// What one caller did.
#[derive(Debug, Default)]
struct Seen {
    kind: String,
    issuer: Option<String>,
    fingerprint: Option<String>,
    held: Option<ScopeSet>,
    first: String,
    last: String,
    requests: u64,
    uses: BTreeMap<(&'static str, RuleId), u64>,
    /// Rules that are in shadow for these.
    later: BTreeSet<(&'static str, RuleId)>,
    refused: BTreeMap<String, u64>,
    organizations: Named,
    projects: Named,
    /// What the config has no rule for.
    elsewhere: BTreeSet<String>,
}

/// The names that paths had.
#[derive(Clone, Debug, Default)]
struct Named {
    names: BTreeSet<String>,
    /// Whether there were others: too many, or what is no slug.
    more: bool,
}

impl Named {
    fn add(&mut self, name: Option<&str>) {
        let Some(name) = name else { return };
        let is_slug = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !name.starts_with('-');
        if is_slug && (self.names.len() < NAMES || self.names.contains(name)) {
            self.names.insert(name.to_owned());
        } else {
            self.more = true;
        }
    }
}

impl<'a> Suggest<'a> {
    /// By these rules, as they are at `now`; of the callers in `only`, by id or fingerprint, or of all;
    /// from `since` on.
    pub fn new(
        policy: &'a Policy,
        now: Timestamp,
        only: impl IntoIterator<Item = String>,
        since: Option<Timestamp>,
    ) -> Self {
        let mut index = HashMap::new();
        for (id, rule) in policy.rules.all() {
            for method in rule.methods.iter() {
                // Of rules in shadow, the one that is in force comes first.
                index.entry((rule.template.as_str(), method)).or_insert(id);
            }
        }
        Self {
            policy,
            now,
            index,
            only: only.into_iter().collect(),
            since: since.map(|time| time.to_string()),
            callers: BTreeMap::new(),
            beyond: 0,
            reads: 0,
            writes: 0,
            strangers: 0,
        }
    }

    /// Takes up a decision.
    pub fn add(&mut self, entry: &Entry) {
        if self.since.as_ref().is_some_and(|since| entry.ts < *since) {
            return;
        }
        let method = Method::from_name(&entry.method);
        if entry.is_through() {
            let reads = method.is_some_and(Method::is_safe);
            *(if reads { &mut self.reads } else { &mut self.writes }) += 1;
        }
        let Some(principal) = &entry.principal else { return self.strangers += 1 };
        let is_meant =
            |text: &Option<String>| text.as_ref().is_some_and(|text| self.only.contains(text));
        if !self.only.is_empty() && !is_meant(&entry.principal) && !is_meant(&entry.token_fp) {
            return;
        }
        if self.callers.len() >= CALLERS && !self.callers.contains_key(principal) {
            return self.beyond += 1;
        }
        let met = method.and_then(|method| self.met(entry, method));
        let seen = self.callers.entry(principal.clone()).or_default();
        seen.note(entry);
        if !entry.is_through() {
            if entry.decision == "refuse" {
                let reason = entry.reason.clone().unwrap_or_default();
                if seen.refused.len() < LISTED || seen.refused.contains_key(&reason) {
                    *seen.refused.entry(reason).or_default() += 1;
                }
            }
            return;
        }
        seen.requests += 1;
        let (organization, project) = (entry.org.as_deref(), entry.project.as_deref());
        match met {
            Some(Met { method, rule, later }) => {
                *seen.uses.entry((method, rule)).or_default() += 1;
                seen.later.extend(later.map(|id| (method, id)));
                seen.organizations.add(organization);
                seen.projects.add(project);
            }
            None if seen.elsewhere.len() < LISTED => {
                let route = entry.route.as_deref().unwrap_or(&entry.path);
                seen.elsewhere.insert(format!("{} {route}", entry.method));
            }
            None => {}
        }
    }

    /// The rule that governs a request, and the one in shadow that will.
    fn met(&self, entry: &Entry, method: Method) -> Option<Met> {
        let governed = method.governed_by();
        let route = entry.route.as_deref()?;
        let rule = *self.index.get(&(route, governed))?;
        let later = || {
            self.policy.rules.shadow_until(self.now)?;
            let path = CanonicalPath::parse(entry.path.as_bytes()).ok()?;
            let (_, skip) = self.policy.site.strip(path.raw())?;
            match self.policy.rules.shadow(&path, skip, governed, self.now)? {
                Found::Rule(id) => Some(id),
                Found::MethodNotAllowed(_) | Found::Nothing => None,
            }
        };
        Some(Met { method: governed.as_str(), rule, later: later() })
    }

    /// What is proposed for each caller that was let through with something, by id.
    pub fn proposals(&self) -> Vec<Proposal> {
        let done = self.callers.iter().filter(|(_, seen)| seen.requests > 0);
        done.map(|(id, seen)| Proposal::of(id, seen, &self.policy.rules)).collect()
    }

    /// What the records can't tell, for people.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.reads == 0 {
            let why = if self.writes == 0 { "nothing that was let through" } else { "no read" };
            warnings.push(format!(
                "the audit has {why}: what callers read is not in what is proposed; record it with \
                 `decisions = [\"refuse\", \"write\", \"read\"]` in `[audit]`, and come back after some days"
            ));
        }
        if self.beyond > 0 {
            warnings.push(format!(
                "{} requests of more than {CALLERS} callers are left out; name callers with `--token`",
                self.beyond
            ));
        }
        warnings
    }

    /// How many requests nobody was known for.
    pub const fn strangers(&self) -> u64 {
        self.strangers
    }
}

struct Met {
    method: &'static str,
    rule: RuleId,
    later: Option<RuleId>,
}

impl Seen {
    fn note(&mut self, entry: &Entry) {
        if self.first.is_empty() || entry.ts < self.first {
            self.first.clone_from(&entry.ts);
        }
        if entry.ts >= self.last {
            // Of what changed meanwhile, the last counts.
            self.last.clone_from(&entry.ts);
            self.kind = entry.credential_kind.clone().unwrap_or_default();
            self.issuer.clone_from(&entry.issuer);
            self.fingerprint.clone_from(&entry.token_fp);
            self.held = entry.held.as_ref().map(|_| entry.scopes()).or(self.held);
        }
    }
}
