//! The answer to a held exchange: written as it comes, or, where JSON in it is to be rewritten, when
//! it is whole.
//!
//! **Invariant:** of an answer that is to be rewritten nothing is written before it was, unless its
//! rule says that it may pass as it is; and no more of it is kept than the rule allows.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, TRANSFER_ENCODING,
};
use http::{HeaderMap, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::prelude::{Error, ErrorType, Result};
use pingora::protocols::http::HttpTask;
use pingora::proxy::Session;

use super::super::upstream::no_room;
use crate::budget::{Budget, Share};
use crate::policy::reason::Busy;
use crate::policy::rules::{OnFailure, Rewrite};
use crate::policy::site::BaseUrl;
use crate::readiness::Readiness;
use crate::rewrite::encoding::{BadEncoding, Encoding, UnknownEncoding};
use crate::rewrite::{UrlRewriter, json};
use crate::telemetry::metrics::{JsonResult, Metrics};

/// What is true of one representation alone. All of it goes with every answer that could be
/// rewritten, changed or not: which one it is depends on the name that was called, so a client that
/// got them once must not hold the next one against them. Nor could it ask by them: conditions are
/// not passed on.
const OF_ONE_REPRESENTATION: [&str; 9] = [
    "etag",
    "last-modified",
    "accept-ranges",
    "content-md5",
    "digest",
    "content-digest",
    "repr-digest",
    "signature",
    "signature-input",
];

/// How much of an answer that was held is written at a time, in bytes.
const PIECE: usize = 64 << 10;

/// What rewriting an answer takes.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct Rewriting<'a> {
    /// Which fields, and how far to go for them.
    pub(in crate::proxy) rewrite: &'a Rewrite,
    /// Knows the upstream's URLs.
    pub(in crate::proxy) rewriter: &'a UrlRewriter,
    /// What they become.
    pub(in crate::proxy) public: &'a BaseUrl,
    /// What all answers that are held may take.
    pub(in crate::proxy) room: &'a Arc<Budget>,
    /// Is told of each answer.
    pub(in crate::proxy) metrics: &'a Metrics,
}

/// An answer on its way to the client.
pub(super) struct Answer<'a> {
    rewriting: Option<Rewriting<'a>>,
    stops: &'a Readiness,
    held: Option<Held>,
    /// What is whole, and not written yet.
    whole: Option<(Box<ResponseHeader>, Bytes, Share)>,
}

/// What has come of an answer that is to be rewritten.
struct Held {
    head: Box<ResponseHeader>,
    encoding: Encoding,
    body: Vec<u8>,
    room: Share,
}

/// Why an answer can't be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    TooLarge,
    Encoding,
    Syntax,
    Part,
    End,
    /// For all answers together; this one is fine.
    Room,
}

impl<'a> Answer<'a> {
    /// An answer of which the JSON is rewritten, if it is to be; the last on its connection when the
    /// gateway stops.
    pub(super) const fn new(rewriting: Option<Rewriting<'a>>, stops: &'a Readiness) -> Self {
        Self { rewriting, stops, held: None, whole: None }
    }

    /// Takes what comes next, and says whether the client has the whole answer.
    ///
    /// # Errors
    /// The client's, or that the answer can't be rewritten and nothing of it was written.
    pub(super) async fn take(&mut self, session: &mut Session, task: HttpTask) -> Result<bool> {
        let Some(rewriting) = self.rewriting else { return self.write(session, vec![task]).await };
        match (self.held.take(), task) {
            (None, HttpTask::Header(head, _)) if is_json(&head) => {
                match readable(&head, rewriting.rewrite.max_size) {
                    Ok(encoding) => {
                        let (body, room) = (Vec::new(), rewriting.room.share());
                        self.held = Some(Held { head, encoding, body, room });
                    }
                    Err(why) => self.give_up(session, head, Vec::new(), why).await?,
                }
                Ok(false)
            }
            (None, task) => self.write(session, vec![task]).await,
            (Some(mut held), HttpTask::Body(piece, end)) => {
                let piece = piece.unwrap_or_default();
                held.body.extend_from_slice(&piece);
                let fits = held.body.len() as u64 <= rewriting.rewrite.max_size;
                let has_room = fits && held.room.take(piece.len() as u64);
                if has_room {
                    if end {
                        return self.finish(session, held).await;
                    }
                    self.held = Some(held);
                    return Ok(false);
                }
                let why = if fits { Obstacle::Room } else { Obstacle::TooLarge };
                self.give_up(session, held.head, held.body, why).await?;
                if end { self.write(session, vec![HttpTask::Done]).await } else { Ok(false) }
            }
            (Some(held), HttpTask::Done | HttpTask::Trailer(_)) => self.finish(session, held).await,
            (Some(_), HttpTask::Failed(error)) => Err(error),
            (Some(_), HttpTask::Header(..) | HttpTask::UpgradedBody(..)) => {
                Error::e_explain(ErrorType::InternalError, "an answer within an answer")
            }
        }
    }

