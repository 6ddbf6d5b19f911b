//! Projects in a query: the parameters that choose them, and the filters of a search.

use super::super::decision::Denial;
use super::super::identity::Binding;
use super::super::path::decoded;
use super::super::reason::Reason;
use super::super::template::is_digits;
use super::{Scope, Unsettled};

/// The parameter to which Sentry limits its answer (`OrganizationEndpoint.get_projects` in
/// `api/bases/organization.py`).
const PROJECT: &str = "project";
/// The starts of all that choose projects, letters and digits alone, in lower case: `projectSlug`,
/// `project_id`, `projects` and whatever comes.
const FAMILY: &str = "project";
/// Finds an issue of any project by its short id (`issues/endpoints/organization_group_index.py`).
const SHORT_ID_LOOKUP: &str = "shortidlookup";
/// Reads, and in some versions writes, a dashboard's widget, of any organization
/// (`api/endpoints/organization_events.py`).
const WIDGET: &str = "dashboardwidgetid";
/// Reads a file of any project's release (`api/endpoints/artifact_lookup.py`).
const DOWNLOAD: &str = "download";
const RELEASE_FILE: &str = "release_file";
/// What is changed, by id. A short id is looked up in the whole organisation
/// (`api/helpers/group_index/update.py`).
const ID: &str = "id";
/// Parameters that hold a search.
const SEARCHES: [&str; 2] = [QUERY, "search"];
/// The one by which Sentry limits a list of projects, and its filter by id (`tokenize_query` in
/// `search/utils.py`, `core/endpoints/organization_projects.py`).
const QUERY: &str = "query";
const BY_ID: &str = "id:";

/// Whether the query names nothing but what is admitted; says whether `project` names anything.
pub(super) fn check(query: Option<&str>, scope: Scope<'_>) -> Result<bool, Unsettled> {
    let mut named = false;
    let Some(query) = query else { return Ok(named) };
    if query.contains(';') {
        return Err(unclear("a semicolon, which some read as the end of a parameter"));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = form_decoded(name);
        let folded = folded(&name);
        if folded.starts_with(FAMILY) {
            if name.contains(['[', ']']) {
                return Err(unclear("a project in brackets"));
            }
            let value = form_decoded(value);
            if name == PROJECT && !is_digits(&value) {
                return Err(unclear("a `project` that is no id; write `project=<id>`"));
            }
            scope.admits(&value)?;
            named |= name == PROJECT;
        } else if folded == SHORT_ID_LOOKUP && !matches!(value, "" | "0") {
            return Err(unclear("`shortIdLookup`, which finds issues of any project"));
        } else if folded == WIDGET && !value.is_empty() {
            return Err(unclear("`dashboardWidgetId`, which may be of any project"));
        } else if folded == DOWNLOAD && form_decoded(value).contains(RELEASE_FILE) {
            return Err(unclear("a `download` that may be of any project"));
        } else if SEARCHES.contains(&&*folded) {
            let text = form_decoded(value);
            if text.contains(char::is_control) {
                return Err(unclear("a control character in its search"));
            }
            if is_event_id(&text) {
                return Err(unclear("an event id as its search, which finds it in any project"));
            }
            search(&text, scope)?;
        }
    }
    Ok(named)
}

/// Whether the search names projects by id, which are all admitted, and nothing else; `false` where there
/// is none. Whatever else Sentry reads in one could be more than that.
pub(super) fn searches(query: Option<&str>, scope: Scope<'_>) -> Result<bool, Unsettled> {
    let pairs = query.unwrap_or_default().split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut found = false;
    for (name, value) in pairs.map(|(name, value)| (form_decoded(name), value)) {
        if folded(&name) != QUERY {
            continue;
        }
        // Of two, Sentry reads the last, and somebody else may read the first.
        if found || name != QUERY {
            return Err(unclear("more than one search"));
        }
        for word in form_decoded(value).split(' ') {
            let id = word.strip_prefix(BY_ID).filter(|id| is_digits(id));
            let id = id.ok_or_else(|| unclear("a search for more than `id:<id>`"))?;
            scope.admits(id)?;
        }
        found = true;
    }
    Ok(found)
}

