//! Token stores.

mod endpoint;
mod issuer;
mod server;
mod trust;

pub(super) use endpoint::endpoint;

use super::super::raw::{RawConfig, RawStore};
use super::super::value::TextOrSecret;
use super::super::{Own, Store, StoreKind};
use super::Compiler;
use crate::limit::Rates;
use crate::policy::identity::{IdentityKind, KindSet};
use crate::store::portcullis::StoreLocation;
use crate::store::postgres::Address;

/// The kind of a store with tokens that the gateway issues.
pub(super) const PORTCULLIS: &str = "portcullis";
/// The kind of a store with Sentry's own.
const SENTRY: &str = "sentry";
/// The kind of a store that asks whoever issued the credential.
const INTROSPECTION: &str = "introspection";
/// The kind of a store that is a file.
pub(super) const FILE: &str = "file";
/// What there is.
const KINDS: &str = "write `portcullis`, `sentry`, `introspection` or `file`";

/// How often in a second a store is asked for credentials that are not known.
const UNKNOWN_PER_SECOND: u32 = 1000;
/// The same where every question is a request to Sentry.
const INTROSPECTIONS_PER_SECOND: u32 = 50;

impl Compiler<'_> {
    pub(super) fn stores(&mut self, config: &RawConfig) -> Vec<Store> {
        let mut stores = self.issuers(&config.issuer);
        let raw = &config.store;
        if raw.is_empty() && config.issuer.is_empty() {
            let help = "add `[[store]]` with `kind = \"portcullis\"` and `url = \"sqlite:///path/to/tokens.db\"`";
            self.problem("store", "there is none, so no token could be known", help);
        }
        for (index, raw) in raw.iter().enumerate() {
            let kind = match raw.kind.as_str() {
                PORTCULLIS => self.own(index, raw).map(StoreKind::Portcullis),
                SENTRY => self.server(index, raw).map(StoreKind::Sentry),
                INTROSPECTION => self.introspection(index, raw),
                FILE => self.file(index, raw),
                other => {
                    let what = format!("`{other}` is not a kind of store");
                    self.problem(format!("store[{index}].kind"), what, KINDS);
                    continue;
                }
            };
            let (credentials, unknown) = (self.credentials(index, raw), self.unknown(index, raw));
            let Some(kind) = kind else { continue };
            if !kind.knows().intersects(credentials) {
                let what =
                    "names nothing that this store can know, so that it would never be asked";
                self.problem(
                    format!("store[{index}].credentials"),
                    what,
                    "delete it, or the store",
                );
            }
            let name = raw.name.clone().unwrap_or_else(|| raw.kind.clone());
            if stores.iter().any(|other| other.name == name) {
                let help = "give each store a `name` of its own";
                self.problem(format!("store[{index}].name"), format!("`{name}` is taken"), help);
            }
            self.sends_to_others(index, &kind, &stores);
            stores.push(Store { name, kind, credentials, unknown });
        }
        let issues = raw.iter().any(|store| [PORTCULLIS, FILE].contains(&store.kind.as_str()));
        if config.upstream.web.credential.is_none() && (issues || !config.issuer.is_empty()) {
            let whose = if issues { "of a `portcullis` or `file` store" } else { "of an `issuer`" };
            self.problem(
                "upstream.web.credential",
                format!("is missing, and tokens {whose} are never forwarded themselves"),
                "add `credential = { file = \"path of a file with a Sentry token\" }`",
            );
        }
        stores
    }

    /// Whether tokens of a file would be sent to an endpoint first: nothing tells them by their form.
    fn sends_to_others(&mut self, index: usize, kind: &StoreKind, before: &[Store]) {
        let asks = |store: &Store| match &store.kind {
            StoreKind::Introspection(_) => store.kind.knows().intersects(kind.knows()),
            StoreKind::Portcullis(_)
            | StoreKind::Sentry(_)
            | StoreKind::File(_)
            | StoreKind::Jwt(_) => false,
        };
        if matches!(kind, StoreKind::File(_)) && before.iter().any(asks) {
            let what = "stands behind an `introspection` store, which would be sent its tokens";
            self.problem(format!("store[{index}]"), what, "put the `file` store first");
        }
    }

    /// Where tokens are that the gateway issues.
    pub(super) fn own(&mut self, index: usize, raw: &RawStore) -> Option<Own> {
        let at = format!("store[{index}].url");
        let is_server = match &raw.url {
            Some(TextOrSecret::Text(url)) => Address::is_one(url),
            Some(TextOrSecret::Secret(_)) => true,
            None => false,
        };
        if is_server {
            return self.server(index, raw).map(Own::Postgres);
        }
        self.only(index, raw, &["url"]);
        let help = "write `sqlite:///path/to/tokens.db`, or `postgres://user@host/database`";
        let Some(TextOrSecret::Text(url)) = &raw.url else {
            self.problem(at, "is missing", help);
            return None;
        };
        let location = self.parsed(&at, url.parse::<StoreLocation>(), help)?;
        Some(Own::Sqlite(StoreLocation::file(self.folder.join(location.path()))))
    }

    fn file(&mut self, index: usize, raw: &RawStore) -> Option<StoreKind> {
        self.only(index, raw, &["path"]);
        let at = format!("store[{index}].path");
        let Some(path) = raw.path.as_ref().filter(|path| !path.is_empty()) else {
            self.problem(at, "is missing", "write `path = \"/etc/portcullis/tokens.toml\"`");
            return None;
        };
        Some(StoreKind::File(self.folder.join(path)))
    }

    /// Refuses keys that mean nothing for a store of this kind.
    fn only(&mut self, index: usize, raw: &RawStore, taken: &[&str]) {
        let given = [
            ("url", raw.url.is_some()),
            ("password", raw.password.is_some()),
            ("listen_url", raw.listen_url.is_some()),
            ("connections", raw.connections.is_some()),
            ("required_at_start", raw.required_at_start.is_some()),
            ("path", raw.path.is_some()),
            ("protocol", raw.protocol.is_some()),
            ("credential", raw.credential.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(key, given)| *given && !taken.contains(key)) {
            let what = format!("means nothing for this `{}` store", raw.kind);
            self.problem(format!("store[{index}].{key}"), what, "delete it");
        }
    }

    /// The kinds that a store is asked for.
    fn credentials(&mut self, index: usize, raw: &RawStore) -> KindSet {
        let Some(names) = &raw.credentials else { return KindSet::ALL };
        let at = format!("store[{index}].credentials");
        let known = IdentityKind::ALL.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>();
        let help = format!("write some of {}", known.join(", "));
        let mut kinds = KindSet::EMPTY;
        for name in names {
            match IdentityKind::from_name(name) {
                Some(kind) => kinds = kinds.with(kind),
                None => self.problem(&at, format!("`{name}` is not a kind of credential"), &help),
            }
        }
        if names.is_empty() {
            self.problem(at, "is empty, so the store would never be asked", help);
        }
        kinds
    }

    /// How often a store is asked for credentials that are not known.
    fn unknown(&mut self, index: usize, raw: &RawStore) -> Rates {
        let default =
            if raw.kind == INTROSPECTION { INTROSPECTIONS_PER_SECOND } else { UNKNOWN_PER_SECOND };
        let total = raw.unknown_per_second.unwrap_or(default);
        self.rates(&format!("store[{index}]"), total, raw.unknown_per_client)
    }

    /// What is for all, and for one client a quarter of it where nothing else is written.
    fn rates(&mut self, at: &str, total: u32, per_client: Option<u32>) -> Rates {
        let per_client = per_client.unwrap_or(total.div_ceil(4));
        let rates = [("unknown_per_second", total), ("unknown_per_client", per_client)];
        for (key, rate) in rates {
            if rate == 0 {
                let what = "is 0, so nobody would ever be looked up";
                self.problem(format!("{at}.{key}"), what, "write a number from 1 on");
            }
        }
        if per_client > total {
            let what = format!("is more than the {total} that there are for all");
            self.problem(format!("{at}.unknown_per_client"), what, "write a smaller number");
        }
        Rates { total, per_client }
    }
}
