//! What a record looks like: one JSON object a line. A field that does not apply is left out.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::decision::{Decision, Verdict};
use crate::policy::identity::{Binding, Identity, Issuer};
use crate::policy::scope::ScopeSet;
use crate::telemetry::facts::{Facts, Text, denial, outcome};
use crate::telemetry::privacy::{ClientAddress, Privacy, UserAgent};
use crate::telemetry::redact::WithoutSecrets;

/// How much is recorded of a name that nobody has checked, in bytes.
const MAX_CLAIM: usize = 100;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A request, when it is decided.
    Decision,
    /// Something that an operator did.
    Administration,
    /// A config, when it is taken up or refused, and the end of the process.
    Settings,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Kind] = &[Kind::Decision, Kind::Administration, Kind::Settings];

    /// The name as a label and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Decision => "decision",
            Kind::Administration => "administration",
            Kind::Settings => "settings",
        }
    }
}

/// A request that was decided, whatever becomes of it then.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// When.
    pub at: Timestamp,
    /// Its number.
    pub request_id: &'a str,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// What it calls itself.
    pub user_agent: Option<&'a [u8]>,
    /// The method as it came.
    pub method: &'a str,
    /// The path as it came, without the query.
    pub path: &'a str,
    /// The decision.
    pub decision: &'a Decision,
    /// The id of the token that nobody is to use and that came with it.
    pub canary: Option<&'a str>,
}

/// Something that an operator did, or tried.
#[derive(Clone, Copy, Debug)]
pub struct Administration<'a> {
    /// When.
    pub at: Timestamp,
    /// What, such as `token.create`.
    pub action: &'static str,
    /// What came of it: `done`, `refused` or `failed`.
    pub result: &'static str,
    /// What it was done to: an id, a fingerprint, a path.
    pub target: Option<&'a str>,
    /// Who did it.
    pub actor: Actor<'a>,
    /// The config that was in force, where that is known.
    pub config_hash: Option<&'a str>,
    /// How many of the same this stands for that had no record, where it does.
    pub left_out: Option<u64>,
}

/// Who did something.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// Who ran a command.
    Command {
        /// The number of the user.
        uid: u32,
        /// The user's name, if the machine knows one.
        user: Option<&'a str>,
        /// The number of the user who logged in, who may have become another since.
        login_uid: Option<u32>,
    },
    /// Who asked the admin listener.
    Admin {
        /// The address that it was asked from.
        client: Option<IpAddr>,
        /// For whom, as whoever asked says: nobody has checked it.
        claimed: Option<&'a str>,
    },
}

/// What became of a config.
#[derive(Clone, Copy, Debug)]
pub struct SettingsChange<'a> {
    /// When.
    pub at: Timestamp,
    /// `start`, `reload` or `stop`.
    pub action: &'static str,
    /// Why it was read again.
    pub because: Option<&'static str>,
    /// What came of it: `loaded` or `refused`.
    pub result: Option<&'static str>,
    /// How many problems it has.
    pub problems: usize,
    /// Of the config that is in force then.
    pub config_hash: &'a str,
    /// Until when refusals are only observed, if they are.
    pub observe_until: Option<Timestamp>,
}

#[derive(Serialize)]
struct Line<T> {
    ts: Text<Timestamp>,
    level: &'static str,
    msg: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    of: T,
}

impl<T: Serialize> Line<T> {
    fn of(kind: Kind, at: Timestamp, of: T) -> Self {
        Self { ts: Text(at), level: "info", msg: "audit", kind: kind.as_str(), of }
    }

    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(line, self)
    }
}

#[derive(Serialize)]
struct DecisionFields<'a> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<Text<ClientAddress>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Text<UserAgent<'a>>>,
    #[serde(flatten)]
    facts: Facts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<&'a str>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Of the answer, where the gateway gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Scopes>,
    #[serde(flatten)]
    holds: Option<Holds<'a>>,
    config_hash: &'a str,
}

/// What the caller holds and is bound to: what the same decision would be made on again.
#[derive(Serialize)]
struct Holds<'a> {
    issuer: &'static str,
    /// What tells apart by what an issuer of JWTs lets in.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_hash: Option<&'a str>,
    held: Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    organizations: Option<Names<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projects: Option<Names<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<&'a [Box<str>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<&'a [IpNet]>,
}

