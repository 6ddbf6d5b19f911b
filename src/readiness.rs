//! Whether the gateway should get traffic: what `/readyz` says.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the gateway should get traffic.
#[derive(Debug, Default)]
pub struct Readiness {
    serving: AtomicBool,
    upstream_known: AtomicBool,
    stores_known: AtomicBool,
    stopping: AtomicBool,
    cut: AtomicBool,
}

impl Readiness {
    /// The public listeners answer.
    pub fn serving(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// Whether the public listeners answer.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// The address of the upstream is known.
    pub fn upstream_known(&self) {
        self.upstream_known.store(true, Ordering::Release);
    }

    /// Every token store has answered once. What becomes of one later does not count: callers that
    /// are remembered are served.
    pub fn stores_known(&self) {
        self.stores_known.store(true, Ordering::Release);
    }

    /// A signal to stop has come.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether a signal to stop has come.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The time that requests had to end is over.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Whether what has not come whole by now is refused.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Why it should get no traffic, if so.
    pub fn reason(&self) -> Option<&'static str> {
        if self.is_stopping() {
            Some("stopping")
        } else if !self.is_serving() {
            Some("starting")
        } else if !self.upstream_known.load(Ordering::Acquire) {
            Some("the upstream's host name can't be resolved")
        } else if !self.stores_known.load(Ordering::Acquire) {
            Some("a token store can't be asked yet")
        } else {
            None
        }
    }
}
