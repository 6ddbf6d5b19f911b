//! What holds of a file of tokens holds of a database of them: one table of properties, over both.

use std::path::PathBuf;
use std::thread;

use base64::Engine as _;
use portcullis::clock::Timestamp;
use portcullis::policy::credential::{Authorization, Credential, Digest, Fingerprint, Scheme};
use portcullis::policy::identity::{Binding, Identity, State};
use portcullis::policy::scope::{Scope, ScopeSet};
use portcullis::store::portcullis::admin::{AdminError, Issued, NewToken, Resolved, Revoked};
use portcullis::store::portcullis::block::Block;
use portcullis::store::portcullis::{
    IfMissing, Lifetime, PortcullisStore, RotateError, Rotation, StoreLocation, Token, TokenKind,
};
use portcullis::store::{StoreError, TokenStore as _};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tokio::runtime::Runtime;

use crate::database::runtime;
use crate::tokens::Tokens;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

enum Place {
    File(tempfile::TempDir),
    Server(Tokens),
}

/// An open store and what it is in, to be damaged from outside.
struct Desk {
    runtime: Runtime,
    place: Place,
    store: PortcullisStore,
}

impl Desk {
    fn over(place: Place) -> Self {
        let runtime = runtime();
        let store = runtime.block_on(open(&place));
        Self { runtime, place, store }
    }

    fn new_each() -> [Self; 2] {
        [Place::File(tempfile::tempdir().unwrap()), Place::Server(Tokens::new())].map(Self::over)
    }

    fn sql(&self, sql: &str) {
        match &self.place {
            Place::File(folder) => self.runtime.block_on(async {
                let url = format!("sqlite://{}", path(folder).display());
                let mut shell = SqliteConnection::connect(&url).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut shell).await.unwrap();
                shell.close().await.unwrap();
            }),
            Place::Server(tokens) => tokens.database.run(sql),
        }
    }

    fn create(&self, new: NewToken) -> Result<Issued, AdminError> {
        self.runtime.block_on(self.store.create(new, NOW))
    }

    fn bearer(&self, name: &str) -> Issued {
        self.create(new(TokenKind::Bearer, name)).unwrap()
    }

    fn find(&self, presented: &Credential) -> Result<Option<Identity>, StoreError> {
        let found = self.runtime.block_on(self.store.find(presented.into()))?;
        Ok(found.map(|found| Identity::clone(&found.identity)))
    }

    fn token(&self, id: &str) -> Option<Token> {
        self.runtime.block_on(self.store.token(id)).unwrap()
    }

    fn list(&self) -> (Vec<Token>, Vec<StoreError>) {
        self.runtime.block_on(self.store.list()).unwrap()
    }

    fn revoke(&self, id: &str, now: Timestamp) -> Revoked {
        self.runtime.block_on(self.store.revoke(id, now)).unwrap()
    }

    /// The ids of what a text may mean.
    fn meant(&self, text: &str) -> Vec<String> {
        match self.runtime.block_on(self.store.resolve(text)).unwrap() {
            Resolved::One(candidate) => vec![candidate.id],
            Resolved::None => Vec::new(),
            Resolved::Several(candidates) => candidates.into_iter().map(|one| one.id).collect(),
        }
    }
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("tokens.db")
}

async fn open(place: &Place) -> PortcullisStore {
    match place {
        Place::File(folder) => {
            let location = StoreLocation::file(path(folder));
            PortcullisStore::open(&location, IfMissing::Create).await.unwrap()
        }
        Place::Server(tokens) => {
            let address = tokens.address();
            let store =
                PortcullisStore::at(tokens.address(), 3, Box::new(move || Some(address.clone())));
            // A busy machine may let one wait for too long.
            for _ in 0..10 {
                if store.prepare().await.is_ok() {
                    break;
                }
            }
            store
        }
    }
}

fn only(names: &[&str]) -> Binding {
    Binding::Only(names.iter().map(|name| (*name).into()).collect())
}

fn new(kind: TokenKind, name: &str) -> NewToken {
    let (organizations, projects) = match kind {
        TokenKind::Dsn => (only(&["acme"]), only(&["42"])),
        TokenKind::Bearer | TokenKind::ApiKey => (Binding::Any, Binding::Any),
    };
    NewToken {
        kind,
        name: name.to_owned(),
        scopes: ScopeSet::EMPTY.with(Scope::EventRead),
        organizations,
        projects,
        allowed_origins: Vec::new(),
        narrowing: portcullis::policy::identity::Narrowing::NONE,
        expires_at: None,
    }
}

