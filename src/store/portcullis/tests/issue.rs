//! Creating, finding, listing and revoking tokens of the three kinds.

use proptest::prelude::*;

use super::*;
use crate::policy::identity::{IdentityKind, Issuer, Narrowing, State};
use crate::store::portcullis::admin::{AdminError, Revoked};

const LATER: Timestamp = Timestamp::from_millis(NOW.as_millis() + 1);

#[tokio::test]
async fn what_was_asked_for_is_what_is_found_listed_and_shown() {
    let desk = Desk::new().await;
    let rows = [
        (TokenKind::Bearer, only(&["acme", "7"]), Binding::Any, Some(LATER)),
        (TokenKind::ApiKey, Binding::Any, only(&["web"]), None),
        (TokenKind::ApiKey, only(&[]), only(&[]), None),
        (TokenKind::Dsn, only(&["acme"]), only(&["42", "web"]), Some(LATER)),
    ];
    let mut all = Vec::new();
    for (number, (kind, organizations, projects, expires_at)) in rows.into_iter().enumerate() {
        let name = format!("token {number}");
        let issued = desk
            .store
            .create(
                NewToken {
                    scopes: ScopeSet::EMPTY.with(Scope::EventAdmin).with(Scope::Email),
                    organizations: organizations.clone(),
                    projects: projects.clone(),
                    allowed_origins: vec!["https://Example.COM".to_owned(), "*".to_owned()],
                    narrowing: Narrowing::NONE,
                    expires_at,
                    ..new(kind, &name)
                },
                Timestamp::from_millis(NOW.as_millis() + number as u64),
            )
            .await
            .unwrap();
        let token = &issued.token;
        assert_eq!((token.kind, token.name.as_str()), (kind, name.as_str()));
        assert_eq!(token.scopes.names(), "email event:admin event:read event:write");
        assert_eq!((&token.organizations, &token.projects), (&organizations, &projects), "{name}");
        assert_eq!(token.allowed_origins, ["https://example.com", "*"]);
        assert_eq!(token.created_at.as_millis(), NOW.as_millis() + number as u64);
        assert_eq!((token.expires_at, token.revoked_at), (expires_at, None));
        assert_eq!(token.last_used_at, None);
        assert_eq!(token.digest, Digest::of(issued.secret.expose()));

        let identity = desk.identity(&present(&issued)).await.unwrap();
        assert_eq!(identity.id.to_string(), *token.id);
        assert_eq!((identity.kind, identity.issuer), (kind.identity(), Issuer::Gateway));
        assert_eq!((identity.state, identity.scopes), (State::Active, token.scopes));
        let bound = (identity.bounds.organizations(), identity.bounds.projects());
        assert_eq!(bound, (&organizations, &projects));
        assert_eq!(identity.expires_at.time(), expires_at);
        assert_eq!(
            *identity.bounds.allowed_origins(),
            ["https://example.com", "*"].map(Box::<str>::from)
        );
        assert_same(&desk.store.token(&token.id).await.unwrap().unwrap(), token);
        all.push(issued);
    }
    let (listed, unreadable) = desk.store.list().await.unwrap();
    assert!(unreadable.is_empty());
    assert_eq!(listed.len(), all.len());
    for (listed, issued) in listed.iter().zip(&all) {
        assert_same(listed, &issued.token);
    }
    assert!(desk.store.token("tok_0000000000000000").await.unwrap().is_none());
}

#[tokio::test]
async fn a_secret_is_known_under_its_own_scheme_only() {
    let desk = Desk::new().await;
    for kind in TokenKind::ALL {
        let issued = desk.create(*kind, kind.as_str()).await;
        for scheme in Scheme::ALL {
            let found = desk.identity(&under(*scheme, issued.token.digest)).await;
            assert_eq!(found.is_some(), *scheme == kind.scheme(), "{kind} under {scheme:?}");
        }
        // A Bearer token that has the form of an organisation token is none of these.
        let mut other = under(Scheme::Bearer, issued.token.digest);
        other.kinds = KindSet::EMPTY.with(IdentityKind::OrgToken);
        assert!(desk.identity(&other).await.is_none(), "{kind} as an organisation token");
        assert!(desk.identity(&under(kind.scheme(), Digest::of("other"))).await.is_none());
    }
}

#[tokio::test]
async fn a_digest_of_two_kinds_is_each_under_its_own_scheme() {
    let desk = Desk::new().await;
    let bearer = desk.create(TokenKind::Bearer, "one").await;
    desk.sql(
        "INSERT INTO token SELECT 'tok_twin', 'api-key', 'twin', digest, fingerprint, 'org:read', \
         organizations, projects, allowed_origins, created_at, expires_at, revoked_at, \
         last_used_at, NULL, NULL, NULL, NULL FROM token",
    )
    .await;
    let id = |scheme| {
        let presented = under(scheme, bearer.token.digest);
        async { desk.identity(&{ presented }).await.map(|identity| identity.id.to_string()) }
    };
    assert_eq!(id(Scheme::Bearer).await.as_ref(), Some(&bearer.token.id));
    assert_eq!(id(Scheme::Basic).await.as_deref(), Some("tok_twin"));
    assert_eq!(id(Scheme::Dsn).await, None);
}

