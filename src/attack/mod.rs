//! Attacks, sent to a chain of proxies from outside: what got through, and what to do.
//!
//! The [corpus] is data. A [case](corpus::Case) is [filled in](fill), [sent](send) over a connection of its own,
//! and [judged](verdict) by what came back: of a thing that the credential may not read, an answer is enough.
//!
//! **Invariants:** nothing is sent that changes anything unless it is asked for; the credential is shown to the
//! target alone and never printed; the end comes in bounded time.

pub mod corpus;
mod fill;
mod hpack;
mod http1;
mod http2;
mod report;
mod send;
mod verdict;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use corpus::{Case, Corpus, Elsewhere};
pub use report::{Report, Row};
pub use send::Version;
pub use verdict::Verdict;

use fill::Words;
use http1::Reply;
use send::{Came, Line};
use verdict::{Baseline, judge};

use crate::clock::Clock;
use crate::policy::site::BaseUrl;
use crate::tls::Certificates;

/// After this nothing more is sent.
const WHOLE: Duration = Duration::from_secs(180);

/// What a caller presents, as `Authorization` has it. Prints nothing.
#[derive(Clone)]
pub struct Credential(String);

/// Why a text is no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential is empty, or can't be sent in a header; copy it again")]
pub struct BadCredential;

impl Credential {
    /// A token, or a whole `Authorization` value.
    ///
    /// # Errors
    /// When it can't be sent in a header.
    pub fn parse(text: &str) -> Result<Self, BadCredential> {
        let text = text.trim();
        let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if text.is_empty() || !text.bytes().all(plain) {
            return Err(BadCredential);
        }
        Ok(Self(if text.contains(' ') { text.to_owned() } else { format!("Bearer {text}") }))
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// What an operator asks for.
#[derive(Debug)]
pub struct Plan {
    /// The public address of the chain.
    pub target: BaseUrl,
    /// Where it is connected to, `host:port`, if not there.
    pub connect: Option<String>,
    /// Whose certificates are believed, if not those of the machine.
    pub authorities: Option<Certificates>,
    /// What may read one thing and not another.
    pub credential: Credential,
    /// A path that it may read.
    pub allowed: String,
    /// A path that it may not read.
    pub refused: String,
    /// A path that anybody may read, or that begins like one.
    pub public: String,
    /// Words that stand in the answer of the refused path alone.
    pub marker: Option<String>,
    /// Whether what would change something is sent too.
    pub changes: bool,
}

/// Why nothing could be judged.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// The corpus that is embedded can't be read.
    #[error("the corpus can't be read: {0}")]
    Corpus(#[from] toml::de::Error),
    /// The certificates can't be read.
    #[error(
        "the certificates of the system can't be read ({0}); install ca-certificates, or name others with `--ca`"
    )]
    Certificates(#[from] std::io::Error),
    /// Nobody answers.
    #[error(
        "`{0}` does not answer: {1}; correct `--target`, or say with `--connect` where it is reached"
    )]
    Unreachable(String, String),
    /// What is allowed is not.
    #[error(
        "`{0}` is not let through with the credential ({1}), so nothing can be told; name with `--allowed` what it may read"
    )]
    NotAllowed(String, String),
    /// A path that can't be one.
    #[error(
        "`{0}` must be a path, such as `/api/0/organizations/acme/issues/`, of letters, digits, `/`, `-`, `_` and `.`, that ends with `/`"
    )]
    Path(String),
}

/// A chain that is about to be attacked: it answers, and lets through what is allowed.
#[derive(Debug)]
pub struct Attack {
    plan: Plan,
    corpus: Corpus,
    line: Line,
    baseline: Baseline,
    clock: Arc<dyn Clock>,
    deadline: Instant,
}

impl Attack {
    /// Sees that the target answers, which versions of HTTP it speaks, and what it says of what is allowed
    /// and of what is not there.
    ///
    /// # Errors
    /// When nothing could be told from any answer.
    pub async fn begin(plan: Plan, clock: Arc<dyn Clock>) -> Result<Self, CannotRun> {
        for path in [&plan.allowed, &plan.refused, &plan.public] {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
            let canonical = !path.contains("//") && !path.contains("/.");
            let whole = path.len() > 2 && path.starts_with('/') && path.ends_with('/');
            if !(whole && canonical && path.bytes().all(plain)) {
                return Err(CannotRun::Path(path.clone()));
            }
        }
        let corpus = Corpus::read()?;
        let deadline = clock.instant() + WHOLE;
        let line = Line::new(&plan)?;
        let mut attack =
            Self { plan, corpus, line, baseline: Baseline::default(), clock, deadline };
        attack.baseline = attack.look().await?;
        Ok(attack)
    }

