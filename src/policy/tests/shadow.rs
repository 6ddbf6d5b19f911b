//! Rules in shadow: what they make of a request is told, and changes no verdict.

use std::time::Duration;

use proptest::prelude::*;

use super::settle::{of, settled_at};
use super::*;
use crate::policy::decision::Decision;

const ORG: &str = "/api/0/organizations/{organization_id_or_slug}";
const END: Timestamp = Timestamp::from_millis(NOW.as_millis() + 1000);

fn in_shadow(rule: Rule) -> Rule {
    Rule { shadow_until: Some(END), ..rule }
}

/// What is in force.
fn live() -> Vec<Rule> {
    use Method::{Delete, Get, Post};
    let any = |names| Access::AnyOf(scopes(names));
    vec![
        rule(&[Get], "/api/0/", Access::Public),
        rule(&[Get], &format!("{ORG}/issues/"), any("event:read event:write")),
        rule(&[Delete], &format!("{ORG}/issues/"), any("event:write")),
        rule(&[Get], &format!("{ORG}/{{thing}}/list/"), any("org:read")),
        rule(&[Get, Post], &format!("{ORG}/hooks/"), Access::Authenticated),
        rule(&[Get], &format!("{ORG}/closed/"), Access::NotExposed),
        Rule { exchange: false, ..rule(&[Get], &format!("{ORG}/keys/"), any("org:read")) },
    ]
}

/// The same under rules of which these are in shadow: each in the place of one of the same shape, or new.
fn shadowed(over: Vec<Rule>) -> Policy {
    let mut last = live();
    for new in &over {
        for old in &mut last {
            if old.template.same_shape(&new.template) {
                let left = old.methods.iter().filter(|method| !new.methods.contains(*method));
                old.methods = left.collect();
            }
        }
    }
    last.retain(|rule| !rule.methods.is_empty());
    last.extend(over);
    of(RuleTable::staged(live(), vec![(END, last)]).unwrap())
}

/// The decision on a request at a time, by `who` or by nobody.
fn at(policy: &Policy, line: &str, who: Option<&Identity>, at: Timestamp) -> Decision {
    let (method, target) = line.split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("host", "sentry.example.com".parse().unwrap());
    if let Some(who) = who {
        let token = match who.kind {
            IdentityKind::OrgToken => "Bearer sntrys_x",
            IdentityKind::UserToken | IdentityKind::ApiKey | IdentityKind::ProjectKey => "Bearer x",
        };
        headers.insert("authorization", token.parse().unwrap());
    }
    let target = target.as_bytes();
    let head = RequestHead { at, ..RequestHead::new(method, target, &headers) };
    match policy.screen(&head) {
        Screened::Decided(decision) => decision,
        Screened::Pending(pending) => {
            settled_at(&pending, &Lookup::Found(Arc::new(who.unwrap().clone())), at)
        }
        Screened::Passing(passing) => passing.unblocked(),
    }
}

/// The verdict: how it is forwarded, or why not.
fn verdict(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Permit(permit) => {
            format!(
                "{}, {:?}",
                forwarded(permit.forward()),
                permit.observed().map(|denial| denial.reason)
            )
        }
        Verdict::Deny(denial) => denial.reason.code().to_owned(),
        Verdict::Options(methods) => methods.to_string(),
    }
}

/// What a rule in shadow makes of it: a code, `allow`, or nothing.
fn told(decision: &Decision) -> &str {
    match decision.shadow.as_deref() {
        None => "",
        Some(shadow) => shadow.refuses.as_ref().map_or("allow", |denial| denial.reason.code()),
    }
}

fn who(issuer: Issuer, held: &str) -> Identity {
    Identity { issuer, ..identity(IdentityKind::UserToken, held) }
}

fn bound(issuer: Issuer, held: &str, organization: &str) -> Identity {
    let organizations = Binding::Only(Box::new([organization.into()]));
    Identity { bounds: Bound { organizations, ..Bound::default() }.into(), ..who(issuer, held) }
}

