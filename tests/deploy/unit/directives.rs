//! A unit's directives, and the calls of the system that its filters let through.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::tool::Tool;

pub struct Unit(Vec<(String, String)>);

impl Unit {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// What it has for a key that it has once; nothing where it has none.
    pub fn one(&self, key: &str) -> String {
        let all: Vec<_> = self.all(key).collect();
        assert!(all.len() < 2, "{key}: {all:?}");
        all.concat()
    }

    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// The calls that `SystemCallFilter` lets through, as the systemd of this machine knows its groups.
    pub fn calls(&self) -> BTreeSet<String> {
        let mut calls = BTreeSet::new();
        for line in self.all("SystemCallFilter") {
            let (names, refused) =
                line.strip_prefix('~').map_or((line, false), |names| (names, true));
            for name in names.split_whitespace().flat_map(members) {
                if refused {
                    calls.remove(&name);
                } else {
                    calls.insert(name);
                }
            }
        }
        calls
    }
}

/// The calls of a group, and of the groups in it; or the call itself.
fn members(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let listed = Tool::new(Tool::path("systemd-analyze")).args(["syscall-filter", name]).text();
    let lines = listed.lines().skip(1).map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).flat_map(members).collect()
}
