//! Scopes: Sentry's names for what a token may do, and sets of them.
//!
//! A route asks for *any one* of a set (`api/permissions.py` in Sentry). The hierarchy
//! (`SENTRY_SCOPE_HIERARCHY_MAPPING` in `conf/server.py`) is applied when a token is issued, as
//! Sentry does when it saves one; a row of Sentry's is taken as it is.

use std::fmt;
use std::str::FromStr;

macro_rules! scopes {
    ($($variant:ident = $name:literal => [$($implied:ident),*];)*) => {
        /// A scope of Sentry (`SENTRY_SCOPES` in `conf/server.py`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Scope {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Scope {
            /// Every scope, in the order in which sets print them.
            pub const ALL: &'static [Scope] = &[$(Scope::$variant,)*];

            /// The name that Sentry gives it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Scope::$variant => $name,)*
                }
            }

            /// What holding this scope implies besides itself.
            const fn implied(self) -> &'static [Scope] {
                match self {
                    $(Scope::$variant => &[$(Scope::$implied,)*],)*
                }
            }
        }
    };
}

scopes! {
    AlertsRead = "alerts:read" => [];
    AlertsWrite = "alerts:write" => [AlertsRead];
    Email = "email" => [];
    EventAdmin = "event:admin" => [EventRead, EventWrite];
    EventRead = "event:read" => [];
    EventWrite = "event:write" => [EventRead];
    MemberAdmin = "member:admin" => [MemberRead, MemberInvite, MemberWrite];
    MemberInvite = "member:invite" => [MemberRead];
    MemberRead = "member:read" => [];
    MemberWrite = "member:write" => [MemberRead, MemberInvite];
    Openid = "openid" => [];
    OrgAdmin = "org:admin" => [OrgRead, OrgWrite, OrgIntegrations];
    OrgCi = "org:ci" => [];
    OrgIntegrations = "org:integrations" => [];
    OrgRead = "org:read" => [];
    OrgWrite = "org:write" => [OrgRead];
    Profile = "profile" => [];
    ProjectAdmin = "project:admin" => [ProjectRead, ProjectWrite];
    ProjectDistribution = "project:distribution" => [];
    ProjectRead = "project:read" => [];
    ProjectReleases = "project:releases" => [];
    ProjectWrite = "project:write" => [ProjectRead];
    TeamAdmin = "team:admin" => [TeamRead, TeamWrite];
    TeamRead = "team:read" => [];
    TeamWrite = "team:write" => [TeamRead];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is not a scope of Sentry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope `{0}`; the scopes are {known}", known = ScopeSet::ALL.list())]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        let found = Scope::ALL.iter().find(|scope| scope.as_str() == name);
        found.copied().ok_or_else(|| UnknownScope(name.to_owned()))
    }
}

/// A set of scopes. Empty means no scope, and so no access to anything that asks for one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(u32);

impl ScopeSet {
    /// No scope.
    pub const EMPTY: ScopeSet = ScopeSet(0);
    /// Every scope.
    pub const ALL: ScopeSet = ScopeSet((1 << Scope::ALL.len()) - 1);
    /// What reads and changes nothing (`SENTRY_READONLY_SCOPES`).
    pub const READ: ScopeSet = ScopeSet(
        ScopeSet::bit(Scope::OrgRead)
            | ScopeSet::bit(Scope::MemberRead)
            | ScopeSet::bit(Scope::TeamRead)
            | ScopeSet::bit(Scope::ProjectRead)
            | ScopeSet::bit(Scope::EventRead)
            | ScopeSet::bit(Scope::AlertsRead),
    );

    /// What every project key may do (`ProjectKey.get_scopes` in `models/projectkey.py`).
    pub const PROJECT_KEY: ScopeSet = ScopeSet(
        ScopeSet::bit(Scope::ProjectRead)
            | ScopeSet::bit(Scope::ProjectWrite)
            | ScopeSet::bit(Scope::ProjectAdmin)
            | ScopeSet::bit(Scope::ProjectReleases)
            | ScopeSet::bit(Scope::EventRead)
            | ScopeSet::bit(Scope::EventWrite)
            | ScopeSet::bit(Scope::EventAdmin),
    );

