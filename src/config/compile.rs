//! From the file as it is written to a config that can be served, or every problem with it.

mod admin;
mod assertion;
mod balancers;
mod errors;
mod kept;
mod limits;
mod listen_tls;
mod machine;
mod profiles;
mod records;
mod redis;
mod rules;
mod secret;
mod server;
mod stores;
mod traces;
mod upstream;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use super::raw::{Mode, RawConfig, RawListen, RawRules, RawServer};
use super::value::PointInTime;
use super::{Administration, Config, Listen, Server, Source, Store, Upstreams};
use stores::PORTCULLIS;

use crate::clock::Timestamp;
use crate::policy::Policy;
use crate::policy::credential::hex;
use crate::policy::exposure::{Exposure, Exposures};
use crate::policy::rules::RuleTable;
use crate::policy::site::{BaseUrl, Site};

/// Threads when the machine does not say how many cores it has.
const FALLBACK_THREADS: usize = 2;
/// To observe for longer is to have no gate.
const LONGEST_OBSERVATION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Compiles a config. Relative paths in it start from `folder`.
pub(super) fn compile(
    text: &str,
    raw: RawConfig,
    folder: &Path,
    source: &dyn Source,
) -> Result<Config, Vec<Problem>> {
    let mut compiler = Compiler::new(folder, source);
    let mut hash = Sha256::new_with_prefix(text);
    compiler.machine_certificates();
    let site = compiler.site(&raw.public_url, &raw.public_aliases);
    let names = site.as_ref().map(Site::names).unwrap_or_default();
    let listen = compiler.listen(&raw.listen, names);
    let admin = compiler.address("admin.address", &raw.admin.address);
    if let Some(admin) = admin
        && admin.port() != 0
        && listen.iter().any(|listener| listener.address == admin)
    {
        let what = format!("`{admin}` is a public address too");
        compiler.problem("admin.address", what, "give the admin listener a port of its own");
    }
    let admin_credential = compiler.admin_credential(raw.admin.credential.as_ref());
    let admin_names = compiler.admin_names(&raw.admin.names);
    let observe_until = compiler.observe_until(raw.mode, raw.observe_until);
    let trusted_proxies = compiler.networks("trusted_proxies", &raw.trusted_proxies);
    let upstreams = compiler.upstreams(&raw.upstream);
    let canonical = compiler.canonical(&raw.upstream.web);
    let credential = compiler.credential(&raw.upstream.web);
    let assertion = raw.assertion.as_ref();
    let assertion =
        assertion.and_then(|own| compiler.assertion(own, &raw.public_url, &raw.upstream));
    let session_cookie = compiler.session_cookie(&raw.upstream.web);
    let stores = compiler.stores(&raw);
    let sentry_version = compiler.sentry_version(&raw.rules);
    let check_keys = raw.upstream.relay.as_ref().and_then(|relay| relay.check_keys) == Some(true);
    if check_keys && compiler.problems.is_empty() && !stores.iter().any(Store::knows_project_keys) {
        let what = "is set, and no store knows the keys of Sentry's projects";
        let help = "add a `[[store]]` with `kind = \"sentry\"` that is asked for `project_key`, or \
                    delete the line";
        compiler.problem("upstream.relay.check_keys", what, help);
    }
    let rules = compiler.rules(&raw.rules, sentry_version, check_keys, &mut hash);
    if let (Some(rules), Some(upstreams)) = (&rules, &upstreams) {
        compiler.reachable(rules, &listen, upstreams);
    }
    let profiles = rules.as_ref().map(|rules| compiler.profiles(&raw.profile, &raw.group, rules));
    if let Some(compiled) = &profiles {
        compiler.trusted(&stores, &compiled.profiles);
    }
    let limits = match (&rules, &profiles) {
        (Some(rules), Some(own)) => compiler.limits(&raw.limit, rules, &own.profiles),
        (Some(_) | None, _) => Vec::new(),
    };
    let redis = compiler.redis(raw.redis.as_ref(), &raw.limit);
    let cache = compiler.cache(&raw.cache);
    let spool = compiler.spool(&raw.spool);
    let log = compiler.log(&raw.log);
    let audit = raw.audit.as_ref().map(|audit| compiler.audit(audit));
    let traces = raw.traces.as_ref().and_then(|raw| compiler.traces(raw));
    let errors = raw.errors.as_ref().and_then(|raw| compiler.errors(raw, names));
    let threads = match raw.server.threads {
        0 => std::thread::available_parallelism().map_or(FALLBACK_THREADS, Into::into),
        threads => threads,
    };
    let seats = compiler.seats(&raw.server, &trusted_proxies);
    let RawServer { stop_delay, drain, .. } = &raw.server;
    let head = compiler.head(&raw.server);
    let server = Server { threads, stop_delay: stop_delay.0, drain: drain.0, seats };
    match (site, admin, upstreams, rules, profiles, log) {
        (Some(site), Some(admin), Some(upstreams), Some(rules), Some(profiles), Some(log))
            if compiler.problems.is_empty() =>
        {
            let exposed = listen.iter().flat_map(|listener| listener.exposed.iter()).collect();
            let max_body = upstreams.max_bodies();
            let profiles::Compiled { profiles, credentials } = profiles;
            let names = site.names().iter().chain(&canonical);
            let sentry_hosts = names.map(|name| name.host().into()).collect();
            let issuers = stores.iter().filter_map(Store::issuer).collect();
            let policy = Policy {
                rules,
                site,
                max_body,
                head,
                exposed,
                session_cookie,
                observe_until,
                profiles,
                sentry_hosts,
                issuers,
            };
            let hash = hex(&hash.finalize()[..4]);
            Ok(Config {
                hash,
                policy,
                sentry_version,
                listen,
                admin,
                admin_credential,
                admin_names,
                trusted_proxies,
                upstreams,
                canonical,
                credential,
                profile_credentials: credentials,
                identity_headers: raw.identity_headers,
                assertion,
                stores,
                cache,
                limits,
                redis,
                spool,
                log,
                audit,
                privacy: records::privacy(&raw.privacy),
                traces,
                errors,
                server,
                notes: compiler.notes,
            })
        }
        _ => Err(compiler.problems),
    }
}

