//! Profiles and rule groups: those that come with the gateway, and the config's own on top.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::super::raw::{RawGroup, RawProfile, RawProfiles};
use super::super::{PROFILES, PROFILES_NAME, Store, StoreKind};
use super::Compiler;
use crate::policy::identity::Narrowing;
use crate::policy::method::{Method, MethodSet};
use crate::policy::profile::{CredentialId, Profile, Profiles, RuleMethods, Rules};
use crate::policy::rules::{Access, RuleTable};
use crate::policy::scope::{Scope, ScopeSet};

/// Profiles, and the credentials that they have of their own.
pub(super) struct Compiled {
    pub(super) profiles: Profiles,
    pub(super) credentials: Vec<HeaderValue>,
}

impl Compiler<'_> {
    /// Compiles profiles and groups for these rules.
    pub(super) fn profiles(
        &mut self,
        own: &BTreeMap<String, RawProfile>,
        own_groups: &BTreeMap<String, RawGroup>,
        rules: &RuleTable,
    ) -> Compiled {
        let shipped = self.shipped_profiles();
        let mut groups = Vec::new();
        for (name, group) in
            shipped.group.iter().filter(|(name, _)| !own_groups.contains_key(*name))
        {
            groups.push((name.as_str().into(), known(&group.rules, rules)));
        }
        for (name, group) in own_groups {
            self.name(&format!("group.{name}"), name);
            let rules = self.selected(&format!("group.{name}.rules"), &group.rules, rules);
            groups.push((name.as_str().into(), rules));
        }
        let mut compiled = Compiled {
            profiles: Profiles { profiles: Vec::new(), groups },
            credentials: Vec::new(),
        };
        let names: std::collections::BTreeSet<&String> =
            shipped.profile.keys().chain(own.keys()).collect();
        for name in names {
            let of_file = shipped.profile.get(name);
            let of_config = own.get(name);
            self.profile(name, of_file, of_config, rules, &mut compiled);
        }
        compiled
    }

    fn shipped_profiles(&mut self) -> RawProfiles {
        toml::from_str(PROFILES).unwrap_or_else(|error| {
            self.problems.push(super::super::problem::syntax(
                Some(PROFILES_NAME),
                PROFILES,
                &error,
            ));
            RawProfiles { profile: BTreeMap::new(), group: BTreeMap::new() }
        })
    }

    fn profile(
        &mut self,
        name: &str,
        shipped: Option<&RawProfile>,
        own: Option<&RawProfile>,
        table: &RuleTable,
        compiled: &mut Compiled,
    ) {
        let at = format!("profile.{name}");
        self.name(&at, name);
        let none = RawProfile::default();
        let (shipped, own) = (shipped.unwrap_or(&none), own.unwrap_or(&none));
        let scopes = match own.scopes.as_ref().or(shipped.scopes.as_ref()) {
            Some(names) => self.scopes_of(&format!("{at}.scopes"), names),
            None => {
                let what = "is missing, and a profile without scopes lets nobody do anything";
                self.problem(format!("{at}.scopes"), what, "name what its tokens may do");
                ScopeSet::EMPTY
            }
        };
        let mut rules = match (&own.rules, &shipped.rules) {
            (Some(own), _) => Some(self.selected(&format!("{at}.rules"), own, table)),
            (None, Some(shipped)) => Some(known(shipped, table)),
            (None, None) => None,
        };
        for group in own.groups.as_ref().or(shipped.groups.as_ref()).into_iter().flatten() {
            match compiled.profiles.groups.iter().find(|(known, _)| **known == **group) {
                Some((_, of_group)) => {
                    rules = Some(rules.unwrap_or_default().union(of_group));
                }
                None => {
                    let known: Vec<_> = compiled
                        .profiles
                        .groups
                        .iter()
                        .map(|(name, _)| format!("`{name}`"))
                        .collect();
                    let what = format!("there is no group `{group}`");
                    let help =
                        format!("add `[group.{group}]`, or take one of {}", known.join(", "));
                    self.problem(format!("{at}.groups"), what, help);
                }
            }
        }
        let secret = own.credential.as_ref();
        let credential = secret.and_then(|secret| self.bearer(&format!("{at}.credential"), secret));
        let index = u16::try_from(compiled.credentials.len()).unwrap_or(u16::MAX);
        let id = credential.as_ref().map_or(CredentialId::UPSTREAM, |_| CredentialId::extra(index));
        compiled.credentials.extend(credential);
        compiled.profiles.profiles.push(Profile {
            name: name.into(),
            scopes,
            rules: rules.map_or(Rules::All, Rules::Only),
            read_only: own.read_only.or(shipped.read_only).unwrap_or(false),
            credential: id,
        });
    }

    fn scopes_of(&mut self, at: &str, names: &[String]) -> ScopeSet {
        let mut scopes = ScopeSet::EMPTY;
        for name in names {
            let parsed = self.parsed(at, name.parse::<Scope>(), "write one of these");
            scopes = parsed.map_or(scopes, |scope| scopes.with(scope));
        }
        scopes.with_implied()
    }

    /// What trust policies name is there: a profile that is not would let nobody through.
    pub(super) fn trusted(&mut self, stores: &[Store], profiles: &Profiles) {
        let issuers = stores.iter().filter_map(|store| match &store.kind {
            StoreKind::Jwt(issuer) => Some(issuer),
            StoreKind::Portcullis(_)
            | StoreKind::Sentry(_)
            | StoreKind::Introspection(_)
            | StoreKind::File(_) => None,
        });
        let mut unknown = Vec::new();
        for (number, issuer) in issuers.enumerate() {
            for (index, trust) in issuer.trust.iter().enumerate() {
                let at = format!("issuer[{number}].trust[{index}]");
                let Narrowing { profile, groups, .. } = &trust.narrowing;
                let profile = profile.iter().filter(|name| profiles.profile(name).is_none());
                unknown.extend(profile.map(|name| (format!("{at}.profile"), "profile", name)));
                let groups = groups.iter().flatten().filter(|name| !profiles.has_group(name));
                unknown.extend(groups.map(|name| (format!("{at}.groups"), "group", name)));
            }
        }
        for (at, kind, name) in unknown {
            let help = format!("add `[{kind}.{name}]`, or take one that is there");
            self.problem(at, format!("there is no {kind} `{name}`"), help);
        }
    }

    /// What a token of the command line can name.
    pub(super) fn name(&mut self, at: &str, name: &str) {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(known) {
            let what = format!("`{}` is no name", name.escape_debug());
            self.problem(at, what, "take letters, digits, `-` and `_`, at most 64");
        }
    }

    /// The rules that the config's own lines name; one that there is not is a problem.
    fn selected(&mut self, at: &str, lines: &[String], table: &RuleTable) -> RuleMethods {
        let mut selected = RuleMethods::default();
        for line in lines {
            let help = "write methods and the path as the rule has it: `\"GET /api/0/…\"`; \
                        `portcullis routes list` shows them";
            match select(line, table, &mut selected) {
                Some(0) => self.problem(at, format!("no rule is `{line}`"), help),
                Some(_) => {}
                None => self.problem(at, format!("`{line}` is no rule"), help),
            }
        }
        selected
    }
}

/// The rules that shipped lines name; some are not there in every version of Sentry.
fn known(lines: &[String], table: &RuleTable) -> RuleMethods {
    let mut selected = RuleMethods::default();
    for line in lines {
        select(line, table, &mut selected);
    }
    selected
}

/// Adds the rules that a line names, and says how many there are; `None` when it is no such line.
fn select(line: &str, table: &RuleTable, selected: &mut RuleMethods) -> Option<usize> {
    let (methods, path) = line.split_once(' ')?;
    let methods: MethodSet = match methods {
        "*" => Method::ALL.iter().copied().collect(),
        names => names.split(',').map(Method::from_name).collect::<Option<_>>()?,
    };
    let mut found = 0;
    // Those in shadow too: a rule keeps its place when it takes over.
    for (id, rule) in table.all() {
        if rule.template.as_str() != path || rule.access == Access::NotExposed {
            continue;
        }
        let named: MethodSet = rule.methods.iter().filter(|own| methods.contains(*own)).collect();
        found += usize::from(!named.is_empty());
        selected.add(id, named);
    }
    Some(found)
}