    /// The upstream broke off: what has come goes on as it is, or not at all.
    ///
    /// # Errors
    /// The client's.
    pub(super) async fn broken(&mut self, session: &mut Session) -> Result<()> {
        let Some(Held { head, body, .. }) = self.held.take() else { return Ok(()) };
        match self.give_up(session, head, body, Obstacle::End).await {
            // How it broke off says more.
            Err(error) if is_obstacle(error.etype()) => Ok(()),
            done => done,
        }
    }

    /// The answer is whole.
    async fn finish(&mut self, session: &mut Session, held: Held) -> Result<bool> {
        let Some(rewriting) = self.rewriting else {
            return Error::e_explain(ErrorType::InternalError, "nothing to rewrite");
        };
        let Held { mut head, encoding, body, room } = held;
        let (result, body) = match rewriting.rewritten(encoding, &body) {
            Ok(Some(changed)) => changed,
            Ok(None) => (JsonResult::Unchanged, body),
            Err(why) => {
                self.give_up(session, head, body, why).await?;
                return self.write(session, vec![HttpTask::Done]).await;
            }
        };
        rewriting.metrics.json(result);
        strip(&mut head);
        head.remove_header(&TRANSFER_ENCODING);
        head.remove_header(&CONTENT_ENCODING);
        head.insert_header(CONTENT_LENGTH, body.len().to_string())?;
        self.whole = Some((head, Bytes::from(body), room));
        Ok(false)
    }

    /// Writes an answer that was held until it was whole, and says whether there was one. The upstream is
    /// done with it: however slowly the client reads, it waits for nobody.
    ///
    /// # Errors
    /// The client's.
    pub(super) async fn deliver(&mut self, session: &mut Session) -> Result<bool> {
        let Some((head, body, _room)) = self.whole.take() else { return Ok(false) };
        self.write(session, vec![HttpTask::Header(head, false)]).await?;
        self.write_pieces(session, body).await?;
        self.write(session, vec![HttpTask::Done]).await
    }

    /// Writes a part of a body, a piece at a time: each has its own time to be read.
    async fn write_pieces(&self, session: &mut Session, mut body: Bytes) -> Result<()> {
        while !body.is_empty() {
            let piece = body.split_to(PIECE.min(body.len()));
            self.write(session, vec![HttpTask::Body(Some(piece), false)]).await?;
        }
        Ok(())
    }

    /// The answer can't be rewritten: it passes as it is from here on, or becomes an error.
    async fn give_up(
        &mut self,
        session: &mut Session,
        head: Box<ResponseHeader>,
        body: Vec<u8>,
        why: Obstacle,
    ) -> Result<()> {
        let Some(Rewriting { rewrite, metrics, .. }) = self.rewriting.take() else { return Ok(()) };
        match rewrite.on_failure {
            OnFailure::Pass => {
                metrics.json(JsonResult::Passed);
                self.write(session, vec![HttpTask::Header(head, false)]).await?;
                self.write_pieces(session, body.into()).await
            }
            OnFailure::Refuse => {
                metrics.json(JsonResult::Failed);
                Err(Error::explain(why.error(), "an answer that can't be rewritten").into_up())
            }
        }
    }

