//! Where requests for a rule name projects.

use super::super::problem::Problem;
use super::super::raw::RawRule;
use crate::policy::naming::{Naming, Place};

impl RawRule {
    /// How requests name projects. With problems, what comes of it is not used.
    pub(super) fn naming(&self, place: &str, problems: &mut Vec<Problem>) -> Naming {
        let path = self.path.get_ref();
        let mut problem = |what: String, help: &str| {
            problems.push(Problem::new(place, format!("rule `{path}` {what}"), help));
        };
        let (mut places, known) = (Vec::new(), list());
        for name in self.projects.iter().flatten() {
            match Place::from_name(name) {
                Some(found) => places.push(found),
                None => problem(
                    format!("has projects in `{name}`, where none can be read"),
                    &format!("write some of {known}"),
                ),
            }
        }
        for own in places.iter().filter(|own| !own.parameters().is_empty()) {
            let named = |parameter: &&str| path.contains(&format!("{{{parameter}}}"));
            if !own.parameters().iter().any(named) {
                let what = format!(
                    "has projects in `{}`, and no such parameter in its path",
                    own.as_str()
                );
                let help =
                    format!("name it `{{{}}}` as Sentry does, or delete it", own.parameters()[0]);
                problem(what, &help);
            }
        }
        let in_organization = path.contains("{organization_");
        if !in_organization && places.iter().any(|own| *own != Place::Query) {
            let what = "says where projects are named, and names no organization";
            problem(
                what.to_owned(),
                "delete `projects`: slugs mean something in an organization alone",
            );
        }
        let in_query = |own: &Place| matches!(own, Place::Query | Place::Search);
        if self.add_project && !places.iter().any(in_query) {
            let what = "adds a `project`, and does not say that it is read";
            let help = "write `projects = [\"query\"]` or `[\"search\"]`, or delete `add_project`";
            problem(what.to_owned(), help);
        }
        match (self.bound, &self.projects) {
            (false, None) => Naming::REFUSED,
            (false, Some(_)) => {
                let what = "says where projects are named, and lets no bound token through";
                problem(what.to_owned(), "delete `projects`, or `bound = false`");
                Naming::REFUSED
            }
            (true, None) => Naming::PATH,
            (true, Some(_)) if places.is_empty() => Naming::NOTHING,
            (true, Some(_)) if self.add_project => Naming::places(places).adding(),
            (true, Some(_)) => Naming::places(places),
        }
    }
}

fn list() -> String {
    let names: Vec<_> = Place::ALL.iter().map(|place| format!("`{}`", place.as_str())).collect();
    names.join(", ")
}
