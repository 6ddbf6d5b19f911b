//! The rules, and which of them a request meets.
//!
//! A tree of segments is walked from the most specific branch to the least, so the cost follows
//! the depth of the path and not the number of rules. Two templates of which neither is the more
//! specific can't be in one table.
//!
//! Rules may come into force later, each at a time of its own: there is a tree for each of these times, so
//! nothing has to be done when one has come.

mod known;
mod rule;
mod tree;

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::method::{Method, MethodSet};
use super::path::CanonicalPath;
use tree::Tree;

use crate::clock::Timestamp;

pub use rule::{Access, OnFailure, Rewrite, Rule};

/// The first segment of what no parameter at the top takes.
const API: &str = "api";

/// The number of a rule in its table; what metrics are kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u32);

impl RuleId {
    /// As an index into a list of [`RuleTable::len`] entries.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Two rules of which either could win.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{first}` ({first_place}) and `{second}` ({second_place}) {how}")]
pub struct Conflict {
    /// The template that came first.
    pub first: String,
    /// Where it was written.
    pub first_place: String,
    /// The template that came second.
    pub second: String,
    /// Where it was written.
    pub second_place: String,
    /// In what way they conflict.
    pub how: ConflictKind,
}

/// In what way two rules conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConflictKind {
    /// The same route and method twice.
    #[error(
        "govern the same route and method; remove one, or mark the one in your own file with `override = true`"
    )]
    Same,
    /// Overlapping templates, neither more specific.
    #[error(
        "match the same paths and neither is more specific; narrow one of them with `{{name:digits}}` or a literal"
    )]
    Ambiguous,
}

/// What a path and a method meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This rule.
    Rule(RuleId),
    /// A route, but not for this method; the rule names the route.
    MethodNotAllowed(RuleId),
    /// No route.
    Nothing,
}

/// Every rule, ready to be asked.
#[derive(Debug)]
pub struct RuleTable {
    /// Those that are in force at first, and then those that come into force later.
    rules: Vec<Rule>,
    /// How many are in force at first.
    first: usize,
    tree: Tree,
    /// The rules as they will be from a time on, the next first.
    later: Vec<(Timestamp, Tree)>,
}

impl RuleTable {
    /// Builds the table.
    ///
    /// # Errors
    /// Every pair of rules of which either could win.
    pub fn build(rules: Vec<Rule>) -> Result<Self, Vec<Conflict>> {
        Self::staged(rules, Vec::new())
    }

    /// Builds the table of rules of which others will be in force later: all of them, from each of these
    /// times on, in order. Until the last, those that come into force by then are in shadow.
    ///
    /// # Errors
    /// Every pair of rules of which either could win, at some time.
    pub fn staged(
        rules: Vec<Rule>,
        later: Vec<(Timestamp, Vec<Rule>)>,
    ) -> Result<Self, Vec<Conflict>> {
        let mut conflicts = Vec::new();
        let first = rules.len();
        let mut table = Self { rules: Vec::new(), first, tree: Tree::new(), later: Vec::new() };
        table.tree = table.plant(rules, &mut conflicts);
        for (from, rules) in later {
            let mut more = Vec::new();
            let tree = table.plant(rules, &mut more);
            table.later.push((from, tree));
            conflicts.extend(
                more.into_iter().filter(|new| !conflicts.contains(new)).collect::<Vec<_>>(),
            );
        }
        if conflicts.is_empty() { Ok(table) } else { Err(conflicts) }
    }