    async fn write(&self, session: &mut Session, tasks: Vec<HttpTask>) -> Result<bool> {
        let begins = matches!(tasks.first(), Some(HttpTask::Header(..)));
        // Before HTTP/1.1 the body may end with the connection.
        let old = session.req_header().version < Version::HTTP_11;
        if begins && (old || self.stops.is_stopping()) {
            session.set_keepalive(None);
        }
        session.write_response_tasks(tasks).await
    }
}

impl Rewriting<'_> {
    /// What becomes of a whole body; `None` when it is sent as it came.
    fn rewritten(
        &self,
        encoding: Encoding,
        body: &[u8],
    ) -> std::result::Result<Option<(JsonResult, Vec<u8>)>, Obstacle> {
        if body.is_empty() {
            return Ok(None);
        }
        let plain = encoding.decode(body, self.rewrite.max_size).map_err(|bad| match bad {
            BadEncoding::TooLarge => Obstacle::TooLarge,
            BadEncoding::Damaged => Obstacle::Encoding,
        })?;
        let changed = json::rewrite(&plain, &self.rewrite.fields, self.rewriter, self.public)
            .map_err(|json::BadJson| Obstacle::Syntax)?;
        if let Cow::Owned(changed) = changed {
            return Ok(Some((JsonResult::Rewritten, changed)));
        }
        Ok(match plain {
            Cow::Owned(plain) => Some((JsonResult::Unchanged, plain)),
            Cow::Borrowed(_) => None,
        })
    }
}

impl Obstacle {
    /// As pingora's errors have it; [`is_obstacle`] knows it again.
    const fn error(self) -> ErrorType {
        ErrorType::new(match self {
            Self::TooLarge => "RewriteTooLarge",
            Self::Encoding => "RewriteEncoding",
            Self::Syntax => "RewriteSyntax",
            Self::Part => "RewritePart",
            Self::End => "RewriteEnd",
            Self::Room => return no_room(Busy::Held),
        })
    }
}

/// Whether an error says that an answer can't be rewritten.
pub(in crate::proxy) fn is_obstacle(error: &ErrorType) -> bool {
    use Obstacle::{Encoding, End, Part, Syntax, TooLarge};
    [TooLarge, Encoding, Syntax, Part, End].into_iter().any(|obstacle| obstacle.error() == *error)
}

/// Takes off what an answer that could be rewritten can't promise; of an answer without its body,
/// to `HEAD`, its length too.
pub(in crate::proxy) fn headless(head: &mut ResponseHeader) {
    if is_json(head) {
        strip(head);
        head.remove_header(&CONTENT_LENGTH);
    }
}

fn strip(head: &mut ResponseHeader) {
    for name in OF_ONE_REPRESENTATION {
        head.remove_header(name);
    }
}

/// How the body of an answer can be read, or why it can't.
fn readable(head: &ResponseHeader, max_size: u64) -> std::result::Result<Encoding, Obstacle> {
    let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if head.status == StatusCode::PARTIAL_CONTENT || head.headers.contains_key(CONTENT_RANGE) {
        return Err(Obstacle::Part);
    }
    if length.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > max_size) {
        return Err(Obstacle::TooLarge);
    }
    Encoding::of(&head.headers).map_err(|UnknownEncoding| Obstacle::Encoding)
}

/// Whether an answer has a body that is JSON, or may be: readers guess where it does not say.
fn is_json(head: &ResponseHeader) -> bool {
    let has_body = !head.status.is_informational()
        && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    has_body && (says_json(&head.headers) || !head.headers.contains_key(CONTENT_TYPE))
}

fn says_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_TYPE)
        .iter()
        .any(|value| value.as_bytes().split(|byte| *byte == b',').any(is_json_type))
}

/// Whether a media type is JSON, as readers take it who look no further than its name.
fn is_json_type(media_type: &[u8]) -> bool {
    let media_type = media_type.trim_ascii();
    let end = |byte: &u8| *byte == b';' || byte.is_ascii_whitespace();
    let name = media_type.split(end).next().unwrap_or_default();
    let ends = |end: &[u8]| {
        let at = name.len().checked_sub(end.len());
        at.is_some_and(|at| name[at..].eq_ignore_ascii_case(end))
    };
    ends(b"/json") || ends(b"/x-json") || ends(b"+json")
}
