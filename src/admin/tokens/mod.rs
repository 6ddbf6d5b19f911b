//! Tokens of the gateway's own, administered over HTTP: by Terraform, by CI, and in pods where no command
//! can be run.
//!
//! **Invariants:** nothing is changed before the audit says that it is about to be, where there is an
//! audit; a secret is in one answer, and nowhere else.

mod problem;
mod query;
mod wanted;

use std::sync::Arc;

use http::header::{ALLOW, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use pingora::protocols::http::ServerSession;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::{Answer, json as to_json};
use super::{audit, body};
use crate::clock::Timestamp;
use crate::proxy::Serving;
use crate::store::portcullis::admin::{Issued, Revoked};
use crate::store::portcullis::{PortcullisStore, Token};
use crate::store::{Chain, StoreError};
use problem::Problem;
use query::Query;
use wanted::{Rotate, Wanted};

/// Where they are.
const PATH: &str = "/tokens";

/// Whether a path is about tokens.
pub(super) fn is_path(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    List,
    Create,
    Show(&'a str),
    Rotate(&'a str),
    Revoke(&'a str),
}

impl<'a> Call<'a> {
    fn of(method: &Method, path: &'a str) -> Result<Self, Problem> {
        let rest = path.strip_prefix(PATH).unwrap_or_default();
        let (id, action) = match rest.strip_prefix('/').map(|rest| rest.split_once('/')) {
            None => (None, None),
            Some(None) => (rest.strip_prefix('/'), None),
            Some(Some((id, action))) => (Some(id), Some(action)),
        };
        let read = method == Method::GET || method == Method::HEAD;
        match (id, action) {
            (None, _) if read => Ok(Call::List),
            (None, _) if method == Method::POST => Ok(Call::Create),
            (None, _) => Err(Problem::method("GET, HEAD, POST")),
            (Some(id), _) if !is_id(id) => Err(Problem::no_such_token()),
            (Some(id), None) if read => Ok(Call::Show(id)),
            (Some(id), None) if method == Method::DELETE => Ok(Call::Revoke(id)),
            (Some(_), None) => Err(Problem::method("GET, HEAD, DELETE")),
            (Some(id), Some("rotate")) if method == Method::POST => Ok(Call::Rotate(id)),
            (Some(_), Some("rotate")) => Err(Problem::method("POST")),
            (Some(_), Some(_)) => Err(Problem::no_such_path()),
        }
    }

    /// Its name in the audit, if it changes something.
    const fn action(&self) -> Option<&'static str> {
        match self {
            Call::List | Call::Show(_) => None,
            Call::Create => Some("token.create"),
            Call::Rotate(_) => Some("token.rotate"),
            Call::Revoke(_) => Some("token.revoke"),
        }
    }
}

/// What ids are made of.
fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// What was done, and to what.
struct Done {
    status: StatusCode,
    body: Value,
    /// The id of the token that is the matter.
    target: Option<String>,
}

impl Done {
    fn fine(body: Value, target: Option<String>) -> Self {
        Self { status: StatusCode::OK, body, target }
    }
}

/// Answers a request that has the credential.
pub(super) async fn answer(serving: &Serving, session: &mut ServerSession) -> Answer {
    let head = session.req_header();
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let query = head.uri.query().unwrap_or_default().to_owned();
    let call = match Call::of(&method, &path) {
        Ok(call) => call,
        Err(problem) => return answered(problem.into()),
    };
    let done = perform(serving, session, &call, &query).await;
    let mut done = done.unwrap_or_else(Done::from);
    let Some(action) = call.action() else { return answered(done) };
    let recorded =
        audit::recorded(serving, session, action, done.target.as_deref(), done.status).await;
    if !recorded && done.status.is_success() {
        // Whatever comes of that, the secret is shown: the token is there.
        done.status = StatusCode::SERVICE_UNAVAILABLE;
        done.body["code"] = json!("audit_unavailable");
        done.body["detail"] = json!(audit::UNRECORDED);
    }
    answered(done)
}

fn answered(done: Done) -> Answer {
    let Done { status, body, target } = done;
    let mut answer = to_json(status, &body);
    if status == StatusCode::CREATED
        && let Some(location) =
            target.and_then(|id| HeaderValue::try_from(format!("{PATH}/{id}")).ok())
    {
        answer = answer.with(LOCATION, location);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Some(allow) =
            body["allow"].as_str().and_then(|allow| HeaderValue::from_str(allow).ok())
    {
        answer = answer.with(ALLOW, allow);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer = answer.with(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// What a token is that was replaced. It is done by then, and the new secret is in this answer alone, so that
/// it is given whatever comes of looking.
fn previous(read: Result<Option<Token>, StoreError>, now: Timestamp) -> Value {
    match read {
        Ok(token) => token.map_or(Value::Null, |token| token.shown(now)),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "a token that was rotated can't be shown");
            Value::Null
        }
    }
}

async fn perform(
    serving: &Serving,
    session: &mut ServerSession,
    call: &Call<'_>,
    query: &str,
) -> Result<Done, Problem> {
    if audit::claimed(session).is_err() {
        return Err(Problem::bad_actor());
    }
    let query = Query::parse(query, matches!(call, Call::List))?;
    let store = store(serving, query.store.as_deref())?;
    let now = serving.gateway.clock().now();
    match call {
        Call::List => list(store, &query, now).await,
        Call::Show(id) => show(store, id, now).await,
        Call::Create => {
            let wanted: Wanted = posted(session).await?;
            let new = wanted.check(&serving.gateway.policy().profiles, now)?;
            begin(serving, session, "token.create", new.name()).await?;
            match new.create(store, now).await {
                Ok(issued) => Ok(issue(serving, &issued, now)),
                Err(error) => Err(Problem::of_creation(error, store).await),
            }
        }
        Call::Rotate(id) => {
            let rotate: Rotate = posted(session).await?;
            let rotation = rotate.check()?;
            begin(serving, session, "token.rotate", id).await?;
            let issued = store.rotate(id, rotation, now).await.map_err(Problem::of_rotation)?;
            let mut done = issue(serving, &issued, now);
            done.body["previous"] = previous(store.token(id).await, now);
            Ok(done)
        }
        Call::Revoke(id) => {
            begin(serving, session, "token.revoke", id).await?;
            match store.revoke(id, now).await.map_err(Problem::of_admin)? {
                Revoked::Now | Revoked::Before(_) => {}
                Revoked::NotFound => return Err(Problem::no_such_token()),
            }
            // One that can't be read is revoked all the same.
            let token = store.token(id).await.ok().flatten();
            let shown = token.map_or(Value::Null, |token| token.shown(now));
            Ok(Done::fine(json!({ "token": shown }), Some((*id).to_owned())))
        }
    }
}

/// The store that is meant: the only one of the gateway's own, or the one that is named.
fn store<'a>(
    serving: &'a Serving,
    named: Option<&str>,
) -> Result<&'a Arc<PortcullisStore>, Problem> {
    let names = || serving.own_stores.iter().map(|store| store.own_name()).collect::<Vec<_>>();
    match (named, &*serving.own_stores) {
        (_, []) => Err(Problem::no_store()),
        (None, [only]) => Ok(only),
        (None, [_, ..]) => Err(Problem::several_stores(&names())),
        (Some(name), all) => {
            let found = all.iter().find(|store| store.own_name() == name);
            found.ok_or_else(|| Problem::no_such_store(&names()))
        }
    }
}

/// Has the audit say what is about to be done.
async fn begin(
    serving: &Serving,
    session: &ServerSession,
    action: &'static str,
    target: &str,
) -> Result<(), Problem> {
    let announced = audit::announced(serving, session, action, target).await;
    if announced { Ok(()) } else { Err(Problem::not_audited()) }
}

/// The JSON of a body; of none, an object without a key.
async fn posted<T: DeserializeOwned>(session: &mut ServerSession) -> Result<T, Problem> {
    let body = body(session).await.map_err(|answer| Problem::of_body(answer.status))?;
    let body = if body.is_empty() { b"{}" } else { body.as_slice() };
    // An array would do for serde.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::no_object());
    }
    serde_json::from_slice(body).map_err(|error| Problem::of_json(&error))
}

fn issue(serving: &Serving, issued: &Issued, now: Timestamp) -> Done {
    let public_url = serving.gateway.policy().site.public().to_string();
    let body = json!({
        "token": issued.token.shown(now),
        "secret": issued.secret.expose(),
        "dsn": issued.dsn(&public_url),
    });
    Done { status: StatusCode::CREATED, body, target: Some(issued.token.id.clone()) }
}

async fn show(store: &PortcullisStore, id: &str, now: Timestamp) -> Result<Done, Problem> {
    let token = store.token(id).await.map_err(Problem::of_store)?;
    let token = token.ok_or_else(Problem::no_such_token)?;
    Ok(Done::fine(json!({ "token": token.shown(now) }), None))
}

async fn list(store: &PortcullisStore, query: &Query, now: Timestamp) -> Result<Done, Problem> {
    if let Some(after) = &query.after
        && matches!(store.token(after).await, Ok(None))
    {
        return Err(Problem::bad_query(
            "`after` is the id of no token; take the last answer's `next`",
        ));
    }
    let (mut tokens, mut unreadable) = (Vec::new(), Vec::new());
    let mut after = query.after.clone();
    let next = loop {
        let page = store.page(after.as_deref(), query::PAGE).await.map_err(Problem::of_store)?;
        unreadable.extend(page.unreadable.iter().map(ToString::to_string));
        let mut wanted = page.tokens.iter().filter(|token| query.wants(token, now));
        let room = query.limit - tokens.len();
        tokens.extend(wanted.by_ref().take(room).map(|token| (token.id.clone(), token.shown(now))));
        if tokens.len() == query.limit && (wanted.next().is_some() || page.is_full) {
            break tokens.last().map(|(id, _)| id.clone());
        }
        if !page.is_full {
            break None;
        }
        after = page.last;
    };
    let tokens: Vec<Value> = tokens.into_iter().map(|(_, token)| token).collect();
    unreadable.truncate(query.limit);
    let body = json!({ "tokens": tokens, "next": next, "unreadable": unreadable });
    Ok(Done::fine(body, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_is_left_out_where_it_can_not_be_read() {
        let now = Timestamp::from_millis(0);
        assert_eq!(previous(Err(StoreError::unavailable("disk on fire")), now), Value::Null);
        assert_eq!(previous(Ok(None), now), Value::Null);
    }

    #[test]
    fn paths_and_methods() {
        let rows = [
            ("GET", "/tokens", Ok(Call::List)),
            ("HEAD", "/tokens", Ok(Call::List)),
            ("POST", "/tokens", Ok(Call::Create)),
            ("DELETE", "/tokens", Err(405)),
            ("GET", "/tokens/", Err(404)),
            ("GET", "/tokens/tok_1", Ok(Call::Show("tok_1"))),
            ("DELETE", "/tokens/tok_1", Ok(Call::Revoke("tok_1"))),
            ("POST", "/tokens/tok_1", Err(405)),
            ("PUT", "/tokens/tok_1", Err(405)),
            ("POST", "/tokens/tok_1/rotate", Ok(Call::Rotate("tok_1"))),
            ("GET", "/tokens/tok_1/rotate", Err(405)),
            ("POST", "/tokens/tok_1/rotate/", Err(404)),
            ("POST", "/tokens/tok_1/revoke", Err(404)),
            ("GET", "/tokens/tok%5f1", Err(404)),
            ("GET", "/tokens//rotate", Err(404)),
            ("DELETE", "/tokens/../metrics", Err(404)),
        ];
        for (method, path, wanted) in rows {
            let method = method.parse().unwrap();
            let call =
                Call::of(&method, path).map_err(|problem| Done::from(problem).status.as_u16());
            assert_eq!(call, wanted, "{method} {path}");
            assert!(is_path(path));
        }
        for path in ["/", "/tokensx", "/token", "/status/tokens"] {
            assert!(!is_path(path), "{path}");
        }
    }
}
