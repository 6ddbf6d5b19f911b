//! Reading the config again while the gateway serves: at SIGHUP, when a file of it has changed, and
//! when an operator asks.
//!
//! **Invariant:** a config that has any problem changes nothing, and what is in force is swapped
//! whole. Requests in flight end under the config that they began with.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::accept::Entrances;
use super::alarm::Alarm;
use super::assembly::{Assembly, Ground};
use super::files::{Files, Recording, Stamp};
use super::manager;
use crate::config::{Config, ConfigError, Problem};
use crate::proxy::InForce;
use crate::reload::{Asking, Outcome, Reloads};
use crate::seats::Seats;
use crate::store::Chain;
use crate::telemetry::audit::{Audit, SettingsChange};
use crate::telemetry::diagnostics;
use crate::telemetry::metrics::ReloadResult;

/// How often it is looked whether a file has changed. What has changed is read when it was the same
/// twice, so that nobody is caught writing.
const LOOK: Duration = Duration::from_secs(1);

/// A config, and the files that it was read from.
pub struct Loaded {
    pub(super) config: Config,
    pub(super) files: Files,
    pub(super) path: PathBuf,
}

impl Loaded {
    /// Reads the config at `path`.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem that was found.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let (config, files) = read(path);
        Ok(Self { config: config?, files, path: path.to_owned() })
    }

    /// The config.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

fn read(path: &Path) -> (Result<Config, ConfigError>, Files) {
    let recording = Recording::default();
    let config = Config::load(path, &recording);
    (config, Files::of(recording))
}

/// Where a config came from.
pub(super) struct Origin {
    pub(super) path: PathBuf,
    /// As they are in force.
    pub(super) files: Files,
}

/// Takes up configs, one at a time.
pub(super) struct Reloader {
    pub(super) ground: Ground,
    pub(super) current: Assembly,
    pub(super) in_force: InForce,
    pub(super) entrances: Entrances,
    pub(super) seats: Arc<Seats>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) asked: mpsc::Receiver<Asking>,
    /// Rings when it ends before its time: what keeps up with the stores ends with it.
    pub(super) alarm: Alarm,
}

/// Why the config is read.
enum Cause {
    Signal,
    Changed,
    Asked(Asking),
}