/// Whether what is changed is told by numbers, where it is told by ids.
pub(super) fn check_ids(query: Option<&str>) -> Result<(), Unsettled> {
    let pairs = query.unwrap_or_default().split('&');
    for (name, value) in pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        if form_decoded(name).eq_ignore_ascii_case(ID) && !is_digits(&form_decoded(value)) {
            return Err(unclear("an `id` that is no number"));
        }
    }
    Ok(())
}

/// Whether Python's `uuid.UUID` takes a text, or could: 32 hex digits with braces, hyphens and prefixes
/// anywhere, and whatever `int` takes between digits.
fn is_event_id(text: &str) -> bool {
    let text = text.trim().replace("urn:", "").replace("uuid:", "").replace(['{', '}', '-'], "");
    let taken = |c: char| c.is_ascii_hexdigit() || " _xX+\t".contains(c) || !c.is_ascii();
    text.chars().count() == 32 && text.chars().all(taken)
}

/// What a query has to name, and does not.
#[derive(Clone, Copy)]
pub(super) struct Missing {
    /// `project`.
    pub(super) project: bool,
    /// `query`, with `id:`.
    pub(super) search: bool,
}

impl Missing {
    /// Whether anything is missing.
    pub(super) const fn any(self) -> bool {
        self.project || self.search
    }

    /// What names one project.
    pub(super) fn naming(self, id: &str) -> String {
        self.joined(&[id])
    }

    /// What names the projects of a binding.
    pub(super) fn added(self, projects: &Binding) -> Box<str> {
        let ids: Vec<&str> = match projects {
            Binding::Only(names) => {
                names.iter().map(|name| &**name).filter(|name| is_digits(name)).collect()
            }
            Binding::Any | Binding::Unknown => Vec::new(),
        };
        self.joined(&ids).into()
    }

    fn joined(self, ids: &[&str]) -> String {
        let mut parts = Vec::new();
        if self.project {
            parts.extend(ids.iter().map(|id| format!("{PROJECT}={id}")));
        }
        if self.search {
            let words: Vec<_> = ids.iter().map(|id| format!("{BY_ID}{id}")).collect();
            parts.push(format!("{QUERY}={}", words.join("%20")));
        }
        parts.join("&")
    }
}

/// The projects that a search filters by: `project:web`, `project.id:7`, `project:[web, app]`.
fn search(text: &str, scope: Scope<'_>) -> Result<(), Unsettled> {
    let lower = text.to_ascii_lowercase();
    let mut at = 0;
    while let Some(found) = lower[at..].find(FAMILY) {
        let start = at + found;
        at = start + FAMILY.len();
        // `my_project:` is a tag of somebody's own, `tags[project]:` may be; both are looked at all the same.
        let rest = &lower[at..];
        let key = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"._]\"".contains(c));
        let Some(key) = key.filter(|key| rest[*key..].starts_with(':')) else { continue };
        let value = &text[at + key + 1..];
        let value = value.strip_prefix('=').unwrap_or(value);
        let names = match value.strip_prefix('[') {
            Some(list) => list.split_once(']').map(|(list, _)| list),
            None => Some(value.split([' ', ')', '(']).next().unwrap_or_default()),
        };
        let Some(names) = names else { return Err(unclear("a list of projects without an end")) };
        for name in names.split(',') {
            scope.admits(name.trim().trim_matches('"'))?;
        }
    }
    Ok(())
}

/// The letters and digits of a name, in lower case.
fn folded(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// As forms write it: a plus is a blank (`application/x-www-form-urlencoded`).
fn form_decoded(part: &str) -> String {
    decoded(&part.replace('+', " ")).into_owned()
}

fn unclear(what: &str) -> Unsettled {
    let note = format!(
        "the token is bound to a project or more, and the query has {what}; leave it out, or use a \
         token that is not bound"
    );
    Denial::new(Reason::Binding).note(note).into()
}
