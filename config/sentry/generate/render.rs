//! A rule as it is written in `config/sentry.toml`.

use super::data::{Access, CREDENTIALS, DEFAULT_CREDENTIALS, NEWEST, Requirement};
use super::rules::Era;

pub(super) fn render(paths: &[String], methods: &[&str], era: Era, wanted: &Requirement) -> String {
    let mut text = String::from("\n[[rule]]\n");
    let mut line = |key: &str, value: String| text.push_str(&format!("{key} = {value}\n"));
    line("methods", array(methods));
    line("path", quote(&paths[0]));
    if paths.len() > 1 {
        line("aliases", array(&paths[1..]));
    }
    match &wanted.access {
        Access::Public => line("access", quote("public")),
        Access::Authenticated => line("access", quote("authenticated")),
        Access::NotExposed => line("access", quote("not_exposed")),
        Access::Scopes(scopes) => line("scopes", array(scopes)),
    }
    if wanted.access != Access::NotExposed
        && wanted.credentials != CREDENTIALS[..DEFAULT_CREDENTIALS]
    {
        line("credentials", array(&wanted.credentials));
    }
    if wanted.access != Access::NotExposed && !wanted.exchange {
        line("exchange", "false".to_owned());
    }
    if let Some(timeout) = &wanted.timeout {
        line("timeout", quote(timeout));
    }
    if wanted.session {
        line("session", "true".to_owned());
    }
    if !wanted.rewrite.is_empty() {
        line("rewrite", format!("{{ fields = {} }}", array(&wanted.rewrite)));
    }
    if wanted.access != Access::NotExposed {
        if let Some(places) = &wanted.projects {
            line("projects", array(places));
        }
        if wanted.add_project {
            line("add_project", "true".to_owned());
        }
        if !wanted.bound {
            line("bound", "false".to_owned());
        }
    }
    match era {
        Era::Always => {}
        Era::Since => line("since", quote(NEWEST)),
        Era::Until => line("until", quote(NEWEST)),
    }
    text
}

/// On one line if it fits, or an element a line, so that a diff shows what came and went.
fn array(items: &[impl AsRef<str>]) -> String {
    let items: Vec<String> = items.iter().map(|item| quote(item.as_ref())).collect();
    let short = format!("[{}]", items.join(", "));
    if short.len() <= 88 { short } else { format!("[\n    {},\n]", items.join(",\n    ")) }
}

/// A JSON string of what paths, methods and scopes are made of is a TOML string too.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
