//! Projects in a JSON body.

use std::sync::Arc;

use super::super::decision::Denial;
use super::super::identity::Identity;
use super::super::naming::{Naming, Place};
use super::super::question::{Answers, Question};
use super::super::reason::Reason;
use super::{Scope, Unsettled, unnamed};

/// What the body of a request must not name. Who reads it refuses the request otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyCheck {
    organization: Box<str>,
    /// What Sentry is called.
    hosts: Arc<[Box<str>]>,
    /// Whether it must name a project, since nothing else does.
    required: bool,
    /// Whether it names a release that may be there already.
    new_release: bool,
}

/// What a body names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyNames {
    /// The members of `projects`, and `project`.
    pub projects: Vec<String>,
    /// `version`.
    pub version: Option<String>,
    /// What messages of `commits` resolve.
    pub mentions: Mentions,
}

/// Issues that texts name, and what only looks like it; each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    projects: Vec<String>,
    issues: Vec<(String, String)>,
}

impl Mentions {
    /// One of a project, by its slug.
    pub fn project(&mut self, slug: &str) {
        if !self.projects.iter().any(|known| known == slug) {
            self.projects.push(slug.to_owned());
        }
    }

    /// One by its number, in an address at `host`; lower case.
    pub fn issue(&mut self, host: &str, number: &str) {
        if !self.issues.iter().any(|known| known.0 == host && known.1 == number) {
            self.issues.push((host.to_owned(), number.to_owned()));
        }
    }

    /// The slugs.
    pub fn projects(&self) -> impl Iterator<Item = &str> {
        self.projects.iter().map(String::as_str)
    }

    /// The hosts and numbers.
    pub fn issues(&self) -> impl Iterator<Item = (&str, &str)> {
        self.issues.iter().map(|(host, number)| (host.as_str(), number.as_str()))
    }
}

/// What the names in a body come to.
#[derive(Debug)]
pub enum BodyVerdict {
    /// They are what the token is bound to.
    Admitted,
    /// They are not, or can't be told.
    Refused(Denial),
    /// This has to be known first.
    Ask(Question),
}

impl BodyCheck {
    /// The largest body that is read, in bytes. A list of chunks may be long: a file of 2 GiB has some
    /// 256 of 8 MiB, at 43 bytes each.
    pub const MAX_SIZE: u64 = 1 << 20;

    pub(super) fn new(
        organization: &str,
        hosts: &Arc<[Box<str>]>,
        naming: Naming,
        required: bool,
    ) -> Self {
        let (hosts, new_release) = (Arc::clone(hosts), naming.has(Place::NewRelease));
        Self { organization: organization.into(), hosts, required, new_release }
    }

    /// Whether a host is Sentry, or one below it: it takes addresses there for its own.
    fn is_sentrys(&self, host: &str) -> bool {
        let below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        self.hosts.iter().any(|name| host == &**name || below(name))
    }

    /// A body that can't be read.
    pub fn unreadable(what: &str) -> Denial {
        let note = format!(
            "the token is bound to a project or more, and the body, which names projects, {what}; send \
             one JSON object with each member once"
        );
        Denial::new(Reason::Binding).note(note)
    }

    /// Whether `identity` may send a body with these names.
    pub fn judge(&self, identity: &Identity, names: &BodyNames, answers: &Answers) -> BodyVerdict {
        match self.check(identity, names, answers) {
            Ok(()) => BodyVerdict::Admitted,
            Err(Unsettled::Denied(denial)) => BodyVerdict::Refused(denial),
            Err(Unsettled::Ask(question)) => BodyVerdict::Ask(question),
        }
    }

    fn check(
        &self,
        identity: &Identity,
        names: &BodyNames,
        answers: &Answers,
    ) -> Result<(), Unsettled> {
        let projects = identity.bounds.projects();
        let scope = Scope { projects, organization: Some(&self.organization), answers };
        for name in &names.projects {
            scope.admits(name)?;
        }
        if self.required && names.projects.is_empty() {
            return Err(unnamed("project", "names none in its body; add `projects`").into());
        }
        for project in names.mentions.projects() {
            scope.admits_mention(project)?;
        }
        let own = names.mentions.issues().filter(|(host, _)| self.is_sentrys(host));
        for (_, number) in own {
            scope.admits_resolved(number)?;
        }
        let Some(version) = names.version.as_deref().filter(|_| self.new_release) else {
            return Ok(());
        };
        let (organization, version) = (self.organization.clone(), version.into());
        let question = Question::Release { organization, version };
        // One that is not there yet is made.
        if scope.admits_or_nothing(question)? {
            return Ok(());
        }
        let note = "the token is bound to a project or more, and there is a release of this version that \
                    other projects have too; use a token that is bound to all of them";
        Err(Denial::new(Reason::Binding).note(note).into())
    }
}

/// Whether a `Content-Type` says nothing of a charset, or UTF-8, to whoever reads it: Python, too, takes
/// blanks off that are none in a header.
pub(super) fn has_plain_charset(content_type: &[u8]) -> bool {
    const CHARSET: &[u8] = b"charset";
    let plain = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    let said = content_type.windows(CHARSET.len());
    let said = said.filter(|part| part.eq_ignore_ascii_case(CHARSET)).count();
    let parts = content_type.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    content_type.iter().all(plain) && said == parts.filter(|part| is_utf8(part)).count()
}

fn is_utf8(parameter: &[u8]) -> bool {
    [&b"charset=utf-8"[..], b"charset=\"utf-8\""]
        .iter()
        .any(|utf8| parameter.eq_ignore_ascii_case(utf8))
}

/// Whether a `Content-Type` is JSON in UTF-8.
pub(super) fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/json"));
    json && parts.all(is_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_seen_wherever_python_sees_one() {
        for (kind, wanted) in [
            (&b"text/plain"[..], true),
            (b"application/json; charset=utf-8", true),
            (b"application/json;CHARSET=\"UTF-8\"", true),
            (b"multipart/form-data; boundary=x", true),
            (b"text/plain; charset=utf-7", false),
            (b"text/plain;\xa0charset=utf-7", false),
            (b"text/plain;\x85charset=utf-7", false),
            (b"text/plain; charset = utf-7", false),
            (b"text/plain; charset=utf-8; charset=utf-7", false),
            (b"text/plain; charset=utf-8;\xa0x=y", false),
            (b"charset=utf-7", false),
        ] {
            assert_eq!(has_plain_charset(kind), wanted, "{}", kind.escape_ascii());
        }
    }
}