/// As its holder sends it.
fn present(issued: &Issued) -> Credential {
    let secret = issued.secret.expose();
    let header = match issued.token.kind {
        TokenKind::Bearer => format!("Bearer {secret}"),
        TokenKind::ApiKey => {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{secret}:"));
            format!("Basic {pair}")
        }
        TokenKind::Dsn => format!("DSN {}", issued.dsn("https://sentry.example.com").unwrap()),
    };
    match Authorization::parse(header.as_bytes()) {
        Authorization::Credential(credential) => credential,
        other => panic!("{other:?}"),
    }
}

fn under(scheme: Scheme, digest: Digest) -> Credential {
    Credential { scheme, digest, project: None, kinds: scheme.kinds() }
}

fn every_token_reads_back_as_it_was_written(desk: &Desk) {
    let last = Timestamp::from_millis(i64::MAX as u64);
    let names = ["x", "two words", "'); DROP TABLE token; --", "$1", "日本 🦀", "%", "\\x00"];
    for (number, name) in names.into_iter().enumerate() {
        let kind = TokenKind::ALL[number % 3];
        let wanted = NewToken {
            scopes: [Scope::OrgAdmin, Scope::EventRead].into_iter().take(number % 3).collect(),
            organizations: only(&["acme", "it-s", "1"]),
            projects: if kind == TokenKind::Dsn { only(&["42", "web"]) } else { only(&[]) },
            allowed_origins: vec!["https://App.example.com".to_owned(), "*".to_owned()],
            expires_at: [None, Some(NOW), Some(last)][number % 3],
            ..new(kind, name)
        };
        let issued = desk.create(wanted.clone()).unwrap();
        let read = desk.token(&issued.token.id).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", issued.token), "{name}");
        assert_eq!((read.digest, &*read.name), (issued.token.digest, name));
        assert_eq!(read.organizations, wanted.organizations);
        assert_eq!(read.projects, wanted.projects);
        assert_eq!(read.allowed_origins, ["https://app.example.com", "*"]);
        let found = desk.find(&present(&issued)).unwrap().unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", read.identity()), "{name}");
    }
    let listed: Vec<_> = desk.list().0.into_iter().map(|token| token.name).collect();
    assert_eq!(listed.len(), names.len());
}

fn a_secret_is_found_under_its_own_scheme_alone(desk: &Desk) {
    for kind in TokenKind::ALL {
        let issued = desk.create(new(*kind, kind.as_str())).unwrap();
        for other in TokenKind::ALL {
            let presented = under(other.scheme(), issued.token.digest);
            assert_eq!(desk.find(&presented).unwrap().is_some(), kind == other, "{kind} {other}");
        }
    }
    assert!(desk.find(&under(Scheme::Bearer, Digest::of("nobody"))).unwrap().is_none());
}

fn a_revocation_is_for_good(desk: &Desk) {
    let issued = desk.bearer("one");
    let later = Timestamp::from_millis(NOW.as_millis() + 1);
    assert_eq!(desk.revoke("tok_nobody", NOW), Revoked::NotFound);
    assert_eq!(desk.revoke(&issued.token.id, NOW), Revoked::Now);
    assert_eq!(desk.revoke(&issued.token.id, later), Revoked::Before(NOW));
    assert_eq!(desk.find(&present(&issued)).unwrap().unwrap().state, State::Disabled);
    assert_eq!(desk.token(&issued.token.id).unwrap().revoked_at, Some(NOW));
}

fn a_name_is_taken_until_its_token_is_revoked(desk: &Desk) {
    let first = desk.create(NewToken { expires_at: Some(NOW), ..new(TokenKind::Bearer, "ci") });
    for kind in TokenKind::ALL {
        let refused = desk.create(new(*kind, "ci"));
        assert!(
            matches!(&refused, Err(AdminError::NameTaken(name)) if name == "ci"),
            "{refused:?}"
        );
    }
    desk.revoke(&first.unwrap().token.id, NOW);
    desk.bearer("ci");
    for name in ["", " x", "a\nb", "a\0b", "tok_1"] {
        let refused = desk.create(new(TokenKind::Bearer, name));
        assert!(matches!(refused, Err(AdminError::BadName(_))), "{name:?}: {refused:?}");
    }
    assert_eq!(desk.list().0.len(), 2);
}

fn of_many_who_want_one_name_one_gets_it(desk: &Desk) {
    let won = thread::scope(|scope| {
        let asked: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    runtime().block_on(async {
                        let store = open(&desk.place).await;
                        let made = store.create(new(TokenKind::Bearer, "wanted"), NOW).await;
                        store.close().await;
                        match made {
                            Ok(_) => 1,
                            Err(AdminError::NameTaken(_)) => 0,
                            Err(other) => panic!("{other:?}"),
                        }
                    })
                })
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).sum::<usize>()
    });
    assert_eq!((won, desk.list().0.len()), (1, 1));
}