/// Compiles what administering tokens needs, alone.
pub(super) fn administration(
    raw: &RawConfig,
    folder: &Path,
    source: &dyn Source,
) -> Result<Administration, Vec<Problem>> {
    let mut compiler = Compiler::new(folder, source);
    let own = raw.store.iter().enumerate().find(|(_, store)| store.kind == PORTCULLIS);
    let own = own.and_then(|(index, store)| compiler.own(index, store));
    let audit = raw.audit.as_ref().map(|audit| compiler.audit(audit).output);
    match compiler.base_url("public_url", &raw.public_url) {
        Some(public_url) if compiler.problems.is_empty() => {
            Ok(Administration { own, public_url, audit })
        }
        Some(_) | None => Err(compiler.problems),
    }
}

/// Compiles the rules alone.
pub(super) fn rules(
    raw: &RawRules,
    folder: &Path,
    source: &dyn Source,
) -> Result<RuleTable, Vec<Problem>> {
    let mut compiler = Compiler::new(folder, source);
    let version = compiler.sentry_version(raw);
    let rules = compiler.rules(raw, version, false, &mut Sha256::new());
    rules.filter(|_| compiler.problems.is_empty()).ok_or(compiler.problems)
}

struct Compiler<'a> {
    folder: &'a Path,
    source: &'a dyn Source,
    problems: Vec<Problem>,
    /// What is no problem.
    notes: Vec<Problem>,
}

impl<'a> Compiler<'a> {
    const fn new(folder: &'a Path, source: &'a dyn Source) -> Self {
        Self { folder, source, problems: Vec::new(), notes: Vec::new() }
    }
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

