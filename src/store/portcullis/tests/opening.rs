//! What is opened, what is refused, and a file that is replaced while it is open.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::store::portcullis::admin::AdminError;

/// A folder, and a file in it.
fn file_of(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.db");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[tokio::test]
async fn a_missing_folder_or_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (there, nowhere) = (folder.path().join("t.db"), folder.path().join("no/t.db"));
    for missing in [IfMissing::Create, IfMissing::Fail] {
        match open(&nowhere, missing).await {
            Err(error @ OpenError::NoFolder(_)) => {
                assert!(error.to_string().contains("no/t.db"), "{error}");
            }
            other => panic!("{missing:?}: {other:?}"),
        }
    }
    let refused = open(&there, IfMissing::Fail).await;
    assert!(matches!(refused, Err(OpenError::NoFile(path)) if path == there));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was created");
}

#[tokio::test]
async fn what_is_created_is_for_its_owner_only() {
    let desk = Desk::new().await;
    desk.create(TokenKind::Bearer, "one").await;
    let mut files = 0;
    for file in fs::read_dir(desk.folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
        files += 1;
    }
    assert_eq!(files, 3, "the file, its journal and their index");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let noise: Vec<u8> = (0..20_000_u32).map(|n| ((n * 7919) >> 3) as u8).collect();
    let header = b"SQLite format 3\0 and then something else entirely".repeat(40);
    for bytes in [&b"xy"[..], b"[[store]]\nkind = 'portcullis'\n", &noise, &header] {
        for missing in [IfMissing::Create, IfMissing::Fail] {
            let (_folder, path) = file_of(bytes);
            let refused = open(&path, missing).await;
            let len = bytes.len();
            assert!(matches!(refused, Err(OpenError::NotAStore(_))), "{len}: {refused:?}");
            assert!(fs::read(&path).unwrap() == bytes, "{len} bytes changed");
        }
    }
}

#[tokio::test]
async fn another_programs_database_is_refused_and_keeps_its_tables() {
    let rows = [
        "CREATE TABLE token (id TEXT); INSERT INTO token VALUES ('theirs')",
        "PRAGMA application_id = 7",
        "CREATE VIEW v AS SELECT 1",
    ];
    for text in rows {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs.db");
        sql(&path, text).await;
        let refused = open(&path, IfMissing::Create).await;
        assert!(matches!(refused, Err(OpenError::NotAStore(_))), "{text}: {refused:?}");
        let mut connection = shell(&path).await;
        let ours: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_schema WHERE name IN ('change', '_sqlx_migrations')",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(ours, 0, "{text}");
    }
}

#[tokio::test]
async fn another_programs_database_keeps_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.db");
    sql(&path, "CREATE TABLE theirs (id TEXT)").await;
    let before = fs::read(&path).unwrap();
    let refused = open(&path, IfMissing::Create).await;
    assert!(matches!(refused, Err(OpenError::NotAStore(_))), "{refused:?}");
    assert!(fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let (_folder, path) = file_of(b"");
    let store = open(&path, IfMissing::Fail).await.unwrap();
    store.create(new(TokenKind::Bearer, "one"), NOW).await.unwrap();
}

#[tokio::test]
async fn what_is_written_is_there_after_a_restart() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::ApiKey, "one").await;
    // As after a crash: nothing is closed, and the journal is not merged.
    let again = desk.again().await;
    assert_same(&again.token(&issued.token.id).await.unwrap().unwrap(), &issued.token);
    again.close().await;
    desk.store.close().await;
    let again = desk.again().await;
    assert_same(&again.token(&issued.token.id).await.unwrap().unwrap(), &issued.token);
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_its_version() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    desk.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (7, 'from the future', TRUE, x'00', 0)",
    )
    .await;
    let error = match open(desk.store.path().unwrap(), IfMissing::Create).await {
        Err(error @ OpenError::Newer { version: 7, .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for part in ["schema version 7", "run the version that wrote it", "tokens.db"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    // Whoever has it open already goes on.
    assert!(desk.identity(&present(&issued)).await.is_some());
}

#[tokio::test]
async fn a_damaged_schema_is_refused() {
    let rows = [
        "UPDATE _sqlx_migrations SET checksum = x'00'",
        "UPDATE _sqlx_migrations SET success = FALSE",
        "DELETE FROM _sqlx_migrations",
    ];
    for text in rows {
        let desk = Desk::new().await;
        desk.sql(text).await;
        let refused = open(desk.store.path().unwrap(), IfMissing::Create).await;
        assert!(matches!(refused, Err(OpenError::Database { .. })), "{text}: {refused:?}");
    }
}

#[tokio::test]
async fn a_file_whose_pages_are_damaged_is_never_not_known() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    desk.store.close().await;
    let path = desk.store.path().unwrap();
    let whole = fs::read(path).unwrap();
    let (page, pages) = (4096, whole.len() / 4096);
    assert!(pages > 5, "{pages}");
    let mut failed = 0;
    for number in 1..pages {
        let mut bytes = whole.clone();
        bytes[number * page..(number + 1) * page].fill(0xff);
        fs::write(path, &bytes).unwrap();
        let store = match open(path, IfMissing::Fail).await {
            Ok(store) => store,
            Err(OpenError::Database { .. } | OpenError::NotAStore(_)) => continue,
            Err(other) => panic!("page {number}: {other}"),
        };
        // The page may belong to something that a look-up doesn't read; else it must fail.
        match store.find((&present(&issued)).into()).await {
            Ok(found) => assert!(found.is_some(), "page {number}"),
            Err(StoreError::Unavailable(_)) => failed += 1,
            Err(other) => panic!("page {number}: {other}"),
        }
        store.close().await;
    }
    assert!(failed >= 2, "the table and the index of its digests");
}

#[tokio::test]
async fn what_is_no_plain_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, dangling) = (folder.path().join("d"), folder.path().join("dangling"));
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink(folder.path().join("gone"), &dangling).unwrap();
    let refused = open(&directory, IfMissing::Create).await;
    assert!(matches!(refused, Err(OpenError::Database { .. })), "{refused:?}");
    let refused = open(&dangling, IfMissing::Create).await;
    assert!(matches!(refused, Err(OpenError::File { .. })), "{refused:?}");
    assert!(!folder.path().join("gone").exists());
}

