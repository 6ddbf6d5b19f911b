//! The gateway's own messages: JSON lines on standard error. Whoever has one to say does not wait until
//! it is read: where nobody reads, messages are lost and counted.
//!
//! What libraries say through the `log` crate is let through only where it is fixed text. A
//! message that was formatted may carry a request: pingora's parser prints the whole head of one
//! that it can't read. Its place in the source is kept, its words are not, and each place speaks once a
//! minute.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use super::errors::ErrorLayer;
use super::lines::Lines;
use crate::clock::{Clock as _, SystemClock};

/// How long the last messages of a process may take.
const LAST: Duration = Duration::from_secs(2);

static LINES: OnceLock<Lines> = OnceLock::new();

/// How much the gateway says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What needs somebody now.
    Error,
    /// What will.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
}

impl Level {
    /// Every level.
    pub const ALL: &'static [Level] = &[Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// The name in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Takes up another level while the log runs.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Libraries stay at warnings whatever the level: their finer messages print requests.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!("warn,portcullis={level}"))
}

/// From now on the log says so much, if it was started.
pub fn set_level(level: Level) {
    if let Some(set) = SET_FILTER.get() {
        set(filter(level));
    }
}

/// Starts the log. Does nothing when there is one already, as in tests.
pub fn start(level: Level) {
    let resumed = |lost| {
        tracing::warn!(target: "portcullis", lost, "messages were lost; check what reads standard error");
    };
    let writer = match Lines::start(io::stderr(), resumed) {
        Ok(lines) => {
            let lines = LINES.get_or_init(|| lines).clone();
            BoxMakeWriter::new(move || lines.clone())
        }
        Err(_) => BoxMakeWriter::new(io::stderr),
    };
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter(level))
        .with_writer(writer)
        // It would be told on standard error, by what panics when that is closed.
        .log_internal_errors(false)
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    // Fails when the log has ended, which it does with the process.
    let set: SetFilter = Box::new(move |filter| handle.reload(filter).unwrap_or_default());
    let subscriber = subscriber.finish().with(ErrorLayer);
    if tracing::subscriber::set_global_default(subscriber).is_ok()
        && log::set_logger(&LIBRARIES).is_ok()
    {
        SET_FILTER.set(set).unwrap_or_default();
        log::set_max_level(log::LevelFilter::Warn);
        std::panic::set_hook(Box::new(on_panic));
    }
}

/// How many messages were lost because nobody read them.
pub fn lost() -> u64 {
    LINES.get().map_or(0, Lines::lost)
}

/// Waits until all messages are written, but not for ever: the process is about to end.
pub fn finish() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST);
    }
}

/// A panic says where it was; its words only where they are fixed text.
fn on_panic(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let words = info.payload().downcast_ref::<&'static str>().copied().unwrap_or(WITHHELD);
    tracing::error!(target: "portcullis", place, words, "a task panicked; please report it");
}

/// How long a place of a library's is quiet after it said something: what clients do makes it say so
/// again and again.
const QUIET: Duration = Duration::from_secs(60);

/// The target of what they say.
pub(super) const LIBRARY: &str = "library";

static LIBRARIES: Libraries = Libraries(Mutex::new(BTreeMap::new()));
const WITHHELD: &str = "message withheld: it may carry a request";

/// By place, when it said something last, and how often since then. There are as many places as there are
/// in their sources.
#[derive(Debug)]
struct Libraries(Mutex<BTreeMap<(String, u32), (Instant, u64)>>);

impl Libraries {
    /// How often that place has been quiet since it spoke last; nothing when it is to be quiet now.
    fn speaks(&self, library: &str, line: u32, now: Instant) -> Option<u64> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((last, quiet)) = places.get_mut(&(library.to_owned(), line)) else {
            places.insert((library.to_owned(), line), (now, 0));
            return Some(0);
        };
        if now.saturating_duration_since(*last) < QUIET {
            *quiet = quiet.saturating_add(1);
            return None;
        }
        *last = now;
        Some(std::mem::take(quiet))
    }
}

impl log::Log for Libraries {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let words = record.args().as_str().unwrap_or(WITHHELD);
        let (library, line) = (record.target(), record.line().unwrap_or_default());
        let Some(unsaid) = self.speaks(library, line, SystemClock.instant()) else { return };
        if record.level() == log::Level::Error {
            tracing::error!(target: LIBRARY, library, line, unsaid, "{words}");
        } else {
            tracing::warn!(target: LIBRARY, library, line, unsaid, "{words}");
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_speaks_once_a_minute_and_says_how_often_it_did_not() {
        let libraries = Libraries(Mutex::new(BTreeMap::new()));
        let start = SystemClock.instant();
        let speaks = |line, seconds| {
            libraries.speaks("pingora_proxy", line, start + Duration::from_secs(seconds))
        };
        assert_eq!(speaks(1, 0), Some(0));
        assert_eq!(speaks(2, 0), Some(0));
        assert_eq!((speaks(1, 1), speaks(1, 59)), (None, None));
        assert_eq!(speaks(1, 60), Some(2));
        assert_eq!(speaks(1, 61), None);
        assert_eq!(speaks(2, 61), Some(0));
    }
}
