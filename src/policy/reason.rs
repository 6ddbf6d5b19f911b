//! Every reason for which the gateway itself answers, and what each means to a client.
//!
//! The set is closed: the code is the `code` of the answer, the label `reason` of the metrics and
//! the field `reason` of the access log, so all three speak of the same thing.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal;)*) => {
        /// Why a request was not forwarded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The stable name.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Reason::$variant => $code,)*
                }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self {
                    $(Reason::$variant => $status,)*
                }
            }
        }
    };
}

reasons! {
    /// The frame of the request is ambiguous; the connection is closed.
    MalformedRequest = "malformed_request", 400;
    /// The path could be read in two ways; the connection is closed.
    BadPath = "bad_path", 400;
    /// More than one credential; the connection is closed.
    MultipleCredentials = "multiple_credentials", 400;
    /// The route needs a credential and there is none.
    MissingCredential = "missing_credential", 401;
    /// There is one, and it can't be read.
    MalformedCredential = "malformed_credential", 401;
    /// It is of a kind that the route does not take.
    WrongCredentialKind = "wrong_credential_kind", 401;
    /// No store knows it.
    UnknownToken = "unknown_token", 401;
    /// Its time is over.
    ExpiredToken = "expired_token", 401;
    /// It was revoked, or is inactive.
    DisabledToken = "disabled_token", 401;
    /// An issuer vouches for it, and no trust policy of the config gives it anything.
    NoTrustPolicy = "no_trust_policy", 403;
    /// None of the scopes that the route asks for is held.
    MissingScope = "missing_scope", 403;
    /// The route names an organisation that the credential is not bound to.
    WrongOrganization = "wrong_organization", 403;
    /// The route does not name what the credential is bound to, or names another project.
    Binding = "binding", 403;
    /// The token is read-only, and the method is not safe.
    ReadOnly = "read_only", 403;
    /// The token may not be used from where the client is.
    Network = "network", 403;
    /// The route is not among those that the token's profile or groups have.
    RuleNotGranted = "rule_not_granted", 403;
    /// The browser origin is not on the token's list.
    Origin = "origin", 403;
    /// Sentry has the route, and the gateway does not let it out.
    RouteNotExposed = "route_not_exposed", 403;
    /// There is no such route.
    NoSuchRoute = "no_such_route", 404;
    /// There is, but not for this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// A body larger than the route takes.
    TooLarge = "too_large", 413;
    /// A `Host` that is not ours.
    Misdirected = "misdirected", 421;
    /// A limit of the config is used up.
    RateLimited = "rate_limited", 429;
    /// Too many credentials that nobody knows came in a second.
    GuessingLimited = "guessing_limited", 429;
    /// There is no room to keep the body until it is whole.
    SpoolFull = "spool_full", 503;
    /// The gateway is stopping, and the body has not come in time.
    Stopping = "stopping", 503;
    /// Bodies can't be kept, for a reason that does not pass.
    SpoolUnavailable = "spool_unavailable", 503;
    /// What is decided can't be recorded, and has to be.
    AuditUnavailable = "audit_unavailable", 503;
    /// Sentry can't be asked what a request of a bound token is about.
    DirectoryUnavailable = "directory_unavailable", 503;
    /// The token store can't answer and nothing usable is cached.
    StoreUnavailable = "store_unavailable", 503;
}

