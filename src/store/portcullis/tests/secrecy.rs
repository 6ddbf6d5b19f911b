//! The secret is handed out once and is nowhere else.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::*;
use crate::store::portcullis::admin::Issued;

/// Every byte of the store: the file, its journal, and their index.
fn bytes_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    files.map(read).collect()
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// A secret as it might have been written: in full or without what all share, and each of these as
/// hex or, at the three places where base64 can begin in a longer text, as base64.
fn spellings(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let random = secret.get(13..56).unwrap_or(secret);
    let mut all = Vec::new();
    for text in [secret, random] {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        all.push(("plain", text.as_bytes().to_vec()));
        all.push(("upper case", text.to_uppercase().into_bytes()));
        all.push(("upper-case hex", hex.to_uppercase().into_bytes()));
        all.push(("hex", hex.into_bytes()));
        all.push(("reversed", text.bytes().rev().collect()));
        for shift in 0..3 {
            let shifted = [&b"xx"[..shift], text.as_bytes()].concat();
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let encoded = engine.encode(&shifted).into_bytes();
                // The characters at both ends depend on the neighbours.
                let whole = (shift * 8).div_ceil(6)..encoded.len() - 2;
                all.push(("base64", encoded[whole].to_vec()));
            }
        }
    }
    // Sentry's key is hex already: its 16 bytes may be written as such.
    if secret.len() == 32 {
        let byte = |at: usize| u8::from_str_radix(&secret[at..at + 2], 16).unwrap();
        all.push(("bytes", (0..32).step_by(2).map(byte).collect()));
    }
    all
}

fn assert_hidden(folder: &Path, issued: &Issued, when: &str) {
    let files = bytes_of(folder);
    for (file, bytes) in &files {
        for (spelling, needle) in spellings(issued.secret.expose()) {
            assert!(!holds(bytes, &needle), "{when}: {spelling} in {file}");
        }
    }
    // What is there shows that the search finds things.
    let digest = issued.token.digest.as_bytes();
    assert!(files.iter().any(|(_, bytes)| holds(bytes, digest)), "{when}: no digest");
}

#[test]
fn the_search_finds_every_spelling() {
    let secret = "portcullis_t_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ123456";
    for (lead, tail) in [("", ""), ("a", "b"), ("ab", ""), ("abc", "de"), ("abcd", "?")] {
        let text = format!("{lead}{secret}{tail}");
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        for written in [text.clone(), hex, STANDARD.encode(&text)] {
            let found = spellings(secret).iter().any(|(_, s)| holds(written.as_bytes(), s));
            assert!(found, "{written}");
        }
    }
}

#[tokio::test]
async fn no_byte_of_the_store_is_of_a_secret() {
    let desk = Desk::new().await;
    let folder = desk.folder.path();
    let mut all = Vec::new();
    for kind in TokenKind::ALL {
        let issued = desk.create(*kind, kind.as_str()).await;
        assert!(desk.store.find((&present(&issued)).into()).await.unwrap().is_some());
        assert_hidden(folder, &issued, "created");
        all.push(issued);
    }
    // The journal and its index were among what was read.
    let names: Vec<_> = bytes_of(folder).into_iter().map(|(name, _)| name).collect();
    for name in ["tokens.db", "tokens.db-wal", "tokens.db-shm"] {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
    }
    for issued in &all {
        desk.store.revoke(&issued.token.id, NOW).await.unwrap();
        assert_hidden(folder, issued, "revoked");
    }
    desk.store.close().await;
    for issued in &all {
        assert_hidden(folder, issued, "closed");
    }
}

#[tokio::test]
async fn no_text_for_people_has_the_secret() {
    let desk = Desk::new().await;
    for kind in TokenKind::ALL {
        let issued = desk.create(*kind, kind.as_str()).await;
        let taken = desk.store.create(new(*kind, kind.as_str()), NOW).await.unwrap_err();
        let found = desk.store.find((&present(&issued)).into()).await.unwrap();
        let token = desk.store.token(&issued.token.id).await.unwrap();
        let texts = format!("{issued:?} {taken:?} {taken} {found:?} {token:?} {:?}", desk.store);
        for (spelling, needle) in spellings(issued.secret.expose()) {
            assert!(!holds(texts.as_bytes(), &needle), "{kind}: {spelling} in {texts}");
        }
    }
}

#[tokio::test]
async fn no_two_secrets_are_the_same() {
    let desk = Desk::new().await;
    let mut secrets = std::collections::HashSet::new();
    for number in 0..60 {
        for kind in TokenKind::ALL {
            let issued = desk.create(*kind, &format!("{kind} {number}")).await;
            assert!(secrets.insert(issued.secret.expose().to_owned()));
        }
    }
}
