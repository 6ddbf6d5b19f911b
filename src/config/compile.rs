//! From the file as it is written to a config that can be served, or every problem with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use super::raw::{RawCache, RawConfig, RawListen, RawLog, RawRules, RawStore, RawUpstream};
use super::rules::RuleSet;
use super::value::SecretRef;
use super::{Cache, Config, Log, SENTRY_RULES, SENTRY_RULES_NAME, Server, Source, Store, Upstream};
use crate::policy::Policy;
use crate::policy::rules::RuleTable;
use crate::policy::site::{BaseUrl, Site};
use crate::store::portcullis::StoreLocation;
use crate::telemetry::diagnostics::Level;

/// Threads when the machine does not say how many cores it has.
const FALLBACK_THREADS: usize = 2;

/// Compiles a config. Relative paths in it start from `folder`.
pub(super) fn compile(
    text: &str,
    raw: RawConfig,
    folder: &Path,
    source: &dyn Source,
) -> Result<Config, Vec<Problem>> {
    let mut compiler = Compiler { folder, source, problems: Vec::new() };
    let mut hash = Sha256::new_with_prefix(text);
    let site = compiler.site(&raw.public_url, &raw.public_aliases);
    let listen = compiler.listen(&raw.listen);
    let admin = compiler.address("admin.address", &raw.admin.address);
    if let Some(admin) = admin
        && admin.port() != 0
        && listen.contains(&admin)
    {
        let what = format!("`{admin}` is a public address too");
        compiler.problem("admin.address", what, "give the admin listener a port of its own");
    }
    let trusted_proxies = compiler.networks(&raw.trusted_proxies);
    let web = compiler.upstream("upstream.web", &raw.upstream.web);
    let stores = compiler.stores(&raw.store);
    let rules = compiler.rules(&raw.rules, &mut hash);
    let cache = compiler.cache(&raw.cache);
    let log = compiler.log(&raw.log);
    if web.as_ref().is_some_and(|web| web.credential.is_none()) && !stores.is_empty() {
        compiler.problem(
            "upstream.web.credential",
            "is missing, and tokens of a `portcullis` store are never forwarded themselves",
            "add `credential = { file = \"path of a file with a Sentry token\" }`",
        );
    }
    let threads = match raw.server.threads {
        0 => std::thread::available_parallelism().map_or(FALLBACK_THREADS, Into::into),
        threads => threads,
    };
    let server = Server { threads, drain: raw.server.drain.0 };
    let max_body = raw.upstream.web.max_body.0;
    match (site, admin, web, rules, log) {
        (Some(site), Some(admin), Some(web), Some(rules), Some(log))
            if compiler.problems.is_empty() =>
        {
            let policy = Policy { rules, site, max_body };
            let hash = hash.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Config {
                hash,
                policy,
                listen,
                admin,
                trusted_proxies,
                web,
                stores,
                cache,
                log,
                server,
            })
        }
        _ => Err(compiler.problems),
    }
}

/// Compiles the token stores and the public address alone.
pub(super) fn stores(
    raw: &RawConfig,
    folder: &Path,
    source: &dyn Source,
) -> Result<(Vec<Store>, BaseUrl), Vec<Problem>> {
    let mut compiler = Compiler { folder, source, problems: Vec::new() };
    let (stores, public) =
        (compiler.stores(&raw.store), compiler.base_url("public_url", &raw.public_url));
    match public {
        Some(public) if compiler.problems.is_empty() => Ok((stores, public)),
        Some(_) | None => Err(compiler.problems),
    }
}

