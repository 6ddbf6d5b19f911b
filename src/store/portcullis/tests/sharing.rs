//! One file and several who have it open, in this process and in another.

use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;
use crate::policy::identity::State;
use crate::store::portcullis::admin::{AdminError, Revoked};

/// How many tokens each side creates.
const EACH: usize = 25;

#[tokio::test]
async fn each_sees_what_the_other_wrote() {
    let desk = Desk::new().await;
    let other = desk.again().await;
    let here = desk.create(TokenKind::Bearer, "here").await;
    let there = other.create(new(TokenKind::ApiKey, "there"), NOW).await.unwrap();
    assert!(other.find((&present(&here)).into()).await.unwrap().is_some());
    assert!(desk.store.find((&present(&there)).into()).await.unwrap().is_some());
    assert_eq!(other.revoke(&here.token.id, NOW).await.unwrap(), Revoked::Now);
    assert_eq!(desk.identity(&present(&here)).await.unwrap().state, State::Disabled);
    assert_eq!(desk.store.revoke(&here.token.id, NOW).await.unwrap(), Revoked::Before(NOW));
    // The other one ends; this one does not mind.
    other.close().await;
    desk.create(TokenKind::Bearer, "after").await;
    assert_eq!(desk.store.list().await.unwrap().0.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_write_at_once_nothing_is_lost() {
    let desk = Desk::new().await;
    let mut writers = JoinSet::new();
    for side in ["left", "right"] {
        let store = desk.again().await;
        writers.spawn(async move {
            let mut issued = Vec::new();
            for number in 0..EACH {
                let wanted = new(TokenKind::Bearer, &format!("{side} {number}"));
                issued.push(store.create(wanted, NOW).await.unwrap());
            }
            issued
        });
    }
    let all: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(all.len(), 2 * EACH);
    for issued in &all {
        let identity = desk.identity(&present(issued)).await.unwrap();
        assert_eq!(identity.id.to_string(), *issued.token.id);
    }
    assert_eq!(desk.store.list().await.unwrap().0.len(), 2 * EACH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_want_one_name_one_gets_it() {
    let desk = Desk::new().await;
    let stores = [Arc::new(desk.again().await), Arc::new(desk.again().await)];
    for number in 0..EACH {
        let mut writers = JoinSet::new();
        for store in &stores {
            let (store, name) = (Arc::clone(store), format!("number {number}"));
            writers.spawn(async move { store.create(new(TokenKind::Dsn, &name), NOW).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            writers.join_all().await.into_iter().partition(|outcome| outcome.is_ok());
        assert_eq!(won.len(), 1, "{number}: {lost:?}");
        assert!(matches!(lost[..], [Err(AdminError::NameTaken(_))]), "{lost:?}");
    }
    assert_eq!(desk.store.list().await.unwrap().0.len(), EACH);
}

#[test]
fn a_new_file_may_be_opened_by_many_at_once() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let openers: [_; 6] = std::array::from_fn(|number| {
            let path = folder.path().join("tokens.db");
            let work = async move || {
                let store = open(&path, IfMissing::Create).await.unwrap();
                let wanted = new(TokenKind::Bearer, &format!("number {number}"));
                store.create(wanted, NOW).await.unwrap();
                store
            };
            std::thread::spawn(move || runtime().block_on(work()))
        });
        let stores = openers.map(|opener| opener.join().unwrap());
        // Another runtime than the one that opened it.
        let (tokens, _) = runtime().block_on(stores[0].list()).unwrap();
        assert_eq!(tokens.len(), 6);
    }
}

#[tokio::test]
async fn who_opens_waits_for_another_who_has_the_file_to_himself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.db");
    let mut other = shell(&path).await;
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    };
    let (opened, ()) = tokio::join!(open(&path, IfMissing::Create), release);
    opened.unwrap().create(new(TokenKind::Bearer, "one"), NOW).await.unwrap();
}

#[tokio::test]
async fn a_writer_waits_for_another_and_readers_do_not() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    let mut other = shell(desk.store.path().unwrap()).await;
    sqlx::raw_sql("BEGIN IMMEDIATE; UPDATE token SET name = 'held'")
        .execute(&mut other)
        .await
        .unwrap();
    // Longer than the first steps of SQLite's own waiting.
    let release = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let token = desk.store.token(&issued.token.id).await.unwrap().unwrap();
            assert_eq!(token.name, "one", "not written yet");
            assert!(desk.identity(&present(&issued)).await.is_some());
        }
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    };
    let (created, ()) =
        tokio::join!(desk.store.create(new(TokenKind::Bearer, "two"), NOW), release);
    created.unwrap();
    let (tokens, _) = desk.store.list().await.unwrap();
    let mut names: Vec<_> = tokens.iter().map(|token| token.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["held", "two"]);
}

#[tokio::test]
async fn a_writer_that_waits_too_long_says_so_and_can_try_again() {
    let desk = Desk::new().await;
    let issued = desk.create(TokenKind::Bearer, "one").await;
    sqlx::query("PRAGMA busy_timeout = 50").execute(&sqlite(&desk.store).writer).await.unwrap();
    let mut other = shell(desk.store.path().unwrap()).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let refused = desk.store.create(new(TokenKind::Bearer, "two"), NOW).await;
    assert!(matches!(refused, Err(AdminError::Write(_))), "{refused:?}");
    let refused = desk.store.revoke(&issued.token.id, NOW).await;
    assert!(matches!(refused, Err(AdminError::Write(_))), "never taken for done: {refused:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    desk.create(TokenKind::Bearer, "two").await;
    assert_eq!(desk.store.revoke(&issued.token.id, NOW).await.unwrap(), Revoked::Now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_that_write_at_once_nothing_is_lost() {
    let desk = Desk::new().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "store::portcullis::tests::sharing::the_other_process"])
        .current_dir(desk.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let theirs = under(Scheme::Bearer, Digest::of("theirs"));
    assert!(desk.store.find((&theirs).into()).await.unwrap().is_none());
    let mut mine = 0;
    // As long as the other one works, and so at the same time.
    let status = loop {
        desk.create(TokenKind::Bearer, &format!("mine {mine}")).await;
        mine += 1;
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(mine < 100_000, "the other process hangs");
    };
    assert!(status.success());
    let (tokens, unreadable) = desk.store.list().await.unwrap();
    let count = |side| tokens.iter().filter(|token| token.name.starts_with(side)).count();
    assert_eq!((count("mine"), count("their"), unreadable.len()), (mine, EACH, 0));
}

#[tokio::test]
#[ignore = "another test runs it, as the second process, in the folder of a store"]
async fn the_other_process() {
    let path = Path::new("tokens.db");
    if !path.exists() {
        return;
    }
    let store = open(path, IfMissing::Fail).await.unwrap();
    for number in 0..EACH {
        let wanted = new(TokenKind::Bearer, &format!("their {number}"));
        store.create(wanted, NOW).await.unwrap();
    }
    store.close().await;
}
