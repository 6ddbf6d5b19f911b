//! What Sentry's database notifies of, where the triggers of `deploy/postgres/sentry-notify.sql` are
//! installed.
//!
//! **Invariant:** a notification makes the gateway forget or ask again, and nothing else: any role of
//! the database may send one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::clock::{Clock, Timestamp};
use crate::policy::credential::Digest;
use crate::store::cache::Identities;
use crate::store::postgres::{Ears, Heard, Listener, Locate};
use crate::store::{Observer, Shutdown};

/// The channel that the triggers write to.
pub const CHANNEL: &str = "portcullis_sentry";
/// How many notifications are read at a time, and how long is waited after them.
const BATCH: usize = 500;
const CALM: Duration = Duration::from_millis(20);
/// How long everything that was forgotten stays forgotten at least, before it is forgotten again:
/// otherwise notifications could make each request ask the database.
const FORGET_ALL: Duration = Duration::from_secs(1);

/// Carries the notifications of one store to the cache.
#[derive(Debug)]
pub struct SentryWatch {
    /// The place of the store in the configured order.
    index: usize,
    store: Box<str>,
    identities: Arc<Identities>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

/// What a notification says.
#[derive(Debug, PartialEq, Eq)]
struct Notice {
    /// Whose credential was changed; `None` for too many to name.
    digest: Option<Digest>,
    /// When.
    at: Option<Timestamp>,
}

impl Notice {
    /// `<64 hex digits> <milliseconds>` or `all <milliseconds>`. What can't be read is no notice.
    fn parse(text: &str) -> Option<Self> {
        let (what, at) = text.split_once(' ').unwrap_or((text, ""));
        let digest = if what == "all" { None } else { Some(Digest::from_hex(what)?) };
        Some(Self { digest, at: at.parse().ok().map(Timestamp::from_millis) })
    }
}

impl SentryWatch {
    /// Between the store at the place `index` and the cache before it.
    pub fn new(
        index: usize,
        store: &str,
        identities: Arc<Identities>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { index, store: store.into(), identities, clock, observer }
    }

    /// Listens where `locate` says, until `shutdown` turns true or its sender is gone.
    pub async fn run(self, locate: Locate, mut shutdown: Shutdown) {
        let ears = Listener::new(&self.store, CHANNEL, locate).start();
        tokio::select! {
            () = self.follow(ears) => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    async fn follow(self, mut ears: Ears) {
        let (mut batch, mut revalidation) = (Vec::new(), JoinSet::new());
        let (mut all, mut forgotten) = (None::<Option<Timestamp>>, self.instant());
        loop {
            tokio::select! {
                read = ears.heard.recv_many(&mut batch, BATCH) => if read == 0 { return },
                () = sleep_until(forgotten + FORGET_ALL), if all.is_some() => {
                    self.identities.purge_store(&self.store).await;
                    self.observe(all.take().flatten());
                    forgotten = self.instant();
                    continue;
                }
            }
            for heard in batch.drain(..) {
                match heard {
                    Heard::Connected => {
                        self.observer.watched(self.index, true);
                        // What was said before is not known.
                        revalidation.abort_all();
                        while revalidation.try_join_next().is_some() {}
                        let (identities, store) = (Arc::clone(&self.identities), self.index);
                        let now = self.clock.now();
                        revalidation.spawn(async move { identities.revalidate(store, now).await });
                    }
                    Heard::Lost => self.observer.watched(self.index, false),
                    Heard::Message(text) => match Notice::parse(&text) {
                        Some(Notice { digest: Some(digest), at }) => {
                            self.identities.purge(&digest).await;
                            self.observe(at);
                        }
                        Some(Notice { digest: None, at }) => all = all.or(Some(at)),
                        None => {}
                    },
                }
            }
            sleep(CALM).await;
        }
    }

    fn instant(&self) -> tokio::time::Instant {
        self.clock.instant().into()
    }

    /// Notes how long it took from the change to here.
    fn observe(&self, at: Option<Timestamp>) {
        if let Some(at) = at {
            let lag = self.clock.now().as_millis().saturating_sub(at.as_millis());
            self.observer.revocation_lag(Duration::from_millis(lag));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_names_a_digest_or_all() {
        let hex = "0a".repeat(32);
        let digest = Some(Digest::from_bytes([10; 32]));
        let at = |millis| Some(Timestamp::from_millis(millis));
        let rows = [
            (format!("{hex} 17"), Some(Notice { digest, at: at(17) })),
            (hex.clone(), Some(Notice { digest, at: None })),
            (format!("{hex} soon"), Some(Notice { digest, at: None })),
            ("all 17".to_owned(), Some(Notice { digest: None, at: at(17) })),
            (String::new(), None),
            ("ALL 17".to_owned(), None),
            (format!("{}g 17", &hex[1..]), None),
            (format!("{hex}0a 17"), None),
            (format!("+{} 17", &hex[1..]), None),
        ];
        for (text, wanted) in rows {
            assert_eq!(Notice::parse(&text), wanted, "{text}");
        }
    }
}