struct Compiler<'a> {
    folder: &'a Path,
    source: &'a dyn Source,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn problem(&mut self, at: impl Into<String>, what: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(at, what, help));
    }

    /// The value, or a problem at `at`.
    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        at: &str,
        parsed: Result<T, E>,
        help: &str,
    ) -> Option<T> {
        parsed.map_err(|error| self.problem(at, error.to_string(), help)).ok()
    }

    fn base_url(&mut self, at: &str, url: &str) -> Option<BaseUrl> {
        self.parsed(
            at,
            BaseUrl::parse(url),
            "write the URL that is called, such as `https://sentry.example.com`",
        )
    }

    fn site(&mut self, public: &str, aliases: &[String]) -> Option<Site> {
        let public = self.base_url("public_url", public);
        let mut names = Vec::new();
        for (index, alias) in aliases.iter().enumerate() {
            let at = format!("public_aliases[{index}]");
            let Some(alias) = self.base_url(&at, alias) else { continue };
            if public.as_ref().is_some_and(|public| public.prefix() != alias.prefix()) {
                let help = "every public address has the path prefix of `public_url`";
                self.problem(&at, format!("`{alias}` has another path prefix"), help);
            }
            names.push(alias);
        }
        public.map(|public| Site::new(public, names))
    }

    fn address(&mut self, at: &str, text: &str) -> Option<SocketAddr> {
        let what = format!("`{text}` is not an IP address with a port");
        let help = "write `0.0.0.0:8080`, `[::]:8080` or `127.0.0.1:8080`";
        self.parsed(at, text.parse().map_err(|_| what), help)
    }

    fn listen(&mut self, listeners: &[RawListen]) -> Vec<SocketAddr> {
        if listeners.is_empty() {
            self.problem("listen", "is empty", "add `[[listen]]` with an `address`");
        }
        let mut addresses = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let at = format!("listen[{index}]");
            let Some(address) = self.address(&format!("{at}.address"), &listener.address) else {
                continue;
            };
            if addresses.contains(&address) && address.port() != 0 {
                self.problem(&at, format!("`{address}` is listened to twice"), "delete one");
            }
            if listener.expose != ["api"] {
                let help = "write `expose = [\"api\"]`, or leave it out";
                let what = "this version lets in `api` and nothing else";
                self.problem(format!("{at}.expose"), what, help);
            }
            addresses.push(address);
        }
        addresses
    }

    fn networks(&mut self, networks: &[String]) -> Vec<ipnet::IpNet> {
        let mut parsed = Vec::new();
        for (index, text) in networks.iter().enumerate() {
            let one = || text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
            let network = text.parse::<ipnet::IpNet>().or_else(|_| one());
            let what = format!("`{text}` is not a network");
            let at = format!("trusted_proxies[{index}]");
            let help = "write a CIDR such as `10.0.0.0/8`, or one address";
            parsed.extend(self.parsed(&at, network.map_err(|_| what), help));
        }
        parsed
    }

    fn upstream(&mut self, at: &str, raw: &RawUpstream) -> Option<Upstream> {
        let address = match raw.urls.as_slice() {
            [url] => self.base_url(&format!("{at}.urls[0]"), url),
            urls => {
                let what = format!("has {} addresses, and this version takes one", urls.len());
                self.problem(format!("{at}.urls"), what, "write exactly one URL");
                None
            }
        };
        if address.as_ref().is_some_and(|address| !address.prefix().is_empty()) {
            let help = "write scheme, host and port alone; `canonical_url` may have a prefix";
            self.problem(format!("{at}.urls[0]"), "has a path, which would be lost", help);
        }
        let canonical = match &raw.canonical_url {
            Some(url) => self.base_url(&format!("{at}.canonical_url"), url),
            None => address.clone(),
        };
        let credential = raw.credential.as_ref().map(|secret| {
            let token = self.secret(&format!("{at}.credential"), secret)?;
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let timeouts = [
            ("connect_timeout", raw.connect_timeout),
            ("timeout", raw.timeout),
            ("idle_timeout", raw.idle_timeout),
        ];
        for (name, timeout) in timeouts {
            if timeout.0.is_zero() {
                self.problem(format!("{at}.{name}"), "is zero", "write a time such as `\"10s\"`");
            }
        }
        Some(Upstream {
            address: address?,
            canonical: canonical?,
            credential: match credential {
                Some(read) => Some(read?),
                None => None,
            },
            connect_timeout: raw.connect_timeout.0,
            timeout: raw.timeout.0,
            idle_timeout: raw.idle_timeout.0,
        })
    }

    /// A secret's text, which is never part of a problem.
    fn secret(&mut self, at: &str, secret: &SecretRef) -> Option<String> {
        let is_token = |name: &String| name.starts_with("sntry") || name.starts_with("portcullis_");
        if [&secret.env, &secret.file].into_iter().flatten().any(is_token) {
            let help = "write the token into a file and its path here";
            self.problem(at, "holds what looks like the token itself", help);
            return None;
        }
        let text = match (&secret.env, &secret.file) {
            (Some(name), None) => self.source.env(name).ok_or_else(|| {
                (format!("the environment has no `{name}`"), "set it, or name another")
            }),
            (None, Some(path)) => self.source.read(&self.folder.join(path)).map_err(|error| {
                (format!("`{path}` can't be read: {error}"), "mount the file, or name another")
            }),
            (Some(_), Some(_)) | (None, None) => Err((
                "must be either a file or a variable".to_owned(),
                "write `{ file = \"path\" }` or `{ env = \"NAME\" }`",
            )),
        };
        match text.map(|text| text.trim().to_owned()) {
            Ok(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Some(text)
            }
            Ok(_) => {
                let help = "it must hold the token alone, in visible ASCII";
                self.problem(at, "what it names is empty or not a token", help);
                None
            }
            Err((what, help)) => {
                self.problem(at, what, help);
                None
            }
        }
    }

    fn stores(&mut self, raw: &[RawStore]) -> Vec<Store> {
        if raw.is_empty() {
            let help = "add `[[store]]` with `kind = \"portcullis\"` and `url = \"sqlite:///path/to/tokens.db\"`";
            self.problem("store", "there is none, so no token could be known", help);
        }
        let mut stores: Vec<Store> = Vec::new();
        for (index, raw) in raw.iter().enumerate() {
            let at = format!("store[{index}]");
            if raw.kind != "portcullis" {
                let what = format!("`{}` is not a kind of store", raw.kind);
                self.problem(format!("{at}.kind"), what, "write `portcullis`");
            }
            let help = "write `sqlite:///path/to/tokens.db`";
            let location = raw.url.parse::<StoreLocation>();
            let Some(location) = self.parsed(&format!("{at}.url"), location, help) else {
                continue;
            };
            let name = raw.name.clone().unwrap_or_else(|| raw.kind.clone());
            if stores.iter().any(|other| other.name == name) {
                let help = "give each store a `name` of its own";
                self.problem(format!("{at}.name"), format!("`{name}` is taken"), help);
            }
            let location = StoreLocation::file(self.folder.join(location.path()));
            stores.push(Store { name, location });
        }
        stores
    }

    fn rules(&mut self, raw: &RawRules, hash: &mut Sha256) -> Option<RuleTable> {
        let before = self.problems.len();
        let mut set = RuleSet::default();
        if raw.sentry {
            hash.update(SENTRY_RULES);
            set.add_file(SENTRY_RULES_NAME, SENTRY_RULES, &mut self.problems);
        }
        for (index, file) in raw.files.iter().enumerate() {
            let path: PathBuf = self.folder.join(file);
            match self.source.read(&path) {
                Ok(text) => {
                    hash.update(&text);
                    set.add_file(file, &text, &mut self.problems);
                }
                Err(error) => {
                    let what = format!("`{file}` can't be read: {error}");
                    self.problem(format!("rules.files[{index}]"), what, "name a file that exists");
                }
            }
        }
        let rules = set.into_rules();
        if rules.is_empty() && self.problems.len() == before {
            let help = "write `sentry = true`, or name a file with rules in `files`";
            self.problem("rules", "there is none, so every request would be refused", help);
        }
        match RuleTable::build(rules) {
            Ok(table) => Some(table),
            Err(conflicts) => {
                for conflict in conflicts {
                    self.problem(
                        "rules",
                        conflict.to_string(),
                        "see `config/sentry.toml` for the form of a rule",
                    );
                }
                None
            }
        }
    }

    fn cache(&mut self, raw: &RawCache) -> Cache {
        for (name, zero) in [("ttl", raw.ttl.0.is_zero()), ("capacity", raw.capacity == 0)] {
            if zero {
                let what = "is zero, so every request would ask the store";
                self.problem(format!("cache.{name}"), what, "delete the line to take the default");
            }
        }
        Cache {
            ttl: raw.ttl.0,
            unknown_ttl: raw.unknown_ttl.0,
            stale_if_error: raw.stale_if_error.0,
            capacity: raw.capacity,
        }
    }

    fn log(&mut self, raw: &RawLog) -> Option<Log> {
        let level = Level::ALL.iter().copied().find(|level| level.as_str() == raw.level);
        if level.is_none() {
            let what = format!("`{}` is not a level", raw.level);
            self.problem("log.level", what, "write `error`, `warn`, `info` or `debug`");
        }
        level.map(|level| Log { level, access: raw.access })
    }
}