fn a_text_means_one_token_or_nobody_guesses(desk: &Desk) {
    let first = desk.bearer("first").token;
    let fingerprint = first.fingerprint().to_string();
    for text in [&*first.id, "first", &fingerprint] {
        assert_eq!(desk.meant(text), [first.id.as_str()], "{text}");
    }
    let (id, part) = (&first.id[..8], &fingerprint[..7]);
    for text in ["", "FIRST", "first ", "%", "f%", "_irst", id, part, "' OR '1'='1"] {
        assert!(desk.meant(text).is_empty(), "{text:?}");
    }
    let later = Timestamp::from_millis(NOW.as_millis() + 1);
    let refused = desk.create(new(TokenKind::Bearer, &fingerprint));
    assert!(matches!(refused, Err(AdminError::BadName(_))), "{refused:?}");
    // Somebody has written it by hand.
    let wanted = new(TokenKind::Bearer, "second");
    let second = desk.runtime.block_on(desk.store.create(wanted, later)).unwrap().token;
    desk.sql(&format!("UPDATE token SET name = '{fingerprint}' WHERE id = '{}'", second.id));
    assert_eq!(desk.meant(&fingerprint), [first.id.as_str(), second.id.as_str()]);
    desk.revoke(&first.id, later);
    assert_eq!(desk.meant(&fingerprint), [second.id.as_str()]);
    desk.sql(&format!("UPDATE token SET name = '{}' WHERE id = '{}'", first.id, second.id));
    assert_eq!(desk.meant(&first.id), [first.id.as_str()]);
}

fn what_can_not_be_written_is_refused_or_narrowed(desk: &Desk) {
    let past = Timestamp::from_millis(i64::MAX as u64 + 1);
    let refused =
        desk.create(NewToken { expires_at: Some(past), ..new(TokenKind::Bearer, "past") });
    assert!(matches!(refused, Err(AdminError::BadTime)), "{refused:?}");
    let wanted = NewToken {
        organizations: Binding::Unknown,
        projects: Binding::Unknown,
        ..new(TokenKind::Bearer, "unknown")
    };
    let issued = desk.create(wanted).unwrap();
    let identity = desk.find(&present(&issued)).unwrap().unwrap();
    let (nothing, bounds) = (only(&[]), &identity.bounds);
    assert_eq!((bounds.organizations(), bounds.projects()), (&nothing, &nothing));
    desk.sql("UPDATE token SET scopes = 'event:read event:fly'");
    let identity = desk.find(&present(&issued)).unwrap().unwrap();
    assert_eq!(identity.scopes, ScopeSet::EMPTY.with(Scope::EventRead));
}

fn a_damaged_row_is_an_error_and_never_a_token(desk: &Desk) {
    for change in [
        "kind = 'x'",
        "fingerprint = '00000000'",
        "organizations = 'acme'",
        "projects = '{}'",
        "projects = '[1]'",
        "allowed_origins = ''",
        "created_at = -1",
        "expires_at = -1",
        "revoked_at = -1",
    ] {
        let [whole, damaged] = ["whole", "damaged"].map(|name| desk.bearer(name));
        desk.sql(&format!("UPDATE token SET {change} WHERE name = 'damaged'"));
        let refused = desk.find(&present(&damaged));
        assert!(
            matches!(&refused, Err(StoreError::Corrupt { id, .. }) if *id == damaged.token.id),
            "{change}: {refused:?}"
        );
        assert!(desk.find(&present(&whole)).unwrap().is_some(), "{change}");
        let (tokens, unreadable) = desk.list();
        assert_eq!((tokens.len(), unreadable.len()), (1, 1), "{change}");
        // It can be revoked all the same.
        assert_eq!(desk.meant(&damaged.token.id), [damaged.token.id.as_str()]);
        if change != "revoked_at = -1" {
            assert_eq!(desk.revoke(&damaged.token.id, NOW), Revoked::Now, "{change}");
        }
        desk.sql("DELETE FROM token");
    }
    let short = desk.bearer("short");
    desk.sql("UPDATE token SET digest = substr(digest, 1, 31)");
    assert!(desk.find(&present(&short)).unwrap().is_none());
    assert_eq!(desk.list().1.len(), 1);
}

