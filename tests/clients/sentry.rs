//! A stand-in for Sentry: its web service, with the state that clients expect it to keep, and its
//! Relay. Its URLs name the canonical host, whatever host it was called by, as Sentry's do.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::answers;
use crate::client::PATIENCE;
use crate::http::{Answer, Seen, Server, gunzip};

/// The credential that it knows: the gateway's own.
pub const CREDENTIAL: &str = "sntryu_the-credential-of-the-gateway";
/// The public key of project 2.
pub const PUBLIC_KEY: &str = "0123456789abcdef0123456789abcdef";
/// So many entries has a page of a list, whatever is asked for.
const PAGE: usize = 2;

/// What it has been told.
#[derive(Default)]
pub struct State {
    /// When each release was released.
    pub releases: BTreeMap<String, Option<Value>>,
    pub deploys: Vec<Value>,
    /// By their SHA-1.
    pub chunks: BTreeMap<String, Vec<u8>>,
    /// Whole files, put together of chunks, by their SHA-1.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Is told of the next chunks that come, and waits for a word before it takes them.
    pub hold: Option<(Sender<()>, Receiver<()>)>,
    /// The issues that are no longer unresolved.
    pub statuses: BTreeMap<usize, String>,
}

pub struct Sentry {
    pub web: Server,
    pub relay: Server,
    pub state: Arc<Mutex<State>>,
}

impl Sentry {
    /// `canonical` is its `system.url-prefix`.
    pub fn start(canonical: String) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let web = Server::start(move |seen| {
            if seen.header("authorization") != Some(&format!("Bearer {CREDENTIAL}")) {
                return Answer::json(401, &answers::detail("Invalid token"));
            }
            answer(&canonical, &mut shared.lock().unwrap(), seen)
        });
        Self { web, relay: Server::start(ingest), state }
    }
}

/// What Relay says to what it takes.
fn ingest(seen: &Seen) -> Answer {
    let segments: Vec<_> = seen.path().trim_matches('/').split('/').collect();
    match (seen.method.as_str(), segments.as_slice()) {
        ("POST", ["api", "2", "envelope" | "store"]) => {
            Answer::json(200, &json!({ "id": "e".repeat(32) }))
        }
        _ => Answer::json(404, &answers::detail("not found")),
    }
}

fn answer(canonical: &str, state: &mut State, seen: &Seen) -> Answer {
    let segments: Vec<_> = seen.path().trim_matches('/').split('/').collect();
    let Some(route) = segments.strip_prefix(&["api", "0"]) else {
        return Answer::json(404, &answers::detail("not found"));
    };
    match (seen.method.as_str(), route) {
        ("GET", [] | ["auth"]) => Answer::json(200, &answers::caller()),
        ("GET", ["users", "me", "regions"]) => Answer::json(200, &answers::regions(canonical)),
        ("GET", ["organizations"]) => page(canonical, seen, answers::ORGANIZATIONS.len(), |at| {
            answers::organization(canonical, at)
        }),
        (method, ["organizations", "acme", rest @ ..]) => {
            organization(canonical, state, seen, method, rest)
        }
        ("GET", ["projects", "acme", slug]) if answers::PROJECTS.contains(slug) => {
            let at = answers::PROJECTS.iter().position(|own| own == slug).unwrap();
            Answer::json(200, &answers::project(canonical, at))
        }
        (method, ["projects", "acme", "web", rest @ ..]) => {
            project(canonical, state, seen, method, rest)
        }
        _ => Answer::json(404, &answers::detail("The requested resource does not exist")),
    }
}

