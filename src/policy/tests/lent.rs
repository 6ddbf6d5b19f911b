//! The scopes that a request is let through with.

use super::*;
use crate::policy::profile::{CredentialId, Profile, Rules};

#[test]
fn they_are_what_was_decided_with_and_not_all_that_is_held() {
    let profile = |name: &str, names: &str, read_only| Profile {
        name: name.into(),
        scopes: scopes(names),
        rules: Rules::All,
        read_only,
        credential: CredentialId::UPSTREAM,
    };
    let mut policy = policy("https://sentry.example.com");
    policy.profiles.profiles = vec![
        profile("events", "event:read event:write org:ci", false),
        profile("reads", "event:read event:write org:read", true),
        profile("writes", "event:write", true),
    ];
    let all = "event:admin event:read event:write org:ci org:read project:releases";
    let issues = "/api/0/organizations/acme/issues/";
    let upload = "/api/0/organizations/acme/chunk-upload/";
    let rows = [
        ("GET", issues, None, false, all),
        ("PUT", issues, None, false, all),
        ("GET", issues, Some("events"), false, "event:read event:write org:ci"),
        ("PUT", issues, Some("events"), false, "event:read event:write org:ci"),
        ("POST", upload, Some("events"), false, "event:read event:write org:ci"),
        ("GET", issues, None, true, "event:read org:read"),
        ("GET", issues, Some("events"), true, "event:read"),
        ("GET", issues, Some("reads"), false, "event:read org:read"),
        // Where nothing that reads lets it through, what does.
        ("GET", issues, Some("writes"), false, "event:write"),
        ("GET", "/api/0/", None, true, "event:read org:read"),
    ];
    for (method, target, profile, read_only, wanted) in rows {
        let narrowing =
            Narrowing { read_only, profile: profile.map(Into::into), ..Narrowing::NONE };
        let bounds: Bounds = Bound { narrowing, ..Bound::default() }.into();
        let own =
            Identity { issuer: Issuer::Gateway, bounds, ..identity(IdentityKind::UserToken, all) };
        let mut headers = HeaderMap::new();
        headers.insert("host", "sentry.example.com".parse().unwrap());
        headers.insert("authorization", "Bearer x".parse().unwrap());
        let Screened::Pending(pending) =
            policy.screen(&RequestHead::new(method, target.as_bytes(), &headers))
        else {
            panic!("{method} {target}");
        };
        let decision = settled(&pending, &Lookup::Found(Arc::new(own)));
        let Verdict::Permit(permit) = &decision.verdict else {
            panic!("{method} {target} {profile:?}: {decision:?}");
        };
        assert_eq!(permit.scopes(), scopes(wanted), "{method} {target} {profile:?} {read_only}");
    }
}