impl Reason {
    /// Whether it is about what a caller may do, and not about who it is or what it sent: what a
    /// gateway that observes tells of instead of refusing.
    pub const fn is_about_entitlement(self) -> bool {
        match self {
            Reason::MissingScope | Reason::WrongOrganization | Reason::Binding => true,
            Reason::MalformedRequest
            | Reason::BadPath
            | Reason::MultipleCredentials
            | Reason::MissingCredential
            | Reason::MalformedCredential
            | Reason::WrongCredentialKind
            | Reason::UnknownToken
            | Reason::ExpiredToken
            | Reason::DisabledToken
            | Reason::ReadOnly
            | Reason::Network
            | Reason::RuleNotGranted
            | Reason::DirectoryUnavailable
            | Reason::NoTrustPolicy
            | Reason::Origin
            | Reason::RouteNotExposed
            | Reason::NoSuchRoute
            | Reason::MethodNotAllowed
            | Reason::TooLarge
            | Reason::Misdirected
            | Reason::RateLimited
            | Reason::GuessingLimited
            | Reason::SpoolFull
            | Reason::SpoolUnavailable
            | Reason::Stopping
            | Reason::AuditUnavailable
            | Reason::StoreUnavailable => false,
        }
    }
}

impl Reason {
    /// Whether a rule in shadow may be told to refuse for it: it follows from the rule, and not from who
    /// calls or from what the request is framed in.
    pub const fn is_of_a_rule(self) -> bool {
        match self {
            Reason::MissingCredential
            | Reason::WrongCredentialKind
            | Reason::MissingScope
            | Reason::WrongOrganization
            | Reason::Binding
            | Reason::RouteNotExposed
            | Reason::NoSuchRoute
            | Reason::MethodNotAllowed
            | Reason::TooLarge => true,
            Reason::MalformedRequest
            | Reason::BadPath
            | Reason::MultipleCredentials
            | Reason::MalformedCredential
            | Reason::UnknownToken
            | Reason::ExpiredToken
            | Reason::DisabledToken
            | Reason::NoTrustPolicy
            | Reason::ReadOnly
            | Reason::Network
            | Reason::RuleNotGranted
            | Reason::DirectoryUnavailable
            | Reason::Origin
            | Reason::Misdirected
            | Reason::RateLimited
            | Reason::GuessingLimited
            | Reason::SpoolFull
            | Reason::SpoolUnavailable
            | Reason::Stopping
            | Reason::AuditUnavailable
            | Reason::StoreUnavailable => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a permitted request got no answer of the upstream's. Counted apart from refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UpstreamFailure {
    /// It can't be reached, or broke off.
    Unreachable,
    /// It was silent for too long.
    Timeout,
    /// It refused the credential that stands in for tokens of the gateway.
    CredentialRefused,
    /// It answered, with JSON that can't be rewritten.
    RewriteFailed,
    /// There was no room for it, or for its answer; [`Busy`] says which.
    Busy,
}

/// Why there was no room for a request at the upstream, or for its answer here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// As many requests wait already as may.
    QueueFull,
    /// It waited for as long as it may.
    WaitOver,
    /// The gateway is stopping.
    Stopping,
    /// The gateway holds as much of answers as it may, to rewrite them.
    Held,
}

impl Busy {
    /// Every one.
    pub const ALL: &'static [Busy] = &[Busy::QueueFull, Busy::WaitOver, Busy::Stopping, Busy::Held];

    /// What the client is told.
    pub const fn detail(self) -> &'static str {
        match self {
            Busy::QueueFull => {
                "Sentry is busy, and the gateway's queue for it is full; nothing was sent to it: try \
                 again in a second"
            }
            Busy::WaitOver => {
                "Sentry is busy, and none of its requests ended while this one waited; nothing was \
                 sent to it: try again in a second"
            }
            Busy::Stopping => {
                "Sentry is busy, and this gateway is stopping; nothing was sent to it: try again in a \
                 second"
            }
            Busy::Held => {
                "Sentry answered, and the gateway has no room for its answer until others are sent; \
                 what was asked is done: look before you try again"
            }
        }
    }
}

