//! Names, and which token a text means.

use super::*;
use crate::store::portcullis::admin::{AdminError, Candidate, Resolved};
use crate::store::portcullis::new_token::MAX_NAME_LEN;

const LATER: Timestamp = Timestamp::from_millis(NOW.as_millis() + 1);

/// `one ID`, `none`, or `several` with the ids.
async fn meant(desk: &Desk, text: &str) -> Vec<String> {
    match desk.store.resolve(text).await.unwrap() {
        Resolved::One(candidate) => vec![candidate.id],
        Resolved::None => Vec::new(),
        Resolved::Several(candidates) => {
            assert!(candidates.len() > 1, "{candidates:?}");
            candidates.into_iter().map(|candidate| candidate.id).collect()
        }
    }
}

#[tokio::test]
async fn an_id_a_name_or_a_fingerprint_in_full_means_its_token() {
    let desk = Desk::new().await;
    let token = desk.create(TokenKind::Bearer, "ci").await.token;
    desk.create(TokenKind::ApiKey, "other").await;
    let fingerprint = token.fingerprint().to_string();
    for text in [token.id.as_str(), "ci", &fingerprint] {
        let (id, name) = (token.id.clone(), "ci".into());
        let candidate = Candidate { id, name, revoked_at: None, successor: None };
        assert_eq!(desk.store.resolve(text).await.unwrap(), Resolved::One(candidate), "{text}");
    }
    // A part would start to mean another token as soon as one more is created.
    let (id, part) = (&token.id[..8], &fingerprint[..7]);
    for text in ["", "c", "CI", "ci ", "%", "c%", "_i", "tok_", id, part, "' OR '1'='1"] {
        assert_eq!(desk.store.resolve(text).await.unwrap(), Resolved::None, "{text:?}");
    }
}

#[tokio::test]
async fn the_one_in_force_is_meant_and_otherwise_nobody_guesses() {
    let desk = Desk::new().await;
    let mut ids = Vec::new();
    for minute in 0..3 {
        let now = NOW.after(Duration::from_secs(60 * minute));
        let token = desk.store.create(new(TokenKind::Bearer, "ci"), now).await.unwrap().token;
        desk.store.revoke(&token.id, now).await.unwrap();
        ids.push(token.id);
        let wanted = if minute == 0 { &ids[..1] } else { &ids[..] };
        assert_eq!(meant(&desk, "ci").await, wanted, "{minute}");
    }
    let current = desk.create(TokenKind::Dsn, "ci").await.token.id;
    assert_eq!(meant(&desk, "ci").await, [current.as_str()]);
    for id in &ids {
        assert_eq!(meant(&desk, id).await, [id.as_str()]);
    }
}

#[tokio::test]
async fn what_is_the_fingerprint_of_another_is_no_name_and_ambiguous_where_it_was_written_by_hand()
{
    let desk = Desk::new().await;
    let first = desk.create(TokenKind::Bearer, "first").await.token;
    let text = first.fingerprint().to_string();
    let later = NOW.after(Duration::from_secs(1));
    match desk.store.create(new(TokenKind::Bearer, &text), later).await {
        Err(AdminError::BadName(bad)) => assert_eq!(bad, text),
        other => panic!("{other:?}"),
    }
    let second = desk.store.create(new(TokenKind::Bearer, "second"), later).await.unwrap().token;
    desk.sql(&format!("UPDATE token SET name = '{text}' WHERE id = '{}'", second.id)).await;
    assert_eq!(meant(&desk, &text).await, [first.id.as_str(), second.id.as_str()]);
    desk.store.revoke(&first.id, later).await.unwrap();
    assert_eq!(meant(&desk, &text).await, [second.id.as_str()]);
    desk.store.revoke(&second.id, later).await.unwrap();
    assert_eq!(meant(&desk, &text).await, [first.id.as_str(), second.id.as_str()]);
}

#[tokio::test]
async fn an_id_wins_over_a_name_that_was_written_by_hand() {
    let desk = Desk::new().await;
    let first = desk.create(TokenKind::Bearer, "first").await.token;
    let second = desk.create(TokenKind::Bearer, "second").await.token;
    desk.store.revoke(&first.id, NOW).await.unwrap();
    desk.sql(&format!("UPDATE token SET name = '{}' WHERE id = '{}'", first.id, second.id)).await;
    assert_eq!(meant(&desk, &first.id).await, [first.id.as_str()]);
}

#[tokio::test]
async fn a_token_whose_name_is_damaged_can_be_told_by_its_id() {
    let desk = Desk::new().await;
    let id = desk.create(TokenKind::Bearer, "one").await.token.id;
    desk.sql("UPDATE token SET name = CAST(x'ff' AS TEXT)").await;
    let meant = desk.store.resolve(&id).await.unwrap();
    assert!(matches!(&meant, Resolved::One(one) if one.id == id), "{meant:?}");
}

#[tokio::test]
async fn a_name_is_printable_and_no_id() {
    let desk = Desk::new().await;
    let longest = "é".repeat(MAX_NAME_LEN);
    for name in ["x", "two words", "'); DROP TABLE token; --", "Tok_1", "日本 🦀", &longest] {
        let issued = desk.create(TokenKind::Bearer, name).await;
        assert_eq!(desk.store.token(&issued.token.id).await.unwrap().unwrap().name, name);
    }
    let before = desk.store.list().await.unwrap().0.len();
    let too_long = "x".repeat(MAX_NAME_LEN + 1);
    for name in ["", " ", " x", "x ", "a\nb", "a\0b", "\u{7f}", "tok_", "tok_1", &too_long] {
        match desk.store.create(new(TokenKind::Bearer, name), NOW).await {
            Err(AdminError::BadName(bad)) => assert_eq!(bad, name),
            other => panic!("{name:?}: {other:?}"),
        }
    }
    assert_eq!(desk.store.list().await.unwrap().0.len(), before);
}

#[tokio::test]
async fn a_name_is_taken_until_its_token_is_revoked() {
    let desk = Desk::new().await;
    let expires_at = Some(NOW);
    let wanted = NewToken { expires_at, ..new(TokenKind::Bearer, "ci") };
    let first = desk.store.create(wanted, NOW).await.unwrap();
    // Of whatever kind, and although the first one has expired.
    for kind in TokenKind::ALL {
        match desk.store.create(new(*kind, "ci"), LATER).await {
            Err(AdminError::NameTaken(name)) => assert_eq!(name, "ci"),
            other => panic!("{kind}: {other:?}"),
        }
    }
    desk.store.revoke(&first.token.id, LATER).await.unwrap();
    let second = desk.create(TokenKind::Dsn, "ci").await;
    assert_ne!(second.token.id, first.token.id);
    assert_eq!(desk.store.list().await.unwrap().0.len(), 2);
}
