//! Stopping: signals, letting requests in flight end, and making way for a new process.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use prometheus::IntGauge;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::accept::Entrances;
use super::crowd::POLL;
use super::handover::{Program, Sockets};
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
}

#[async_trait]
impl ShutdownSignalWatch for Ending {
    /// Pingora stops at once when this returns, so it returns when nothing is in flight, when the
    /// time to drain is over, or at a second signal.
    async fn recv(&self) -> ShutdownSignal {
        match Signals::new() {
            Ok(mut signals) => self.wait(&mut signals).await,
            Err(error) => {
                tracing::error!(%error, "signals can't be handled; SIGKILL ends the process");
                std::future::pending::<()>().await;
            }
        }
        // Not `FastShutdown`: that tells the accept loops nothing, and one whose socket belongs to a
        // thread that has ended fails to accept for ever, without yielding.
        ShutdownSignal::GracefulTerminate
    }
}

impl Ending {
    async fn wait(&self, signals: &mut Signals) {
        let cause = self.cause(signals).await;
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
            if let Some(cause) = signals.next().await {
                return cause;
            }
            tokio::select! {
                succeeded = self.hand_over() => if succeeded {
                    return Cause::Succeeded;
                },
                cause = signals.stop() => return cause,
            }
        }
    }

    /// Has a new process take over, and says whether it did.
    async fn hand_over(&self) -> bool {
        let Some(successor) = &self.successor else {
            tracing::error!("this process can't start another one; the gateway goes on");
            return false;
        };
        let (program, sockets) = (Arc::clone(&successor.program), successor.sockets());
        let started = tokio::task::spawn_blocking(move || program.hand_over(&sockets)).await;
        match started.map_err(anyhow::Error::from).flatten() {
            Ok(process) => {
                tracing::info!(process, "a new process serves");
                true
            }
            Err(error) => {
                let error = Chain(error.as_ref()).to_string();
                tracing::error!(error, "no new process takes over; this one goes on");
                false
            }
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
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

impl Signals {
    /// Without handlers each would end the process at once, which is what happens when none can be
    /// installed.
    fn new() -> io::Result<Self> {
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

    async fn stop(&mut self) -> Cause {
        tokio::select! {
            _ = self.terminate.recv() => Cause::Terminate,
            _ = self.interrupt.recv() => Cause::Interrupt,
        }
    }
}
