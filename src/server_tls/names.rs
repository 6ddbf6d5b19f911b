//! Which certificate has a name.

use std::borrow::Cow;
use std::collections::HashMap;

/// Certificates, by number, by the names that they are for. Letter case does not count.
#[derive(Debug, Default)]
pub struct Names {
    exact: HashMap<String, usize>,
    /// By what comes after `*.`.
    wildcard: HashMap<String, usize>,
}

impl Names {
    /// Gives a certificate its names, and tells those that another has already: that one keeps them.
    pub fn add<'a>(
        &mut self,
        certificate: usize,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'a str, usize)> {
        let mut taken = Vec::new();
        for name in names {
            let (map, own) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent),
                None => (&mut self.exact, name),
            };
            let holder = *map.entry(own.to_ascii_lowercase()).or_insert(certificate);
            if holder != certificate {
                taken.push((name, holder));
            }
        }
        taken
    }

    /// The certificate that has a name: exactly this one, or else with a wildcard for its first label
    /// (RFC 6125, 6.4.3).
    pub fn find(&self, name: &str) -> Option<usize> {
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let wildcard = || {
            let (label, parent) = name.split_once('.')?;
            self.wildcard.get(parent).filter(|_| !label.is_empty())
        };
        self.exact.get(&*name).or_else(wildcard).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_certificate() {
        let mut names = Names::default();
        assert_eq!(names.add(0, ["one.example", "WWW.One.Example"]), []);
        assert_eq!(names.add(1, ["*.two.example", "two.example"]), []);
        assert_eq!(
            names.add(2, ["Two.example", "*.TWO.example", "a.two.example", "x.two.example"]),
            [("Two.example", 1), ("*.TWO.example", 1)]
        );
        for (name, found) in [
            ("one.example", Some(0)),
            ("ONE.example", Some(0)),
            ("www.one.example", Some(0)),
            ("other.one.example", None),
            ("two.example", Some(1)),
            ("b.two.example", Some(1)),
            ("B.Two.Example", Some(1)),
            // What is spelled out comes first, whatever the order.
            ("a.two.example", Some(2)),
            // A wildcard is for one label, and for a label.
            ("a.b.two.example", None),
            (".two.example", None),
            ("*.two.example", Some(1)),
            ("example", None),
            ("", None),
        ] {
            assert_eq!(names.find(name), found, "{name}");
        }
    }
}
