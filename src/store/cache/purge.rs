//! Forgetting, and asking again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Identities;
use super::entry::{Key, Known};
use crate::clock::Timestamp;
use crate::policy::credential::{Digest, Fingerprint, Presented, Scheme};
use crate::policy::decision::Listed;

/// How many identities are asked about again in a row, and how long is waited after so many.
const STEP: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// How long after a question that was not answered the next one is asked; longer after several, up to
/// [`LATER`].
const AGAIN: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(5);
/// How many identities are looked at before others have their turn.
const TURN: usize = 1_000;

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

    /// Whether what is presented is, by anything that it is known by.
    pub(super) fn listed_in_any_form(&self, presented: Presented<'_>) -> Listed {
        match self.listed(&presented.credential.digest) {
            Listed::No if !self.blocks_nobody() => {
                presented.other_form().map_or(Listed::No, |digest| self.listed(&digest))
            }
            listed => listed,
        }
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
                let key = Key { store: slot.index, scheme, digest: *digest };
                if let Some(known) = self.known.get(&key).await {
                    self.remember_former(&key, &known);
                }
                self.known.invalidate(&key).await;
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

    /// Forgets everything, and says of how many tokens it was.
    pub async fn purge_all(&self) -> usize {
        let purged = self.purge_where(|_| true).await;
        self.known.invalidate_all();
        self.flights.invalidate_all();
        purged
    }

    async fn purge_where(&self, is_meant: impl Fn(&Key) -> bool) -> usize {
        // Counted up first, as for one token: what is read before that is not kept.
        self.epochs.count_all();
        let mut meant = Vec::new();
        for (number, (key, known)) in self.known.iter().enumerate() {
            if is_meant(&key) {
                self.remember_former(&key, &known);
                meant.push(*key);
            }
            give_way(number).await;
        }
        for (number, key) in meant.iter().enumerate() {
            self.known.invalidate(key).await;
            give_way(number).await;
        }
        meant.len()
    }

    /// That a token was known, if it was in force: asking for it again is no guess.
    fn remember_former(&self, key: &Key, known: &Known) {
        if known.is_in_force(self.clock.now()) {
            self.former.add(key, self.clock.instant());
        }
    }

    /// Asks the store at this place again about all that it said before `moment`, some hundred a
    /// second: what was revoked since may have gone unheard. Until its turn comes, an identity is
    /// served for its lifetime, as without notifications. What the store does not answer it is asked
    /// again, for as long as the identity is served at all.
    pub async fn revalidate(self: &Arc<Self>, store: usize, moment: Timestamp) {
        let Some(slot) = self.stores.get(store) else { return };
        let said_before = |fresh_until: Timestamp| fresh_until < moment.after(self.settings.ttl);
        // What is being asked now may have been read before.
        self.epochs.count_all();
        let mut due = VecDeque::new();
        for (number, (key, known)) in self.known.iter().enumerate() {
            if key.store == slot.index && said_before(known.fresh_until()) {
                due.push_back((*key, known));
            }
            give_way(number).await;
        }
        let (mut asked, mut failed) = (0_usize, 0_u32);
        while let Some((key, known)) = due.pop_front() {
            let is_served =
                self.known.contains_key(&key) && known.bridges(self.clock.now(), &self.settings);
            if !is_served {
                continue;
            }
            asked += 1;
            if asked % STEP == 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let credential = known.credential(&key);
            if self.renew(slot, (&credential).into(), &known).await {
                failed = 0;
            } else {
                due.push_back((key, known));
                failed += 1;
                tokio::time::sleep(LATER.min(AGAIN * failed)).await;
            }
        }
    }
}

/// Lets others have their turn, in a loop over all that is known.
async fn give_way(number: usize) {
    if number % TURN == TURN - 1 {
        tokio::task::yield_now().await;
    }
}
