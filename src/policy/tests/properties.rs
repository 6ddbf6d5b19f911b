//! What must hold for every request.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn more_scopes_never_refuse(held in 0_usize..1 << 25, more in 0_usize..25, route in 0_usize..6) {
        let policy = policy("https://sentry.example.com");
        let routes = [
            "GET /api/0/",
            "GET /api/0/organizations/",
            "GET /api/0/organizations/acme/issues/",
            "DELETE /api/0/organizations/acme/issues/",
            "POST /api/0/organizations/acme/chunk-upload/",
            "GET /api/0/internal/health/",
        ];
        let (method, target) = routes[route].split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", "sentry.example.com".parse().unwrap());
        headers.insert("authorization", "Bearer x".parse().unwrap());
        let target = target.as_bytes();
        let head = RequestHead::new(method, target, &headers);
        let with = |bits: usize| {
            let scopes = Scope::ALL.iter().enumerate().filter(|(i, _)| bits & 1 << i != 0);
            let scopes = scopes.map(|(_, scope)| *scope).collect();
            let Screened::Pending(pending) = policy.screen(&head) else { panic!("decided") };
            let found = Identity { scopes, ..identity(IdentityKind::UserToken, "") };
            let decision = settled(&pending, &Lookup::Found(Arc::new(found)));
            matches!(decision.verdict, Verdict::Permit(_))
        };
        prop_assert!(!with(held) || with(held | 1 << more));
    }

    #[test]
    fn a_path_reads_the_same_twice(path in "(/|%2[eEfF0-9]|%[0-9a-fA-F]{2}|[a-z.;:@%é\\\\]){0,24}") {
        let path = format!("/{path}");
        if let Ok(parsed) = path::CanonicalPath::parse(path.as_bytes()) {
            let again = path::CanonicalPath::parse(parsed.raw().as_bytes()).unwrap();
            prop_assert_eq!(parsed.raw(), path.as_str());
            let segments: Vec<_> = parsed.segments().collect();
            prop_assert_eq!(&segments, &again.segments().collect::<Vec<_>>());
            // No segment can move a reader up, down or sideways.
            for (index, segment) in segments.iter().enumerate() {
                prop_assert!(!matches!(*segment, "." | ".."));
                prop_assert!(!segment.contains(['/', '\\', '\0']));
                prop_assert!(!segment.is_empty() || index + 1 == segments.len());
            }
            prop_assert_eq!(segments.len(), 1 + path[1..].matches('/').count());
        }
    }
}
