//! Canaries: tokens that nobody is to use, laid out where only a thief looks.
//!
//! **Invariant:** the store knows none of them when it is asked who somebody is, so whoever presents one
//! is answered as with any unknown token, in whatever way that is done. That it was one is found out
//! beside the decision, by a list of their digests.

use super::PortcullisStore;
use super::admin::{AdminError, Issued, Issuing, NewToken};
use super::row::TokenKind;
use crate::clock::Timestamp;
use crate::policy::credential::Digest;
use crate::policy::identity::{Binding, Narrowing};
use crate::policy::scope::ScopeSet;
use crate::store::StoreError;
use crate::store::cache::Canary;

/// As the index has it.
const CANARIES: &str = "SELECT id, digest FROM token \
    WHERE kind IN ('canary-bearer', 'canary-api-key', 'canary-dsn') AND revoked_at IS NULL";

impl PortcullisStore {
    /// Creates a canary, which is one until it is revoked. The DSN of one is of a project of an
    /// organization; another names none.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_canary(
        &self,
        kind: TokenKind,
        name: String,
        of: Option<(String, u64)>,
        now: Timestamp,
    ) -> Result<Issued, AdminError> {
        let only = |name: String| Binding::Only([name.into()].into());
        let (organizations, projects) = match of {
            None => (Binding::Any, Binding::Any),
            Some((organization, project)) => (only(organization), only(project.to_string())),
        };
        let new = NewToken {
            kind,
            name,
            scopes: ScopeSet::EMPTY,
            organizations,
            projects,
            allowed_origins: Vec::new(),
            narrowing: Narrowing::NONE,
            expires_at: None,
        };
        self.issue(new, Issuing::Canary, now).await
    }

    /// The canaries that were not revoked.
    pub(super) async fn canaries(&self) -> Result<Vec<(Digest, Canary)>, StoreError> {
        let mut canaries = Vec::new();
        for row in self.database.fetch(CANARIES, Vec::new()).await? {
            let id = row.text("id").map_err(StoreError::unavailable)?;
            let digest = row.bytes("digest").map_err(StoreError::unavailable)?;
            // One that can't be read has no secret that anybody could present.
            let Ok(digest) = <[u8; 32]>::try_from(digest) else { continue };
            let (store, usage) = (self.name.clone(), self.usage_of(&id));
            canaries.push((Digest::from_bytes(digest), Canary { store, id: id.into(), usage }));
        }
        Ok(canaries)
    }
}
