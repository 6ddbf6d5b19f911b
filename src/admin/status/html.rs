//! The page itself. Every value goes through the template, which escapes it; what is not escaped is
//! the style and the script, which are ours.

mod tables;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::form::Form;
use super::model::Status;
use super::{SCRIPT, STYLE};
use crate::policy::method::Method;
use words::{NOTHING, count, many, mean, since, time, within};

/// What `explain` says of what was filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Explained {
    /// The decision, and the steps that led to it, as the command prints them.
    Decided { allowed: bool, steps: String },
    /// Why it can't be asked.
    NotAsked(String),
}

/// A portcullis, as an image in the page.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
%3Cpath d='M2 2h12v9l-1 3-1-3H9l-1 3-1-3H4l-1 3-1-3zM5 2v9M8 2v9M11 2v9M2 5h12M2 8h12' fill='none' \
stroke='%230b57a4' stroke-width='1.5'/%3E%3C/svg%3E";

/// Renders the page.
pub(super) fn page(status: &Status, form: &Form, explained: Option<&Explained>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title(status, explained)) }
                link rel="icon" href=(ICON);
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the figures" }
                header { (head(status)) }
                main #main tabindex="-1" {
                    section.wide #up data-live { (tables::up(status)) }
                    (config(status))
                    section #traffic data-live { (traffic(status)) }
                    div.stack {
                        section #cache data-live { (cache(status)) }
                        section #unmatched data-live { (tables::unmatched(status)) }
                    }
                    section.wide #tokens data-live { (tables::tokens(status)) }
                    section.wide.columns #routes data-live { (tables::routes(status)) }
                    section.wide #explain aria-labelledby="explain-title" { (explain(form, explained)) }
                }
                footer.quiet {
                    p { "The same figures: " a href="/status" { "as JSON" } ", " a href="/metrics" { "for Prometheus" } "." }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// What was asked comes first: a screen reader begins with it.
fn title(status: &Status, explained: Option<&Explained>) -> String {
    let state = if status.ready { "ready" } else { "not ready" };
    match explained {
        Some(Explained::Decided { allowed: true, .. }) => "Allowed – Portcullis".to_owned(),
        Some(Explained::Decided { allowed: false, .. }) => "Refused – Portcullis".to_owned(),
        Some(Explained::NotAsked(_)) => "Not asked – Portcullis".to_owned(),
        None => format!("Portcullis: {state}"),
    }
}

fn head(status: &Status) -> Markup {
    html! {
        div.top {
            h1 { "Portcullis" }
            p #state data-live { (state(status)) }
        }
        dl.facts #facts data-live {
            div { dt { "Version" } dd { (status.version) } }
            @if let Some(started) = status.started_at {
                div { dt { "Running for" } dd { (since(started, status.at)) } }
            }
            div { dt { "Config" } dd { code { (status.config.hash) } } }
            div {
                dt { "Rules" }
                dd { (count(status.config.rules)) ", for Sentry " (status.config.sentry_version) }
            }
        }
        div.bar {
            p #as-of data-live { "As of " (time(status.at)) }
            a href="/" { "Reload" }
            label hidden { input #live type="checkbox" checked autocomplete="off"; "Refresh every 5 seconds" }
            p #note role="status" {}
        }
        nav aria-label="On this page" {
            ul {
                @for (id, name) in [
                    ("up", "What is up"),
                    ("config", "Config"),
                    ("traffic", "Traffic"),
                    ("cache", "Cache"),
                    ("unmatched", "No rule"),
                    ("tokens", "Tokens"),
                    ("routes", "Routes"),
                    ("explain", "Explain"),
                ] {
                    li { a href={ "#" (id) } { (name) } }
                }
            }
        }
    }
}

fn state(status: &Status) -> Markup {
    html! {
        @match status.not_ready_because {
            None => (good("Ready")),
            Some(reason) => (bad(&format!("Not ready: {reason}"))),
        }
        @if let Some(until) = status.observing_until {
            " " (warn("Observing")) " until " (time(until))
        }
    }
}

// Not by colour alone: a sign, and the word.

fn good(text: &str) -> Markup {
    html! { span.state.good { span aria-hidden="true" { "✓ " } (text) } }
}

fn warn(text: &str) -> Markup {
    html! { span.state.warn { span aria-hidden="true" { "▲ " } (text) } }
}

fn bad(text: &str) -> Markup {
    html! { span.state.bad { span aria-hidden="true" { "✗ " } (text) } }
}

fn config(status: &Status) -> Markup {
    let config = &status.config;
    let last = config.last.as_ref();
    let problems = last.map(|last| last.problems.as_slice()).unwrap_or_default();
    let notes = last.map(|last| last.notes.as_slice()).unwrap_or_default();
    html! {
        section.wide #config data-live {
            h2 { "Config" }
            p {
                @if problems.is_empty() {
                    (good("In force"))
                } @else {
                    (bad("The last one was refused")) "; the one before it is in force"
                }
                ": " code { (config.hash) } ", since " (time(config.loaded_at)) "."
            }
            (told(status))
            @for (list, class, word) in [(problems, "bad", "Problem"), (notes, "warn", "Note")] {
                @if !list.is_empty() {
                    ul.problems {
                        @for problem in list {
                            li class=(class) {
                                strong { (word) ": " code { (problem.at) } }
                                p { (problem.what) }
                                p.quiet { "Fix: " (problem.help) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What upstreams are told of decisions.
fn told(status: &Status) -> Markup {
    let told = &status.upstreams_told;
    html! {
        p {
            "Upstreams are told: identity headers "
            @if told.identity_headers { "on" } @else { "off" }
            "; assertions "
            @match &told.assertion {
                Some(own) => { "to " (own.upstreams.join(", ")) " in " code { (own.header) } },
                None => "off",
            }
            "."
        }
    }
}

fn traffic(status: &Status) -> Markup {
    let traffic = &status.traffic;
    html! {
        h2 { "Traffic" }
        dl.tiles {
            div { dt { "Requests" } dd { (count(traffic.requests)) } }
            div { dt { "Being served" } dd { (count(traffic.in_flight)) } }
            @for status in &traffic.statuses {
                div { dt { (status_words(&status.what)) } dd { (count(status.count)) } }
            }
            div { dt { "Gateway’s own time, 95 % within" } dd { (within(&traffic.overhead)) } }
        }
        (tables::decisions(status))
    }
}

/// What statuses of a class are.
fn status_words(class: &str) -> String {
    match class {
        "499" => "Client went away (499)".to_owned(),
        other => format!("Status {other}"),
    }
}

fn cache(status: &Status) -> Markup {
    let (cache, lost) = (&status.cache, &status.lost);
    let revocations = &status.revocations;
    html! {
        h2 { "Cache and losses" }
        dl.tiles {
            div { dt { "Callers known" } dd { (count(cache.entries)) } }
            div { dt { "Room for" } dd { (count(cache.capacity)) } }
            @for result in &cache.lookups {
                div { dt { (cache_words(&result.what)) } dd { (count(result.count)) } }
            }
            div { dt { "Revocations" } dd { (count(revocations.count)) } }
            div { dt { "Seen after, mean" } dd { (mean(revocations)) } }
        }
        @let losses = [
            (lost.accept_errors, "connection not accepted", "connections not accepted"),
            (lost.tls_handshakes, "TLS handshake failed", "TLS handshakes failed"),
            (lost.proxy_protocol, "PROXY protocol header refused", "PROXY protocol headers refused"),
            (lost.access_lines, "access line lost", "access lines lost"),
            (lost.messages, "message lost", "messages lost"),
            (lost.audit_records, "audit record lost", "audit records lost"),
            (lost.spans, "span lost", "spans lost"),
            (lost.error_reports, "error not reported", "errors not reported"),
        ];
        @if losses.iter().all(|(count, ..)| *count == 0) {
            p { (good("Nothing lost")) ": no connection, no access line, no message, no audit record, no span, no report." }
        } @else {
            p {
                (warn("Lost"))
                ": "
                (losses.iter().filter(|(count, ..)| *count > 0).map(|(count, one, more)| many(*count, one, more)).collect::<Vec<_>>().join(", "))
                "."
            }
        }
    }
}

fn cache_words(result: &str) -> &str {
    match result {
        "hit" => "Hits",
        "miss" => "Misses",
        "negative" => "Known unknown",
        "stale" => "Stale",
        other => other,
    }
}

fn explain(form: &Form, explained: Option<&Explained>) -> Markup {
    html! {
        h2 #explain-title { "Explain" }
        p { "What would become of a request, and why. Nobody is looked up and nothing is sent." }
        form method="get" action="/#explain" {
            div.field {
                label for="method" { "Method" }
                select #method name="method" {
                    @for method in Method::ALL {
                        option selected[form.method == method.as_str()] { (method) }
                    }
                }
            }
            div.field {
                label for="path" { "Path or URL" }
                input #path type="text" name="path" value=(form.path) required placeholder="/api/0/organizations/acme/issues/"
                    autocomplete="off" autocapitalize="none" spellcheck="false";
            }
            div.field {
                label for="scope" { "Scopes of the token" }
                input #scope type="text" name="scope" value=(form.scopes.join(" ")) aria-describedby="scope-hint"
                    autocomplete="off" autocapitalize="none" spellcheck="false";
                p.quiet #scope-hint { "Such as " code { "event:read org:read" } "; with none, no token is sent." }
            }
            div.field {
                label for="organization" { "Bound to organizations" }
                input #organization type="text" name="organization" value=(form.organizations.join(" "))
                    aria-describedby="organization-hint" autocomplete="off" autocapitalize="none" spellcheck="false";
                p.quiet #organization-hint { "Slugs; with none, to any." }
            }
            button { "Explain" }
        }
        @match explained {
            Some(Explained::Decided { allowed, steps }) => (answer(*allowed, steps)),
            Some(Explained::NotAsked(why)) => div.answer #answer { h3 { (warn("Not asked")) } p { (why) } },
            None => {}
        }
        p.quiet {
            "A token is not asked about here, because a form's fields end up in URLs: use "
            code { "portcullis explain --token-stdin" } " or " code { "POST /explain" } "."
        }
    }
}

/// The steps. The command prints each as a word, spaces up to a column, and the rest.
fn answer(allowed: bool, steps: &str) -> Markup {
    const COLUMN: usize = 12;
    html! {
        div.answer #answer {
            h3 { @if allowed { (good("Allowed")) } @else { (bad("Refused")) } }
            dl.steps {
                @for line in steps.lines() {
                    @let (word, rest) = line.split_at_checked(COLUMN).unwrap_or((line, NOTHING));
                    @if !word.trim().is_empty() { dt { (word.trim()) } }
                    dd.code { (rest) }
                }
            }
        }
    }
}