#[tokio::test]
async fn expired_and_revoked_tokens_are_found_as_such() {
    let desk = Desk::new().await;
    for kind in TokenKind::ALL {
        let expires_at = Some(LATER);
        let wanted = NewToken { expires_at, ..new(*kind, kind.as_str()) };
        let issued = desk.store.create(wanted, NOW).await.unwrap();
        let identity = desk.identity(&present(&issued)).await.unwrap();
        assert!(!identity.is_expired(NOW) && identity.is_expired(LATER), "{kind}");
        let token = desk.store.token(&issued.token.id).await.unwrap().unwrap();
        assert_eq!((token.condition(NOW), token.condition(LATER)), ("active", "expired"));

        assert_eq!(desk.store.revoke(&issued.token.id, LATER).await.unwrap(), Revoked::Now);
        let identity = desk.identity(&present(&issued)).await.unwrap();
        assert_eq!(identity.state, State::Disabled, "{kind}");
        let token = desk.store.token(&issued.token.id).await.unwrap().unwrap();
        assert_eq!((token.condition(NOW), token.revoked_at), ("revoked", Some(LATER)));
    }
}

#[tokio::test]
async fn a_revocation_is_for_good_and_keeps_its_time() {
    let desk = Desk::new().await;
    let (first, other) =
        (desk.create(TokenKind::Bearer, "one").await, desk.create(TokenKind::Bearer, "two").await);
    let id = &first.token.id;
    assert_eq!(desk.store.revoke(id, NOW).await.unwrap(), Revoked::Now);
    assert_eq!(desk.store.revoke(id, LATER).await.unwrap(), Revoked::Before(NOW));
    assert_eq!(desk.store.revoke("tok_none", NOW).await.unwrap(), Revoked::NotFound);
    assert_eq!(desk.store.token(id).await.unwrap().unwrap().revoked_at, Some(NOW));
    let far = Timestamp::from_millis(u64::MAX);
    assert!(matches!(desk.store.revoke(&other.token.id, far).await, Err(AdminError::BadTime)));
    assert_eq!(desk.store.token(&other.token.id).await.unwrap().unwrap().revoked_at, None);
}

#[tokio::test]
async fn a_dsn_has_a_numeric_project_first() {
    let desk = Desk::new().await;
    let max = u64::MAX.to_string();
    for projects in [&["1"][..], &["42", "web"], &[&max]] {
        let wanted = NewToken { projects: only(projects), ..new(TokenKind::Dsn, projects[0]) };
        let issued = desk.store.create(wanted, NOW).await.unwrap();
        let dsn = issued.dsn("https://sentry.example.com/").unwrap();
        let key = issued.secret.expose();
        assert_eq!(dsn, format!("https://{key}@sentry.example.com/{}", projects[0]));
        assert!(key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    }
    let names = ["", "0", "01", "+1", "-1", " 1", "1 ", "web", "18446744073709551616", "１"];
    let bindings = names.map(|name| only(&[name])).into_iter();
    let bindings = bindings.chain([Binding::Any, Binding::Unknown, only(&[]), only(&["web", "1"])]);
    for projects in bindings {
        let case = format!("{projects:?}");
        let wanted = NewToken { projects, ..new(TokenKind::Dsn, "bad") };
        let refused = desk.store.create(wanted, NOW).await;
        assert!(matches!(refused, Err(AdminError::NoProject)), "{case}: {refused:?}");
    }
}

#[tokio::test]
async fn a_dsn_is_written_only_of_a_dsn_and_a_plain_url() {
    let desk = Desk::new().await;
    let dsn = desk.create(TokenKind::Dsn, "dsn").await;
    let key = dsn.secret.expose();
    let rows = [
        ("http://h:8080", Some(format!("http://{key}@h:8080/42"))),
        ("https://h/sentry//", Some(format!("https://{key}@h/sentry/42"))),
        ("https://", None),
        ("h", None),
        ("ftp://h", None),
        ("https://user@h", None),
        ("https://h?x", None),
        ("https://h#x", None),
    ];
    for (url, wanted) in rows {
        assert_eq!(dsn.dsn(url), wanted, "{url}");
    }
    assert_eq!(desk.create(TokenKind::Bearer, "t").await.dsn("https://h"), None);
    assert_eq!(desk.create(TokenKind::ApiKey, "k").await.dsn("https://h"), None);
}

#[tokio::test]
async fn a_time_that_the_file_cannot_hold_is_refused() {
    let desk = Desk::new().await;
    let last = Timestamp::from_millis(i64::MAX as u64);
    let past = Timestamp::from_millis(i64::MAX as u64 + 1);
    let of = |name, expires_at| NewToken { expires_at, ..new(TokenKind::Bearer, name) };
    desk.store.create(of("last", Some(last)), NOW).await.unwrap();
    for (expires_at, now) in [(Some(past), NOW), (None, past)] {
        let refused = desk.store.create(of("past", expires_at), now).await;
        assert!(matches!(refused, Err(AdminError::BadTime)), "{expires_at:?} {now:?}");
    }
    let (tokens, _) = desk.store.list().await.unwrap();
    assert_eq!(tokens.iter().map(|t| t.expires_at).collect::<Vec<_>>(), [Some(last)]);
}

#[tokio::test]
async fn a_binding_that_is_not_known_is_stored_as_none() {
    let desk = Desk::new().await;
    let wanted = NewToken {
        organizations: Binding::Unknown,
        projects: Binding::Unknown,
        ..new(TokenKind::Bearer, "unknown")
    };
    let issued = desk.store.create(wanted, NOW).await.unwrap();
    let identity = desk.identity(&present(&issued)).await.unwrap();
    let bound = (identity.bounds.organizations(), identity.bounds.projects());
    assert_eq!(bound, (&only(&[]), &only(&[])));
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z0-9_-]{1,20}", 0..4)
}