#[test]
fn what_is_in_shadow_is_told_and_then_enforced() {
    use Issuer::{Gateway, Sentry};
    use Method::{Delete, Get};
    let any = |names| Access::AnyOf(scopes(names));
    let issues = format!("{ORG}/issues/");
    let narrower = in_shadow(rule(&[Get], &issues, any("event:admin")));
    let wider = in_shadow(rule(&[Get], &issues, any("event:read event:write org:read")));
    let closed = in_shadow(rule(&[Get], &issues, Access::NotExposed));
    let kinds = KindSet::EMPTY.with(IdentityKind::OrgToken);
    let of_organizations =
        Rule { credentials: kinds, ..in_shadow(rule(&[Get], &issues, any("event:read"))) };
    let kept = Rule { exchange: false, ..in_shadow(rule(&[Get], &issues, any("event:read"))) };
    let new = in_shadow(rule(&[Get], &format!("{ORG}/web/list/"), any("org:admin")));
    let deletes = in_shadow(rule(&[Delete], &format!("{ORG}/web/list/"), any("org:admin")));
    let nowhere = in_shadow(rule(&[Get], &format!("{ORG}/nowhere/"), any("org:read")));
    let open = in_shadow(rule(&[Get], &format!("{ORG}/closed/"), any("org:read")));
    let asks = in_shadow(rule(&[Get], "/api/0/", Access::Authenticated));
    let hooks = in_shadow(rule(&[Get], &format!("{ORG}/hooks/"), any("org:read")));
    let list = format!("GET {}/web/list/", ORG.replace("{organization_id_or_slug}", "acme"));
    let get = "GET /api/0/organizations/acme/issues/";
    let sentry = |held| Some(who(Sentry, held));
    let own = |held| Some(who(Gateway, held));
    // The rule in shadow, the request, who; the verdict, what is told, and the verdict from the date on.
    let rows: Vec<(&Rule, &str, Option<Identity>, &str, &str, &str)> = vec![
        (&narrower, get, sentry("event:read"), "AsIs, None", "missing_scope", "missing_scope"),
        (&narrower, get, sentry("event:read event:admin"), "AsIs, None", "", "AsIs, None"),
        (&narrower, get, sentry("org:read"), "missing_scope", "", "missing_scope"),
        (&narrower, get, own("event:read"), "Exchange, None", "missing_scope", "missing_scope"),
        (
            &narrower,
            get,
            Some(bound(Gateway, "event:read", "globex")),
            "wrong_organization",
            "",
            "missing_scope",
        ),
        (&narrower, get, None, "missing_credential", "", "missing_credential"),
        // Another method of the route is nobody's but the live rule's.
        (
            &narrower,
            "DELETE /api/0/organizations/acme/issues/",
            sentry("event:write"),
            "AsIs, None",
            "",
            "AsIs, None",
        ),
        (
            &narrower,
            "HEAD /api/0/organizations/acme/issues/",
            sentry("event:read"),
            "AsIs, None",
            "missing_scope",
            "missing_scope",
        ),
        // It never widens, and neither with the upstream's credential.
        (&wider, get, sentry("org:read"), "missing_scope", "allow", "AsIs, None"),
        (&wider, get, own("org:read"), "missing_scope", "allow", "Exchange, None"),
        (
            &wider,
            get,
            Some(bound(Gateway, "org:read", "globex")),
            "missing_scope",
            "",
            "wrong_organization",
        ),
        (
            &nowhere,
            "GET /api/0/organizations/acme/nowhere/",
            own("org:read"),
            "no_such_route",
            "",
            "Exchange, None",
        ),
        (
            &open,
            "GET /api/0/organizations/acme/closed/",
            own("org:read"),
            "route_not_exposed",
            "",
            "Exchange, None",
        ),
        (
            &deletes,
            &list,
            own("org:read"),
            "Exchange, None",
            "method_not_allowed",
            "method_not_allowed",
        ),
        // Not for want of entitlement alone.
        (
            &closed,
            get,
            sentry("event:read"),
            "AsIs, None",
            "route_not_exposed",
            "route_not_exposed",
        ),
        (
            &of_organizations,
            get,
            sentry("event:read"),
            "AsIs, None",
            "wrong_credential_kind",
            "wrong_credential_kind",
        ),
        (
            &kept,
            get,
            own("event:read"),
            "Exchange, None",
            "wrong_credential_kind",
            "wrong_credential_kind",
        ),
        (&kept, get, sentry("event:read"), "AsIs, None", "", "AsIs, None"),
        (&asks, "GET /api/0/", None, "Anonymous, None", "missing_credential", "missing_credential"),
        // A new template, narrower than the rule that is in force.
        (&new, &list, sentry("org:read"), "AsIs, None", "missing_scope", "missing_scope"),
        (&new, &list, sentry("org:admin"), "missing_scope", "allow", "AsIs, None"),
        (
            &new,
            "GET /api/0/organizations/acme/api/list/",
            sentry("org:read"),
            "AsIs, None",
            "",
            "AsIs, None",
        ),
        // A scope where none was asked for.
        (
            &hooks,
            "GET /api/0/organizations/acme/hooks/",
            own("team:read"),
            "Exchange, None",
            "missing_scope",
            "missing_scope",
        ),
    ];
    let live = of(RuleTable::build(live()).unwrap());
    for (index, (rule, line, who, now, shadow, then)) in rows.iter().enumerate() {
        let policy = shadowed(vec![(*rule).clone()]);
        let who = who.as_ref();
        let decision = at(&policy, line, who, NOW);
        let row = format!("row {index}: {line}");
        assert_eq!((&*verdict(&decision), told(&decision)), (*now, *shadow), "{row}");
        assert_eq!(verdict(&at(&live, line, who, NOW)), *now, "{row}: without it");
        // To the millisecond.
        let last = Timestamp::from_millis(END.as_millis() - 1);
        assert_eq!(verdict(&at(&policy, line, who, last)), *now, "{row}");
        let after = at(&policy, line, who, END);
        assert_eq!((&*verdict(&after), told(&after)), (*then, ""), "{row}: from its date on");
    }
}

