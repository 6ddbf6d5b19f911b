//! Profiles and groups: those that come with the gateway, and what a config makes of them.

use super::{MINIMAL, fake, parse};
use crate::config::raw::RawProfiles;
use crate::config::{Config, PROFILES};
use crate::policy::identity::Narrowing;
use crate::policy::method::Method;
use crate::policy::profile::{CredentialId, Grant, Rules};
use crate::policy::rules::{Access, Rule, RuleId};
use crate::policy::scope::ScopeSet;

fn with(text: &str) -> Result<Config, Vec<String>> {
    parse(&format!("{MINIMAL}\n{text}"), &fake())
        .map_err(|error| error.problems.iter().map(ToString::to_string).collect())
}

fn find<'a>(config: &'a Config, path: &str) -> (RuleId, &'a Rule) {
    config.policy.rules.iter().find(|(_, rule)| rule.template.as_str() == path).unwrap()
}

fn granted(config: &Config, narrowing: &Narrowing, method: Method, path: &str) -> &'static str {
    let mut rules = config.policy.rules.iter();
    let (id, _) = rules
        .find(|(_, rule)| rule.template.as_str() == path && rule.methods.contains(method))
        .unwrap();
    match config.policy.profiles.grant(narrowing, id, method) {
        Grant::Granted(_) => "granted",
        Grant::NotGranted => "not granted",
        Grant::Unknown(_) => "unknown",
    }
}

const ISSUES: &str = "/api/0/organizations/{organization_id_or_slug}/issues/";
const RELEASES: &str = "/api/0/organizations/{organization_id_or_slug}/releases/";

fn profile(name: &str) -> Narrowing {
    Narrowing { profile: Some(name.into()), ..Narrowing::NONE }
}

fn groups(names: &[&str]) -> Narrowing {
    let names = names.iter().map(|name| Box::from(*name)).collect();
    Narrowing { groups: Some(names), ..Narrowing::NONE }
}

#[test]
fn the_shipped_profiles_name_rules_that_are_there_and_that_their_scopes_suffice_for() {
    let config = with("").unwrap();
    let raw: RawProfiles = toml::from_str(PROFILES).unwrap();
    let names: Vec<_> = raw.profile.keys().map(String::as_str).collect();
    assert_eq!(names, ["agent", "ci-release", "exporter", "read-only", "terraform"]);
    let lines = raw.profile.values().flat_map(|profile| profile.rules.iter().flatten());
    for line in lines.chain(raw.group.values().flat_map(|group| &group.rules)) {
        let (methods, path) = line.split_once(' ').unwrap();
        let of_path: Vec<&Rule> = config
            .policy
            .rules
            .iter()
            .map(|(_, rule)| rule)
            .filter(|rule| rule.template.as_str() == path)
            .collect();
        for method in methods.split(',').filter(|method| *method != "*") {
            let method = Method::from_name(method).unwrap();
            assert!(of_path.iter().any(|rule| rule.methods.contains(method)), "{line}");
        }
        assert!(!of_path.is_empty(), "{line}");
    }
    for profile in &config.policy.profiles.profiles {
        assert_eq!(profile.credential, CredentialId::UPSTREAM);
        let Rules::Only(rules) = &profile.rules else {
            assert_eq!((&*profile.name, profile.read_only), ("read-only", true));
            assert_eq!(profile.scopes, ScopeSet::READ);
            continue;
        };
        for (id, rule) in config.policy.rules.iter() {
            for method in rule.methods.iter().filter(|method| rules.contains(id, *method)) {
                let about = format!("{}: {method} {}", profile.name, rule.template);
                assert!(method.is_safe() || !profile.read_only, "{about}");
                // Nothing that is lent to nobody.
                assert!(rule.exchange, "{about}");
                match rule.access {
                    Access::Public => {}
                    Access::AnyOf(scopes) => {
                        let needed =
                            if method.is_safe() { scopes } else { scopes.without(ScopeSet::READ) };
                        assert!(needed.intersects(profile.scopes), "{about}");
                    }
                    Access::Authenticated
                    | Access::NotExposed
                    | Access::Pass
                    | Access::ProjectKey => panic!("{about}"),
                }
            }
        }
    }
}

