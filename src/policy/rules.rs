//! The rules, and which of them a request meets.
//!
//! A tree of segments is walked from the most specific branch to the least, so the cost follows
//! the depth of the path and not the number of rules. Two templates of which neither is the more
//! specific can't be in one table.

mod known;
mod rule;

use std::cmp::Ordering;
use std::collections::HashSet;

use super::method::{Method, MethodSet};
use super::path::CanonicalPath;
use super::template::{Segment, is_digits, is_id};

pub use rule::{Access, OnFailure, Rewrite, Rule};

/// The first segment of what no parameter at the top takes.
const API: &str = "api";

/// The number of a rule in its table; what metrics are kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    rules: Vec<Rule>,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    /// The first rule whose template goes through here.
    first: RuleId,
    /// Sorted by text.
    literals: Vec<(Box<str>, u32)>,
    ids: Option<u32>,
    digits: Option<u32>,
    param: Option<u32>,
    /// The rules of a template that ends here, by method.
    leaf: Option<Leaf>,
    /// The rules of a template that takes the rest from here.
    rest: Option<Leaf>,
}

impl Node {
    const fn new(first: RuleId) -> Self {
        let literals = Vec::new();
        Self { first, literals, ids: None, digits: None, param: None, leaf: None, rest: None }
    }
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    by_method: [Option<RuleId>; Method::ALL.len()],
    /// Those that somebody gets through with.
    methods: MethodSet,
    any: RuleId,
}

impl RuleTable {
    /// Builds the table.
    ///
    /// # Errors
    /// Every pair of rules of which either could win.
    pub fn build(rules: Vec<Rule>) -> Result<Self, Vec<Conflict>> {
        let mut conflicts = ambiguous(&rules);
        let mut table = Self { rules: Vec::new(), nodes: vec![Node::new(RuleId(0))] };
        for (index, rule) in rules.iter().enumerate() {
            // A table of four billion rules does not fit in memory.
            let id = RuleId(index as u32);
            if let Err(other) = table.insert(id, rule) {
                conflicts.push(conflict(&rules[other.index()], rule, ConflictKind::Same));
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        for node in &mut table.nodes {
            node.literals.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        }
        table.rules = rules;
        Ok(table)
    }

    fn insert(&mut self, id: RuleId, rule: &Rule) -> Result<(), RuleId> {
        let mut at = 0;
        let mut rest = false;
        for segment in rule.template.segments() {
            match segment {
                Segment::Rest(_) => rest = true,
                Segment::Literal(_) | Segment::Id(_) | Segment::Digits(_) | Segment::Param(_) => {
                    at = self.child(id, at, segment);
                }
            }
        }
        let node = &mut self.nodes[at];
        let slot = if rest { &mut node.rest } else { &mut node.leaf };
        let empty = Leaf { by_method: [None; _], methods: MethodSet::EMPTY, any: id };
        let leaf = slot.get_or_insert(empty);
        let methods =
            rule.methods.iter().chain(rule.methods.contains(Method::Get).then_some(Method::Head));
        for method in methods {
            match &mut leaf.by_method[method as usize] {
                Some(other) if *other == id => {}
                Some(other) => return Err(*other),
                slot @ None => *slot = Some(id),
            }
            if rule.access != Access::NotExposed {
                leaf.methods = leaf.methods.with(method);
            }
        }
        Ok(())
    }

    fn child(&mut self, id: RuleId, parent: usize, segment: &Segment) -> usize {
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[parent];
        let child = match segment {
            Segment::Literal(text) => match node.literals.iter().find(|(other, _)| other == text) {
                Some((_, child)) => *child,
                None => {
                    node.literals.push((text.clone(), next));
                    next
                }
            },
            Segment::Id(_) => *node.ids.get_or_insert(next),
            Segment::Digits(_) => *node.digits.get_or_insert(next),
            Segment::Param(_) | Segment::Rest(_) => *node.param.get_or_insert(next),
        };
        if child == next {
            self.nodes.push(Node::new(id));
        }
        child as usize
    }

    /// The rule that governs `method` on the segments of `path` from `skip` on.
    pub fn find(&self, path: &CanonicalPath<'_>, skip: usize, method: Method) -> Found {
        let Some(leaf) = self.walk(0, path, skip) else { return Found::Nothing };
        match leaf.by_method[method as usize] {
            Some(id) => Found::Rule(id),
            None => Found::MethodNotAllowed(leaf.any),
        }
    }

    /// Depth first, most specific branch first. Every pair of templates that overlap is ordered
    /// at every position (see [`ambiguous`]), so the first leaf is the most specific one.
    fn walk(&self, at: u32, path: &CanonicalPath<'_>, index: usize) -> Option<&Leaf> {
        let node = &self.nodes[at as usize];
        if index == path.len() {
            return node.leaf.as_ref();
        }
        let segment = path.segment(index);
        let literal = node.literals.binary_search_by(|(text, _)| (**text).cmp(segment));
        if let Ok(found) = literal {
            let leaf = self.walk(node.literals[found].1, path, index + 1);
            if leaf.is_some() {
                return leaf;
            }
        }
        if segment.is_empty() {
            return None;
        }
        let ids = node.ids.filter(|_| is_id(segment));
        let digits = node.digits.filter(|_| is_digits(segment));
        for child in [ids, digits].into_iter().flatten() {
            let leaf = self.walk(child, path, index + 1);
            if leaf.is_some() {
                return leaf;
            }
        }
        // A rule for pages is no rule for the API, however wide it is.
        if at == 0 && segment == API {
            return None;
        }
        let leaf = node.param.and_then(|child| self.walk(child, path, index + 1));
        leaf.or(node.rest.as_ref())
    }

    /// The methods that the route of `path` takes from anybody, `OPTIONS` with them.
    pub fn methods_of(&self, path: &CanonicalPath<'_>, skip: usize) -> MethodSet {
        let methods = self.walk(0, path, skip).map_or(MethodSet::EMPTY, |leaf| leaf.methods);
        if methods.is_empty() { methods } else { methods.with(Method::Options) }
    }

    /// The rule of this number.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.index()]
    }

    /// Every rule with its number.
    pub fn iter(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        self.rules.iter().enumerate().map(|(index, rule)| (RuleId(index as u32), rule))
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule, so that every request is refused.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
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
