//! Stopping: signals, and letting requests in flight end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use super::accept::Entrances;
use crate::proxy::Upstreams;
use crate::readiness::Readiness;
use crate::telemetry::metrics::Metrics;

/// How often it is looked whether requests are still in flight.
const POLL: Duration = Duration::from_millis(20);

/// How long answering what is cut off may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) struct Signal {
    pub(super) readiness: Arc<Readiness>,
    pub(super) upstreams: Upstreams,
    pub(super) entrances: Entrances,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Signal {
    /// Pingora stops at once when this returns, so it returns when nothing is in flight, when the
    /// time to drain is over, or at a second signal.
    async fn recv(&self) -> ShutdownSignal {
        signalled().await;
        self.readiness.stopping();
        self.upstreams.stop_waiting();
        let in_flight = self.metrics.in_flight();
        tracing::info!(in_flight = in_flight.get(), drain = ?self.drain, "stopping");
        // Without a listener that runs there is nothing to close.
        let closed = tokio::time::timeout(LAST_WORDS, self.entrances.close()).await;
        closed.unwrap_or_default();
        let drained = async |within: Duration| {
            let drained = async {
                while in_flight.get() > 0 {
                    tokio::time::sleep(POLL).await;
                }
            };
            tokio::time::timeout(within, drained).await.is_ok()
        };
        let ended = tokio::select! {
            drained = drained(self.drain) => drained,
            () = signalled() => false,
        };
        if !ended {
            // Who is still sending is told to send it again.
            self.readiness.cut();
            if !drained(LAST_WORDS).await {
                tracing::warn!(in_flight = in_flight.get(), "requests are cut off");
            }
        }
        // Not `FastShutdown`: that tells the accept loops nothing, and one whose socket belongs to a
        // thread that has ended fails to accept for ever, without yielding.
        ShutdownSignal::GracefulTerminate
    }
}

/// Waits for SIGTERM or SIGINT. Without a handler the signal would end the process at once, which
/// is what happens when none can be installed.
async fn signalled() {
    let both = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match both {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals can't be handled; SIGKILL ends the process");
            std::future::pending::<()>().await;
        }
    }
}
