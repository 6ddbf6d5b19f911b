//! Stopping: signals, letting requests in flight end, and making way for a new process.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use prometheus::IntGauge;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::accept::Entrances;
use super::alarm::Alarm;
use super::crowd::POLL;
use super::handover::{Program, Sockets, Wire};
use super::manager;
use crate::proxy::InForce;
use crate::readiness::Readiness;
use crate::store::Chain;

/// How long a client of HTTP/2 does nothing until it is left.
const QUIET: Duration = Duration::from_secs(2);

/// How long answering what is cut off may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Waits for the end.
pub(super) struct Ending {
    pub(super) readiness: Arc<Readiness>,
    pub(super) in_force: InForce,
    pub(super) entrances: Entrances,
    /// The admin listener's.
    pub(super) operators: Option<Entrances>,
    /// What a new process needs; `None` where there is none to start.
    pub(super) successor: Option<Successor>,
    pub(super) signals: tokio::sync::Mutex<Signals>,
    pub(super) alarm: Alarm,
}

/// What makes a new process of the gateway.
pub(super) struct Successor {
    pub(super) program: Arc<Program>,
    pub(super) sockets: Mutex<Arc<Sockets>>,
}

/// Why the gateway ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// SIGTERM: whoever sends requests is told by `/readyz` first.
    Terminate,
    /// SIGINT: somebody waits for it.
    Interrupt,
    /// Another process serves.
    Succeeded,
    /// A part has failed.
    Failed,
}

#[async_trait]
impl ShutdownSignalWatch for Ending {
    /// Pingora stops at once when this returns, so it returns when nothing is in flight, when the
    /// time to drain is over, or at a second signal.
    async fn recv(&self) -> ShutdownSignal {
        // Nobody else has them any more.
        self.wait(&mut *self.signals.lock().await).await;
        // Not `FastShutdown`: that tells the accept loops nothing, and one whose socket belongs to a
        // thread that has ended fails to accept for ever, without yielding.
        ShutdownSignal::GracefulTerminate
    }
}

impl Ending {
    async fn wait(&self, signals: &mut Signals) {
        let cause = self.cause(signals).await;
        if cause == Cause::Failed {
            tracing::error!("a part of the gateway has failed, so it ends; start it again");
        }
        let serving = self.in_force.load_full();
        let (in_flight, drain) = (serving.metrics.in_flight(), serving.drain);
        self.readiness.stopping();
        manager::stopping(cause == Cause::Succeeded);
        let delay = if cause == Cause::Terminate { serving.stop_delay } else { Duration::ZERO };
        tracing::info!(in_flight = in_flight.get(), ?delay, ?drain, "stopping");
        // Until those who send requests have seen that, new connections are as welcome as ever.
        let waited = tokio::select! {
            () = tokio::time::sleep(delay) => true,
            _ = signals.stop() => false,
        };
        if let Some(successor) = &self.successor {
            successor.close();
        }
        let operators = self.operators.iter().filter(|_| cause == Cause::Succeeded);
        let closed = async {
            for entrances in operators.chain([&self.entrances]) {
                entrances.close().await;
            }
            serving.upstreams.stop_waiting();
        };
        let ended = waited
            && tokio::select! {
                ended = within(drain, async { closed.await; self.drained(in_flight).await }) => ended,
                _ = signals.stop() => false,
            };
        if !ended {
            // Who is still sending is told to send it again.
            self.readiness.cut();
            self.entrances.end();
            serving.upstreams.stop_waiting();
            if !within(LAST_WORDS, self.drained(in_flight)).await {
                tracing::warn!(in_flight = in_flight.get(), "requests are cut off");
            }
        }
    }

    /// Waits until no request is in flight, and no client of HTTP/2 reads on what it was sent: what it
    /// has no room for yet is written after its request has ended. One that does nothing is left.
    async fn drained(&self, in_flight: &IntGauge) {
        let mut before = self.entrances.left();
        let mut quiet = Duration::ZERO;
        loop {
            let left = self.entrances.left();
            let busy = in_flight.get() > 0 || left.blocked > 0 || left != before;
            quiet = if busy { Duration::ZERO } else { quiet.saturating_add(POLL) };
            if in_flight.get() == 0 && (left.http2 == 0 || quiet >= QUIET) {
                return;
            }
            before = left;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for a reason to end.
    async fn cause(&self, signals: &mut Signals) -> Cause {
        loop {
            let next = tokio::select! {
                next = signals.next() => next,
                () = self.alarm.rings() => Some(Cause::Failed),
            };
            if let Some(cause) = next {
                return cause;
            }
            if let Some(cause) = self.hand_over(signals).await {
                return cause;
            }
        }
    }

    /// Has a new process take over, and gives the reason to end that came of it, or meanwhile.
    async fn hand_over(&self, signals: &mut Signals) -> Option<Cause> {
        let Some(successor) = &self.successor else {
            tracing::error!("this process can't start another one; the gateway goes on");
            return None;
        };
        let wire = match Wire::new() {
            Ok(wire) => wire,
            Err(error) => {
                tracing::error!(%error, "no new process can be talked to; this one goes on");
                return None;
            }
        };
        let (program, sockets, end) =
            (Arc::clone(&successor.program), successor.sockets(), wire.end());
        let mut started =
            pin!(tokio::task::spawn_blocking(move || program.hand_over(&sockets, wire)));
        let (cause, started) = tokio::select! {
            biased;
            started = &mut started => (None, started),
            cause = signals.stop() => {
                // Its thread waits for a word of the new process, which ends without one.
                end.cut();
                (Some(cause), started.await)
            }
        };
        match started.map_err(anyhow::Error::from).flatten() {
            Ok(process) => {
                tracing::info!(process, "a new process serves");
                Some(Cause::Succeeded)
            }
            Err(error) if cause.is_none() => {
                let error = Chain(error.as_ref()).to_string();
                tracing::error!(error, "no new process takes over; this one goes on");
                None
            }
            Err(_) => cause,
        }
    }
}

/// Whether something is done in time.
async fn within(time: Duration, done: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(time, done).await.is_ok()
}

impl Successor {
    fn sockets(&self) -> Arc<Sockets> {
        Arc::clone(&self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets go of the sockets: as long as somebody holds them, clients connect to them.
    fn close(&self) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }
}

/// The signals, which are kept from now on: one that comes while nobody waits is not lost.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

impl Signals {
    /// On a runtime, which lives as long.
    ///
    /// # Errors
    /// When they can't be handled.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// Why to end, or nothing when a new process is to take over.
    async fn next(&mut self) -> Option<Cause> {
        tokio::select! {
            _ = self.terminate.recv() => Some(Cause::Terminate),
            _ = self.interrupt.recv() => Some(Cause::Interrupt),
            _ = self.upgrade.recv() => None,
        }
    }

    /// Waits for one of those that end the gateway.
    pub(super) async fn stopped(&mut self) {
        self.stop().await;
    }

    async fn stop(&mut self) -> Cause {
        tokio::select! {
            _ = self.terminate.recv() => Cause::Terminate,
            _ = self.interrupt.recv() => Cause::Interrupt,
        }
    }
}
