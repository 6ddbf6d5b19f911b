//! An issuer of the test's own: its keys, the server that publishes them, and the tokens that it signs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::key::Key;
use crate::upstream::{Upstream, ok, reply};

/// What the gateway is called in `aud`.
pub const AUDIENCE: &str = "https://gw.example";
/// Where the document is that says where the keys are.
pub const DOCUMENT: &str = "/.well-known/openid-configuration";

/// What the server does.
#[derive(Clone)]
pub enum Serves {
    /// These keys.
    Keys(Vec<Value>),
    /// This text in place of a set.
    Text(String),
    /// A status and nothing else.
    Status(&'static str),
    /// These keys, so much later.
    Late(Vec<Value>, Duration),
}

pub struct Issuer {
    pub server: Upstream,
    pub url: String,
    serves: Arc<Mutex<Serves>>,
}

impl Issuer {
    pub fn of(keys: &[&Key]) -> Self {
        Self::serving(Serves::Keys(keys.iter().map(|key| key.jwk()).collect()))
    }

    pub fn serving(serves: Serves) -> Self {
        let serves = Arc::new(Mutex::new(serves));
        let told = Arc::clone(&serves);
        let server = Upstream::answering(move |seen, stream| {
            if seen.target == DOCUMENT {
                let host = seen.value("host").unwrap();
                let document = json!({
                    "issuer": format!("http://{host}"), "jwks_uri": format!("http://{host}/keys"),
                });
                return ok(stream, &[], document.to_string().as_bytes());
            }
            let serves = told.lock().unwrap().clone();
            let set = |keys: &[Value]| json!({ "keys": keys }).to_string();
            match serves {
                Serves::Keys(keys) => ok(stream, &[], set(&keys).as_bytes()),
                Serves::Text(text) => ok(stream, &[], text.as_bytes()),
                Serves::Status(status) => reply(stream, status, &[], b""),
                Serves::Late(keys, time) => {
                    std::thread::sleep(time);
                    ok(stream, &[], set(&keys).as_bytes());
                }
            }
        });
        let url = format!("http://{}", server.address);
        Self { server, url, serves }
    }

    pub fn now_serves(&self, serves: Serves) {
        *self.serves.lock().unwrap() = serves;
    }

    /// How often keys were asked for since this was asked last.
    pub fn asked(&self) -> usize {
        self.server.take().iter().filter(|seen| seen.target == "/keys").count()
    }

    /// What it claims of a job, good for an hour.
    pub fn claims(&self) -> Value {
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "repo:acme/web:ref:refs/heads/main",
            "repository": "acme/web", "ref": "refs/heads/main", "exp": now() + 3600,
        })
    }

    /// The `[[issuer]]` with these lines, and one trust policy.
    pub fn table(&self, name: &str, lines: &str) -> String {
        format!(
            "[[issuer]]\nname = \"{name}\"\nissuer = \"{}\"\naudiences = [\"{AUDIENCE}\"]\n\
             algorithms = [\"ES256\"]\n{lines}\n\
             [[issuer.trust]]\nclaims = {{ repository = \"acme/web\", ref = \"refs/heads/*\" }}\n\
             scopes = [\"event:read\"]\n",
            self.url
        )
    }
}

/// Now, in seconds.
pub fn now() -> u64 {
    SystemClock.now().as_millis() / 1000
}

/// With one claim changed; `Null` takes it out.
pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    let map = claims.as_object_mut().unwrap();
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
    claims
}
