//! To whom each route is open, by name: a change of the rules shows as a change of the list.

use std::collections::BTreeSet;
use std::path::Path;

use portcullis::config::SentryVersion;
use portcullis::policy::identity::IdentityKind;
use portcullis::policy::rules::Access;

/// A line for each method and template that somebody gets through with.
fn listed(sentry: SentryVersion) -> Vec<String> {
    let rules = super::shipped(sentry).rules;
    let mut lines = Vec::new();
    for (_, rule) in rules.iter() {
        let asks = match rule.access {
            Access::NotExposed => continue,
            Access::Public => "public".to_owned(),
            Access::Authenticated => "authenticated".to_owned(),
            Access::AnyOf(scopes) => scopes.names().replace(' ', ","),
            Access::Pass | Access::ProjectKey => {
                format!("{} by {} to {}", rule.access.as_str(), rule.exposure, rule.service)
            }
        };
        // In the order of the kinds: user token, organisation token, API key, DSN.
        let letter = |kind: &IdentityKind| match kind {
            _ if !rule.credentials.contains(*kind) => '-',
            IdentityKind::UserToken => 'u',
            IdentityKind::OrgToken => 'o',
            IdentityKind::ApiKey => 'k',
            IdentityKind::ProjectKey => 'd',
        };
        let kinds: String = IdentityKind::ALL.iter().map(letter).collect();
        let exchange = if rule.exchange { "" } else { " no-exchange" };
        for method in rule.methods.iter() {
            lines.push(format!("{} {method} {kinds} {asks}{exchange}\n", rule.template));
        }
    }
    lines.sort();
    lines
}

/// The lines of only one of two lists.
fn differing(old: &[String], new: &[String]) -> String {
    let only = |sign: char, these: &[String], those: &[String]| {
        let those: BTreeSet<_> = those.iter().collect();
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    let mut lines = [only('-', old, new), only('+', new, old)].concat();
    lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
    lines.concat()
}

pub fn assert_same(name: &str, seen: &str) {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentry").join(name);
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&made, seen).unwrap();
    let same = std::fs::read_to_string(&list).is_ok_and(|wanted| wanted == *seen);
    let (list, made) = (list.display(), made.display());
    assert!(same, "read what changed: `diff {list} {made}`; if it is meant, `cp {made} {list}`");
}

#[test]
fn to_whom_each_route_is_open_is_listed() {
    let (old, new) = (listed(SentryVersion::OLDEST), listed(SentryVersion::NEWEST));
    assert_same("open.txt", &new.concat());
    assert_same("open-24.7.txt", &differing(&old, &new));
}
