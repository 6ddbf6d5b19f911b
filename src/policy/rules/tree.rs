//! The rules of one time, as a tree of segments.

use super::{API, Found, RuleId};
use crate::policy::method::{Method, MethodSet};
use crate::policy::path::CanonicalPath;
use crate::policy::rules::rule::{Access, Rule};
use crate::policy::template::{Segment, is_digits, is_id};

/// The rules that are in force at one time.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Node {
    /// The first rule whose template goes through here.
    pub(super) first: RuleId,
    /// Sorted by text.
    pub(super) literals: Vec<(Box<str>, u32)>,
    pub(super) ids: Option<u32>,
    pub(super) digits: Option<u32>,
    pub(super) param: Option<u32>,
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

impl Tree {
    /// Without a rule.
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::new(RuleId(0))] }
    }

    /// Ready to be walked.
    pub(super) fn sort(&mut self) {
        for node in &mut self.nodes {
            node.literals.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        }
    }

    /// Adds a rule; the error is one that governs the same already.
    pub(super) fn insert(&mut self, id: RuleId, rule: &Rule) -> Result<(), RuleId> {
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
    pub(super) fn find(&self, path: &CanonicalPath<'_>, skip: usize, method: Method) -> Found {
        let Some(leaf) = self.walk(0, path, skip) else { return Found::Nothing };
        match leaf.by_method[method as usize] {
            Some(id) => Found::Rule(id),
            None => Found::MethodNotAllowed(leaf.any),
        }
    }

    /// The methods that somebody gets through with.
    pub(super) fn methods_of(&self, path: &CanonicalPath<'_>, skip: usize) -> MethodSet {
        self.walk(0, path, skip).map_or(MethodSet::EMPTY, |leaf| leaf.methods)
    }

    /// Depth first, most specific branch first. Every pair of templates that overlap is ordered
    /// at every position (see `ambiguous`), so the first leaf is the most specific one.
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
}