fn origins() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("(https?|HTTPS)://[a-zA-Z0-9.\\[\\]-]{1,20}(:[0-9]{1,5})?", 0..4)
}

fn binding() -> impl Strategy<Value = Binding> {
    let only = |names: Vec<String>| Binding::Only(names.into_iter().map(Into::into).collect());
    prop_oneof![Just(Binding::Any), names().prop_map(only)]
}

#[test]
fn every_token_reads_back_as_it_was_written() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let desk = runtime.block_on(Desk::new());
    let count = std::cell::Cell::new(0);
    let name = "[a-zA-Z0-9éß日本🦀'\"`;%\\\\ _.-]{0,80}";
    let times = (0..=i64::MAX as u64, prop::option::of(0..=i64::MAX as u64));
    let tokens = (0..3_usize, name, any::<u32>(), binding(), binding(), origins(), times);
    let mut runner = proptest::test_runner::TestRunner::default();
    let outcome = runner.run(&tokens, |row| {
        let (kind, name, bits, mut organizations, mut projects, allowed_origins, times) = row;
        count.set(count.get() + 1);
        let (kind, (now, expires_at)) = (TokenKind::ALL[kind], times);
        let scopes = Scope::ALL.iter().filter(|scope| bits & 1 << **scope as u8 != 0).copied();
        if kind == TokenKind::Dsn {
            (organizations, projects) = (only(&["acme", "1"]), only(&["42", "web"]));
        }
        let lower: Vec<_> = allowed_origins.iter().map(|o| o.to_ascii_lowercase()).collect();
        let wanted = NewToken {
            kind,
            name: format!("{}{name}.", count.get()),
            scopes: scopes.collect(),
            organizations,
            projects,
            allowed_origins,
            narrowing: Narrowing {
                read_only: bits & 1 == 0,
                profile: (bits & 2 == 0).then(|| name.as_str().into()),
                groups: (bits & 4 == 0).then(|| [name.as_str().into()].into()),
                networks: (bits & 8 == 0).then(|| ["10.0.0.0/8".parse().unwrap()].into()),
            },
            expires_at: expires_at.map(Timestamp::from_millis),
        };
        let (issued, read, found) = runtime.block_on(async {
            let now = Timestamp::from_millis(now);
            let issued = desk.store.create(wanted.clone(), now).await.unwrap();
            let read = desk.store.token(&issued.token.id).await.unwrap().unwrap();
            let found = desk.identity(&present(&issued)).await.unwrap();
            (issued, read, found)
        });
        assert_same(&read, &issued.token);
        prop_assert_eq!(format!("{found:?}"), format!("{:?}", read.identity()));
        prop_assert_eq!((read.kind, &read.name), (wanted.kind, &wanted.name));
        prop_assert_eq!(read.scopes, wanted.scopes.with_implied());
        prop_assert_eq!(read.organizations, wanted.organizations);
        prop_assert_eq!(read.projects, wanted.projects);
        prop_assert_eq!(read.allowed_origins, lower);
        prop_assert_eq!(read.narrowing, wanted.narrowing);
        prop_assert_eq!(read.created_at, Timestamp::from_millis(now));
        prop_assert_eq!(read.expires_at, wanted.expires_at);
        Ok(())
    });
    outcome.unwrap();
}
