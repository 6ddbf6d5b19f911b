//! Writing down how tokens are used.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use serde::Serialize;

use super::PortcullisStore;
use super::admin::stored;
use super::census::Census;
use super::database::{Row, Sql};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::usage::{Seen, Totals, Usage};

/// How many tokens are written at a time.
const BATCH: usize = 100;

/// The rows of a batch, kept from others until they are written. In one order: gateways that write down
/// the same tokens must not wait for each other in a circle.
const READ: Sql = Sql {
    sqlite: "SELECT id, last_used_at, census FROM token \
        WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id",
    postgres: "SELECT id, last_used_at, census FROM token \
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json))) ORDER BY id \
        FOR NO KEY UPDATE",
};
/// The same rows, all in one statement.
const WRITE: Sql = Sql {
    sqlite: "UPDATE token SET last_used_at = used.value ->> 'last_used_at', \
        census = used.value ->> 'census' FROM json_each($1) AS used \
        WHERE token.id = used.value ->> 'id'",
    postgres: "UPDATE token SET last_used_at = used.last_used_at, census = used.census \
        FROM json_to_recordset($1::json) AS used (id text, last_used_at bigint, census text) \
        WHERE token.id = used.id",
};

/// How a token is used, and what of it is in the store.
#[derive(Debug, Default)]
pub(super) struct Used {
    usage: Usage,
    written: Totals,
}

impl Used {
    /// Whether it was used since it was written down.
    fn is_due(&self) -> bool {
        self.usage.totals() != self.written
    }
}

/// What is to be added to a row.
#[derive(Debug)]
struct Due {
    id: Box<str>,
    from: Totals,
    to: Totals,
    seen: Seen,
}

/// A row as it is to be.
#[derive(Serialize)]
struct Line {
    id: String,
    last_used_at: Option<i64>,
    census: Option<String>,
}

impl PortcullisStore {
    /// The handle that marks uses of this token.
    pub(super) fn usage_of(&self, id: &str) -> Usage {
        let mut used = self.used();
        match used.get(id) {
            Some(used) => used.usage.clone(),
            None => used.entry(id.into()).or_default().usage.clone(),
        }
    }

    pub(super) fn used(&self) -> MutexGuard<'_, HashMap<Box<str>, Used>> {
        // The map is whole after a panic too: each entry is written in one step.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down how tokens were used, says of how many, and drops the handles that nobody holds any
    /// more. What can't be written is kept: there is one entry for each token that was used.
    pub(super) async fn flush_usage(&self) -> Result<usize, StoreError> {
        let mut due: Vec<Due> = {
            let mut used = self.used();
            used.retain(|_, used| used.is_due() || !used.usage.is_last_handle());
            let due = used.iter().filter(|(_, used)| used.is_due());
            due.map(|(id, used)| Due {
                id: id.clone(),
                from: used.written.clone(),
                to: used.usage.totals(),
                seen: used.usage.seen(),
            })
            .collect()
        };
        due.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let number = due.len();
        // A few at a time: a slow network gets through some of them at least.
        while !due.is_empty() {
            let rest = due.split_off(due.len().min(BATCH));
            let batch = std::mem::replace(&mut due, rest);
            let ids: Vec<&str> = batch.iter().map(|due| &*due.id).collect();
            let ids = serde_json::Value::from(ids).to_string();
            let written: Vec<(Box<str>, Totals)> =
                batch.iter().map(|due| (due.id.clone(), due.to.clone())).collect();
            let change = move |rows: Vec<Row>| changed(&rows, batch);
            let done = self.database.rewrite(READ, ids, change, WRITE).await;
            done.map_err(StoreError::unavailable)?;
            let mut used = self.used();
            for (id, totals) in written {
                if let Some(used) = used.get_mut(&id) {
                    used.written = totals;
                }
            }
        }
        Ok(number)
    }
}

/// The rows with what is to be added to them. One that is gone is left out.
fn changed(rows: &[Row], batch: Vec<Due>) -> sqlx::Result<String> {
    let mut lines = Vec::with_capacity(rows.len());
    for Due { id, from, to, seen } in batch {
        let is_it = |row: &&Row| row.text("id").is_ok_and(|own| *own == *id);
        let Some(row) = rows.iter().find(is_it) else { continue };
        // Nothing of these lets anybody in, so what can't be read begins anew.
        let before = row.maybe_integer("last_used_at").ok().flatten();
        let before = before.and_then(|at| u64::try_from(at).ok()).map(Timestamp::from_millis);
        let census = row.maybe_text("census").ok().flatten();
        let mut census = census.as_deref().map(Census::read).unwrap_or_default();
        census.add(&from, &to, seen, before);
        let last = before.max(to.last).map(|at| stored(at).unwrap_or(i64::MAX));
        lines.push(Line { id: id.into(), last_used_at: last, census: census.written() });
    }
    serde_json::to_string(&lines).map_err(|error| sqlx::Error::Encode(error.into()))
}