    /// Every case.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// What is seen before anything is attacked.
    async fn look(&mut self) -> Result<Baseline, CannotRun> {
        let shown = self.plan.target.to_string();
        let unreachable = |why: String| CannotRun::Unreachable(shown.clone(), why);
        self.line.learn().await.map_err(unreachable)?;
        let allowed = self.ask("{allowed}").await;
        if !allowed.replies().first().is_some_and(Reply::is_success) {
            return Err(match allowed {
                Came::Failed(why) => unreachable(why),
                Came::Replies(_) | Came::Closed | Came::Silent => {
                    CannotRun::NotAllowed(self.plan.allowed.clone(), allowed.outline())
                }
            });
        }
        let refused = self.ask("{refused}").await;
        let nothing = self.ask("{prefix}/api/0/portcullis-attack-nothing/here/").await;
        Ok(Baseline::new(refused.replies(), nothing.replies()))
    }

    /// Asks for a target with the credential, over HTTP/1.1.
    async fn ask(&self, target: &str) -> Came {
        self.line.http1(&self.bytes(&Case::plainly(target)), false, false).await
    }

    fn words(&self) -> Words<'_> {
        let Plan { target, credential, allowed, refused, public, .. } = &self.plan;
        Words { target, credential: Some(credential.expose()), allowed, refused, public }
    }

    /// The versions that a case is sent over.
    pub fn versions(&self, case: &Case) -> Vec<Version> {
        let mut versions = Vec::new();
        if case.speaks(Version::Http1) {
            versions.push(Version::Http1);
        }
        if case.speaks(Version::Http2) && (self.line.speaks_http2() || versions.is_empty()) {
            versions.push(Version::Http2);
        }
        versions
    }

    /// The bytes that a case is over HTTP/1.1, the credential among them.
    pub fn bytes(&self, case: &Case) -> Vec<u8> {
        self.words().fill(&case.http1())
    }

    /// Sends a case, whatever it would change, and judges the answer.
    pub async fn send(&self, case: &Case, version: Version) -> Row {
        let words = self.words();
        for target in &case.before {
            let _ = self.ask(target).await;
        }
        let came = match version {
            Version::Http1 => {
                let head = case.method() == "HEAD" || case.starts_with("HEAD ");
                self.line.http1(&self.bytes(case), head, case.second.is_some()).await
            }
            Version::Http2 => self.line.http2(&case.http2(&words), case.body()).await,
        };
        let found = judge(case, &came, &self.baseline, self.plan.marker.as_deref());
        let sent = words.without_credential().show(case, version);
        Row::judged(case, &self.corpus, version, sent, found, &came)
    }

    /// Sends everything that may be sent, and says what came of it; `progress` is told how many have been
    /// sent of how many, and what comes next.
    pub async fn run(&self, progress: impl Fn(usize, usize, &str)) -> Report {
        let cases = &self.corpus.cases;
        let mut rows = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            progress(index, cases.len(), &case.id);
            for version in self.versions(case) {
                let why = match case.unseen.as_deref() {
                    Some(why) => Some(why),
                    None if case.changes && !self.plan.changes => Some(
                        "it would change something if it got through; send it with `--changes`",
                    ),
                    None if version == Version::Http2 && !self.line.speaks_http2() => {
                        Some("the target does not speak HTTP/2")
                    }
                    None if self.clock.instant() >= self.deadline => {
                        Some("there was no more time; the answers before took too long")
                    }
                    None => None,
                };
                rows.push(match why {
                    Some(why) => Row::unsent(&case.id, &case.name, Some(version), why),
                    None => self.send(case, version).await,
                });
            }
        }
        for Elsewhere { id, name, why } in &self.corpus.elsewhere {
            rows.push(Row::unsent(id, name, None, why));
        }
        // Whoever is shut out in the middle is refused all the rest.
        let again = self.ask("{allowed}").await;
        let lets_in = again.replies().first().is_some_and(Reply::is_success);
        Report { rows, shut_out: (!lets_in).then(|| again.outline()) }
    }
}
