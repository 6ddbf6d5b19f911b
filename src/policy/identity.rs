//! Who is calling: what a token store knows of a credential.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::scope::ScopeSet;
use super::template::is_digits;
use crate::clock::Timestamp;

/// What a credential stands for. A rule lists the kinds that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IdentityKind {
    /// A Bearer token that acts as a user, and a Bearer token that the gateway issued.
    UserToken,
    /// An organisation token (`sntrys_…`).
    OrgToken,
    /// A legacy API key, presented by Basic.
    ApiKey,
    /// A project key, presented as a DSN.
    ProjectKey,
}

impl IdentityKind {
    /// Every kind.
    pub const ALL: &'static [IdentityKind] = &[
        IdentityKind::UserToken,
        IdentityKind::OrgToken,
        IdentityKind::ApiKey,
        IdentityKind::ProjectKey,
    ];

    /// The name in rule files and in stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            IdentityKind::UserToken => "user_token",
            IdentityKind::OrgToken => "org_token",
            IdentityKind::ApiKey => "api_key",
            IdentityKind::ProjectKey => "dsn",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        IdentityKind::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for IdentityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSet(u8);

impl KindSet {
    /// No kind.
    pub const EMPTY: KindSet = KindSet(0);
    /// What a rule takes that does not say: Sentry's default authenticators, sessions left out.
    pub const DEFAULT: KindSet = KindSet(0)
        .with(IdentityKind::UserToken)
        .with(IdentityKind::OrgToken)
        .with(IdentityKind::ApiKey);

    /// Every kind.
    pub const ALL: KindSet = KindSet::DEFAULT.with(IdentityKind::ProjectKey);

    /// This set and `kind`.
    #[must_use]
    pub const fn with(self, kind: IdentityKind) -> Self {
        KindSet(self.0 | 1 << kind as u8)
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: IdentityKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Whether the two sets share a kind.
    pub const fn intersects(self, other: KindSet) -> bool {
        self.0 & other.0 != 0
    }

    /// The kinds in it.
    pub fn iter(self) -> impl Iterator<Item = IdentityKind> {
        IdentityKind::ALL.iter().copied().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<IdentityKind> for KindSet {
    fn from_iter<I: IntoIterator<Item = IdentityKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(KindSet::EMPTY, KindSet::with)
    }
}

/// Which organisations or projects a credential reaches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Whatever its scopes reach.
    Any,
    /// Only those of these slugs and ids, compared byte for byte.
    Only(Box<[Box<str>]>),
    /// The store can't tell. It may be forwarded with its own credential, where Sentry checks; it
    /// is never exchanged.
    Unknown,
}

impl Binding {
    /// Whether the binding lets a request name `name`.
    pub fn admits(&self, name: &str) -> bool {
        match self {
            Binding::Any | Binding::Unknown => true,
            Binding::Only(names) => names.iter().any(|own| **own == *name),
        }
    }

    /// Whether it names what it names by numeric ids, which don't change. What narrows nothing does.
    pub fn has_ids_alone(&self) -> bool {
        match self {
            Binding::Any | Binding::Unknown => true,
            Binding::Only(names) => !names.is_empty() && names.iter().all(|name| is_digits(name)),
        }
    }

    /// Whether it narrows anything.
    pub const fn is_bound(&self) -> bool {
        match self {
            Binding::Any | Binding::Unknown => false,
            Binding::Only(_) => true,
        }
    }
}

/// What a credential is bound to. Those that are bound to nothing take no memory for it, and those that
/// are bound to the same may share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds(Option<Arc<Bound>>);

/// What a credential may be bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The organisations that it reaches.
    pub organizations: Binding,
    /// The projects that it reaches.
    pub projects: Binding,
    /// Browser origins that may use it, lower-case, as Sentry writes them; none when empty.
    pub allowed_origins: Box<[Box<str>]>,
    /// What narrows it besides.
    pub narrowing: Narrowing,
}

/// What narrows a credential besides organisations and projects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Narrowing {
    /// Whether it is refused for methods that are not safe (RFC 9110, 9.2.1).
    pub read_only: bool,
    /// The profile that it was issued for, by name. One that the config does not have any more lets
    /// nothing through.
    pub profile: Option<Box<str>>,
    /// The rule groups that it gets through, by name; all when `None`, none when empty.
    pub groups: Option<Box<[Box<str>]>>,
    /// Where its clients may be; anywhere when `None`, nowhere when empty.
    pub networks: Option<Box<[IpNet]>>,
}

impl Narrowing {
    /// Nothing.
    pub const NONE: Narrowing =
        Narrowing { read_only: false, profile: None, groups: None, networks: None };
}

impl Default for Bound {
    /// To nothing, and for no browser origin.
    fn default() -> Self {
        let (organizations, projects) = (Binding::Any, Binding::Any);
        let narrowing = Narrowing::NONE;
        Self { organizations, projects, allowed_origins: Box::new([]), narrowing }
    }
}

impl From<Bound> for Bounds {
    fn from(bound: Bound) -> Self {
        Self(Some(bound).filter(|bound| *bound != Bound::default()).map(Arc::new))
    }
}

