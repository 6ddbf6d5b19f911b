//! The PostgreSQL of a store: its clock, and what the gateway's role may do in Sentry's.

use super::ask::Patient;
use super::check::Check;
use super::clocks;
use crate::clock::Timestamp;
use crate::config::{Own, Store, StoreKind, StoreServer};
use crate::store::Chain;
use crate::store::portcullis::{IfMissing, Token, TokenKind};
use crate::store::postgres::audit::{self, AuditError, Excess};
use crate::stores;

/// Statements that are told; who has more is the wrong role.
const TOLD: usize = 8;

/// The server of a store, and whether it is Sentry's.
fn server(store: &Store) -> Option<(&StoreServer, bool)> {
    match &store.kind {
        StoreKind::Sentry(server) => Some((server, true)),
        StoreKind::Portcullis(Own::Postgres(server)) => Some((server, false)),
        StoreKind::Portcullis(Own::Sqlite(_))
        | StoreKind::Introspection(_)
        | StoreKind::File(_)
        | StoreKind::Jwt(_) => None,
    }
}

pub(super) async fn look_at(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    for store in &patient.config.stores {
        let Some((server, sentrys)) = server(store) else { continue };
        let before = patient.clock.now();
        let told = audit::clock(&server.address).await;
        checks.push(clock(store, server, told, before, patient.clock.now()));
        if sentrys {
            checks.push(grants(store, server, audit::excesses(&server.address).await));
            if server.listen.is_some() {
                checks.push(triggers(store, server, audit::untold(&server.address).await));
            }
        }
    }
    checks
}

fn clock(
    store: &Store,
    server: &StoreServer,
    told: Result<Timestamp, AuditError>,
    before: Timestamp,
    after: Timestamp,
) -> Check {
    let check = format!("clock.{store}");
    let tried = format!("SELECT clock_timestamp() at {}", server.address);
    match told {
        Ok(told) => clocks::judge(&check, &tried, clocks::of_database(told, before, after)),
        Err(error) => {
            let fix = "see that the database runs, and that the gateway's host may reach it";
            Check::problem(check, &tried, Chain(&error).to_string(), fix)
        }
    }
}

fn grants(store: &Store, server: &StoreServer, found: Result<Vec<Excess>, AuditError>) -> Check {
    let check = format!("grants.{store}");
    let tried = format!("the catalogs of PostgreSQL at {}", server.address);
    let excesses = match found {
        // A database that does not answer is told of with its clock.
        Err(error) => return Check::skipped(check, &tried, Chain(&error).to_string()),
        Ok(excesses) => excesses,
    };
    if excesses.is_empty() {
        return Check::ok(check, &tried, "the role reads no table and calls four functions alone");
    }
    let told = |part: fn(&Excess) -> &str| {
        let mut parts: Vec<&str> = excesses.iter().take(TOLD).map(part).collect();
        parts.dedup();
        let more = excesses.len().saturating_sub(TOLD);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        parts.join("; ") + &more
    };
    Check::problem(check, &tried, told(|excess| &excess.what), told(|excess| &excess.fix))
}

fn triggers(store: &Store, server: &StoreServer, found: Result<Vec<String>, AuditError>) -> Check {
    let check = format!("triggers.{store}");
    let tried = format!("the catalogs of PostgreSQL at {}", server.address);
    match found {
        Err(error) => Check::skipped(check, &tried, Chain(&error).to_string()),
        Ok(tables) if tables.is_empty() => {
            Check::ok(check, &tried, "every change that takes access away is told")
        }
        Ok(tables) => Check::problem(
            check,
            &tried,
            format!("`listen_url` is set, and changes of {} are not told", tables.join(", ")),
            "run deploy/postgres/sentry-notify.sql there, as the owner of Sentry's tables",
        ),
    }
}

/// The tokens in force that a credential of the gateway stands in for, as far as their stores
/// can be read from here.
pub(super) async fn tokens_in_use(patient: &Patient<'_>) -> Vec<Token> {
    let mut in_use = Vec::new();
    for store in &patient.config.stores {
        let StoreKind::Portcullis(own) = &store.kind else { continue };
        let Ok(opened) = stores::open_own(own, IfMissing::Fail).await else { continue };
        if opened.examine().await.is_ok()
            && let Ok((tokens, _)) = opened.list().await
        {
            let now = patient.clock.now();
            let tokens = tokens
                .into_iter()
                .filter(|token| token.kind != TokenKind::Dsn && token.condition(now) == "active");
            in_use.extend(tokens);
        }
        opened.close().await;
    }
    in_use
}
