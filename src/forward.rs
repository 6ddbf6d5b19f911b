//! From a permit to the headers of the upstream request: remove first, then set.
//!
//! Whatever would speak for the caller is taken off in all its spellings before the gateway says
//! who is calling. Sentry's WSGI server reads `_` and `-` in a name as one, other readers fold
//! more, so a name is compared by its letters and digits alone.
//!
//! **Invariant:** pure. The caller applies the edits after hop-by-hop fields were removed, so that
//! `Connection` can't take off what is set here.

mod identity;

use std::net::IpAddr;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, ORIGIN, RANGE, UPGRADE,
};
use ipnet::IpNet;

use crate::policy::decision::{Forward, Permit};

pub use identity::identity_headers;

/// The address of the client, one element, as Sentry reads it (`middleware/proxy.py`).
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client called.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The number of the request, the same in both logs.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The trace of a request, and the span that sends it.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The project key of an SDK.
const X_SENTRY_AUTH: HeaderName = HeaderName::from_static("x-sentry-auth");
/// Who a Relay is and what it signed (`relay-server/src/extractors/signed_json.rs` in Relay).
const RELAY_SIGNATURE: [HeaderName; 2] = [
    HeaderName::from_static("x-sentry-relay-id"),
    HeaderName::from_static("x-sentry-relay-signature"),
];

/// What every upstream request gets, made at load.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// `Host`: the authority of the public URL.
    pub host: HeaderValue,
    /// The scheme of the public URL.
    pub proto: HeaderValue,
    /// `Authorization` for tokens that the gateway issued, by [`CredentialId`]. Marked sensitive: they
    /// print nothing.
    pub credentials: Box<[Option<HeaderValue>]>,
}

/// Who sent a request and under which number.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The client's address.
    pub client: IpAddr,
    /// The number of the request.
    pub request_id: HeaderValue,
    /// The gateway's own span, where the request is traced (W3C Trace Context).
    pub traceparent: Option<HeaderValue>,
}

/// A permit that needs the upstream's credential where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the upstream has no credential to stand in for a token of the gateway; set `credential` of the upstream"
)]
pub struct NoCredential;

/// What to do to the headers: all of `remove`, then all of `set`.
#[derive(Debug)]
pub struct HeaderEdits {
    /// Names that go.
    pub remove: Vec<HeaderName>,
    /// Fields that are set, each once.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    /// The edits for a request with these headers.
    ///
    /// # Errors
    /// [`NoCredential`] when the permit asks for an exchange and there is nothing to exchange for.
    pub fn plan(
        permit: &Permit,
        headers: &HeaderMap,
        outbound: &Outbound,
        origin: &Origin,
    ) -> Result<Self, NoCredential> {
        let forward = permit.forward();
        let goes = |name: &&HeaderName| {
            let exchanged = matches!(forward, Forward::Exchange(_)) && *name == ORIGIN;
            let websocket = permit.websocket() && *name == UPGRADE;
            exchanged || (speaks_for_the_caller(name) && !stays(name, forward) && !websocket)
        };
        let remove = headers.keys().filter(goes).cloned().collect();
        let credential = match forward {
            Forward::AsIs | Forward::Untouched { .. } => headers.get(AUTHORIZATION).cloned(),
            Forward::Exchange(credential) => {
                let own = outbound.credentials.get(credential.index()).cloned().flatten();
                Some(own.ok_or(NoCredential)?)
            }
            Forward::Anonymous | Forward::Session => None,
        };
        let mut set = Vec::with_capacity(6);
        set.push((HOST, outbound.host.clone()));
        set.push((X_FORWARDED_FOR, address(origin.client)));
        set.push((X_FORWARDED_PROTO, outbound.proto.clone()));
        set.push((X_REQUEST_ID, origin.request_id.clone()));
        set.extend(credential.map(|value| (AUTHORIZATION, value)));
        set.extend(origin.traceparent.clone().map(|value| (TRACEPARENT, value)));
        Ok(Self { remove, set })
    }