    fn listen(&mut self, listeners: &[RawListen], names: &[BaseUrl]) -> Vec<Listen> {
        if listeners.is_empty() {
            self.problem("listen", "is empty", "add `[[listen]]` with an `address`");
        }
        let mut taken: Vec<Listen> = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let at = format!("listen[{index}]");
            let Some(address) = self.address(&format!("{at}.address"), &listener.address) else {
                continue;
            };
            if address.port() != 0 && taken.iter().any(|other| other.address == address) {
                self.problem(&at, format!("`{address}` is listened to twice"), "delete one");
            }
            // Of one port, the machine gives IPv4 to the socket of IPv6 too.
            let every = |other: &&Listen| {
                other.address.port() == address.port()
                    && other.address != address
                    && other.address.ip().is_unspecified()
                    && address.ip().is_unspecified()
            };
            if address.port() != 0
                && let Some(other) = taken.iter().find(every)
            {
                let what = format!("`{address}` is the port of `{}` too", other.address);
                self.problem(&at, what, "keep `[::]`, which takes IPv4 as well");
            }
            let exposed = self.exposed(&format!("{at}.expose"), &listener.expose);
            let tls = listener.tls.as_ref().and_then(|tls| self.listen_tls(&at, tls, names));
            let proxy_protocol = listener.proxy_protocol.as_deref();
            let proxy_protocol = proxy_protocol.map(|own| self.balancers(&at, own));
            taken.push(Listen { address, exposed, tls, proxy_protocol });
        }
        taken
    }

    fn exposed(&mut self, at: &str, names: &[String]) -> Exposures {
        let help = format!("write some of {}", Exposure::list());
        if names.is_empty() {
            self.problem(at, "is empty, so nobody gets in", &*help);
        }
        let mut exposed = Exposures::NONE;
        for name in names {
            match Exposure::from_name(name) {
                Some(exposure) => exposed = exposed.with(exposure),
                None => self.problem(at, format!("`{name}` can't be exposed"), &*help),
            }
        }
        if exposed.contains(Exposure::Ui) && !exposed.contains(Exposure::Api) {
            let help = "add `api`, which the pages call";
            self.problem(at, "has `ui` without `api`, so no page would work", help);
        }
        exposed
    }

    /// What is exposed has somewhere to go.
    fn reachable(&mut self, rules: &RuleTable, listen: &[Listen], upstreams: &Upstreams) {
        for (index, listener) in listen.iter().enumerate() {
            let mut lost = rules.all().map(|(_, rule)| rule).filter(|rule| {
                listener.exposed.contains(rule.exposure) && !upstreams.has(rule.service)
            });
            if let Some(rule) = lost.next() {
                let (exposure, service) = (rule.exposure, rule.service);
                let what = format!("exposes `{exposure}`, and there is no `[upstream.{service}]`");
                let help = format!("add `[upstream.{service}]` with `urls`, or don't expose it");
                self.problem(format!("listen[{index}].expose"), what, help);
            }
        }
    }

    /// Until when refusals are observed, and not made.
    fn observe_until(&mut self, mode: Mode, until: Option<PointInTime>) -> Option<Timestamp> {
        let at = "observe_until";
        let until = match (mode, until) {
            (Mode::Enforce, None) => return None,
            (Mode::Enforce, Some(_)) => {
                let help = "write `mode = \"observe\"`, or delete it";
                self.problem(at, "means nothing without `mode = \"observe\"`", help);
                return None;
            }
            (Mode::Observe, None) => {
                let what = "is missing, and to observe needs an end";
                self.problem(at, what, "write the date from which on refusals are made");
                return None;
            }
            (Mode::Observe, Some(PointInTime(until))) => until,
        };
        let now = self.source.now();
        if until > now.after(LONGEST_OBSERVATION) {
            let what = format!("`{until}` is more than 90 days ahead");
            self.problem(
                at,
                what,
                "observe for some days, read what would be refused, and enforce",
            );
        }
        let (what, help) = if until <= now {
            let what = format!("`mode = \"observe\"` ended at {until}: everything is enforced");
            (what, "delete `mode` and `observe_until`")
        } else {
            let what = format!(
                "until {until} what a scope or a binding would refuse is let through with a \
                 credential of Sentry's own, logged and counted as `observe`"
            );
            (what, "read `decisions_total{decision=\"observe\"}` and write `mode = \"enforce\"`")
        };
        self.notes.push(Problem::new("mode", what, help));
        Some(until)
    }

    fn networks(&mut self, at: &str, networks: &[String]) -> Vec<ipnet::IpNet> {
        let mut parsed = Vec::new();
        for (index, text) in networks.iter().enumerate() {
            let one = || text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
            let network = text.parse::<ipnet::IpNet>().or_else(|_| one());
            let what = format!("`{text}` is not a network");
            let at = format!("{at}[{index}]");
            let help = "write a CIDR such as `10.0.0.0/8`, or one address";
            parsed.extend(self.parsed(&at, network.map_err(|_| what), help));
        }
        parsed
    }
}
