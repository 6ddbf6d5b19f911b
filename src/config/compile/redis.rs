//! The Redis that limits are counted in.

use std::sync::Arc;

use http::Uri;

use super::super::Redis;
use super::super::raw::{RawLimits, RawRedis, RawUpstreamTls};
use super::Compiler;
use crate::tls::ClientTls;

/// The port of Redis.
const PORT: u16 = 6379;

/// What a URL says.
struct Place {
    host: String,
    port: u16,
    database: u16,
    encrypted: bool,
}

impl Compiler<'_> {
    pub(super) fn redis(&mut self, raw: Option<&RawRedis>, limits: &RawLimits) -> Option<Redis> {
        let shared = limits.iter().find(|(_, limit)| limit.shared);
        let Some(raw) = raw else {
            if let Some((name, _)) = shared {
                let what = "is set, and there is no `[redis]` to count it in";
                let help = "add `[redis]` with `url = \"redis://host:6379\"`, or delete it";
                self.problem(format!("limit.{name}.shared"), what, help);
            }
            return None;
        };
        if shared.is_none() {
            let help = "write `shared = true` in a `[limit.NAME]`, or delete it";
            self.problem("redis", "is for limits that are shared, and there is none", help);
        }
        if raw.timeout.0.is_zero() {
            self.problem("redis.timeout", "is zero", "delete the line to take the default");
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let prefix = &raw.key_prefix;
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_plain) {
            let what = format!("`{}` can't begin a key", prefix.escape_debug());
            let help = "take letters, digits, `-`, `_`, `.` and `:`, at most 64";
            self.problem("redis.key_prefix", what, help);
        }
        if raw.username.is_some() && raw.password.is_none() {
            let help = "write `password = { file = \"path\" }`";
            self.problem("redis.password", "is missing, and there is a `username`", help);
        }
        let secret = raw.password.as_ref();
        let password = secret.map(|secret| self.secret("redis.password", secret));
        let place = place(&raw.url);
        if place.is_none() {
            let what = "is no place of a Redis, or holds a user or a password";
            let help = "write `redis://host:6379` or `rediss://host:6379/0`, and who logs in as `username` \
                        and `password`";
            self.problem("redis.url", what, help);
        }
        let place = place?;
        let tls = self.redis_tls(raw, &place);
        Some(Redis {
            host: place.host.into(),
            port: place.port,
            database: place.database,
            tls: tls.map(Arc::new),
            username: raw.username.as_deref().map(Into::into),
            password: match password {
                Some(password) => Some(password?.into()),
                None => None,
            },
            timeout: raw.timeout.0,
            key_prefix: prefix.as_str().into(),
        })
    }

    fn redis_tls(&mut self, raw: &RawRedis, place: &Place) -> Option<ClientTls> {
        if !place.encrypted {
            if raw.tls.is_some() {
                let help = "write `rediss://` in `url`, or delete it";
                self.problem("redis.tls", "is for `rediss://`", help);
            }
            return None;
        }
        let own = RawUpstreamTls::default();
        let tls = raw.tls.as_ref().unwrap_or(&own);
        let name = tls.server_name.as_deref().unwrap_or(&place.host);
        if !ClientTls::is_name(name) {
            let help = "write the host name, or the IP address, that is in the certificate";
            let what = format!("`{name}` is not the name of a server");
            self.problem("redis.tls.server_name", what, help);
        }
        Some(self.client_tls("redis", tls))
    }
}

/// What a URL says, if it is one of Redis without a secret.
fn place(url: &str) -> Option<Place> {
    let uri: Uri = url.parse().ok()?;
    let encrypted = match uri.scheme_str()? {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') || uri.query().is_some() || authority.host().is_empty() {
        return None;
    }
    let database = match uri.path().trim_start_matches('/') {
        "" => 0,
        number => number.parse().ok()?,
    };
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        // What is no number is no port.
        None if authority.as_str() == authority.host() => PORT,
        None => return None,
    };
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    Some(Place { host, port, database, encrypted })
}
