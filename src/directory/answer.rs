//! Sentry's answers, read strictly.

use http::StatusCode;
use serde::{Deserialize, Deserializer};

use crate::policy::question::{Learnt, Question};

/// What tells organisations and projects apart (`serializers/models/organization.py`, `project.py`).
#[derive(Deserialize)]
struct Named {
    #[serde(deserialize_with = "id")]
    id: u64,
    slug: String,
}

#[derive(Deserialize)]
struct Project {
    #[serde(flatten)]
    own: Named,
    organization: Named,
}

#[derive(Deserialize)]
struct Release {
    version: String,
    projects: Vec<Named>,
}

#[derive(Deserialize)]
struct Issue {
    project: Named,
}

/// Sentry writes ids as texts, and some as numbers.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(u64),
        Text(String),
    }
    match Id::deserialize(deserializer)? {
        Id::Number(id) => Ok(id),
        Id::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

/// The path that is asked for; `None` for what can't have one.
pub(super) fn path(question: &Question) -> Option<String> {
    let path = match question {
        Question::Organization(organization) => {
            format!("/api/0/organizations/{}/?detailed=0", encoded(organization)?)
        }
        Question::Project { organization, project } => {
            format!("/api/0/projects/{}/{}/", encoded(organization)?, encoded(project)?)
        }
        Question::Release { organization, version } => {
            format!(
                "/api/0/organizations/{}/releases/{}/",
                encoded(organization)?,
                encoded(version)?
            )
        }
        Question::Issue { organization, issue } => {
            format!("/api/0/organizations/{}/issues/{}/", encoded(organization)?, encoded(issue)?)
        }
    };
    Some(path)
}

/// One segment of a path, or none where a reader could see several in it, or another one.
fn encoded(name: &str) -> Option<String> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\\']) || name.len() > 250 {
        return None;
    }
    if name.chars().any(char::is_control) {
        return None;
    }
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    Some(name.bytes().map(byte).collect())
}

/// What an answer says of a question. That there is no such thing is said with 404 alone: where something
/// is, and is not shown, there is something.
pub(super) fn read(question: &Question, status: StatusCode, body: &[u8]) -> Learnt {
    match status {
        StatusCode::OK => ids(question, body).map_or(Learnt::Unavailable, Learnt::Ids),
        StatusCode::NOT_FOUND => Learnt::Nothing,
        // It has moved, or is not shown.
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT
        | StatusCode::FORBIDDEN => Learnt::Ids(Box::new([])),
        _ => Learnt::Unavailable,
    }
}

fn ids(question: &Question, body: &[u8]) -> Option<Box<[u64]>> {
    let none = || -> Box<[u64]> { Box::new([]) };
    let ids = match question {
        Question::Organization(slug) => {
            let own: Named = serde_json::from_slice(body).ok()?;
            if *own.slug == **slug { [own.id].into() } else { none() }
        }
        Question::Project { organization, project } => {
            let found: Project = serde_json::from_slice(body).ok()?;
            let owner = found.organization;
            let is_of = *owner.slug == **organization || owner.id.to_string() == **organization;
            if is_of && *found.own.slug == **project { [found.own.id].into() } else { none() }
        }
        Question::Release { version, .. } => {
            let release: Release = serde_json::from_slice(body).ok()?;
            if *release.version != **version {
                return Some(none());
            }
            release.projects.iter().map(|project| project.id).collect()
        }
        Question::Issue { .. } => {
            let issue: Issue = serde_json::from_slice(body).ok()?;
            [issue.project.id].into()
        }
    };
    Some(ids)
}

#[cfg(test)]
mod tests;