impl UpstreamFailure {
    /// Every failure.
    pub const ALL: &'static [UpstreamFailure] = &[
        UpstreamFailure::Unreachable,
        UpstreamFailure::Timeout,
        UpstreamFailure::CredentialRefused,
        UpstreamFailure::RewriteFailed,
        UpstreamFailure::Busy,
    ];

    /// The stable name.
    pub const fn code(self) -> &'static str {
        match self {
            UpstreamFailure::Unreachable => "upstream_unreachable",
            UpstreamFailure::Timeout => "upstream_timeout",
            UpstreamFailure::CredentialRefused => "upstream_credential_refused",
            UpstreamFailure::Busy => "upstream_busy",
            UpstreamFailure::RewriteFailed => "rewrite_failed",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            UpstreamFailure::Unreachable
            | UpstreamFailure::CredentialRefused
            | UpstreamFailure::RewriteFailed => 502,
            UpstreamFailure::Timeout => 504,
            UpstreamFailure::Busy => 503,
        }
    }

    /// After how many seconds it is worth another try, where that is known.
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            UpstreamFailure::Busy => Some(1),
            UpstreamFailure::Unreachable
            | UpstreamFailure::Timeout
            | UpstreamFailure::CredentialRefused
            | UpstreamFailure::RewriteFailed => None,
        }
    }

    /// What the client is told.
    pub const fn detail(self) -> &'static str {
        match self {
            UpstreamFailure::Unreachable => {
                "Sentry can't be reached from the gateway, or broke off before it answered; it may \
                 have done what was asked: look before you try again"
            }
            UpstreamFailure::Timeout => {
                "Sentry did not answer the gateway in time; it may have done what was asked: look \
                 before you try again"
            }
            UpstreamFailure::CredentialRefused => {
                "Sentry refused the gateway's own credential, not your token; tell the gateway's \
                 operator to replace `upstream.web.credential`"
            }
            UpstreamFailure::Busy => {
                "Sentry is busy; nothing was sent to it: try again in a second"
            }
            UpstreamFailure::RewriteFailed => {
                "Sentry answered, and the gateway can't make its answer name the address that you \
                 called, so it keeps it back; what was asked is done: tell the gateway's operator"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_the_contract() {
        // The table that clients and alerts rely on; a change here is a breaking change.
        let rows = [
            ("malformed_request", 400),
            ("bad_path", 400),
            ("multiple_credentials", 400),
            ("missing_credential", 401),
            ("malformed_credential", 401),
            ("wrong_credential_kind", 401),
            ("unknown_token", 401),
            ("expired_token", 401),
            ("disabled_token", 401),
            ("no_trust_policy", 403),
            ("missing_scope", 403),
            ("wrong_organization", 403),
            ("binding", 403),
            ("read_only", 403),
            ("network", 403),
            ("rule_not_granted", 403),
            ("origin", 403),
            ("route_not_exposed", 403),
            ("no_such_route", 404),
            ("method_not_allowed", 405),
            ("too_large", 413),
            ("misdirected", 421),
            ("rate_limited", 429),
            ("guessing_limited", 429),
            ("spool_full", 503),
            ("stopping", 503),
            ("spool_unavailable", 503),
            ("audit_unavailable", 503),
            ("directory_unavailable", 503),
            ("store_unavailable", 503),
        ];
        let seen: Vec<_> = Reason::ALL.iter().map(|r| (r.code(), r.status())).collect();
        assert_eq!(seen, rows);
    }

    #[test]
    fn failures_are_the_contract_too() {
        let rows = [
            ("upstream_unreachable", 502, None),
            ("upstream_timeout", 504, None),
            ("upstream_credential_refused", 502, None),
            ("rewrite_failed", 502, None),
            ("upstream_busy", 503, Some(1)),
        ];
        let seen: Vec<_> = UpstreamFailure::ALL
            .iter()
            .map(|failure| (failure.code(), failure.status(), failure.retry_after()))
            .collect();
        assert_eq!(seen, rows);
        // The metrics find a failure by its number.
        for (number, failure) in UpstreamFailure::ALL.iter().enumerate() {
            assert_eq!(*failure as usize, number);
        }
    }
}
