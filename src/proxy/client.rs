//! What a listener knows of a client's connection, and what the requests on it tell the listener.
//!
//! Pingora hands both on without looking at them, as what it keeps for a proxy in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pingora::proxy::Session;

use super::certificate::ClientCertificate;

/// A client, for as long as its connection.
#[derive(Debug)]
pub struct Client {
    /// What it has shown, if anything.
    pub certificate: Option<ClientCertificate>,
    /// Its requests.
    pub requests: Arc<Requests>,
}

impl Client {
    /// That of a request.
    pub(super) fn of(session: &Session) -> Option<&Self> {
        let data = session.digest().and_then(|digest| digest.proxy_digest.as_ref());
        data.and_then(|digest| digest.user_data.as_ref()?.downcast_ref())
    }
}

/// The requests of a connection.
#[derive(Debug)]
pub struct Requests {
    /// How many connections wait for their first one.
    waiting: Arc<AtomicUsize>,
    begun: AtomicBool,
    running: AtomicUsize,
}

impl Requests {
    /// Those of a new connection, which is one more that waits.
    pub fn none_yet(waiting: &Arc<AtomicUsize>) -> Arc<Self> {
        waiting.fetch_add(1, Ordering::AcqRel);
        let (waiting, begun) = (Arc::clone(waiting), AtomicBool::new(false));
        Arc::new(Self { waiting, begun, running: AtomicUsize::new(0) })
    }

    /// The first one has come.
    pub fn begun(&self) {
        // The second look is for those that come at the same time.
        if !self.has_begun() && !self.begun.swap(true, Ordering::AcqRel) {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether the first one has come.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether one is under way, from the end of its head on.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }

    /// One more, whose head has come.
    pub(super) fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.begun();
        Running(Arc::clone(self))
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        // Nobody waits for what does not come any more.
        self.begun();
    }
}

/// A request that is under way for as long as this is kept.
#[derive(Debug)]
pub(super) struct Running(Arc<Requests>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_waits_until_its_first_request_or_its_end() {
        let waiting = Arc::new(AtomicUsize::new(0));
        let count = || waiting.load(Ordering::Acquire);
        let (one, other) = (Requests::none_yet(&waiting), Requests::none_yet(&waiting));
        assert_eq!(count(), 2);
        let first = one.run();
        assert!(one.has_begun() && one.is_running() && !other.is_running());
        assert_eq!(count(), 1);
        let second = one.run();
        drop(first);
        assert!(one.is_running());
        drop((second, one));
        assert_eq!(count(), 1);
        drop(other);
        assert_eq!(count(), 0);
    }
}
