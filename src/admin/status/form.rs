//! The form for `explain`, as a browser sends it: in the query, so that it works without a script and
//! can be kept as a link. It has no field for a token, because what is in a URL is written down in
//! many places.

use crate::explain::question::Question;
use crate::policy::path::decoded;

/// What was filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) scopes: Vec<String>,
    pub(super) organizations: Vec<String>,
}

impl Form {
    /// Reads the query of the page; `None` when it asks nothing. Fields that it does not know are
    /// left alone.
    pub(super) fn parse(query: &str) -> Option<Self> {
        let mut form = Self::default();
        for field in query.split('&') {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            // As forms are sent. What is no UTF-8 is replaced: it is shown, and is refused as a path.
            let value = decoded(&value.replace('+', " ")).into_owned();
            let words = value.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned);
            match name {
                "method" => form.method = value,
                "path" => form.path = value.trim().to_owned(),
                "scope" => form.scopes.extend(words),
                "organization" => form.organizations.extend(words),
                _ => {}
            }
        }
        (!form.path.is_empty()).then_some(form)
    }

    pub(super) fn question(&self) -> Question {
        let Self { method, path, scopes, organizations } = self.clone();
        Question { method, path, scopes, organizations, ..Question::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_as_browsers_send_them() {
        let form = |method: &str, path: &str, scopes: &[&str], organizations: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            Some(Form {
                method: method.to_owned(),
                path: path.to_owned(),
                scopes: words(scopes),
                organizations: words(organizations),
            })
        };
        let rows = [
            ("", None),
            ("method=GET", None),
            ("method=GET&path=", None),
            ("path=%20", None),
            ("method=GET&path=%2Fapi%2F0%2F", form("GET", "/api/0/", &[], &[])),
            (
                "method=PUT&path=/a/&scope=org%3Aread+event%3Aread%2C&organization=acme",
                form("PUT", "/a/", &["org:read", "event:read"], &["acme"]),
            ),
            (
                "method=GET&path=/&scope=a&scope=b&unknown=x&flag",
                form("GET", "/", &["a", "b"], &[]),
            ),
            ("path=%252F%zz%4&method=%", form("%", "%2F%zz%4", &[], &[])),
            ("path=%ff", form("", "\u{fffd}", &[], &[])),
        ];
        for (query, wanted) in rows {
            assert_eq!(Form::parse(query), wanted, "{query}");
        }
    }
}
