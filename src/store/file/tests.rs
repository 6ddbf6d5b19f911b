//! A file that is read, one that is wrong, and one that changes.

use tokio::runtime::Handle;

use super::*;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::policy::certificate::CertificateName;
use crate::policy::credential::{Authorization, Credential};
use crate::policy::decision::Lookup;
use crate::policy::identity::{Binding, Issuer, State};
use crate::store::cache::CacheSettings;

fn bearer(secret: &str) -> Credential {
    match Authorization::parse(format!("Bearer {secret}").as_bytes()) {
        Authorization::Credential(credential) => credential,
        other => panic!("{other:?}"),
    }
}

fn hex(secret: &str) -> String {
    Digest::of(secret).hex()
}

/// An entry for a token of this secret.
fn token(secret: &str, rest: &str) -> String {
    format!("[[token]]\nname = \"{secret}\"\ndigest = \"{}\"\n{rest}\n", hex(secret))
}

/// What is wrong with a file of this text.
fn wrong(text: &str) -> String {
    match entry::parse(text.to_owned()) {
        Err(wrong) => wrong.to_string(),
        Ok(content) => panic!("{content:?}"),
    }
}

#[tokio::test]
async fn an_entry_is_an_identity_of_the_gateways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let text = token(
        "ci",
        "scopes = [\"event:write\"]\norganizations = [\"acme\"]\nexpires_at = 2026-12-24T00:00:00Z",
    ) + &token(
        "key",
        "kind = \"api-key\"\nscopes = []\nexpires_at = \"2026-12-24T00:00:00Z\"",
    );
    std::fs::write(&path, text).unwrap();
    let store = FileStore::open("file", &path).await.unwrap();
    assert_eq!(store.content.load().tokens.len(), 2);
    let found = store.find((&bearer("ci")).into()).await.unwrap().unwrap().identity;
    assert_eq!(
        (&*found.id.to_string(), found.issuer, found.state),
        ("ci", Issuer::Gateway, State::Active)
    );
    assert_eq!(found.scopes.names(), "event:read event:write");
    assert_eq!(*found.bounds.organizations(), Binding::Only(["acme".into()].into()));
    assert_eq!(*found.bounds.projects(), Binding::Any);
    assert_eq!(found.expires_at.time(), Some(Timestamp::from_millis(1_798_070_400_000)));
    // A key is no Bearer token, whoever knows its digest.
    assert!(store.find((&bearer("key")).into()).await.unwrap().is_none());
    assert!(store.find((&bearer("other")).into()).await.unwrap().is_none());
}

/// Even if an entry had the digest that a certificate's name has.
#[tokio::test]
async fn a_certificate_is_no_token_and_a_token_no_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let names = ["CN:ci", "CN:other"].map(|name| CertificateName::parse(name).unwrap());
    let text = "[[token]]\nname = \"ci\"\ncertificate = \"CN:ci\"\nscopes = []\n".to_owned()
        + &format!("[[token]]\nname = \"x\"\ndigest = \"{}\"\n", names[1].digest().hex());
    std::fs::write(&path, text).unwrap();
    let store = FileStore::open("file", &path).await.unwrap();
    let [ci, other] = names.map(|name| name.credential());
    let as_token = |own: &Credential| Credential { digest: own.digest, ..bearer("x") };
    for (credential, wanted) in [
        (ci.clone(), Some("ci")),
        (other.clone(), None),
        (as_token(&ci), None),
        (as_token(&other), Some("x")),
    ] {
        let found = store.find((&credential).into()).await.unwrap();
        let id = found.as_ref().map(|found| found.identity.id.to_string());
        assert_eq!(id.as_deref(), wanted, "{credential:?}");
    }
}

