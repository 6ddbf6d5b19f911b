//! What a refusal says.

use super::*;

#[test]
fn a_missing_scope_is_named() {
    let policy = policy("https://sentry.example.com");
    let mut headers = HeaderMap::new();
    headers.insert("host", "sentry.example.com".parse().unwrap());
    headers.insert("authorization", "Bearer ci".parse().unwrap());
    let target = b"/api/0/organizations/acme/issues/";
    let head = RequestHead::new("PUT", target, &headers);
    let Screened::Pending(pending) = policy.screen(&head) else { panic!("decided") };
    let decision = settled(&pending, &lookup(Digest::of("ci")));
    let Verdict::Deny(denial) = &decision.verdict else { panic!("allowed") };
    let detail = denial.detail(decision.rule, &policy.rules, "PUT");
    let route = "/api/0/organizations/{organization_id_or_slug}/issues/";
    assert_eq!(
        detail,
        format!(
            "the token lacks a scope for PUT {route}: it needs one of `event:admin`, `event:write`; it has `org:ci`"
        )
    );
    assert_eq!(
        denial.challenge().unwrap(),
        r#"Bearer realm="sentry", error="insufficient_scope", scope="event:admin event:write""#
    );
}

#[test]
fn every_refusal_has_words_and_no_basic_challenge() {
    let rules = RuleTable::build(Vec::new()).unwrap();
    for reason in Reason::ALL {
        let denial = Denial::new(*reason);
        assert!(!denial.detail(None, &rules, "GET").is_empty(), "{reason}");
        let challenge = denial.challenge();
        assert!(challenge.as_ref().is_none_or(|text| !text.contains("Basic")), "{reason}");
        assert_eq!(reason.status() == 401, challenge.is_some() && *reason != Reason::MissingScope);
    }
}