#[test]
fn nothing_before_entitlement_is_changed_or_told() {
    let policy = shadowed(vec![in_shadow(rule(
        &[Method::Get],
        &format!("{ORG}/issues/"),
        Access::AnyOf(scopes("event:read org:read")),
    ))]);
    let line = "GET /api/0/organizations/acme/issues/";
    let expired = Identity { expires_at: Some(NOW).into(), ..who(Issuer::Sentry, "org:read") };
    let revoked = Identity { state: State::Disabled, ..who(Issuer::Sentry, "org:read") };
    let unknown = Identity {
        bounds: Bound { organizations: Binding::Unknown, ..Bound::default() }.into(),
        ..who(Issuer::Gateway, "event:read")
    };
    for (who, wanted) in
        [(expired, "expired_token"), (revoked, "disabled_token"), (unknown, "binding")]
    {
        let decision = at(&policy, line, Some(&who), NOW);
        assert_eq!((&*verdict(&decision), told(&decision)), (wanted, ""));
    }
}

#[test]
fn each_comes_into_force_at_a_time_of_its_own() {
    let any = |names| Access::AnyOf(scopes(names));
    let issues = format!("{ORG}/issues/");
    let get =
        |names, end| Rule { shadow_until: Some(end), ..rule(&[Method::Get], &issues, any(names)) };
    let (first, second) = (END, END.after(Duration::from_secs(1)));
    let replaced = |new: Rule| {
        let mut rules = live();
        rules.retain(|rule| {
            !(rule.template.as_str() == issues && rule.methods.contains(Method::Get))
        });
        rules.push(new);
        rules
    };
    let later = vec![
        (first, replaced(get("event:write", first))),
        (second, replaced(get("event:admin", second))),
    ];
    let policy = of(RuleTable::staged(live(), later).unwrap());
    let line = "GET /api/0/organizations/acme/issues/";
    let rows = [
        (NOW, "event:read", "AsIs, None", "missing_scope"),
        (NOW, "event:write", "AsIs, None", "missing_scope"),
        (first, "event:read", "missing_scope", ""),
        (first, "event:write", "AsIs, None", "missing_scope"),
        (first, "event:admin", "missing_scope", "allow"),
        (second, "event:write", "missing_scope", ""),
        (second, "event:admin", "AsIs, None", ""),
    ];
    for (time, held, wanted, shadow) in rows {
        let decision = at(&policy, line, Some(&who(Issuer::Sentry, held)), time);
        assert_eq!((&*verdict(&decision), told(&decision)), (wanted, shadow), "{held} at {time}");
    }
    assert_eq!(policy.rules.shadow_until(NOW), Some(first));
    assert_eq!(policy.rules.shadow_until(first), Some(second));
    assert_eq!(policy.rules.shadow_until(second), None);
    assert_eq!((policy.rules.len(), policy.rules.numbers()), (7, 9));
    assert_eq!(policy.rules.in_shadow().count(), 2);
}