fn organization(
    canonical: &str,
    state: &mut State,
    seen: &Seen,
    method: &str,
    route: &[&str],
) -> Answer {
    let issue = |name: &str| answers::issue_at(name);
    match (method, route) {
        ("GET", []) => Answer::json(200, &answers::organization(canonical, 0)),
        ("GET", ["projects"]) => {
            let found = found(seen);
            page(canonical, seen, found.len(), |at| answers::project(canonical, found[at]))
        }
        ("GET", ["repos"]) => {
            page(canonical, seen, answers::REPOSITORIES.len(), answers::repository)
        }
        ("GET", ["teams"]) => page(canonical, seen, answers::TEAMS.len(), answers::team),
        ("GET", ["issues"]) => issues(canonical, state, seen),
        ("GET", ["issues", name]) if issue(name).is_some() => {
            let at = issue(name).unwrap();
            Answer::json(200, &answers::issue(canonical, at, status(state, at)))
        }
        ("PUT", ["issues", name]) if issue(name).is_some() => {
            let at = issue(name).unwrap();
            let status = seen.json()["status"].as_str().unwrap().to_owned();
            let answer = answers::issue(canonical, at, &status);
            state.statuses.insert(at, status);
            Answer::json(200, &answer)
        }
        ("GET", ["issues", name, "events", "latest"]) if issue(name).is_some() => {
            Answer::json(200, &answers::event(issue(name).unwrap()))
        }
        ("GET", ["issues", name, "external-issues"]) if issue(name).is_some() => {
            Answer::json(200, &json!([]))
        }
        ("GET", ["issues", name, "autofix"]) if issue(name).is_some() => {
            Answer::json(200, &json!({ "autofix": null }))
        }
        ("GET", ["shortids", name]) if issue(name).is_some() => {
            let at = issue(name).unwrap();
            let body = json!({
                "organizationSlug": "acme", "projectSlug": "web", "shortId": name,
                "groupId": (at + 100).to_string(),
                "group": answers::issue(canonical, at, status(state, at)),
            });
            Answer::json(200, &body)
        }
        ("GET", ["replay-count"]) => Answer::json(200, &json!({})),
        ("GET", ["releases"]) => releases(canonical, state, seen),
        ("POST", ["releases"]) => create_release(state, seen),
        (method, ["releases", version, rest @ ..]) => release(state, seen, method, version, rest),
        ("GET", ["chunk-upload"]) => {
            let url = format!("{canonical}/api/0/organizations/acme/chunk-upload/");
            Answer::json(200, &answers::chunk_upload(&url))
        }
        ("POST", ["chunk-upload"]) => {
            if let Some((came, go)) = state.hold.take() {
                came.send(()).unwrap();
                go.recv_timeout(PATIENCE).expect("a word");
            }
            for (name, filename, body) in parts(seen) {
                let chunk = if name == "file_gzip" { gunzip(&body) } else { body };
                if hex(&chunk) != filename {
                    return Answer::json(400, &json!({ "error": "Checksum missmatch" }));
                }
                state.chunks.insert(filename, chunk);
            }
            Answer::json(200, &json!(null))
        }
        ("POST", ["artifactbundle", "assemble"]) => {
            let body = seen.json();
            Answer::json(200, &assemble(state, body["checksum"].as_str().unwrap(), &body["chunks"]))
        }
        _ => Answer::json(404, &answers::detail("The requested resource does not exist")),
    }
}

fn project(
    canonical: &str,
    state: &mut State,
    seen: &Seen,
    method: &str,
    route: &[&str],
) -> Answer {
    match (method, route) {
        ("GET", []) => Answer::json(200, &answers::project(canonical, 0)),
        ("GET", ["issues"]) => issues(canonical, state, seen),
        ("GET", ["releases"]) => releases(canonical, state, seen),
        ("POST", ["releases"]) => create_release(state, seen),
        (method, ["releases", version, rest @ ..]) => release(state, seen, method, version, rest),
        ("POST", ["files", "difs", "assemble"]) => {
            let body = seen.json();
            let files = body.as_object().unwrap().iter().map(|(checksum, file)| {
                let mut answer = assemble(state, checksum, &file["chunks"]);
                if answer["state"] == "ok" {
                    answer["dif"] =
                        answers::debug_file(checksum, file["name"].as_str().unwrap_or_default());
                }
                (checksum.clone(), answer)
            });
            let files: serde_json::Map<_, _> = files.collect();
            Answer::json(200, &Value::Object(files))
        }
        ("POST", ["files", "dsyms"]) => {
            let files = parts(seen).into_iter().map(|(_, filename, body)| {
                let checksum = hex(&body);
                let answer = answers::debug_file(&checksum, &filename);
                state.files.insert(checksum, body);
                answer
            });
            Answer::json(201, &Value::Array(files.collect()))
        }
        _ => Answer::json(404, &answers::detail("The requested resource does not exist")),
    }
}

fn create_release(state: &mut State, seen: &Seen) -> Answer {
    let version = seen.json()["version"].as_str().unwrap().to_owned();
    let answer = answers::release(&version, None);
    // 208 is for one that was there already.
    let status = if state.releases.contains_key(&version) { 208 } else { 201 };
    state.releases.entry(version).or_default();
    Answer::json(status, &answer)
}

fn release(state: &mut State, seen: &Seen, method: &str, version: &str, rest: &[&str]) -> Answer {
    if !state.releases.contains_key(version) {
        return Answer::json(404, &answers::detail("The requested resource does not exist"));
    }
    match (method, rest) {
        ("GET", []) => {
            Answer::json(200, &answers::release(version, state.releases[version].as_ref()))
        }
        ("PUT", []) => {
            let released = seen.json().get("dateReleased").cloned();
            let kept = state.releases.get_mut(version).unwrap();
            *kept = released.or_else(|| kept.take());
            Answer::json(200, &answers::release(version, kept.as_ref()))
        }
        ("GET", ["previous-with-commits"]) => Answer::json(200, &json!({})),
        ("GET", ["deploys"]) => Answer::json(200, &Value::Array(state.deploys.clone())),
        ("POST", ["deploys"]) => {
            let answer = answers::deploy(&seen.json()["environment"]);
            state.deploys.push(answer.clone());
            Answer::json(201, &answer)
        }
        _ => Answer::json(404, &answers::detail("The requested resource does not exist")),
    }
}