    /// And for an answer that is to be rewritten: the whole of it, as it is. What asks for a part, for
    /// another encoding or on a condition is not passed on; the answer shows none of what a client
    /// could ask by.
    #[must_use]
    pub fn for_a_whole_answer(mut self) -> Self {
        self.remove.extend([
            RANGE,
            IF_RANGE,
            IF_MATCH,
            IF_NONE_MATCH,
            IF_MODIFIED_SINCE,
            IF_UNMODIFIED_SINCE,
        ]);
        self.set.push((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        self
    }
}

/// Whether a field that speaks for the caller does so to who judges it.
fn stays(name: &HeaderName, forward: Forward) -> bool {
    let (cookies, relay, key) = match forward {
        Forward::AsIs | Forward::Exchange(_) | Forward::Anonymous => return false,
        Forward::Session => (true, false, false),
        Forward::Untouched { cookies, relay } => (cookies, relay, true),
    };
    (cookies && *name == COOKIE)
        || (key && *name == X_SENTRY_AUTH)
        || (relay && RELAY_SIGNATURE.contains(name))
}

/// Names, reduced to letters and digits, that only the gateway may set, or nobody.
const PROTECTED: &[&str] = &[
    "authorization",
    "cookie",
    "cookie2",
    "cdnloop",
    "expect",
    "frontendhttps",
    "maxforwards",
    "forwarded",
    "host",
    "http2settings",
    "keepalive",
    "remoteaddr",
    "remoteuser",
    "te",
    "trailer",
    "trueclientip",
    "upgrade",
    "via",
    "cfconnectingip",
    "cfconnectingipv6",
    "fastlyclientip",
    "xappengineuserip",
    "xazureclientip",
    "xazuresocketip",
    "xclusterclientip",
    "xhost",
    "xhttphost",
    "xhttpmethod",
    "xhttpmethodoverride",
    "xisagent",
    "xmethodoverride",
    "xrealip",
    "xrequestid",
    "xrewriteurl",
    "xscheme",
    "xsentryapigateway",
    "xsentryauth",
    "xsentryproxyurl",
    "xsentrytrustedrelay",
    "xserviceauth",
    "xservicesignature",
    "xauthuser",
    "xemail",
    "xurlscheme",
    "xuser",
    "xwapprofile",
];

/// Starts of such names.
const PROTECTED_FAMILIES: &[&str] = &[
    "proxy",
    "clientip",
    "doconnecting",
    "wlproxy",
    "xauthenticated",
    "xclientcert",
    "xclientip",
    "xauthrequest",
    "xenvoy",
    "xforward",
    "xgateway",
    "xoriginal",
    "xproxy",
    "xportcullis",
    "xremote",
    "xsentryrelay",
    "xsentryviewer",
    "xsentrysubnet",
    "xssl",
    "sslclient",
    "xamznoidc",
    "xgoogauthenticated",
    "xmsclientprincipal",
    "xviewer",
    "xwebauth",
];

/// Whether a header would speak for the caller, belongs to one connection, or has a name that
/// readers fold differently.
fn speaks_for_the_caller(name: &HeaderName) -> bool {
    let name = name.as_str();
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return true;
    }
    // Long enough for every name in the lists; a longer one can only match by its start.
    let mut buffer = [0; 24];
    let mut len = 0;
    let letters = name.bytes().filter(|byte| *byte != b'-');
    for (slot, byte) in buffer.iter_mut().zip(letters) {
        *slot = byte;
        len += 1;
    }
    let folded = &buffer[..len];
    PROTECTED.iter().any(|known| known.as_bytes() == folded)
        || PROTECTED_FAMILIES.iter().any(|family| folded.starts_with(family.as_bytes()))
}

/// Starts of the names that an assertion may have: nobody else's, and not those of what is set anyway.
const OWN_FAMILIES: &[&str] = &["xportcullis", "xgateway", "xauthrequest", "xauthenticated"];

/// Whether an assertion may be sent in this header: it is taken off what clients send, in all
/// spellings, whether there are assertions or not, and it is no identity header.
pub fn may_assert(name: &HeaderName) -> bool {
    let plain = name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let letters = |name: &HeaderName| name.as_str().replace('-', "");
    let own = letters(name);
    plain
        && OWN_FAMILIES.iter().any(|family| own.starts_with(family))
        && !identity::NAMES.iter().any(|other| letters(other) == own)
}

fn address(client: IpAddr) -> HeaderValue {
    // An address prints as letters, digits, dots and colons.
    HeaderValue::try_from(client.to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("0.0.0.0"))
}

/// The client's address: the right-most one on the way that is not a trusted proxy.
///
/// `peer` is whom the connection came from. `X-Forwarded-For` is read only when the peer is
/// trusted, from the right, as far as it can be read; what stands further left is anybody's word.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(&client) {
        return client;
    }
    let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    for line in lines.iter().rev() {
        for element in line.as_bytes().rsplit(|byte| *byte == b',') {
            let text = std::str::from_utf8(element).ok().map(str::trim);
            let Some(address) = text.and_then(hop) else { return client };
            client = address;
            if !is_trusted(&client) {
                return client;
            }
        }
    }
    client
}

/// `address`, `v4:port`, `[v6]` or `[v6]:port`.
fn hop(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|s| s.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests;
