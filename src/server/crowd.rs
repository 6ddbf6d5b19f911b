//! The connections of a listener that a stop waits for.
//!
//! **Invariant:** what is counted here is counted from when it was accepted; nothing is in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How often it is looked who is still there.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// How long who has connected may be silent before the first request, once nobody new is accepted.
const SILENT: Duration = Duration::from_secs(2);

/// How long a head of HTTP/1.1 may take from its first byte on.
const HEAD: Duration = Duration::from_secs(60);

/// Connections, by what they wait for.
#[derive(Debug)]
pub(super) struct Crowd {
    /// How long a head of HTTP/1.1 may take.
    pub(super) head: Duration,
    /// Those of which is not known yet who it is, and what is spoken.
    shaking: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
    http2: Arc<AtomicUsize>,
    blocked: Arc<AtomicUsize>,
    leaving: AtomicBool,
    moved: AtomicU64,
}

impl Default for Crowd {
    fn default() -> Self {
        Self::with_heads_within(HEAD)
    }
}

impl Crowd {
    /// Nobody yet; a head of HTTP/1.1 may take that long.
    pub(super) fn with_heads_within(head: Duration) -> Self {
        Self {
            head,
            shaking: Arc::default(),
            waiting: Arc::default(),
            http2: Arc::default(),
            blocked: Arc::default(),
            leaving: AtomicBool::new(false),
            moved: AtomicU64::new(0),
        }
    }

    /// One more that shakes hands.
    pub(super) fn shaking(&self) -> One {
        One::of(&self.shaking)
    }

    /// How many wait for their first request, to count them.
    pub(super) const fn waiting(&self) -> &Arc<AtomicUsize> {
        &self.waiting
    }

    /// One more that speaks HTTP/2.
    pub(super) fn http2(&self) -> One {
        One::of(&self.http2)
    }

    /// One more that has more to write than there is room for.
    pub(super) fn blocked(&self) -> One {
        One::of(&self.blocked)
    }

    /// Whether everybody has been told to go.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// From now on everybody is told to go.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Something went over a connection.
    pub(super) fn moved(&self) {
        if self.is_leaving() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everybody who was accepted has sent a request, or says nothing. Handshakes have a
    /// time of their own.
    pub(super) async fn heard(&self) {
        let mut silent = Duration::ZERO;
        while !self.is_heard(&mut silent) {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Looks once, [`POLL`] after it was done before; `silent` is how long it was only waited since
    /// then.
    fn is_heard(&self, silent: &mut Duration) -> bool {
        // A handshake that ends waits before it is no handshake any more.
        let (shaking, waiting) =
            (self.shaking.load(Ordering::Acquire), self.waiting.load(Ordering::Acquire));
        let heard = shaking == 0 && (waiting == 0 || *silent >= SILENT);
        *silent = if shaking > 0 { Duration::ZERO } else { silent.saturating_add(POLL) };
        heard
    }

    /// Who is left: how many connections speak HTTP/2, how many of them can't write what they have,
    /// and a number that changes as long as anything goes over one.
    pub(super) fn left(&self) -> Left {
        Left {
            http2: self.http2.load(Ordering::Acquire),
            blocked: self.blocked.load(Ordering::Acquire),
            moved: self.moved.load(Ordering::Relaxed),
        }
    }
}

/// Who is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) http2: usize,
    pub(super) blocked: usize,
    moved: u64,
}

/// One more of something for as long as this is kept.
#[derive(Debug)]
pub(super) struct One(Arc<AtomicUsize>);

impl One {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Requests;

    #[test]
    fn handshakes_are_waited_for_and_the_silent_for_a_while() {
        let crowd = Crowd::default();
        // How often it is looked before everybody is heard; `None` when it takes longer than that.
        let looks = |most: u32| {
            let mut silent = Duration::ZERO;
            (0..most).find(|_| crowd.is_heard(&mut silent))
        };
        let most = u32::try_from(SILENT.as_millis() / POLL.as_millis()).unwrap();
        assert_eq!(looks(1), Some(0));
        let silent = Requests::none_yet(crowd.waiting());
        assert_eq!(looks(most), None);
        assert_eq!(looks(most + 1), Some(most));
        let shaking = crowd.shaking();
        assert_eq!(looks(10 * most), None);
        let waits = Requests::none_yet(crowd.waiting());
        drop(shaking);
        assert_eq!(looks(most + 1), Some(most));
        waits.begun();
        silent.begun();
        assert_eq!(looks(1), Some(0));
    }

    #[test]
    fn what_moves_counts_once_everybody_is_to_go() {
        let crowd = Crowd::default();
        let before = crowd.left();
        crowd.moved();
        assert_eq!(crowd.left(), before);
        crowd.leave();
        crowd.moved();
        assert_ne!(crowd.left(), before);
        let (speaks, blocked) = (crowd.http2(), crowd.blocked());
        assert_eq!((crowd.left().http2, crowd.left().blocked), (1, 1));
        drop((speaks, blocked));
        assert_eq!((crowd.left().http2, crowd.left().blocked), (0, 0));
    }
}