#[test]
fn a_profile_or_a_group_grants_what_it_names_and_what_is_not_there_grants_nothing() {
    let config = with(
        "[group.mine]\nrules = [\"GET /api/0/organizations/{organization_id_or_slug}/issues/\"]",
    )
    .unwrap();
    let rows: &[(Narrowing, Method, &str, &str)] = &[
        (Narrowing::NONE, Method::Put, ISSUES, "granted"),
        (profile("ci-release"), Method::Post, RELEASES, "granted"),
        (profile("ci-release"), Method::Get, ISSUES, "not granted"),
        (profile("read-only"), Method::Put, ISSUES, "granted"),
        (profile("agent"), Method::Get, ISSUES, "granted"),
        // Of the same rule or of another: what is not named is not granted.
        (profile("agent"), Method::Put, ISSUES, "not granted"),
        (profile("gone"), Method::Get, ISSUES, "unknown"),
        (groups(&["mine"]), Method::Get, ISSUES, "granted"),
        (groups(&["mine"]), Method::Put, ISSUES, "not granted"),
        (groups(&["issues"]), Method::Put, ISSUES, "granted"),
        (groups(&["uploads", "mine"]), Method::Get, ISSUES, "granted"),
        (groups(&["uploads"]), Method::Get, ISSUES, "not granted"),
        (groups(&["mine", "gone"]), Method::Get, ISSUES, "unknown"),
        (groups(&["gone", "mine"]), Method::Get, ISSUES, "unknown"),
        (groups(&[]), Method::Get, ISSUES, "not granted"),
        // Both have to.
        (
            Narrowing { groups: groups(&["mine"]).groups, ..profile("agent") },
            Method::Get,
            ISSUES,
            "granted",
        ),
        (
            Narrowing { groups: groups(&["mine"]).groups, ..profile("ci-release") },
            Method::Get,
            ISSUES,
            "not granted",
        ),
    ];
    for (narrowing, method, path, wanted) in rows {
        assert_eq!(granted(&config, narrowing, *method, path), *wanted, "{narrowing:?} {method}");
    }
    let (id, _) = find(&config, ISSUES);
    let agent = profile("agent");
    let head = config.policy.profiles.grant(&agent, id, Method::Head);
    assert!(matches!(head, Grant::Granted(Some(_))), "HEAD follows GET");
}

#[test]
fn a_profile_of_the_config_replaces_what_it_writes_and_adds_new_ones() {
    let config = with(
        "[profile.agent]\ncredential = { file = \"sentry-token\" }\n\
         [profile.triage]\nscopes = [\"event:write\"]\ngroups = [\"issues\"]\n\
         credential = { file = \"sentry-token\" }",
    )
    .unwrap();
    let profiles = &config.policy.profiles;
    let agent = profiles.profile("agent").unwrap();
    assert_eq!((agent.read_only, agent.credential), (true, CredentialId::extra(0)));
    assert!(matches!(agent.rules, Rules::Only(_)));
    let triage = profiles.profile("triage").unwrap();
    assert_eq!((triage.read_only, triage.credential), (false, CredentialId::extra(1)));
    assert_eq!(triage.scopes.names(), "event:read event:write");
    assert_eq!(granted(&config, &profile("triage"), Method::Put, ISSUES), "granted");
    assert_eq!(granted(&config, &profile("triage"), Method::Get, RELEASES), "not granted");
    assert_eq!(config.profile_credentials.len(), 2);
    assert!(config.profile_credentials.iter().all(http::HeaderValue::is_sensitive));
}

/// Of an issuer of JWTs, with what is not there.
const TRUST: &str = r#"
[[issuer]]
name = "ci"
issuer = "https://issuer.example"
audiences = ["sentry"]
algorithms = ["ES256"]
[[issuer.trust]]
claims = { repository = "acme/web" }
scopes = ["org:ci"]
profile = "nobody"
groups = ["none", "uploads"]
"#;

#[test]
fn every_problem_of_profiles_and_groups_is_said() {
    let rows = [
        ("[profile.x]", "profile.x.scopes"),
        ("[profile.x]\nscopes = [\"event:fly\"]", "unknown scope `event:fly`"),
        (
            "[profile.x]\nscopes = []\nrules = [\"GET /api/0/nothing/\"]",
            "no rule is `GET /api/0/nothing/`",
        ),
        ("[profile.x]\nscopes = []\nrules = [\"PATCH /api/0/\"]", "no rule is `PATCH /api/0/`"),
        ("[profile.x]\nscopes = []\nrules = [\"GET /api/0/api-tokens/\"]", "no rule is"),
        ("[profile.x]\nscopes = []\nrules = [\"get /api/0/\"]", "is no rule"),
        ("[profile.x]\nscopes = []\nrules = [\"/api/0/\"]", "is no rule"),
        ("[profile.x]\nscopes = []\ngroups = [\"gone\"]", "there is no group `gone`"),
        ("[profile.x]\nscopes = []\ncredential = { file = \"gone\" }", "profile.x.credential"),
        ("[profile.\"a b\"]\nscopes = []", "`a b` is no name"),
        ("[group.\"\"]\nrules = []", "`` is no name"),
        ("[group.x]\nrules = [\"GET /nothing/\"]", "no rule is"),
        (TRUST, "issuer[0].trust[0].profile"),
        (TRUST, "there is no group `none`"),
        (
            &*TRUST.replace("profile = \"nobody\"", "projects = [\"web\"]"),
            "issuer[0].trust[0].projects",
        ),
    ];
    for (text, wanted) in rows {
        let problems = with(text).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(wanted)), "{text}: {problems:?}");
    }
}