fn a_block_list_is_kept(desk: &Desk) {
    let block = |text: &str, reason: &str, millis: u64| Block {
        fingerprint: text.parse::<Fingerprint>().unwrap(),
        reason: reason.to_owned(),
        created_at: Timestamp::from_millis(millis),
    };
    let (one, two) = (block("0badf00d", "it's 日本", 2), block("ffffffff", &"é".repeat(200), 1));
    let run = |block: &Block| desk.runtime.block_on(desk.store.block(block));
    assert!(run(&one).unwrap() && run(&two).unwrap());
    assert!(!run(&block("0BADF00D", "again", 3)).unwrap());
    for reason in [&"x".repeat(201), "a\nb", "a\0b"] {
        let refused = run(&block("00000000", reason, 1));
        assert!(matches!(refused, Err(AdminError::BadReason)), "{reason:?}");
    }
    let far = block("00000000", "", i64::MAX as u64 + 1);
    assert!(matches!(run(&far), Err(AdminError::BadTime)));
    assert_eq!(desk.runtime.block_on(desk.store.blocks()).unwrap(), [two.clone(), one.clone()]);
    let blocked = desk.runtime.block_on(desk.store.blocked()).unwrap();
    assert_eq!(blocked, [one.fingerprint, two.fingerprint].into());
    let unblock = |block: &Block| desk.runtime.block_on(desk.store.unblock(block.fingerprint));
    assert!(unblock(&one).unwrap() && !unblock(&one).unwrap());
}

fn a_token_is_rotated_once_and_both_are_good(desk: &Desk) {
    let hour = std::time::Duration::from_secs(3600);
    let rotation = Rotation { overlap: hour, lifetime: Lifetime::Same };
    let rotate = |id: &str| desk.runtime.block_on(desk.store.rotate(id, rotation, NOW));
    let old = desk.bearer("ci");
    let next = rotate(&old.token.id).unwrap();
    for issued in [&old, &next] {
        assert_eq!(desk.find(&present(issued)).unwrap().unwrap().state, State::Active);
    }
    assert_eq!(desk.token(&old.token.id).unwrap().expires_at, Some(NOW.after(hour)));
    assert_eq!(desk.token(&next.token.id).unwrap().rotated_from, Some(old.token.id.clone()));
    assert!(matches!(rotate(&old.token.id), Err(RotateError::Rotated { .. })));
    assert!(matches!(rotate(&next.token.id), Err(RotateError::Overlap { .. })));
    assert_eq!(desk.meant("ci"), [next.token.id.as_str()]);
    let taken = desk.create(new(TokenKind::Bearer, "ci"));
    assert!(matches!(taken, Err(AdminError::NameTaken(_))), "{taken:?}");
    let page = |after: Option<&str>, most| {
        let page = desk.runtime.block_on(desk.store.page(after, most)).unwrap();
        (page.tokens.into_iter().map(|token| token.id).collect::<Vec<_>>(), page.is_full)
    };
    let all: Vec<_> = desk.list().0.into_iter().map(|token| token.id).collect();
    assert_eq!(page(None, 2), (all.clone(), true));
    assert_eq!(page(Some(&all[0]), 2), (all[1..].to_vec(), false));
    assert_eq!(page(Some(&all[1]), 2), (Vec::new(), false));
}

fn a_canary_is_nobody(desk: &Desk) {
    for kind in TokenKind::ALL {
        let of = (*kind == TokenKind::Dsn).then(|| ("acme".to_owned(), 42));
        let made = desk.store.create_canary(*kind, format!("bait {kind}"), of, NOW);
        let made = desk.runtime.block_on(made).unwrap();
        assert!(desk.find(&present(&made)).unwrap().is_none(), "{kind}");
        let read = desk.token(&made.token.id).unwrap();
        assert!(read.canary && read.scopes == ScopeSet::EMPTY, "{read:?}");
        assert_eq!(format!("{read:?}"), format!("{:?}", made.token));
    }
}

#[test]
fn a_file_and_a_server_keep_tokens_alike() {
    let properties: [fn(&Desk); 11] = [
        every_token_reads_back_as_it_was_written,
        a_secret_is_found_under_its_own_scheme_alone,
        a_revocation_is_for_good,
        a_name_is_taken_until_its_token_is_revoked,
        of_many_who_want_one_name_one_gets_it,
        a_text_means_one_token_or_nobody_guesses,
        what_can_not_be_written_is_refused_or_narrowed,
        a_damaged_row_is_an_error_and_never_a_token,
        a_block_list_is_kept,
        a_token_is_rotated_once_and_both_are_good,
        a_canary_is_nobody,
    ];
    let desks = Desk::new_each();
    for holds in properties {
        for desk in &desks {
            holds(desk);
            desk.sql("DELETE FROM token; DELETE FROM block");
        }
    }
}
