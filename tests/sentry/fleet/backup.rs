//! A copy of a store is a store: with its tokens, its triggers and what they notify of.

use std::path::Path;
use std::process::Command;

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::{all_answer, disabled, unknown};
use crate::database::{programs, runtime};
use crate::gate::Gate;
use crate::outage::fine;
use crate::tokens::{Made, Tokens, create, printed, revoke, told};

fn program(name: &str, words: &[&str]) -> String {
    let output = Command::new(programs().join(name)).args(words).output().unwrap();
    assert!(output.status.success(), "{name} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Everything in a database, as SQL.
pub fn dump(tokens: &Tokens) -> String {
    let owner = tokens.database.server.url(&tokens.database.name);
    program("pg_dump", &["--inserts", &owner])
}

/// A copy in another database of the same server and the same role, by a file of pg_dump's own.
pub fn copy(tokens: &Tokens) -> Tokens {
    let copy = Tokens::of(tokens.database.server, &tokens.role);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump").display().to_string();
    let url = |tokens: &Tokens| tokens.database.server.url(&tokens.database.name);
    program("pg_dump", &["--format=custom", "--file", &file, &url(tokens)]);
    program("pg_restore", &["--exit-on-error", "--dbname", &url(&copy), &file]);
    copy
}

/// Has psql read what pg_dump wrote.
pub fn read_back(url: &str, dump: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.sql");
    std::fs::write(&file, dump).unwrap();
    let file = file.display().to_string();
    program("psql", &["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file", &file, url]);
}

/// A copy by SQL.
fn copy_as_text(tokens: &Tokens) -> Tokens {
    let copy = Tokens::of(tokens.database.server, &tokens.role);
    read_back(&copy.database.server.url(&copy.database.name), &dump(tokens));
    copy
}

struct Stock {
    kept: Made,
    revoked: Made,
    blocked: Made,
}

impl Stock {
    fn fill(gate: &Gate) -> Self {
        let [kept, revoked, blocked] =
            ["kept", "revoked", "blocked"].map(|name| create(gate, name));
        revoke(gate, "revoked");
        told(&gate.portcullis(&["block", "add", &blocked.fingerprint]), 0);
        all_answer(&[gate], &kept.secret, &fine());
        all_answer(&[gate], &blocked.secret, &disabled());
        Self { kept, revoked, blocked }
    }

    /// Sees to it that a copy has all of it, and is a store that can be changed.
    fn is_served(&self, gate: &Gate) {
        assert_eq!(told(&gate.portcullis(&["check"]), 0), "");
        all_answer(&[gate], &self.kept.secret, &fine());
        all_answer(&[gate], &self.revoked.secret, &disabled());
        all_answer(&[gate], &self.blocked.secret, &disabled());
        let new = create(gate, "new");
        all_answer(&[gate], &new.secret, &fine());
        revoke(gate, "kept");
        all_answer(&[gate], &self.kept.secret, &disabled());
        told(&gate.portcullis(&["block", "remove", &self.blocked.fingerprint]), 0);
        all_answer(&[gate], &self.blocked.secret, &fine());
        assert_eq!(printed(&gate.portcullis(&["token", "list"]), 0).lines().count(), 4);
    }
}

/// The log of changes goes on where it was, and nothing is lost on the way.
#[test]
fn a_dump_that_was_restored_is_a_store() {
    let tokens = Tokens::new();
    let gate = Gate::with_stores(&tokens.listening(), "");
    let stock = Stock::fill(&gate);
    for copy in [copy(&tokens), copy_as_text(&tokens)] {
        let before = tokens.database.value("SELECT max(revision)::text FROM change");
        assert_eq!(copy.database.value("SELECT max(revision)::text FROM change"), before);
        let triggers = "SELECT count(*)::text FROM pg_trigger WHERE NOT tgisinternal";
        assert_eq!(copy.database.value(triggers), tokens.database.value(triggers));
        assert_eq!(copy.objects(), tokens.objects());
        // A change long before anybody polls would not be seen without the triggers.
        stock.is_served(&Gate::with_stores(
            &copy.listening(),
            "cache.ttl = \"1h\"\ncache.unknown_ttl = \"1h\"",
        ));
    }
    // The one that was copied does not hear of it.
    all_answer(&[&gate], &stock.kept.secret, &fine());
}

/// As `config/stores.md` says it, after a gateway that did not get to tidy up.
#[test]
fn a_file_is_put_back_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("tokens.db"), folder.path().join("backup.db"));
    let beside = ["tokens.db-wal", "tokens.db-shm"].map(|name| folder.path().join(name));
    let store =
        format!("[[store]]\nkind = \"portcullis\"\nurl = \"sqlite://{}\"\n", path.display());
    let gate = Gate::with_stores(&store, "");
    let [kept, revoked] = ["kept", "revoked"].map(|name| create(&gate, name));
    runtime().block_on(async {
        let mut shell =
            SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let sql = format!("VACUUM INTO '{}'", copy.display());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut shell).await.unwrap();
        shell.close().await.unwrap();
    });
    let later = create(&gate, "later");
    told(&gate.portcullis(&["token", "revoke", &revoked.id]), 0);
    all_answer(&[&gate], &revoked.secret, &disabled());
    all_answer(&[&gate], &later.secret, &fine());
    drop(gate);
    std::fs::rename(&copy, &path).unwrap();
    for file in &beside {
        assert!(file.exists(), "{file:?}");
        std::fs::remove_file(file).unwrap();
    }
    let gate = Gate::with_stores(&store, "");
    all_answer(&[&gate], &kept.secret, &fine());
    all_answer(&[&gate], &later.secret, &unknown());
    // What was revoked after the backup is in force again, until it is revoked anew.
    all_answer(&[&gate], &revoked.secret, &fine());
    told(&gate.portcullis(&["token", "revoke", &revoked.id]), 0);
    all_answer(&[&gate], &revoked.secret, &disabled());
}

#[test]
fn a_copy_of_a_file_that_is_served_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("tokens.db"), folder.path().join("copy.db"));
    let store = |path: &Path| {
        format!("[[store]]\nkind = \"portcullis\"\nurl = \"sqlite://{}\"\n", path.display())
    };
    let gate = Gate::with_stores(&store(&path), "");
    let stock = Stock::fill(&gate);
    runtime().block_on(async {
        let mut shell =
            SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let sql = format!("VACUUM INTO '{}'", copy.display());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut shell).await.unwrap();
        shell.close().await.unwrap();
    });
    stock.is_served(&Gate::with_stores(&store(&copy), "cache.ttl = \"1h\""));
    all_answer(&[&gate], &stock.kept.secret, &fine());
}
