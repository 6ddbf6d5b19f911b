//! Observing: what is told of instead of refused, and above all what is not.

use super::*;

/// Every caller of the table, and some that are none.
const CALLERS: &[&str] = &[
    "",
    "Token x",
    "Bearer a b",
    "Bearer nobody",
    "Bearer down",
    "Bearer read",
    "Bearer none",
    "Bearer ci",
    "Bearer expired",
    "Bearer revoked",
    "Bearer bound",
    "Bearer gateway",
    "Bearer writer",
    "Bearer powerless",
    "Bearer unknown-org",
    "Bearer unknown-project",
    "Bearer app",
    "Bearer sntrys_x",
    BASIC_KEY,
    BASIC_PASSWORD,
    "Basic b3Jna2V5Og==",
    "DSN https://abc@h/2",
    "DSN https://abc@h/3",
    "DSN https://anyproject@h/3",
];

const LINES: &[&str] = &[
    "GET /api/0/",
    "GET /api/0/nothing/",
    "GET /api/0/api-tokens/",
    "GET /api/0/../0/api-tokens/",
    "OPTIONS /api/0/organizations/acme/issues/",
    "GET /api/0/organizations/",
    "GET /api/0/organizations/acme/issues/",
    "HEAD /api/0/organizations/globex/issues/",
    "PUT /api/0/organizations/acme/issues/",
    "POST /api/0/organizations/acme/issues/",
    "GET /api/0/organizations/acme/members/",
    "POST /api/0/organizations/acme/chunk-upload/",
    "POST /api/0/organizations/acme/org-auth-tokens/",
    "POST /api/0/organizations/acme/saved/",
    "GET /api/0/internal/health/",
    "POST /api/0/relocations/",
    "POST /api/0/projects/acme/web/user-feedback/",
    "POST /api/0/projects/globex/web/user-feedback/",
    "POST /api/0/projects/acme/api/user-feedback/",
];

fn observing(until: Timestamp) -> Policy {
    Policy { observe_until: Some(until), ..policy("https://sentry.example.com") }
}

/// What is about the caller's entitlement.
const OBSERVED: &[&str] = &["missing_scope", "wrong_organization", "binding"];

#[test]
fn only_the_entitlement_of_sentrys_own_credentials_is_observed() {
    let enforcing = policy("https://sentry.example.com");
    let observing = observing(NOW.after(std::time::Duration::from_millis(1)));
    let of_the_gateway =
        ["bound", "gateway", "writer", "powerless", "unknown-org", "unknown-project", "app"];
    let mut observed = std::collections::BTreeMap::new();
    for line in LINES {
        for caller in CALLERS {
            let field = [("authorization", *caller)];
            let fields = if caller.is_empty() { &[][..] } else { &field[..] };
            let (was, is) = (decide(&enforcing, line, fields), decide(&observing, line, fields));
            let theirs =
                caller.strip_prefix("Bearer ").is_none_or(|token| !of_the_gateway.contains(&token));
            if OBSERVED.contains(&was.as_str()) && theirs {
                assert_eq!(is, format!("AsIs, {was}"), "{line} {caller}");
                *observed.entry(was).or_insert(0) += 1;
            } else {
                assert_eq!(is, was, "{line} {caller}");
            }
        }
    }
    assert!(OBSERVED.iter().all(|reason| observed.contains_key(*reason)), "{observed:?}");
}

#[test]
fn the_frame_is_never_observed_away() {
    let observing = observing(NOW.after(std::time::Duration::from_secs(1)));
    let upload = "POST /api/0/organizations/acme/chunk-upload/";
    let token = ("authorization", "Bearer read");
    for (field, wanted) in [
        (("content-length", "11"), "too_large"),
        (("authorization", "Bearer read"), "multiple_credentials"),
        (("x-sentry-auth", "Sentry sentry_key=a"), "multiple_credentials"),
        (("host", "sentry.example.com"), "malformed_request"),
        (("content-length", "9"), "AsIs, missing_scope"),
    ] {
        assert_eq!(decide(&observing, upload, &[token, field]), wanted, "{field:?}");
    }
}

#[test]
fn it_ends_to_the_millisecond() {
    let line = "PUT /api/0/organizations/acme/issues/";
    let token = [("authorization", "Bearer read")];
    for (until, wanted) in [
        (NOW.as_millis() + 1, "AsIs, missing_scope"),
        (NOW.as_millis(), "missing_scope"),
        (0, "missing_scope"),
    ] {
        let policy = observing(Timestamp::from_millis(until));
        assert_eq!(decide(&policy, line, &token), wanted, "{until}");
    }
}
