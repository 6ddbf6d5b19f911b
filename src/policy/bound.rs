//! What a token of the gateway is bound to, held against everything by which a request names an
//! organisation or a project.
//!
//! Bindings hold ids, which don't change. Where a request has a slug, Sentry is asked which id has it at
//! the moment; what it does not know is refused.

mod body;
mod query;

pub use body::{BodyCheck, BodyNames, BodyVerdict, Mentions};

use super::decision::Denial;
use super::identity::{Binding, Identity, Issuer};
use super::naming::Place;
use super::question::{Answers, Learnt, Question};
use super::reason::Reason;
use super::rules::{Access, Rule};
use super::template::{is_digits, is_slug_or_id};
use super::{Pending, Request};

/// Why it can't be decided, or not yet.
#[derive(Debug)]
pub(super) enum Unsettled {
    /// It is refused.
    Denied(Denial),
    /// This has to be known first.
    Ask(Question),
}

impl From<Denial> for Unsettled {
    fn from(denial: Denial) -> Self {
        Unsettled::Denied(denial)
    }
}

/// What became of the bindings.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Whether there are any.
    pub(super) bound: bool,
    /// What is added to the query.
    pub(super) added: Option<Box<str>>,
    /// What the body must not name.
    pub(super) body: Option<BodyCheck>,
}

/// What a project-bound token may name.
#[derive(Clone, Copy)]
struct Scope<'a> {
    projects: &'a Binding,
    /// The organisation that the request is about, in which slugs mean something.
    organization: Option<&'a str>,
    answers: &'a Answers,
}

