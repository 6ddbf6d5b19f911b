//! The tables of the page. On a phone each row is stacked: what it is about, and its figures below.

use maud::{Markup, html};

use super::super::model::{Decision, Refused, Route, Status};
use super::super::up::{Certificate, Store, Upstream, Validity};
use super::words::{count, mean, time, within};
use super::{bad, good, warn};
use crate::store::cache::Used;
use crate::telemetry::unmatched::Entry;

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    /// Figures, one below the other.
    Figure(&'static str),
    /// A few words.
    Words(&'static str),
    /// Words that may be many: they get a line of their own where there is little room.
    Line(&'static str),
}

impl Column {
    const fn heading(self) -> &'static str {
        match self {
            Column::Figure(heading) | Column::Words(heading) | Column::Line(heading) => heading,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Column::Figure(_) => "n",
            Column::Words(_) => "w",
            Column::Line(_) => "l",
        }
    }
}

/// A table; `rows` are what each is about, and a cell for each of `columns`. The roles are those that
/// the elements have; a browser forgets them where rows are stacked.
fn table(caption: &str, about: &str, columns: &[Column], rows: &[(Markup, Vec<Markup>)]) -> Markup {
    let beside = columns.iter().filter(|column| !matches!(column, Column::Line(_))).count();
    html! {
        table role="table" class={ "of-" (beside) } {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    th.l scope="col" role="columnheader" { (about) }
                    @for column in columns {
                        th scope="col" role="columnheader" class=(column.class()) { (column.heading()) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for (about, cells) in rows {
                    tr role="row" {
                        th.l scope="row" role="rowheader" { (about) }
                        @for (column, cell) in columns.iter().zip(cells) {
                            td role="cell" class=(column.class()) { (cell) }
                        }
                    }
                }
            }
        }
    }
}

fn rows<T>(list: &[T], row: impl Fn(&T) -> (Markup, Vec<Markup>)) -> Vec<(Markup, Vec<Markup>)> {
    list.iter().map(row).collect()
}

fn figure(value: u64) -> Markup {
    html! { (count(value)) }
}

fn word(text: &str) -> Markup {
    html! { (text) }
}

/// How much there is of what there may be.
fn of(value: u64, limit: u64) -> Markup {
    html! { (count(value)) " of " (count(limit)) }
}

fn code(text: &str) -> Markup {
    html! { code { (text) } }
}

/// A path; it may be broken behind each slash.
fn path(text: &str) -> Markup {
    html! {
        code {
            @for part in text.split_inclusive('/') { (part) wbr; }
        }
    }
}

/// The name of something, and whether it is up.
fn named(name: &str, up: bool) -> Markup {
    html! { span.name { (name) } " " @if up { (good("up")) } @else { (bad("down")) } }
}

pub(super) fn up(status: &Status) -> Markup {
    html! {
        h2 { "What is up" }
        (upstreams(&status.upstreams))
        (stores(&status.stores))
        @if !status.certificates.is_empty() { (certificates(&status.certificates)) }
    }
}

fn upstreams(upstreams: &[Upstream]) -> Markup {
    let columns = [
        Column::Line("Addresses"),
        Column::Figure("In flight"),
        Column::Figure("Waiting"),
        Column::Figure("Answered"),
        Column::Figure("95 % within"),
        Column::Figure("Failures"),
    ];
    let addresses = |upstream: &Upstream| {
        html! {
            @for addresses in &upstream.addresses {
                div {
                    code { (addresses.url) } ": " (count(addresses.up)) " up"
                    @if addresses.down > 0 { ", " (bad(&format!("{} down", addresses.down))) }
                }
            }
        }
    };
    let row = |upstream: &Upstream| {
        let cells = vec![
            addresses(upstream),
            of(upstream.in_flight, upstream.max_in_flight),
            of(upstream.waiting, upstream.max_waiting),
            figure(upstream.answers.count),
            word(&within(&upstream.answers)),
            figure(upstream.failures),
        ];
        (named(&upstream.name, upstream.is_up()), cells)
    };
    table("Upstreams", "Upstream", &columns, &rows(upstreams, row))
}

fn stores(stores: &[Store]) -> Markup {
    let columns = [
        Column::Figure("Found"),
        Column::Figure("Unknown"),
        Column::Figure("Errors"),
        Column::Figure("95 % within"),
    ];
    let row = |store: &Store| {
        let figures = [store.found, store.unknown, store.errors].map(figure);
        let cells = figures.into_iter().chain([word(&within(&store.lookups))]).collect();
        (named(&store.name, store.up), cells)
    };
    table("Token stores", "Store", &columns, &rows(stores, row))
}

fn certificates(certificates: &[Certificate]) -> Markup {
    let columns =
        [Column::Words("State"), Column::Words("Valid until"), Column::Figure("Days left")];
    let row = |certificate: &Certificate| {
        let state = match certificate.state {
            Validity::Valid => good("valid"),
            Validity::EndsSoon => warn("ends soon"),
            Validity::Ended => bad("ended"),
        };
        let left = html! { (certificate.days_left) };
        (path(&certificate.path), vec![state, time(certificate.not_after), left])
    };
    table("Certificates", "File", &columns, &rows(certificates, row))
}

pub(super) fn decisions(status: &Status) -> Markup {
    let columns = [Column::Words("Credential"), Column::Figure("Requests")];
    let row = |decision: &Decision| {
        let about = html! {
            (decided(&decision.decision))
            @if decision.reason != "none" { " " (code(&decision.reason)) }
        };
        (about, vec![word(&decision.credential), figure(decision.count)])
    };
    html! {
        @if status.decisions.is_empty() {
            p.quiet { "No request has been decided on yet." }
        } @else {
            (table("Decisions", "Decision and reason", &columns, &rows(&status.decisions, row)))
        }
    }
}

fn decided(decision: &str) -> Markup {
    match decision {
        "allow" | "answer" => good(decision),
        "observe" | "shadow" => warn(decision),
        other => bad(other),
    }
}

pub(super) fn routes(status: &Status) -> Markup {
    html! {
        h2 { "Routes" }
        @if status.busiest_routes.is_empty() {
            p.quiet { "No request has come yet." }
        } @else {
            (timed("Busiest", &status.busiest_routes))
            (timed("Slowest, by mean", &status.slowest_routes))
            @if status.most_refused_routes.is_empty() {
                p { (good("Nothing was refused")) }
            } @else {
                div { (refused(&status.most_refused_routes)) }
            }
        }
    }
}

fn timed(caption: &str, routes: &[Route]) -> Markup {
    let columns =
        [Column::Figure("Requests"), Column::Figure("Mean"), Column::Figure("95 % within")];
    let row = |route: &Route| {
        let spread = &route.duration;
        let cells = vec![figure(spread.count), word(&mean(spread)), word(&within(spread))];
        (path(&route.route), cells)
    };
    table(caption, "Route", &columns, &rows(routes, row))
}

fn refused(routes: &[Refused]) -> Markup {
    let columns = [Column::Words("Reason"), Column::Figure("Requests")];
    let row = |refused: &Refused| {
        let reason = html! {
            (code(&refused.reason))
            @if refused.decision == "observe" { " " (warn("observed")) }
            @if refused.decision == "shadow" { " " (warn("in shadow")) }
        };
        (path(&refused.route), vec![reason, figure(refused.count)])
    };
    table("Most refused", "Route", &columns, &rows(routes, row))
}

pub(super) fn tokens(status: &Status) -> Markup {
    let columns = [Column::Words("Kind"), Column::Words("Store"), Column::Figure("Requests")];
    let row = |used: &Used| {
        (code(&used.id), vec![word(used.kind), word(&used.store), figure(used.requests)])
    };
    html! {
        h2 { "Tokens by use" }
        @if status.tokens.is_empty() {
            p.quiet { "No token is remembered." }
        } @else {
            (table("Presented most, since each is remembered", "Token", &columns, &rows(&status.tokens, row)))
        }
    }
}

pub(super) fn unmatched(status: &Status) -> Markup {
    let columns = [Column::Words("Last, in UTC"), Column::Figure("Requests")];
    let row = |entry: &Entry| {
        // To the second.
        let last = entry.last.get(..19).unwrap_or(&entry.last).replace('T', " ");
        let about = html! { (entry.method) " " (path(&entry.path)) };
        (about, vec![html! { time datetime=(entry.last) { (last) } }, figure(entry.count)])
    };
    html! {
        h2 { "What met no rule" }
        @if status.unmatched.is_empty() {
            p { (good("Nothing")) " was asked for that no rule knows." }
        } @else {
            (table("Asked for most", "Method, and path as a template", &columns, &rows(&status.unmatched, row)))
            p.quiet { code { "GET /unmatched" } " has more of them." }
        }
    }
}
