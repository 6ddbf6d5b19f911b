//! Ends the gateway when a part has failed that it can't do without.
//!
//! **Invariant:** what keeps revocations, or listens, does not end while the rest serves on as before.

use tokio::sync::watch;

/// Heard by whoever ends the gateway.
#[derive(Clone, Debug)]
pub(super) struct Alarm(watch::Sender<bool>);

impl Alarm {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// The gateway is to end.
    pub(super) fn ring(&self) {
        self.0.send_replace(true);
    }

    /// Whether it rang.
    pub(super) fn has_rung(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it rings.
    pub(super) async fn rings(&self) {
        // It fails when its sender is gone, which is here.
        let _ = self.0.subscribe().wait_for(|rung| *rung).await;
    }

    /// Rings when that is dropped, unless it was [dismissed](Guard::dismiss) before: whatever ends a
    /// thread drops what it has.
    pub(super) fn guard(&self) -> Guard {
        Guard(Some(self.clone()))
    }
}

/// Rings when it is dropped.
#[derive(Debug)]
pub(super) struct Guard(Option<Alarm>);

impl Guard {
    /// All is well.
    pub(super) fn dismiss(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(alarm) = &self.0 {
            alarm.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_rings_and_one_that_ends_well_does_not() {
        let alarm = Alarm::new();
        let guard = alarm.guard();
        std::thread::spawn(move || guard.dismiss()).join().unwrap();
        assert!(!alarm.has_rung());
        let guard = alarm.guard();
        let ended = std::thread::spawn(move || {
            let _guard = guard;
            panic!("a defect");
        });
        assert!(ended.join().is_err());
        assert!(alarm.has_rung());
    }
}
