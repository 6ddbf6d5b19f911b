//! What a new token is bound to: ids, learnt of Sentry where names were given.

use anyhow::{Context as _, bail};

use crate::directory::Directory;
use crate::policy::identity::Binding;
use crate::policy::profile::Profiles;
use crate::policy::question::{Learnt, Question};
use crate::policy::scope::ScopeSet;
use crate::policy::template::is_digits;

/// Organisations and projects as they were written.
pub(super) struct Named {
    pub(super) organizations: Vec<String>,
    /// `organization/project`, or an id.
    pub(super) projects: Vec<String>,
}

/// Organisations and projects as a token is bound to them.
pub(super) struct Bindings {
    pub(super) organizations: Binding,
    pub(super) projects: Binding,
}

impl Named {
    /// The ids of all. Without a Sentry to ask, a project must be an id, and an organisation stays what it
    /// was called.
    pub(super) async fn bound(self, directory: Option<&dyn Directory>) -> anyhow::Result<Bindings> {
        let (mut organizations, mut projects) = (Vec::new(), Vec::new());
        for name in &self.organizations {
            organizations.push(organization(name, directory).await?);
        }
        for name in &self.projects {
            if is_digits(name) {
                projects.push(name.clone());
                continue;
            }
            let (owner, project) = name.split_once('/').with_context(|| {
                format!("`{name}` is no project; write `organization/project`, or its id")
            })?;
            projects.push(self::project(owner, project, directory).await?);
            let owner = organization(owner, directory).await?;
            if !organizations.contains(&owner) {
                organizations.push(owner);
            }
        }
        Ok(Bindings { organizations: binding(organizations), projects: binding(projects) })
    }
}

async fn organization(name: &str, directory: Option<&dyn Directory>) -> anyhow::Result<String> {
    let Some(directory) = directory.filter(|_| !is_digits(name)) else {
        return Ok(name.to_owned());
    };
    match directory.learn(&Question::Organization(name.into())).await {
        Learnt::Ids(ids) => one(&ids).with_context(|| unknown("organization", name)),
        Learnt::Nothing => bail!(unknown("organization", name)),
        Learnt::Unavailable => {
            eprintln!(
                "warning: Sentry does not say which id `{name}` has, so the token is bound to whoever has \
                 that slug; write the id to bind it for good"
            );
            Ok(name.to_owned())
        }
    }
}

async fn project(
    organization: &str,
    project: &str,
    directory: Option<&dyn Directory>,
) -> anyhow::Result<String> {
    let name = format!("{organization}/{project}");
    let asked = Question::Project { organization: organization.into(), project: project.into() };
    let Some(directory) = directory else {
        bail!(
            "without `--config` Sentry can't be asked which id `{name}` has; write the id: `--project 42`"
        );
    };
    match directory.learn(&asked).await {
        Learnt::Ids(ids) => one(&ids).with_context(|| unknown("project", &name)),
        Learnt::Nothing => bail!(unknown("project", &name)),
        Learnt::Unavailable => bail!(
            "Sentry does not say which id `{name}` has; check `upstream.web` and its `credential` with \
             `portcullis doctor`, or write the id: `--organization 1 --project 42`"
        ),
    }
}

/// The scopes of a profile.
pub(super) fn check_profile(profiles: &Profiles, name: &str) -> anyhow::Result<ScopeSet> {
    let profile = profiles.profile(name).with_context(|| {
        let names = profiles.profiles.iter().map(|profile| &*profile.name);
        format!("there is no profile `{name}`; take one of {}", listed(names))
    })?;
    Ok(profile.scopes)
}

/// Every group is there.
pub(super) fn check_groups(profiles: &Profiles, names: &[Box<str>]) -> anyhow::Result<()> {
    match names.iter().find(|name| !profiles.has_group(name)) {
        None => Ok(()),
        Some(name) => {
            let known = listed(profiles.groups.iter().map(|(name, _)| &**name));
            bail!("there is no group `{name}`; take one of {known}")
        }
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn one(ids: &[u64]) -> Option<String> {
    let [id] = ids else { return None };
    Some(id.to_string())
}

fn unknown(what: &str, name: &str) -> String {
    format!(
        "Sentry has no {what} `{name}` that the credential of `upstream.web` may see under this name; check \
         the spelling, and whether it was renamed"
    )
}

/// To these; to nothing when empty.
pub(super) fn binding(names: Vec<String>) -> Binding {
    if names.is_empty() {
        Binding::Any
    } else {
        Binding::Only(names.into_iter().map(String::into_boxed_str).collect())
    }
}