    const fn bit(scope: Scope) -> u32 {
        1 << scope as u32
    }

    /// This set and `scope`.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        ScopeSet(self.0 | Self::bit(scope))
    }

    /// Whether `scope` is in the set.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & Self::bit(scope) != 0
    }

    /// Whether the two sets share a scope: the question that every route asks.
    pub const fn intersects(self, other: ScopeSet) -> bool {
        self.0 & other.0 != 0
    }

    /// This set without what is in `other`.
    #[must_use]
    pub const fn without(self, other: ScopeSet) -> Self {
        ScopeSet(self.0 & !other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: ScopeSet) -> Self {
        ScopeSet(self.0 & other.0)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in it, by name.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.contains(*scope))
    }

    /// The set with everything that its members imply, as Sentry saves it.
    #[must_use]
    pub fn with_implied(self) -> Self {
        let implied = self.iter().flat_map(|scope| scope.implied().iter().copied());
        implied.fold(self, ScopeSet::with)
    }

    /// The names, blank-separated, as `scope` of RFC 6750 has them.
    pub fn names(self) -> String {
        self.join(" ", "")
    }

    /// The names in backticks, comma-separated, for people; `none` when empty.
    pub fn list(self) -> String {
        if self.is_empty() { "none".to_owned() } else { self.join(", ", "`") }
    }

    fn join(self, separator: &str, quote: &str) -> String {
        let mut text = String::new();
        for scope in self.iter() {
            if !text.is_empty() {
                text.push_str(separator);
            }
            text.push_str(quote);
            text.push_str(scope.as_str());
            text.push_str(quote);
        }
        text
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::EMPTY, ScopeSet::with)
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> ScopeSet {
        names.iter().map(|name| name.parse::<Scope>().unwrap()).collect()
    }

    #[test]
    fn the_hierarchy_is_sentrys() {
        // From `SENTRY_SCOPE_HIERARCHY_MAPPING`; a scope that is not listed implies only itself.
        let rows: &[(&str, &[&str])] = &[
            ("org:write", &["org:read"]),
            ("org:admin", &["org:read", "org:write", "org:integrations"]),
            ("member:invite", &["member:read"]),
            ("member:write", &["member:read", "member:invite"]),
            ("member:admin", &["member:read", "member:invite", "member:write"]),
            ("team:write", &["team:read"]),
            ("team:admin", &["team:read", "team:write"]),
            ("project:write", &["project:read"]),
            ("project:admin", &["project:read", "project:write"]),
            ("event:write", &["event:read"]),
            ("event:admin", &["event:read", "event:write"]),
            ("alerts:write", &["alerts:read"]),
        ];
        for scope in Scope::ALL {
            let row = rows.iter().find(|(name, _)| *name == scope.as_str());
            let implied = row.map_or(ScopeSet::EMPTY, |(_, implied)| set(implied));
            let wanted = implied.with(*scope);
            assert_eq!(ScopeSet::EMPTY.with(*scope).with_implied(), wanted, "{scope}");
        }
    }

    #[test]
    fn names_are_sorted_and_parse_back() {
        let names: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        assert_eq!(set(&names), ScopeSet::ALL);
    }

    #[test]
    fn an_unknown_scope_is_named_with_the_known_ones() {
        let error = "project:wirte".parse::<Scope>().unwrap_err().to_string();
        assert!(error.contains("`project:wirte`") && error.contains("`project:write`"), "{error}");
    }

    #[test]
    fn nothing_intersects_the_empty_set() {
        assert!(!ScopeSet::EMPTY.intersects(ScopeSet::ALL));
        assert!(set(&["event:read"]).intersects(set(&["org:ci", "event:read"])));
    }
}