#[tokio::test]
async fn permissions_that_are_missing_are_named() {
    let desk = Desk::new().await;
    desk.create(TokenKind::Bearer, "one").await;
    desk.store.close().await;
    let (folder, path) = (desk.folder.path(), desk.store.path().unwrap());
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder, 0o500);
    if fs::write(folder.join("probe"), "").is_ok() {
        // Past the capture of the test's output: this is to be seen.
        let note = "skipped: permissions don't bind this user, so that they can't be tested";
        writeln!(std::io::stderr(), "{note}").unwrap();
        mode(folder, 0o700);
        return;
    }
    let fresh = open(&folder.join("new.db"), IfMissing::Create).await;
    let closed = open(path, IfMissing::Fail).await;
    mode(folder, 0o700);
    mode(path, 0o400);
    let read_only = open(path, IfMissing::Fail).await.unwrap();
    let refused = read_only.create(new(TokenKind::Bearer, "two"), NOW).await;
    assert!(matches!(refused, Err(AdminError::Write(_))), "{refused:?}");
    assert_eq!(read_only.list().await.unwrap().0.len(), 1, "it can be read all the same");
    read_only.close().await;
    mode(path, 0o000);
    let unreadable = open(path, IfMissing::Fail).await;
    mode(path, 0o600);
    match fresh {
        Err(OpenError::File { source, .. }) => {
            assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
        }
        other => panic!("{other:?}"),
    }
    for (what, refused) in [("folder", closed), ("file", unreadable)] {
        match refused {
            Err(error @ OpenError::Database { .. }) => {
                assert!(error.to_string().contains("its permissions"), "{what}: {error}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    // The journal was made with the mode that the file had.
    for file in fs::read_dir(folder).unwrap() {
        mode(&file.unwrap().path(), 0o600);
    }
    open(path, IfMissing::Fail).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_full_is_said_and_reading_goes_on() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    sqlx::query("PRAGMA max_page_count = 1").execute(&sqlite(&desk.store).writer).await.unwrap();
    let mut made = 1;
    let refused = loop {
        let name = format!("number {made}");
        match desk.store.create(new(TokenKind::Bearer, &name), NOW).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 1000, "the limit binds");
    };
    assert!(matches!(refused, AdminError::Write(_)), "{refused:?}");
    assert_eq!(desk.store.list().await.unwrap().0.len(), made);
    assert!(desk.identity(&present(&issued)).await.is_some());
}

#[tokio::test]
async fn a_file_that_was_replaced_answers_nothing_until_it_is_back() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    let (path, aside) = (desk.store.path().unwrap(), desk.folder.path().join("aside.db"));
    let refused = |answer: Result<Option<Found>, StoreError>| match answer {
        Err(error @ StoreError::Unavailable(_)) => {
            let cause = Error::source(&error).unwrap().to_string();
            assert!(cause.contains("replaced or removed"), "{cause}");
        }
        other => panic!("{other:?}"),
    };
    fs::rename(path, &aside).unwrap();
    assert!(sqlite(&desk.store).check_file().await.is_err(), "removed");
    refused(desk.store.find((&present(&issued)).into()).await);
    fs::copy(&aside, path).unwrap();
    assert!(sqlite(&desk.store).check_file().await.is_err(), "a copy is another file");
    refused(desk.store.find((&present(&issued)).into()).await);
    // Not even of a token that it does not have.
    refused(desk.store.find((&under(Scheme::Bearer, Digest::of("other"))).into()).await);
    fs::rename(&aside, path).unwrap();
    sqlite(&desk.store).check_file().await.unwrap();
    assert!(desk.identity(&present(&issued)).await.is_some());
}

#[tokio::test]
async fn no_reader_reads_another_file() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    let (path, aside) = (desk.store.path().unwrap(), desk.folder.path().join("aside.db"));
    let other = Desk::new().await;
    other.store.close().await;
    // The journal stays behind under the old name; nothing in it is to be taken for the other's.
    desk.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let find = || async { desk.store.find((&present(&issued)).into()).await };
    {
        let _busy = sqlite(&desk.store).readers.acquire().await.unwrap();
        fs::rename(path, &aside).unwrap();
        fs::copy(other.store.path().unwrap(), path).unwrap();
        // The watch has not looked yet.
        let found = find().await;
        assert!(!matches!(found, Ok(None)), "while replaced: {found:?}");
    }
    fs::rename(&aside, path).unwrap();
    sqlite(&desk.store).check_file().await.unwrap();
    let _busy = sqlite(&desk.store).readers.acquire().await.unwrap();
    let found = find().await;
    assert!(matches!(found, Ok(Some(_))), "when back: {found:?}");
}
