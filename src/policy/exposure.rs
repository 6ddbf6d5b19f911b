//! What a listener lets in, and where that goes.

use std::fmt;

/// A group of routes that a listener lets in or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exposure {
    /// The Web API.
    Api,
    /// What SDKs send, and what their widgets and loaders fetch.
    Ingest,
    /// What external Relays ask.
    Relays,
    /// What other services call, with signatures of their own.
    Webhooks,
    /// The OAuth 2.0 endpoints.
    Oauth,
    /// The pages, and with them browser sessions.
    Ui,
}

impl Exposure {
    /// Every group.
    pub const ALL: &'static [Exposure] = &[
        Exposure::Api,
        Exposure::Ingest,
        Exposure::Relays,
        Exposure::Webhooks,
        Exposure::Oauth,
        Exposure::Ui,
    ];

    /// The name in configs and rule files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Exposure::Api => "api",
            Exposure::Ingest => "ingest",
            Exposure::Relays => "relays",
            Exposure::Webhooks => "webhooks",
            Exposure::Oauth => "oauth",
            Exposure::Ui => "ui",
        }
    }

    /// The names of all, for people.
    pub fn list() -> String {
        quoted(Self::ALL)
    }

    /// The group of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|exposure| exposure.as_str() == name)
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The groups that a listener lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposures(u8);

impl Exposures {
    /// None: nobody gets in.
    pub const NONE: Self = Self(0);
    /// The Web API alone.
    pub const API: Self = Self::NONE.with(Exposure::Api);

    /// These and one more.
    #[must_use]
    pub const fn with(self, exposure: Exposure) -> Self {
        Self(self.0 | 1 << exposure as u8)
    }

    /// Whether the group is let in.
    pub const fn contains(self, exposure: Exposure) -> bool {
        self.0 & (1 << exposure as u8) != 0
    }

    /// These, in the order of [`Exposure::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Exposure> {
        Exposure::ALL.iter().copied().filter(move |exposure| self.contains(*exposure))
    }
}

impl FromIterator<Exposure> for Exposures {
    fn from_iter<I: IntoIterator<Item = Exposure>>(exposures: I) -> Self {
        exposures.into_iter().fold(Self::NONE, Self::with)
    }
}

/// A part of Sentry that requests go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Service {
    /// The web service.
    Web,
    /// Relay.
    Relay,
    /// What serves the files of the pages: Sentry's own nginx, or the web service.
    Assets,
}

impl Service {
    /// Every part.
    pub const ALL: &'static [Service] = &[Service::Web, Service::Relay, Service::Assets];

    /// The name in configs, rule files and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Service::Web => "web",
            Service::Relay => "relay",
            Service::Assets => "assets",
        }
    }

    /// Where it says whether it works. The web service answers before it looks at the `Host`, and
    /// Sentry's nginx hands that on.
    pub const fn health_path(self) -> &'static str {
        match self {
            Service::Web | Service::Assets => "/_health/",
            Service::Relay => "/api/relay/healthcheck/ready/",
        }
    }

    /// The names of all, for people.
    pub fn list() -> String {
        quoted(Self::ALL)
    }

    /// The part of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|service| service.as_str() == name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn quoted(names: &[impl fmt::Display]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