impl Reloader {
    /// Starts a thread that does this, in the runtime of background work: reading a config takes a while,
    /// and nobody else shall wait for it.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn start(
        self,
        origin: Option<Origin>,
        stop: watch::Receiver<bool>,
        runtime: Handle,
    ) -> io::Result<JoinHandle<()>> {
        let thread = thread::Builder::new().name("reload".to_owned());
        let guard = self.alarm.guard();
        thread.spawn(move || {
            runtime.block_on(self.run(origin, stop));
            guard.dismiss();
        })
    }

    /// Takes up configs from `origin` until `stop` turns true, and ends what is in force then.
    async fn run(mut self, origin: Option<Origin>, mut stop: watch::Receiver<bool>) {
        match origin {
            Some(origin) => tokio::select! {
                () = self.follow(origin) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            },
            None => {
                // Nobody stops by dropping the sender.
                let _ = stop.wait_for(|stop| *stop).await;
            }
        }
        self.record(None, &SettingsChange { action: "stop", ..self.change() });
        self.ground.close();
        self.current.close().await;
    }

    async fn follow(&mut self, mut origin: Origin) {
        let mut hangup = hangup();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // As they were read last, whatever came of it.
        let mut seen: Option<Files> = None;
        let mut changing: Option<Vec<Stamp>> = None;
        loop {
            let cause = tokio::select! {
                () = received(&mut hangup) => Cause::Signal,
                Some(asking) = self.asked.recv() => Cause::Asked(asking),
                _ = look.tick() => {
                    let now = seen.as_ref().unwrap_or(&origin.files).changed();
                    let settled = now.is_some() && now == changing;
                    changing = now;
                    if !settled {
                        continue;
                    }
                    Cause::Changed
                }
            };
            if let (Cause::Signal, Some(log)) = (&cause, &self.ground.audit_log) {
                log.reopen();
            }
            let before = self.current.serving.audit.clone();
            manager::reloading();
            let (outcome, files) = self.reload(&origin).await;
            manager::serving();
            changing = None;
            match outcome.result {
                ReloadResult::Loaded | ReloadResult::Unchanged => {
                    origin.files = files;
                    seen = None;
                }
                ReloadResult::Refused => seen = Some(files),
            }
            self.ground.families.reloaded(outcome.result);
            tell(&cause, &outcome);
            self.audit(before.as_deref(), &cause, &outcome);
            self.reloads.ended(outcome.clone());
            if let Cause::Asked(asking) = cause {
                // Whoever asked may have gone.
                let _ = asking.send(outcome);
            }
        }
    }

    /// Reads the config, and puts it in force if it can be.
    async fn reload(&mut self, origin: &Origin) -> (Outcome, Files) {
        let (config, files) = read(&origin.path);
        let config = match config {
            Ok(config) => config,
            Err(error) => return (self.refused(error.problems), files),
        };
        if files.same_content(&origin.files) {
            let outcome = self.outcome(ReloadResult::Unchanged, Vec::new(), config.notes);
            return (outcome, files);
        }
        let (level, notes) = (config.log.level, config.notes.clone());
        match self.take_up(config).await {
            Ok(()) => {
                diagnostics::set_level(level);
                (self.outcome(ReloadResult::Loaded, Vec::new(), notes), files)
            }
            Err(problems) => (self.refused(problems), files),
        }
    }

    /// Puts a config in force.
    async fn take_up(&mut self, config: Config) -> Result<(), Vec<Problem>> {
        let problems = self.current.unchangeable(&config);
        if !problems.is_empty() {
            return Err(problems);
        }
        let (listen, shown) = (config.listen.clone(), config.upstreams.shown());
        let seats = config.server.seats.clone();
        let stores: Vec<_> = config.stores.iter().map(|store| store.name.clone()).collect();
        let assembled = self.ground.assemble(config, Some(&self.current)).await;
        let (next, awaited) = assembled.map_err(|error| {
            self.current.close_other_stores(&stores, &self.ground);
            let help = "mend it, and load the config again";
            vec![Problem::new("config", Chain(error.as_ref()).to_string(), help)]
        })?;
        if let Err(problems) = awaited.all(&next).await {
            next.retire(&self.current, &self.ground).await;
            return Err(problems);
        }
        next.tell(&self.ground);
        self.ground.audit_log = next.audit_log();
        self.in_force.store(Arc::clone(&next.serving));
        self.entrances.replace(listen, &shown);
        self.seats.limit(seats);
        let before = std::mem::replace(&mut self.current, next);
        before.retire(&self.current, &self.ground).await;
        Ok(())
    }

    /// Records what became of a config, unless it changes nothing. What ends an audit is its last record.
    fn audit(&self, before: Option<&Audit>, cause: &Cause, outcome: &Outcome) {
        let result = match outcome.result {
            ReloadResult::Loaded | ReloadResult::Refused => Some(outcome.result.as_str()),
            ReloadResult::Unchanged => return,
        };
        let because = Some(match cause {
            Cause::Signal => "signal",
            Cause::Changed => "file",
            Cause::Asked(_) => "operator",
        });
        let problems = outcome.problems.len();
        let change = SettingsChange { because, result, problems, ..self.change() };
        self.record(before, &change);
    }

    fn record(&self, before: Option<&Audit>, change: &SettingsChange<'_>) {
        let now = self.current.serving.audit.as_deref();
        if let Some(before) = before
            && now.is_none_or(|now| !Arc::ptr_eq(&now.log, &before.log))
        {
            before.changed(change);
        }
        if let Some(now) = now {
            now.changed(change);
        }
    }

    /// The config that is in force, as it is recorded.
    fn change(&self) -> SettingsChange<'_> {
        self.current.change("reload", self.ground.clock.now())
    }

    fn refused(&self, problems: Vec<Problem>) -> Outcome {
        self.outcome(ReloadResult::Refused, problems, Vec::new())
    }

    fn outcome(
        &self,
        result: ReloadResult,
        problems: Vec<Problem>,
        notes: Vec<Problem>,
    ) -> Outcome {
        let config_hash = self.current.serving.config_hash.to_string();
        Outcome { result, config_hash, problems, notes }
    }
}

/// Tells the operator.
fn tell(cause: &Cause, outcome: &Outcome) {
    let because = match cause {
        Cause::Signal => "SIGHUP",
        Cause::Changed => "a file changed",
        Cause::Asked(_) => "an operator asked",
    };
    let config_hash = &*outcome.config_hash;
    for Problem { at, what, help } in &outcome.problems {
        tracing::error!(at, help, "the config is refused: {what}");
    }
    for Problem { at, what, help } in &outcome.notes {
        tracing::warn!(at, help, "{what}");
    }
    match outcome.result {
        ReloadResult::Loaded => tracing::info!(because, config_hash, "a new config is in force"),
        ReloadResult::Unchanged => tracing::info!(because, config_hash, "the config is unchanged"),
        ReloadResult::Refused => {
            tracing::error!(because, config_hash, "the config before it stays in force");
        }
    }
}

fn hangup() -> Option<Signal> {
    match signal(SignalKind::hangup()) {
        Ok(signal) => Some(signal),
        Err(error) => {
            tracing::error!(%error, "SIGHUP can't be handled, and ends the process");
            None
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}