impl Pending<'_> {
    /// Whether the request is about nothing but what the identity is bound to.
    pub(super) fn bindings(
        &self,
        rule: &Rule,
        identity: &Identity,
        answers: &Answers,
    ) -> Result<Held, Unsettled> {
        let (organizations, projects) =
            (identity.bounds.organizations(), identity.bounds.projects());
        if !organizations.is_bound() && !projects.is_bound() {
            return Ok(Held::default());
        }
        match identity.issuer {
            // Of its own tokens Sentry knows what they are bound to.
            Issuer::Sentry => {
                self.by_name(rule, "organization_", organizations, Reason::WrongOrganization)?;
                self.by_name(rule, "project_", projects, Reason::Binding)?;
                Ok(Held { bound: true, ..Held::default() })
            }
            Issuer::Gateway => {
                self.organization(rule, organizations, answers)?;
                if !projects.is_bound() {
                    return Ok(Held { bound: true, ..Held::default() });
                }
                let organization = self.request.parameters(rule, "organization_").next();
                self.projects(rule, Scope { projects, organization, answers }, organizations)
            }
        }
    }

    /// Whether the path names nothing else, as it is spelled.
    fn by_name(
        &self,
        rule: &Rule,
        parameter: &str,
        binding: &Binding,
        reason: Reason,
    ) -> Result<(), Denial> {
        let mut named = self.request.parameters(rule, parameter);
        match named.find(|name| !binding.admits(name)) {
            Some(name) => Err(another(parameter.trim_end_matches('_'), name, reason)),
            None => Ok(()),
        }
    }

    fn organization(
        &self,
        rule: &Rule,
        binding: &Binding,
        answers: &Answers,
    ) -> Result<(), Unsettled> {
        if !binding.is_bound() {
            return Ok(());
        }
        let mut none = true;
        for name in self.request.parameters(rule, "organization_") {
            none = false;
            if binding.admits(name) {
                continue;
            }
            let refusal = || another("organization", name, Reason::WrongOrganization);
            // One that has slugs is what they were called, and by no other name.
            if !is_slug(name) || !binding.has_ids_alone() {
                return Err(refusal().into());
            }
            if !admits_all(binding, learnt(answers, Question::Organization(name.into()))?) {
                return Err(refusal().into());
            }
        }
        if none && rule.access != Access::Public {
            return Err(unnamed("organization", "names none").into());
        }
        Ok(())
    }

    fn projects(
        &self,
        rule: &Rule,
        scope: Scope<'_>,
        organizations: &Binding,
    ) -> Result<Held, Unsettled> {
        if rule.projects.is_refused() {
            return Err(unnamed("project", "can't be held to it").into());
        }
        let mut named = false;
        for name in self.request.parameters(rule, "project_") {
            scope.admits(name)?;
            named = true;
        }
        let naming = rule.projects;
        self.plain_charset()?;
        let in_query = query::check(self.request.target.query(), scope)?;
        if !self.request.frame.method.is_safe() {
            query::check_ids(self.request.target.query())?;
        }
        // Whatever else names one: what the answer is limited to is in the query.
        let missing = query::Missing {
            project: naming.has(Place::Query) && !named && !in_query,
            search: naming.has(Place::Search)
                && !query::searches(self.request.target.query(), scope)?,
        };
        if missing.any() && !(naming.adds() && scope.projects.has_ids_alone()) {
            let how = format!("names none in its query; add `{}`", missing.naming("<id>"));
            return Err(unnamed("project", &how).into());
        }
        named |= naming.has(Place::Query) || naming.has(Place::Search);
        for place in [Place::Release, Place::Issue] {
            for parameter in place.parameters().iter().filter(|_| naming.has(place)) {
                for name in self.request.parameters(rule, parameter) {
                    self.belongs(place, name, scope)?;
                    named = true;
                }
            }
        }
        let added = missing.any().then(|| missing.added(scope.projects));
        let mut held = Held { bound: true, added, body: None };
        if naming.has(Place::Body) || naming.has(Place::NewRelease) {
            let organization =
                scope.organization.ok_or_else(|| unnamed("project", "names none"))?;
            held.body =
                Some(BodyCheck::new(organization, &self.policy.sentry_hosts, naming, !named));
            self.readable_body()?;
            return Ok(held);
        }
        if named || rule.access == Access::Public {
            return Ok(held);
        }
        // In which organisation must be certain, where nothing else is.
        if naming.is_nothing() && organizations.is_bound() {
            return Ok(held);
        }
        Err(unnamed("project", "can't be held to it").into())
    }

    /// Whether a release or an issue is of projects that are admitted, and of no other.
    fn belongs(&self, place: Place, name: &str, scope: Scope<'_>) -> Result<(), Unsettled> {
        let organization =
            scope.organization.ok_or_else(|| unnamed("project", "can't be held to it"))?;
        let (organization, own) = (organization.into(), name.into());
        let question = match place {
            Place::Release | Place::NewRelease => Question::Release { organization, version: own },
            Place::Issue | Place::Query | Place::Search | Place::Body => {
                Question::Issue { organization, issue: own }
            }
        };
        if admits_all(scope.projects, learnt(scope.answers, question)?) {
            return Ok(());
        }
        let what = if place == Place::Issue { "issue" } else { "release" };
        let note = format!(
            "the token is bound to a project or more, and the {what} `{}` is not of these alone, or not \
             known; use a token that is bound to all of its projects",
            name.escape_debug()
        );
        Err(Denial::new(Reason::Binding).note(note).into())
    }

    /// Django reads the query, too, in the `charset` of the body.
    fn plain_charset(&self) -> Result<(), Denial> {
        let mut types = self.request.headers.get_all(http::header::CONTENT_TYPE).iter();
        let first = types.next().map(http::HeaderValue::as_bytes);
        if first.is_none_or(body::has_plain_charset) && types.next().is_none() {
            return Ok(());
        }
        let note = "the token is bound to a project or more, and the `Content-Type` has a charset that the \
                    query could be read in; send `charset=utf-8`, or none";
        Err(Denial::new(Reason::Binding).note(note))
    }

    /// Only a body that has one reading is read.
    fn readable_body(&self) -> Result<(), Denial> {
        let headers = self.request.headers;
        // Of several, a reader may go by any.
        let mut codings = headers.get_all(http::header::CONTENT_ENCODING).iter();
        let encoded = codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let kind = headers.get(http::header::CONTENT_TYPE);
        if !encoded && kind.is_some_and(|kind| body::is_json(kind.as_bytes())) {
            return Ok(());
        }
        let note = "the token is bound to a project or more, and this route names projects in its body; \
                    send the body as `Content-Type: application/json`, without `Content-Encoding`";
        Err(Denial::new(Reason::Binding).note(note))
    }
}

