//! Stopping: signals, and letting requests in flight end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::readiness::Readiness;
use crate::telemetry::metrics::Metrics;

/// What ends a server.
#[derive(Debug)]
pub enum Stop {
    /// SIGTERM or SIGINT; a second one ends it at once.
    Signals,
    /// Another thread of this process, by sending `true` or by going away.
    Channel(watch::Receiver<bool>),
}

/// How often it is looked whether requests are still in flight.
const POLL: Duration = Duration::from_millis(20);

pub(super) struct Signal {
    pub(super) stop: Stop,
    pub(super) readiness: Arc<Readiness>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Signal {
    /// Pingora stops at once when this returns, so it returns when nothing is in flight, when the
    /// time to drain is over, or at a second signal.
    async fn recv(&self) -> ShutdownSignal {
        self.requested().await;
        self.readiness.stopping();
        let in_flight = self.metrics.in_flight();
        tracing::info!(in_flight = in_flight.get(), drain = ?self.drain, "stopping");
        let drained = async {
            while in_flight.get() > 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::select! {
            drained = tokio::time::timeout(self.drain, drained) => {
                if drained.is_err() {
                    tracing::warn!(in_flight = in_flight.get(), "requests are cut off");
                }
            }
            () = self.again() => tracing::warn!("a second signal; requests are cut off"),
        }
        ShutdownSignal::FastShutdown
    }
}

impl Signal {
    async fn requested(&self) {
        match &self.stop {
            Stop::Signals => signalled().await,
            Stop::Channel(stop) => {
                // A sender that went away means the same.
                stop.clone().wait_for(|stop| *stop).await.map(drop).unwrap_or_default();
            }
        }
    }

    async fn again(&self) {
        match &self.stop {
            Stop::Signals => signalled().await,
            Stop::Channel(_) => std::future::pending().await,
        }
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