fn releases(canonical: &str, state: &State, seen: &Seen) -> Answer {
    let all: Vec<_> = state.releases.iter().collect();
    page(canonical, seen, all.len(), |at| answers::release(all[at].0, all[at].1.as_ref()))
}

fn issues(canonical: &str, state: &State, seen: &Seen) -> Answer {
    page(canonical, seen, answers::ISSUES.len(), |at| {
        answers::issue(canonical, at, status(state, at))
    })
}

fn status(state: &State, at: usize) -> &str {
    state.statuses.get(&at).map_or("unresolved", String::as_str)
}

/// The projects that a search by `id:` finds; all without one.
fn found(seen: &Seen) -> Vec<usize> {
    let search = seen.parameter("query").unwrap_or_default().replace("%3A", ":");
    let words: Vec<_> = search.split("%20").filter(|word| !word.is_empty()).collect();
    let is = |at: &usize| words.contains(&&*format!("id:{}", answers::project_id(*at)));
    (0..answers::PROJECTS.len()).filter(|at| words.is_empty() || is(at)).collect()
}

/// A page of a list of `count` entries, with `Link` to those before and after it.
fn page(canonical: &str, seen: &Seen, count: usize, entry: impl Fn(usize) -> Value) -> Answer {
    let cursor = seen.parameter("cursor").unwrap_or_default().replace("%3A", ":");
    // A cursor is `value:offset:is_prev`.
    let start: usize = cursor.split(':').nth(1).map_or(0, |offset| offset.parse().unwrap());
    let entries: Vec<_> = (start..count.min(start + PAGE)).map(entry).collect();
    let query: String = seen
        .query()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="))
        .flat_map(|pair| [pair, "&"])
        .collect();
    // As Sentry writes it: `?&cursor=` where there is nothing else.
    let query = if query.is_empty() { "&".to_owned() } else { query };
    let link = |rel: &str, offset: usize, previous: u8, results: bool| {
        let cursor = format!("{PAGE}:{offset}:{previous}");
        let url = format!("{canonical}{}?{query}cursor={cursor}", seen.path());
        format!("<{url}>; rel=\"{rel}\"; results=\"{results}\"; cursor=\"{cursor}\"")
    };
    let before = link("previous", start.saturating_sub(PAGE), 1, start > 0);
    let after = link("next", start + PAGE, 0, start + PAGE < count);
    Answer::json(200, &Value::Array(entries)).with("Link", format!("{before}, {after}"))
}

/// What becomes of a file that is to be put together of chunks: chunks are missing, then it is being
/// put together, then it is there.
fn assemble(state: &mut State, checksum: &str, chunks: &Value) -> Value {
    let names: Vec<_> =
        chunks.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let missing: Vec<_> = names.iter().filter(|name| !state.chunks.contains_key(**name)).collect();
    if names.is_empty() || !missing.is_empty() {
        return json!({ "state": "not_found", "missingChunks": missing, "detail": null });
    }
    let file: Vec<u8> = names.iter().flat_map(|name| state.chunks[*name].clone()).collect();
    if hex(&file) != checksum {
        return json!({ "state": "error", "missingChunks": [], "detail": "not the same file" });
    }
    let first = state.files.insert(checksum.to_owned(), file).is_none();
    json!({ "state": if first { "created" } else { "ok" }, "missingChunks": [], "detail": null })
}

/// The parts of a form: name, file name, content.
fn parts(seen: &Seen) -> Vec<(String, String, Vec<u8>)> {
    let kind = seen.header("content-type").unwrap();
    let boundary = kind.split_once("boundary=").expect("a form").1.trim_matches('"');
    // The first part begins with the body.
    let body = [b"\r\n", seen.body.as_slice()].concat();
    let mut rest = body.as_slice();
    let mut parts = Vec::new();
    let separator = format!("\r\n--{boundary}").into_bytes();
    while let Some(start) = find(rest, &separator) {
        rest = &rest[start + separator.len()..];
        let Some(end) = find(rest, &separator) else { break };
        let head_end = find(&rest[..end], b"\r\n\r\n").expect("the head of a part");
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        let value = |name: &str| {
            let from = head.split_once(&format!("{name}=\""))?.1;
            Some(from.split('"').next().unwrap().to_owned())
        };
        let filename = value("; filename").unwrap_or_default();
        parts.push((value(" name").unwrap(), filename, rest[head_end + 4..end].to_vec()));
    }
    parts
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The SHA-1 by which Sentry and its clients know a chunk or a file.
pub fn hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