impl Request<'_> {
    /// The first decoded segment of a parameter whose name starts with `name`, for each of them.
    pub(super) fn parameters<'s>(
        &'s self,
        rule: &'s Rule,
        name: &'s str,
    ) -> impl Iterator<Item = &'s str> {
        let segments = rule.template.segments().iter().enumerate();
        segments.filter_map(move |(index, segment)| {
            let named = segment.name().is_some_and(|own| own.starts_with(name));
            named.then(|| self.target.path().segment(self.skip + index))
        })
    }
}

impl Scope<'_> {
    /// Whether the name of a project is that of one that the token is bound to.
    fn admits(self, name: &str) -> Result<(), Unsettled> {
        if self.projects.admits(name) {
            return Ok(());
        }
        let refusal = || another("project", name, Reason::Binding);
        let organization =
            self.organization.filter(|_| is_slug(name) && self.projects.has_ids_alone());
        let organization = organization.ok_or_else(refusal)?;
        let (organization, project) = (organization.into(), name.into());
        let ids = learnt(self.answers, Question::Project { organization, project })?;
        if admits_all(self.projects, ids) { Ok(()) } else { Err(refusal().into()) }
    }

    /// The same of what may be the name of a project, or nothing.
    fn admits_mention(self, name: &str) -> Result<(), Unsettled> {
        let Some(organization) = self.organization.filter(|_| is_slug(name)) else { return Ok(()) };
        let (organization, project) = (organization.into(), name.into());
        if self.projects.admits(name)
            || self.admits_or_nothing(Question::Project { organization, project })?
        {
            return Ok(());
        }
        Err(resolves_another(name).into())
    }

    /// The same of an issue, by its number.
    fn admits_resolved(self, number: &str) -> Result<(), Unsettled> {
        let organization = self.organization.filter(|_| is_digits(number));
        let Some(organization) = organization else { return Err(resolves_another(number).into()) };
        let (organization, issue) = (organization.into(), number.into());
        if self.admits_or_nothing(Question::Issue { organization, issue })? {
            return Ok(());
        }
        Err(resolves_another(number).into())
    }

    /// Whether there is no such thing, or it is of projects alone that the token is bound to.
    fn admits_or_nothing(self, question: Question) -> Result<bool, Unsettled> {
        let is_none = matches!(self.answers.to(&question), Some(Learnt::Nothing));
        Ok(is_none || admits_all(self.projects, learnt(self.answers, question)?))
    }
}

fn resolves_another(name: &str) -> Denial {
    let note = format!(
        "the token is bound to a project or more, and a commit's message resolves an issue of another, \
         `{}`; leave it out, or use a token that is bound to both",
        name.escape_debug()
    );
    Denial::new(Reason::Binding).note(note)
}

/// What was learnt, if it was; no ids where there is no such thing.
fn learnt(answers: &Answers, question: Question) -> Result<&[u64], Unsettled> {
    match answers.to(&question) {
        Some(Learnt::Ids(ids)) => Ok(ids),
        Some(Learnt::Nothing) => Ok(&[]),
        Some(Learnt::Unavailable) => {
            Err(Denial::new(Reason::DirectoryUnavailable).again_in(1).into())
        }
        None if answers.len() >= Answers::MOST => {
            let note =
                "the request names more projects than a bound token may at once; send several";
            Err(Denial::new(Reason::Binding).note(note).into())
        }
        None => Err(Unsettled::Ask(question)),
    }
}

/// Whether there are ids, and none but those that the binding has.
fn admits_all(binding: &Binding, ids: &[u64]) -> bool {
    !ids.is_empty() && ids.iter().all(|id| binding.admits(&id.to_string()))
}

/// What can be the slug of an organisation or a project, and is no id.
fn is_slug(name: &str) -> bool {
    name.len() <= 100 && is_slug_or_id(name) && !is_digits(name)
}

fn another(what: &str, name: &str, reason: Reason) -> Denial {
    let note = format!(
        "the token is bound to another {what} than `{}`; use a token for it",
        name.escape_debug()
    );
    Denial::new(reason).note(note)
}

fn unnamed(what: &str, how: &str) -> Denial {
    let note = format!(
        "the token is bound to one {what} or more, and this route {how}; use a token that is not bound"
    );
    Denial::new(Reason::Binding).note(note)
}