    /// The tree of these rules, which are kept where they are not yet.
    fn plant(&mut self, rules: Vec<Rule>, conflicts: &mut Vec<Conflict>) -> Tree {
        conflicts.extend(ambiguous(&rules));
        let mut known: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            known.entry(rule.template.to_string()).or_default().push(index);
        }
        let mut tree = Tree::new();
        for rule in rules {
            let same = known.get(rule.template.as_str()).into_iter().flatten();
            let same = same.copied().find(|index| self.rules[*index] == rule);
            // A table of four billion rules does not fit in memory.
            let id = RuleId(same.unwrap_or(self.rules.len()) as u32);
            if let Err(other) = tree.insert(id, &rule) {
                let other = &self.rules[other.index()];
                conflicts.push(conflict(other, &rule, ConflictKind::Same));
            }
            if same.is_none() {
                self.rules.push(rule);
            }
        }
        tree.sort();
        tree
    }

    /// The tree of what is in force at a time.
    fn at(&self, time: Timestamp) -> &Tree {
        let begun = self.later.iter().rev().find(|(from, _)| *from <= time);
        begun.map_or(&self.tree, |(_, tree)| tree)
    }

    /// The rule that governs `method` on the segments of `path` from `skip` on, of those that are in
    /// force at first.
    pub fn find(&self, path: &CanonicalPath<'_>, skip: usize, method: Method) -> Found {
        self.tree.find(path, skip, method)
    }

    /// The same of those that are in force at a time.
    pub fn find_at(
        &self,
        path: &CanonicalPath<'_>,
        skip: usize,
        method: Method,
        at: Timestamp,
    ) -> Found {
        self.at(at).find(path, skip, method)
    }

    /// What will govern once every rule is in force, where that is another rule than is found now.
    pub fn shadow(
        &self,
        path: &CanonicalPath<'_>,
        skip: usize,
        method: Method,
        at: Timestamp,
    ) -> Option<Found> {
        let (_, last) = self.later.last().filter(|(from, _)| at < *from)?;
        let found = last.find(path, skip, method);
        (found != self.find_at(path, skip, method, at)).then_some(found)
    }

    /// The methods that the route of `path` takes from anybody at a time, `OPTIONS` with them.
    pub fn methods_of(&self, path: &CanonicalPath<'_>, skip: usize, at: Timestamp) -> MethodSet {
        let methods = self.at(at).methods_of(path, skip);
        if methods.is_empty() { methods } else { methods.with(Method::Options) }
    }

    /// The rule of this number.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.index()]
    }

    /// Every rule that is in force at first, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        self.all().take(self.first)
    }

    /// Those that are in shadow at first.
    pub fn in_shadow(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        self.all().skip(self.first).filter(|(_, rule)| rule.shadow_until.is_some())
    }

    /// Every rule that is in force at some time.
    pub fn all(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        self.rules.iter().enumerate().map(|(index, rule)| (RuleId(index as u32), rule))
    }

    /// The next time at which a rule in shadow comes into force, if there is one at `now`.
    pub fn shadow_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.later.iter().map(|(from, _)| *from).find(|from| now < *from)
    }

    /// How many rules are in force at first.
    pub const fn len(&self) -> usize {
        self.first
    }

    /// One more than the largest number of a rule.
    pub fn numbers(&self) -> usize {
        self.rules.len()
    }

    /// Whether no rule is in force, so that every request is refused.
    pub const fn is_empty(&self) -> bool {
        self.first == 0
    }
}

/// Pairs of overlapping templates that are not ordered, whatever their methods: a path has one
/// route, and 405 names the methods of that one.
fn ambiguous(rules: &[Rule]) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let mut seen = HashSet::new();
    let distinct: Vec<&Rule> =
        rules.iter().filter(|rule| seen.insert(rule.template.as_str())).collect();
    for (index, first) in distinct.iter().enumerate() {
        for second in &distinct[index + 1..] {
            let (a, b) = (&first.template, &second.template);
            if !a.overlaps(b) {
                continue;
            }
            match a.compare(b) {
                Some(Ordering::Less | Ordering::Greater | Ordering::Equal) => {}
                None => conflicts.push(conflict(first, second, ConflictKind::Ambiguous)),
            }
        }
    }
    conflicts
}

fn conflict(first: &Rule, second: &Rule, how: ConflictKind) -> Conflict {
    Conflict {
        first: first.template.to_string(),
        first_place: first.place.to_string(),
        second: second.template.to_string(),
        second_place: second.place.to_string(),
        how,
    }
}

#[cfg(test)]
mod tests;
