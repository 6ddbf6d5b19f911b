//! Projects in a JSON body.

use super::super::decision::Denial;
use super::super::identity::Identity;
use super::super::naming::{Naming, Place};
use super::super::question::{Answers, Learnt, Question};
use super::super::reason::Reason;
use super::{Scope, Unsettled, admits_all, learnt, unnamed};

/// What the body of a request must not name. Who reads it refuses the request otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyCheck {
    organization: Box<str>,
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
    /// The projects of the issues that messages of `commits` resolve, by slug, and what only looks like
    /// them.
    pub mentions: Vec<String>,
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

    pub(super) fn new(organization: &str, naming: Naming, required: bool) -> Self {
        let new_release = naming.has(Place::NewRelease);
        Self { organization: organization.into(), required, new_release }
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
        for mention in &names.mentions {
            scope.admits_mention(mention)?;
        }
        let Some(version) = names.version.as_deref().filter(|_| self.new_release) else {
            return Ok(());
        };
        let (organization, version) = (self.organization.clone(), version.into());
        let question = Question::Release { organization, version };
        // One that is not there yet is made.
        let is_new = matches!(answers.to(&question), Some(Learnt::Nothing));
        if is_new || admits_all(projects, learnt(answers, question)?) {
            return Ok(());
        }
        let note = "the token is bound to a project or more, and there is a release of this version that \
                    other projects have too; use a token that is bound to all of them";
        Err(Denial::new(Reason::Binding).note(note).into())
    }
}

/// Whether a `Content-Type` says nothing of a charset, or UTF-8.
pub(super) fn has_plain_charset(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    let is_charset = |part: &[u8]| part.len() >= 7 && part[..7].eq_ignore_ascii_case(b"charset");
    parts.all(|part| !is_charset(part) || is_utf8(part))
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