impl Bounds {
    /// To nothing, and for no browser origin.
    pub const NONE: Bounds = Bounds(None);

    /// The organisations that it reaches.
    pub fn organizations(&self) -> &Binding {
        self.0.as_deref().map_or(&Binding::Any, |bound| &bound.organizations)
    }

    /// The projects that it reaches.
    pub fn projects(&self) -> &Binding {
        self.0.as_deref().map_or(&Binding::Any, |bound| &bound.projects)
    }

    /// Browser origins that may use it.
    pub fn allowed_origins(&self) -> &[Box<str>] {
        self.0.as_deref().map_or(&[], |bound| &bound.allowed_origins)
    }

    /// What narrows it besides.
    pub fn narrowing(&self) -> &Narrowing {
        self.0.as_deref().map_or(&Narrowing::NONE, |bound| &bound.narrowing)
    }

    /// Whether nobody else shares it.
    pub fn is_unshared(&self) -> bool {
        self.0.as_ref().is_none_or(|bound| Arc::strong_count(bound) == 1)
    }
}

/// From when on a credential is refused. Each may have another, so it is as small as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(u64);

impl Expiry {
    /// At no time.
    pub const NEVER: Expiry = Expiry(u64::MAX);

    /// The time; `None` for never.
    pub fn time(self) -> Option<Timestamp> {
        (self != Self::NEVER).then(|| Timestamp::from_millis(self.0))
    }
}

impl From<Option<Timestamp>> for Expiry {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self::NEVER, |time| Self(time.as_millis()))
    }
}

/// Who issued a credential, and so whether the upstream may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// Sentry: forwarded as it is, and checked there again.
    Sentry,
    /// The gateway: replaced by the credential of the upstream, never forwarded.
    Gateway,
}

/// Whether a credential is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In force.
    Active,
    /// Revoked, or its key, user or application is disabled.
    Disabled,
    /// Its time has not come.
    NotYetValid,
    /// It is authentic, and no trust policy gives it anything.
    Untrusted,
}

impl State {
    /// Whether it may soon be another without anybody revoking anything.
    pub const fn is_passing(self) -> bool {
        match self {
            State::NotYetValid | State::Untrusted => true,
            State::Active | State::Disabled => false,
        }
    }
}

/// The name by which logs and people know a credential; not secret. A row of Sentry's is its number,
/// because there may be a million.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id(Named);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Named {
    Text(Box<str>),
    /// The place of its kind in [`IdentityKind::ALL`] above the bits of its number.
    Row(u64),
}

/// How many bits a number has that is kept as one.
const ROW_BITS: u32 = 56;

impl Id {
    /// The row of this number in Sentry's table of a kind.
    pub fn row(kind: IdentityKind, number: i64) -> Self {
        let small = u64::try_from(number).ok().filter(|number| number >> ROW_BITS == 0);
        Self(match small {
            Some(number) => Named::Row((kind as u64) << ROW_BITS | number),
            None => Named::Text(format!("sentry:{kind}:{number}").into()),
        })
    }
}

impl<T: Into<Box<str>>> From<T> for Id {
    fn from(text: T) -> Self {
        Self(Named::Text(text.into()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Named::Text(text) => f.write_str(text),
            Named::Row(row) => {
                let of_row = |kind: &&IdentityKind| **kind as u64 == row >> ROW_BITS;
                let kind = IdentityKind::ALL.iter().find(of_row).map_or("", |kind| kind.as_str());
                write!(f, "sentry:{kind}:{}", row & ((1 << ROW_BITS) - 1))
            }
        }
    }
}

/// What a store knows of a credential. Never the secret.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name by which logs and people know it; not secret.
    pub id: Id,
    /// What it stands for.
    pub kind: IdentityKind,
    /// Who issued it.
    pub issuer: Issuer,
    /// Whether it is in force.
    pub state: State,
    /// What it may do; nothing when empty.
    pub scopes: ScopeSet,
    /// What it is bound to.
    pub bounds: Bounds,
    /// From when on it is refused.
    pub expires_at: Expiry,
}

impl AsRef<Identity> for Identity {
    fn as_ref(&self) -> &Identity {
        self
    }
}

/// Whatever an identity is kept in, which may know more of it.
pub trait Holder: AsRef<Identity> + fmt::Debug + Send + Sync {}

impl<T: AsRef<Identity> + fmt::Debug + Send + Sync> Holder for T {}

impl dyn Holder {
    /// The identity.
    pub fn identity(&self) -> &Identity {
        self.as_ref()
    }
}

impl Identity {
    /// Whether it has expired at `now` (Sentry: `now >= expires_at`).
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.time().is_some_and(|expiry| now >= expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_named_by_its_kind_and_number_whatever_that_is() {
        for kind in IdentityKind::ALL {
            for number in [0, 7, 1_234_567, (1 << 56) - 1, 1 << 56, i64::MAX, -1, i64::MIN] {
                let text = format!("sentry:{kind}:{number}");
                assert_eq!(Id::row(*kind, number).to_string(), text);
            }
        }
        assert_eq!(Id::from("ci").to_string(), "ci");
        // As small as a text is without its bytes.
        assert_eq!(size_of::<Id>(), size_of::<Box<str>>());
    }
}
