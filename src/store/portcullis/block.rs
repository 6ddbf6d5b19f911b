//! The block list: credentials of whatever store that are refused, by fingerprint, by every gateway
//! that shares this one.

use std::collections::HashSet;

use super::admin::{AdminError, stored};
use super::database::Cells;
use super::{PortcullisStore, StoreError};
use crate::clock::Timestamp;
use crate::policy::credential::Fingerprint;

/// The longest reason, in characters.
const MAX_REASON_LEN: usize = 200;

const INSERT: &str = "INSERT INTO block (fingerprint, reason, created_at) VALUES ($1, $2, $3) \
    ON CONFLICT DO NOTHING";
const DELETE: &str = "DELETE FROM block WHERE fingerprint = $1";
const ALL: &str =
    "SELECT fingerprint, reason, created_at FROM block ORDER BY created_at, fingerprint";

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Of whom.
    pub fingerprint: Fingerprint,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub created_at: Timestamp,
}

impl Block {
    fn read(row: &dyn Cells) -> Result<Self, StoreError> {
        let created_at = row.integer("created_at").map_err(StoreError::unavailable)?;
        Ok(Self {
            fingerprint: fingerprint(row)?,
            reason: row.lossy_text("reason").map_err(StoreError::unavailable)?,
            created_at: Timestamp::from_millis(u64::try_from(created_at).unwrap_or(0)),
        })
    }
}

/// Who is meant. An entry that can't be read is no entry to be passed over: who is meant would get in.
fn fingerprint(row: &dyn Cells) -> Result<Fingerprint, StoreError> {
    let text = row.text("fingerprint").map_err(StoreError::unavailable)?;
    text.parse().map_err(|_| {
        let what = format!("the block list has `{}`, which is no fingerprint", text.escape_debug());
        StoreError::unavailable(what)
    })
}

impl PortcullisStore {
    /// Blocks a credential, and says whether it was not blocked before.
    ///
    /// # Errors
    /// When the reason is too long, or the store can't be written.
    pub async fn block(&self, block: &Block) -> Result<bool, AdminError> {
        if block.reason.chars().count() > MAX_REASON_LEN || block.reason.contains(char::is_control)
        {
            return Err(AdminError::BadReason);
        }
        let values = vec![
            block.fingerprint.to_string().into(),
            block.reason.as_str().into(),
            stored(block.created_at)?.into(),
        ];
        let changed = self.database.write(INSERT, vec![values]).await;
        Ok(changed.map_err(AdminError::Write)? > 0)
    }

    /// Lets a credential in again, and says whether it was blocked.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn unblock(&self, fingerprint: Fingerprint) -> Result<bool, AdminError> {
        let values = vec![fingerprint.to_string().into()];
        let changed = self.database.write(DELETE, vec![values]).await;
        Ok(changed.map_err(AdminError::Write)? > 0)
    }

    /// The list, oldest first.
    ///
    /// # Errors
    /// When it can't be read, or an entry of it.
    pub async fn blocks(&self) -> Result<Vec<Block>, StoreError> {
        let rows = self.database.fetch(ALL, Vec::new()).await?;
        rows.iter().map(|row| Block::read(&**row)).collect()
    }

    /// Who is on the list.
    ///
    /// # Errors
    /// As [`blocks`](Self::blocks).
    pub async fn blocked(&self) -> Result<HashSet<Fingerprint>, StoreError> {
        let rows = self.database.fetch(ALL, Vec::new()).await?;
        rows.iter().map(|row| fingerprint(&**row)).collect()
    }
}
