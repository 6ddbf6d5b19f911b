//! How far the rules know a path that none of them matches.

use super::RuleTable;
use crate::policy::path::CanonicalPath;
use crate::policy::template::{is_digits, is_id};

impl RuleTable {
    /// The start of `path` from its segment `skip` on, as templates write it, and how many segments
    /// that takes; nothing where not even the first segment is known.
    ///
    /// What some template has as text stays; where it has a parameter, its name stands.
    pub fn known_part(&self, path: &CanonicalPath<'_>, skip: usize) -> (String, usize) {
        let (mut at, mut text, mut depth) = (0_u32, String::new(), 0);
        while skip + depth < path.len() {
            let segment = path.segment(skip + depth);
            let node = &self.tree.nodes[at as usize];
            let literal = node.literals.binary_search_by(|(text, _)| (**text).cmp(segment));
            let parameter = || {
                let ids = node.ids.filter(|_| is_id(segment));
                let digits = node.digits.filter(|_| is_digits(segment));
                ids.or(digits).or(node.param).filter(|_| !segment.is_empty())
            };
            let child = match literal {
                Ok(found) => Some(node.literals[found].1),
                Err(_) => parameter(),
            };
            let Some(child) = child else { break };
            let rule = &self.rules[self.tree.nodes[child as usize].first.index()];
            text.push('/');
            match rule.template.segments()[depth].name() {
                Some(name) => text.extend(["{", name, "}"]),
                None => text.push_str(segment),
            }
            (at, depth) = (child, depth + 1);
        }
        (text, depth)
    }
}