/// What a binding names; nothing is said where it names nothing.
#[derive(Serialize)]
#[serde(untagged)]
enum Names<'a> {
    List(&'a [Box<str>]),
    Word(&'static str),
}

impl<'a> Names<'a> {
    fn of(binding: &'a Binding) -> Option<Self> {
        match binding {
            Binding::Any => None,
            Binding::Only(names) => Some(Names::List(names)),
            Binding::Unknown => Some(Names::Word("unknown")),
        }
    }
}

impl<'a> Holds<'a> {
    fn of(identity: &'a Identity, policy: &'a Policy) -> Self {
        let bounds = &identity.bounds;
        let narrowing = bounds.narrowing();
        Self {
            issuer: match identity.issuer {
                Issuer::Sentry => "sentry",
                Issuer::Gateway => "gateway",
            },
            trust_hash: policy.issuers.of(identity).map(|issuer| &*issuer.hash),
            held: Scopes(identity.scopes),
            organizations: Names::of(bounds.organizations()),
            projects: Names::of(bounds.projects()),
            read_only: narrowing.read_only,
            profile: narrowing.profile.as_deref(),
            groups: narrowing.groups.as_deref(),
            networks: narrowing.networks.as_deref(),
        }
    }
}

struct Scopes(ScopeSet);

impl Serialize for Scopes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|scope| scope.as_str()))
    }
}

/// Writes the record of a decision, without the end of its line.
///
/// # Errors
/// None that is known.
pub fn write_decision(
    line: &mut Vec<u8>,
    decided: &Decided<'_>,
    policy: &Policy,
    privacy: Privacy,
    config_hash: &str,
) -> serde_json::Result<()> {
    let Decided { request_id, method, path, decision, .. } = *decided;
    let denial = denial(decision);
    let scopes = denial.filter(|denial| !denial.required.is_empty());
    let status = match &decision.verdict {
        Verdict::Permit(_) => None,
        Verdict::Deny(denial) => Some(denial.reason.status()),
        Verdict::Options(_) => Some(200),
    };
    let fields = DecisionFields {
        request_id,
        client_ip: privacy.address(decided.client).map(Text),
        user_agent: privacy.agent(decided.user_agent).map(Text),
        facts: Facts::of(method, path, Some(decision), policy),
        canary: decided.canary,
        decision: outcome(decision),
        reason: denial.map(|denial| denial.reason.code()),
        status,
        required: scopes.map(|denial| Scopes(denial.required)),
        holds: decision.caller.identity.as_deref().map(|held| Holds::of(held.identity(), policy)),
        config_hash,
    };
    Line::of(Kind::Decision, decided.at, fields).write(line)
}

#[derive(Serialize)]
struct AdministrationFields<'a> {
    action: &'static str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    actor: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_actor: Option<Text<WithoutSecrets<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<Text<ClientAddress>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_hash: Option<&'a str>,
}

pub(super) fn write_administration(
    line: &mut Vec<u8>,
    done: &Administration<'_>,
    privacy: Privacy,
) -> serde_json::Result<()> {
    let (client, claimed_actor) = match done.actor {
        Actor::Command { .. } => (None, None),
        Actor::Admin { client, claimed } => (client, claimed),
    };
    let (actor, uid, user, login_uid) = match done.actor {
        Actor::Command { uid, user, login_uid } => ("command", Some(uid), user, login_uid),
        Actor::Admin { .. } => ("admin", None, None, None),
    };
    let fields = AdministrationFields {
        action: done.action,
        result: done.result,
        target: done.target,
        actor,
        uid,
        user,
        login_uid,
        claimed_actor: claimed_actor.map(|text| Text(WithoutSecrets { text, limit: MAX_CLAIM })),
        client_ip: privacy.address(client).map(Text),
        left_out: done.left_out,
        config_hash: done.config_hash,
    };
    Line::of(Kind::Administration, done.at, fields).write(line)
}

#[derive(Serialize)]
struct SettingsFields<'a> {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observe_until: Option<Text<Timestamp>>,
    config_hash: &'a str,
}

pub(super) fn write_settings(
    line: &mut Vec<u8>,
    change: &SettingsChange<'_>,
) -> serde_json::Result<()> {
    let fields = SettingsFields {
        action: change.action,
        because: change.because,
        result: change.result,
        problems: Some(change.problems).filter(|problems| *problems > 0),
        observe_until: change.observe_until.map(Text),
        config_hash: change.config_hash,
    };
    Line::of(Kind::Settings, change.at, fields).write(line)
}
