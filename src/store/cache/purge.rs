//! Forgetting, and asking again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Identities;
use super::entry::Key;
use crate::clock::Timestamp;
use crate::policy::credential::{Digest, Fingerprint, Scheme};
use crate::policy::decision::Listed;

/// How many identities are asked about again in a row, and how long is waited after so many.
const STEP: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);

impl Identities {
    /// Takes up the block list of the store at this place.
    pub fn block(&self, store: usize, list: HashSet<Fingerprint>) {
        self.blocked.set(store, list);
        // A snapshot without it would let in who is on it.
        self.epochs.count_all();
    }

    /// Whether a credential of this digest is on a block list.
    pub fn listed(&self, digest: &Digest) -> Listed {
        self.blocked.lists(digest.fingerprint())
    }

    /// Whether no credential at all is.
    pub fn blocks_nobody(&self) -> bool {
        self.blocked.is_nobody()
    }

    /// Whether the block list of every store that has one was read.
    pub fn has_block_lists(&self) -> bool {
        self.blocked.is_read()
    }

    /// Forgets what is known of a token, at every store. A question that is under way does not
    /// bring it back.
    pub async fn purge(&self, digest: &Digest) {
        self.epochs.count(digest);
        for slot in &self.stores {
            for scheme in [Scheme::Bearer, Scheme::Basic, Scheme::Dsn, Scheme::Certificate] {
                self.known.invalidate(&Key { store: slot.index, scheme, digest: *digest }).await;
            }
        }
    }

    /// Forgets what is known of tokens with this fingerprint, of which there may be several, and says
    /// of how many it was.
    pub async fn purge_fingerprint(&self, fingerprint: Fingerprint) -> usize {
        self.purge_where(|key| key.digest.fingerprint() == fingerprint).await
    }

    /// Forgets what the store of this name said, and says of how many tokens it was; nothing if there
    /// is no such store.
    pub async fn purge_store(&self, name: &str) -> Option<usize> {
        let slot = self.stores.iter().find(|slot| slot.store.name() == name)?;
        Some(self.purge_where(|key| key.store == slot.index).await)
    }

    async fn purge_where(&self, is_meant: impl Fn(&Key) -> bool) -> usize {
        // Counted up first, as for one token: what is read before that is not kept.
        self.epochs.count_all();
        let meant: Vec<Key> =
            self.known.iter().map(|(key, _)| *key).filter(|key| is_meant(key)).collect();
        for key in &meant {
            self.known.invalidate(key).await;
        }
        meant.len()
    }

    /// Forgets everything.
    pub fn purge_all(&self) {
        self.epochs.count_all();
        self.known.invalidate_all();
        self.flights.invalidate_all();
    }

    /// Asks the store at this place again about all that it said before `moment`, some hundred a
    /// second: what was revoked since may have gone unheard. Until its turn comes, an identity is
    /// served for its lifetime, as without notifications.
    pub async fn revalidate(self: &Arc<Self>, store: usize, moment: Timestamp) {
        let Some(slot) = self.stores.get(store) else { return };
        let said_before = |fresh_until: Timestamp| fresh_until < moment.after(self.settings.ttl);
        // What is being asked now may have been read before.
        self.epochs.count_all();
        let mut due = Vec::new();
        for (key, known) in &self.known {
            if key.store == slot.index && said_before(known.fresh_until()) {
                due.push((*key, known));
            }
        }
        for (number, (key, known)) in due.into_iter().enumerate() {
            if number % STEP == STEP - 1 {
                tokio::time::sleep(PAUSE).await;
            }
            let credential = known.credential(&key);
            self.renew(slot, (&credential).into(), &known).await;
        }
    }
}
