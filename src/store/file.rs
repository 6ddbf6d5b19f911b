//! Tokens of the gateway's in a TOML file of digests, such as a Kubernetes Secret: read again when it
//! changes.
//!
//! **Invariants:** a file that can't be read as a whole changes nothing; the file holds digests, never
//! a secret.

mod entry;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::cache::Identities;
use super::{Chain, Found, Observer, Shutdown, StoreError, TokenStore, every};
use crate::policy::credential::{Digest, Fingerprint, Presented, Scheme};
use crate::policy::identity::{Identity, KindSet};
use crate::store::portcullis::TokenKind;

pub use entry::Wrong;

/// How often the file is looked at.
const POLL: Duration = Duration::from_secs(1);
/// A larger one is a mistake.
const MAX_FILE: u64 = 16 << 20;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("the token file `{path}` can't be read; check its path and its permissions")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than any would be.
    #[error("the token file `{0}` is larger than 16 MiB; keep so many tokens in a database")]
    TooLarge(PathBuf),
    /// It had entries, and has none any more.
    #[error("the token file `{0}` has no entry any more; write one, such as a `[[block]]`")]
    Emptied(PathBuf),
    /// It does not say what it should.
    #[error("the token file `{path}` is wrong: {wrong}")]
    Wrong {
        /// Where.
        path: PathBuf,
        /// What.
        wrong: Wrong,
    },
}

/// Tokens in a file.
#[derive(Debug)]
pub struct FileStore {
    name: Box<str>,
    path: PathBuf,
    content: ArcSwap<Content>,
}

/// What a file says.
#[derive(Debug, Default)]
struct Content {
    text: String,
    tokens: HashMap<(Digest, TokenKind), Identity>,
    certificates: HashMap<Digest, Identity>,
    blocked: HashSet<Fingerprint>,
}

impl FileStore {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn open(name: &str, path: &Path) -> Result<Self, FileError> {
        let content = ArcSwap::from_pointee(parsed(path, text_of(path).await?)?);
        Ok(Self { name: name.into(), path: path.to_owned(), content })
    }

    /// Who is on its block list.
    pub fn blocked(&self) -> HashSet<Fingerprint> {
        self.content.load().blocked.clone()
    }

    /// What the file says now, if that is something else than before and has not changed since the last
    /// look: it could be half written.
    async fn changed(&self, awaited: &mut Option<String>) -> Result<Option<Content>, FileError> {
        let text = text_of(&self.path).await?;
        if text == self.content.load().text {
            *awaited = None;
            return Ok(None);
        }
        if awaited.as_ref() != Some(&text) {
            *awaited = Some(text);
            return Ok(None);
        }
        let content = parsed(&self.path, text)?;
        let (now, before) = (&content, self.content.load());
        let is_empty = |content: &Content| {
            content.tokens.is_empty()
                && content.certificates.is_empty()
                && content.blocked.is_empty()
        };
        if is_empty(now) && !is_empty(&before) {
            return Err(FileError::Emptied(self.path.clone()));
        }
        Ok(Some(content))
    }

    /// Takes up what changed, until `shutdown` turns true or its sender is gone. `store` is its place in
    /// the configured order.
    pub async fn watch(
        self: Arc<Self>,
        store: usize,
        identities: Arc<Identities>,
        observer: Arc<dyn Observer>,
        mut shutdown: Shutdown,
    ) {
        let mut tick = every(POLL);
        let (mut told, mut awaited) = (String::new(), None);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            let name = &*self.name;
            match self.changed(&mut awaited).await {
                Ok(changed) => {
                    if !std::mem::take(&mut told).is_empty() {
                        observer.watched(store, true);
                        tracing::info!(store = name, "the token file can be read again");
                    }
                    let Some(content) = changed else { continue };
                    let tokens = content.tokens.len() + content.certificates.len();
                    self.content.store(content.into());
                    identities.block(store, self.blocked());
                    identities.purge_store(name).await;
                    tracing::info!(store = name, tokens, "the token file changed and was read");
                }
                Err(error) => {
                    let error = Chain(&error).to_string();
                    if told != error {
                        observer.watched(store, false);
                        tracing::error!(store = name, error, "what was read before stays in force");
                        told = error;
                    }
                }
            }
        }
    }
}

#[async_trait]
impl TokenStore for FileStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes(&self) -> KindSet {
        TokenKind::identities()
    }

    fn knows_certificates(&self) -> bool {
        true
    }

    fn has_block_list(&self) -> bool {
        true
    }

    async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError> {
        let (content, credential) = (self.content.load(), presented.credential);
        let mut kinds =
            TokenKind::ALL.iter().filter(|kind| credential.kinds.contains(kind.identity()));
        // What a certificate names is no token, and no token is such a name.
        let known = match credential.scheme {
            Scheme::Certificate => content.certificates.get(&credential.digest),
            Scheme::Bearer | Scheme::Basic | Scheme::Dsn | Scheme::Session => {
                kinds.find_map(|kind| content.tokens.get(&(credential.digest, *kind)))
            }
        };
        Ok(known.map(|identity| Found { identity: identity.clone(), usage: None }))
    }
}

async fn text_of(path: &Path) -> Result<String, FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    let size = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    tokio::fs::read_to_string(path).await.map_err(unreadable)
}

fn parsed(path: &Path, text: String) -> Result<Content, FileError> {
    entry::parse(text).map_err(|wrong| FileError::Wrong { path: path.to_owned(), wrong })
}

#[cfg(test)]
mod tests;