#[test]
fn what_is_wrong_is_named_and_no_secret_is() {
    let rows = [
        ("token = \"sntryu_secret\"", "line 1: invalid type: string"),
        ("[[token]]\nname = \"a\"\nsecret = \"s\"", "line 3: unknown field `secret`"),
        (
            &token("a", "scopes = [\"org:reed\"]"),
            "token[0] `a`: it has a scope that Sentry has not",
        ),
        (&token("a", "kind = \"user\""), "token[0] `a`: its `kind` is none of"),
        (&token("a", "kind = \"dsn\""), "token[0] `a`: a DSN belongs to one project"),
        (&token("a", "expires_at = \"tomorrow\""), "token[0] `a`: its `expires_at` is not a time"),
        (&token("a", "organizations = [\"Acme\"]"), "token[0] `a`: `Acme` is neither a slug"),
        (&(token("a", "") + &token("a", "")), "token[1] `a`: its digest is there twice"),
        (
            "[[token]]\nname = \"a\"\ndigest = \"sntryu_secret\"",
            "token[0] `a`: its `digest` is not",
        ),
        (
            "[[token]]\nname = \"a\"",
            "token[0] `a`: it must have either a `digest` or a `certificate`",
        ),
        (
            &token("a", "certificate = \"CN:ci\""),
            "token[0] `a`: it must have either a `digest` or a `certificate`",
        ),
        (
            "[[token]]\nname = \"a\"\ncertificate = \"ci\"",
            "token[0] `a`: its `certificate` is wrong: that is no name of a certificate",
        ),
        (
            "[[token]]\nname = \"a\"\ncertificate = \"CN:ci\"\nkind = \"dsn\"",
            "token[0] `a`: a certificate has no `kind`",
        ),
        (
            "[[token]]\nname = \"a\"\ncertificate = \"DNS:ci\"\n[[token]]\nname = \"b\"\ncertificate = \"DNS:CI\"",
            "token[1] `b`: its certificate is there twice",
        ),
        ("[[block]]\nfingerprint = \"secret\"", "block[0] ``: that is not a fingerprint"),
        ("[[token]", "line 1: "),
    ];
    for (text, wanted) in rows {
        let told = wrong(text);
        assert!(told.starts_with(wanted), "{text}: {told}");
        assert!(!told.contains("secret") || wanted.contains("secret"), "{told}");
    }
}

#[tokio::test]
async fn a_change_is_taken_up_and_a_wrong_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let scopes = "scopes = [\"org:read\"]";
    std::fs::write(&path, token("one", scopes)).unwrap();
    let store = Arc::new(FileStore::open("file", &path).await.unwrap());
    let (clock, asked) = (Arc::new(SystemClock), Arc::<FileStore>::clone(&store));
    let settings = CacheSettings::default();
    let asked = vec![(asked as Arc<dyn TokenStore>).into()];
    let identities = Identities::new(asked, settings, clock, Arc::new(()), Handle::current());
    let ask = async |secret: &str| {
        let answer = identities.lookup(&bearer(secret), SystemClock.now()).await;
        match answer.lookup {
            Lookup::Found(_) => "found",
            Lookup::Unknown => "unknown",
            Lookup::Blocked => "blocked",
            Lookup::Unavailable => "unavailable",
            Lookup::Limited => "limited",
        }
    };
    // Nobody is let in before the block list was read.
    assert_eq!(ask("one").await, "unavailable");
    identities.block(0, store.blocked());
    assert_eq!(ask("one").await, "found");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let watch = Arc::clone(&store).watch(0, Arc::clone(&identities), Arc::new(()), stopped);
    let work = async {
        let soon = async |secret: &str, wanted: &str| {
            for _ in 0..1_000 {
                if ask(secret).await == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{secret} is not {wanted} within 10 s");
        };
        // As Kubernetes does it: another file takes its place.
        let write = |text: &str| {
            let next = folder.path().join("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(&next, &path).unwrap();
        };
        write(&token("two", scopes));
        soon("two", "found").await;
        assert_eq!(ask("one").await, "unknown");
        write("[[token]]\nname = \"three\"");
        tokio::time::sleep(3 * POLL).await;
        assert_eq!(ask("two").await, "found");
        // As a file that is being written, or whose disk was full.
        write("");
        tokio::time::sleep(3 * POLL).await;
        assert_eq!(ask("two").await, "found");
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(2 * POLL).await;
        assert_eq!(ask("two").await, "found");
        let block = format!("[[block]]\nfingerprint = \"{}\"", Digest::of("two").fingerprint());
        write(&(token("two", scopes) + &block));
        soon("two", "blocked").await;
        stop.send(true).unwrap();
    };
    tokio::join!(watch, work);
}

#[test]
fn what_the_page_about_stores_shows_is_a_file() {
    let page = include_str!("../../../config/stores.md");
    let block = page.split("```toml\n").find(|block| block.starts_with("[[token]]")).unwrap();
    let content = entry::parse(block.split("```").next().unwrap().to_owned()).unwrap();
    assert_eq!((content.tokens.len(), content.blocked.len()), (1, 1));
}
