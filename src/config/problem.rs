//! What is wrong with a config: where, what, and the fix. All of it at once.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where: a key (`upstream.web.urls`), or a file with a line.
    pub at: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Problem {
    /// A problem.
    pub fn new(at: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into(), help: help.into() }
    }
}

/// Everything that is wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The config.
    pub file: PathBuf,
    /// What is wrong with it; never empty.
    pub problems: Vec<Problem>,
    pub(super) unreadable: bool,
}

impl ConfigError {
    pub(super) fn read(path: &Path, error: &io::Error) -> Self {
        let help = "name a file that the gateway may read with `--config`";
        let problem = Problem::new("file", format!("can't be read: {error}"), help);
        Self { file: path.to_path_buf(), problems: vec![problem], unreadable: true }
    }

    /// Whether the file itself could not be read, so that nothing is known about it.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    pub(super) fn new(path: &Path, problems: Vec<Problem>) -> Self {
        Self { file: path.to_path_buf(), problems, unreadable: false }
    }
}

/// A problem out of an error of the TOML parser. The parser would show the line, and a line may
/// hold a secret that belongs somewhere else: so it is only said where to look.
/// `rules` names the file where that is not the config itself.
pub(super) fn syntax(rules: Option<&str>, text: &str, error: &toml::de::Error) -> Problem {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
    let at = rules.map_or_else(|| format!("line {line}"), |file| format!("{file}:{line}"));
    let what = format!("column {column}: {}", error.message().trim_end().replace('\n', ", "));
    Problem::new(
        at,
        what,
        "`config/portcullis.toml` shows every key of a config, `config/sentry.toml` of a rule",
    )
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, count) = (self.file.display(), self.problems.len());
        writeln!(f, "{file}: {count} problem{}", if count == 1 { "" } else { "s" })?;
        for problem in &self.problems {
            writeln!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, what, help } = self;
        write!(f, "{at}: {what}\n    help: {help}")
    }
}

impl std::error::Error for ConfigError {}