/// Any rule in shadow, of a template that is in force or is new.
fn any_rule() -> impl Strategy<Value = Rule> {
    let templates: &[&str] =
        &["issues/", "{thing}/list/", "web/list/", "hooks/", "closed/", "keys/", "new/"];
    let access = prop_oneof![
        Just(Access::NotExposed),
        Just(Access::Authenticated),
        (1_usize..1 << 25).prop_map(|bits| Access::AnyOf(set(bits))),
    ];
    let methods = 1_usize..8;
    (prop::sample::select(templates), access, methods, any::<bool>(), 0_u8..16).prop_map(
        |(template, access, methods, exchange, kinds)| {
            let all = [Method::Get, Method::Post, Method::Delete];
            let methods =
                all.into_iter().enumerate().filter(|(index, _)| methods & 1 << index != 0);
            let methods: Vec<Method> = methods.map(|(_, method)| method).collect();
            let kinds = IdentityKind::ALL.iter().filter(|kind| kinds & 1 << **kind as u8 != 0);
            let credentials = kinds.copied().collect();
            in_shadow(Rule {
                exchange,
                credentials,
                ..rule(&methods, &format!("{ORG}/{template}"), access)
            })
        },
    )
}

fn set(bits: usize) -> ScopeSet {
    let scopes = Scope::ALL.iter().enumerate().filter(|(index, _)| bits & 1 << index != 0);
    scopes.map(|(_, scope)| *scope).collect()
}

fn any_identity() -> impl Strategy<Value = Identity> {
    let binding = || {
        prop_oneof![
            Just(Binding::Any),
            Just(Binding::Unknown),
            Just(Binding::Only(Box::new(["acme".into()]))),
            Just(Binding::Only(Box::new(["globex".into()]))),
        ]
    };
    let kinds = prop::sample::select(vec![IdentityKind::UserToken, IdentityKind::OrgToken]);
    (any::<bool>(), kinds, 0_usize..1 << 25, binding(), binding()).prop_map(
        |(own, kind, bits, organizations, projects)| Identity {
            kind,
            issuer: if own { Issuer::Gateway } else { Issuer::Sentry },
            scopes: set(bits),
            bounds: Bound { organizations, projects, ..Bound::default() }.into(),
            ..identity(kind, "")
        },
    )
}

proptest! {
    #[test]
    fn no_rule_in_shadow_changes_a_verdict(
        over in any_rule(),
        who in any_identity(),
        path in prop::sample::select(vec!["issues/", "web/list/", "a/list/", "hooks/", "closed/", "keys/", "new/"]),
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE", "OPTIONS"]),
        stranger in any::<bool>(),
    ) {
        let live = of(RuleTable::build(live()).unwrap());
        let with = shadowed(vec![over]);
        let line = format!("{method} /api/0/organizations/acme/{path}");
        let who = (!stranger).then_some(&who);
        let (was, is) = (at(&live, &line, who, NOW), at(&with, &line, who, NOW));
        prop_assert_eq!(verdict(&was), verdict(&is));
        prop_assert_eq!(was.rule.map(|id| live.rules.rule(id)), is.rule.map(|id| with.rules.rule(id)));
        // And what is told is what will be.
        let then = at(&with, &line, who, END);
        let through = |decision: &Decision| matches!(decision.verdict, Verdict::Permit(_));
        match is.shadow.as_deref() {
            Some(shadow) => prop_assert_eq!(shadow.refuses.is_none(), through(&then)),
            None if through(&is) => prop_assert!(through(&then)),
            None => {}
        }
    }
}
