//! Paths for logs: what could be a secret is replaced.

use std::fmt;

use crate::policy::template::{PathTemplate, Segment};

/// A path without what could be a secret. Percent-escapes stay as they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct RedactedPath<'a> {
    pub(super) path: &'a str,
    /// The template that it matched, for the names of its parameters.
    pub(super) template: Option<&'a PathTemplate>,
}

/// Longer paths are cut off.
const MAX_LEN: usize = 512;
/// Words in the names of parameters whose value lets somebody in.
const SECRET_WORDS: &[&str] = &["token", "hash", "secret", "share", "signature"];
/// What stands for a secret.
pub(super) const REDACTED: &str = "***";

impl<'a> RedactedPath<'a> {
    /// The segment that stands for a parameter whose name starts with `name`, as it came.
    pub(super) fn named(&self, name: &str) -> Option<&'a str> {
        let count = self.path.split('/').count();
        let mut segments = self.path.split('/').enumerate();
        let is =
            |index: usize| self.parameter(count - index - 1).is_some_and(|n| n.starts_with(name));
        segments.find(|(index, _)| is(*index)).map(|(index, segment)| {
            if self.is_secret(count - index - 1, segment) { REDACTED } else { segment }
        })
    }

    fn is_secret(&self, from_end: usize, segment: &str) -> bool {
        let named = |name: &str| name.split('_').any(|word| SECRET_WORDS.contains(&word));
        looks_secret(segment) || self.parameter(from_end).is_some_and(named)
    }

    /// Counted from the end, because the gateway's own prefix stands before the template. A
    /// template that takes the rest has no fixed end, and none of Sentry's has a secret before it.
    fn parameter(&self, from_end: usize) -> Option<&str> {
        let segments = self.template?.segments();
        match segments.last() {
            Some(Segment::Rest(_)) | None => None,
            Some(Segment::Literal(_) | Segment::Digits(_) | Segment::Id(_) | Segment::Param(_)) => {
                segments.iter().rev().nth(from_end)?.name()
            }
        }
    }
}

/// A text, with [`REDACTED`] for each word of it that could be a secret, and for whoever a URL names
/// before its host.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithoutSecrets<'a> {
    pub(super) text: &'a str,
    /// The most of it that is written, in bytes.
    pub(super) limit: usize,
}

impl fmt::Display for WithoutSecrets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A word ends where a secret would; what a URL may have in it stays in it.
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`');
        let (mut written, mut presented) = (0, false);
        for word in self.text.split_inclusive(ends) {
            let bare = word.trim_end_matches(ends);
            let named = bare.contains("://") && bare.contains('@');
            let secret = presented || named || bare.split(['/', ':', '?', '#']).any(looks_secret);
            // The value of `Authorization` is a scheme, and then the credential.
            let schemes = ["bearer", "basic", "dsn"];
            presented = schemes.iter().any(|scheme| bare.eq_ignore_ascii_case(scheme));
            written += word.len();
            if written > self.limit {
                return f.write_str("...");
            }
            if secret {
                f.write_str(REDACTED)?;
                f.write_str(&word[bare.len()..])?;
            } else {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}

/// Tokens of Sentry and of the gateway, JWTs, parameters, and anything that is long and random.
pub(super) fn looks_secret(segment: &str) -> bool {
    let marked = ["sntry", "portcullis_", "eyj", "bearer", "basic", "sentry_key"];
    let letters = segment.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let has = |mark: &str| {
        let mut parts = segment.as_bytes().windows(mark.len());
        parts.any(|part| part.eq_ignore_ascii_case(mark.as_bytes()))
    };
    marked.iter().any(|mark| has(mark))
        || segment.contains([';', '=', '&'])
        || segment.len() >= 24 && digits >= 4 && letters >= 4
}

impl fmt::Display for RedactedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = 0;
        let count = self.path.split('/').count();
        for (index, segment) in self.path.split('/').enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            let shown = if self.is_secret(count - index - 1, segment) { REDACTED } else { segment };
            written += shown.len() + 1;
            if written > MAX_LEN {
                return f.write_str("...");
            }
            f.write_str(shown)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_texts() {
        let rows = [
            ("the config is refused: is not a URL", "="),
            ("the token store `sentry` can't be asked: 10.0.0.1:5432: refused (os error 111)", "="),
            ("`/etc/portcullis/rules.toml` can't be read", "="),
            ("bad token sntryu_0123 of ci", "bad token *** of ci"),
            ("got \"portcullis_abc\", sorry", "got \"***\", sorry"),
            ("postgres://portcullis:hunter2@db/sentry is down", "*** is down"),
            ("at https://key@sentry.example/3 (twice)", "at *** (twice)"),
            ("http://relay:3000/api/4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c/", "***"),
            ("asked /x?auth=abc", "asked ***"),
            ("got Authorization: Bearer hunter2 today", "got Authorization: *** *** today"),
            ("postgres://u:pa,s(s)@h is down", "*** is down"),
        ];
        for (text, wanted) in rows {
            let wanted = if wanted == "=" { text } else { wanted };
            assert_eq!(WithoutSecrets { text, limit: 1000 }.to_string(), wanted);
        }
        let long = "word ".repeat(1000);
        assert_eq!(WithoutSecrets { text: &long, limit: 10 }.to_string(), "word word ...");
    }

    #[test]
    fn secrets_in_paths() {
        let rows = [
            ("/api/0/organizations/acme/issues/12/", "", "="),
            ("/api/0/organizations/acme/releases/pkg@1.0+5/", "", "="),
            (
                "/api/0/organizations/acme/events/4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c/",
                "",
                "/api/0/organizations/acme/events/***/",
            ),
            ("/x/sntryu_1/", "", "/x/***/"),
            ("/x/Bearer%20abc/", "", "/x/***/"),
            ("/x;token=abc/", "", "/***/"),
            ("/x/portcullis_t_1/", "", "/x/***/"),
            (
                "/gw/api/0/accept-invite/5/abc/",
                "/api/0/accept-invite/{member_id}/{token}/",
                "/gw/api/0/accept-invite/5/***/",
            ),
            (
                "/api/0/api-tokens/17/",
                "/api/0/api-tokens/{api_token_id}/",
                "/api/0/api-tokens/***/",
            ),
            ("/api/0/wizard/abc/", "/api/0/wizard/{wizard_hash}/", "/api/0/wizard/***/"),
        ];
        for (path, template, wanted) in rows {
            let template = (!template.is_empty()).then(|| template.parse().unwrap());
            let wanted = if wanted == "=" { path } else { wanted };
            let seen = RedactedPath { path, template: template.as_ref() }.to_string();
            assert_eq!(seen, wanted);
        }
        let template = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/".parse();
        let template = Some(&template.unwrap());
        for (path, organization, project) in [
            ("/api/0/projects/acme/web/", "acme", "web"),
            ("/gw/api/0/projects/1/2/", "1", "2"),
            ("/api/0/projects/sntryu_1/web/", "***", "web"),
        ] {
            let path = RedactedPath { path, template };
            assert_eq!(path.named("organization_"), Some(organization));
            assert_eq!(path.named("project_"), Some(project));
            assert_eq!(path.named("team_"), None);
        }
        let long = format!("/{}", "ab/".repeat(1000));
        assert!(RedactedPath { path: &long, template: None }.to_string().len() < MAX_LEN + 8);
    }
}
