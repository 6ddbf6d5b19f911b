//! A rule, and what it asks for.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::exposure::{Exposure, Service};
use crate::policy::identity::{IdentityKind, KindSet};
use crate::policy::method::MethodSet;
use crate::policy::naming::Naming;
use crate::policy::pointer::JsonPointer;
use crate::policy::scope::ScopeSet;
use crate::policy::template::{PathTemplate, Segment};

/// What a rule asks for. There is no default: absence never widens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No credential is needed.
    Public,
    /// Any valid credential of the kinds that the rule takes.
    Authenticated,
    /// One of these scopes.
    AnyOf(ScopeSet),
    /// The route exists in Sentry, and nobody gets to it through the gateway.
    NotExposed,
    /// Who calls is not the gateway's matter: credentials go on untouched, to who judges them.
    Pass,
    /// The key of the project that the path names, as SDKs send it. It goes on untouched.
    ProjectKey,
}

impl Access {
    /// The name in rule files; `scopes` for a list of them.
    pub const fn as_str(self) -> &'static str {
        match self {
            Access::Public => "public",
            Access::Authenticated => "authenticated",
            Access::AnyOf(_) => "scopes",
            Access::NotExposed => "not_exposed",
            Access::Pass => "pass",
            Access::ProjectKey => "project_key",
        }
    }

    /// The kinds of credential that are taken where a rule does not say.
    pub const fn usual_credentials(self) -> KindSet {
        match self {
            Access::Public | Access::Authenticated | Access::AnyOf(_) | Access::NotExposed => {
                KindSet::DEFAULT
            }
            Access::ProjectKey => KindSet::EMPTY.with(IdentityKind::ProjectKey),
            Access::Pass => KindSet::EMPTY,
        }
    }

    /// The scopes of which one is asked for; empty where scopes are not the matter.
    pub const fn scopes(self) -> ScopeSet {
        match self {
            Access::AnyOf(scopes) => scopes,
            Access::Public
            | Access::Authenticated
            | Access::NotExposed
            | Access::Pass
            | Access::ProjectKey => ScopeSet::EMPTY,
        }
    }
}

/// A rule: what one route asks for, for some methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The methods that it governs; `HEAD` with `GET`.
    pub methods: MethodSet,
    /// The route.
    pub template: PathTemplate,
    /// What it asks for.
    pub access: Access,
    /// The kinds of credential that it takes.
    pub credentials: KindSet,
    /// Whether the upstream's credential may stand in for a token that the gateway issued.
    pub exchange: bool,
    /// How long the upstream may be silent; `None` is the upstream's own setting.
    pub timeout: Option<Duration>,
    /// The largest request body in bytes; `None` is the upstream's own setting.
    pub max_body: Option<u64>,
    /// What a listener must let in for it.
    pub exposure: Exposure,
    /// Where it goes.
    pub service: Service,
    /// Whether a browser session of Sentry's gets through, on a listener that lets in the pages.
    pub session: bool,
    /// Whether the connection may become a WebSocket (RFC 6455).
    pub websocket: bool,
    /// How requests name the projects that they are about.
    pub projects: Naming,
    /// The fields of the JSON answer that hold URLs which clients follow.
    pub rewrite: Option<Rewrite>,
    /// Until when it is in shadow: what it alone would refuse is told, and not refused.
    pub shadow_until: Option<Timestamp>,
    /// Where it was written, for messages: `config/sentry.toml:12`.
    pub place: Box<str>,
}

impl Rule {
    /// A rule of the Web API that takes the usual credentials and asks for `access`.
    pub fn new(methods: MethodSet, template: PathTemplate, access: Access) -> Self {
        Self {
            methods,
            template,
            access,
            credentials: access.usual_credentials(),
            exchange: true,
            timeout: None,
            max_body: None,
            exposure: Exposure::Api,
            service: Service::Web,
            session: false,
            websocket: false,
            projects: Naming::PATH,
            rewrite: None,
            shadow_until: None,
            place: "".into(),
        }
    }

    /// Whether `path`, as it came and from the template's first segment on, is a route to who is
    /// behind. Relay compares the bytes of a route, and hands what it does not know to the web
    /// service; to Sentry an encoded letter is that letter.
    pub fn is_spelled_out(&self, path: &str) -> bool {
        let mut pairs = self.template.segments().iter().zip(path.split('/').skip(1));
        self.service != Service::Relay
            || pairs.all(|(segment, raw)| match segment {
                Segment::Literal(text) => **text == *raw,
                Segment::Digits(_) | Segment::Id(_) | Segment::Param(_) | Segment::Rest(_) => true,
            })
    }
}

/// The fields of a JSON answer whose URLs are rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Which.
    pub fields: Box<[JsonPointer]>,
    /// The largest answer that is read for it, in bytes.
    pub max_size: u64,
    /// What becomes of an answer that can't be rewritten.
    pub on_failure: OnFailure,
}

impl Rewrite {
    /// The fields as they are written.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.fields.iter().map(JsonPointer::to_string)
    }
}

/// What becomes of an answer that can't be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is replaced by 502: as it is, it could send the client and its token past the gateway.
    Refuse,
    /// It goes on as it is.
    Pass,
}

impl OnFailure {
    /// The name in rule files.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnFailure::Refuse => "refuse",
            OnFailure::Pass => "pass",
        }
    }
}
