//! A new secret in place of an old one.

use super::*;
use crate::policy::identity::State;
use crate::store::portcullis::admin::{AdminError, Resolved, Revoked};
use crate::store::portcullis::{Lifetime, RotateError, Rotation};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const SAME: Rotation = Rotation { overlap: HOUR, lifetime: Lifetime::Same };

#[tokio::test]
async fn both_are_good_until_the_overlap_is_over() {
    for kind in TokenKind::ALL {
        let desk = Desk::new().await;
        let wanted = NewToken { expires_at: Some(NOW.after(30 * DAY)), ..new(*kind, "ci") };
        let old = desk.store.create(wanted, NOW).await.unwrap();
        let later = NOW.after(10 * DAY);
        let issued = desk.store.rotate(&old.token.id, SAME, later).await.unwrap();
        assert_ne!(issued.secret.expose(), old.secret.expose());
        let [before, after] = [&old, &issued].map(present);
        for (presented, ends) in [(&before, later.after(HOUR)), (&after, later.after(30 * DAY))] {
            let identity = desk.identity(presented).await.unwrap();
            assert_eq!(identity.state, State::Active);
            assert_eq!(identity.expires_at.time(), Some(ends), "{kind}");
        }
        // But for the secret, the id and times it is the same.
        let token = &issued.token;
        let wanted = Token {
            id: token.id.clone(),
            digest: token.digest,
            created_at: later,
            expires_at: Some(later.after(30 * DAY)),
            rotated_from: Some(old.token.id.clone()),
            ..old.token.clone()
        };
        assert_same(&desk.store.token(&token.id).await.unwrap().unwrap(), &wanted);
        let read = desk.store.token(&old.token.id).await.unwrap().unwrap();
        assert_eq!(read.successor.as_ref(), Some(&token.id));
        assert_eq!((read.revoked_at, read.expires_at), (None, Some(later.after(HOUR))));
    }
}

#[tokio::test]
async fn how_long_both_live() {
    let long = Some(NOW.after(30 * DAY));
    let soon = Some(NOW.after(HOUR / 2));
    for (had, overlap, lifetime, old, new_one, revoked) in [
        (None, HOUR, Lifetime::Same, Some(NOW.after(HOUR)), None, false),
        (long, HOUR, Lifetime::For(DAY), Some(NOW.after(HOUR)), Some(NOW.after(DAY)), false),
        (long, HOUR, Lifetime::Unlimited, Some(NOW.after(HOUR)), None, false),
        // An overlap never makes it live longer.
        (soon, HOUR, Lifetime::Same, soon, soon, false),
        (long, Duration::ZERO, Lifetime::Same, Some(NOW), long, true),
    ] {
        let desk = Desk::new().await;
        let wanted = NewToken { expires_at: had, ..new(TokenKind::Bearer, "ci") };
        let first = desk.store.create(wanted, NOW).await.unwrap();
        let rotation = Rotation { overlap, lifetime };
        let issued = desk.store.rotate(&first.token.id, rotation, NOW).await.unwrap();
        assert_eq!(issued.token.expires_at, new_one, "{had:?} {rotation:?}");
        let read = desk.store.token(&first.token.id).await.unwrap().unwrap();
        assert_eq!((read.expires_at, read.revoked_at.is_some()), (old, revoked), "{rotation:?}");
        let state = desk.identity(&present(&first)).await.unwrap().state;
        assert_eq!(state == State::Disabled, revoked);
    }
}

#[tokio::test]
async fn at_most_two_of_a_line_are_in_force() {
    let desk = Desk::new().await;
    let first = desk.create(TokenKind::Bearer, "ci").await.token.id;
    let second = desk.store.rotate(&first, SAME, NOW).await.unwrap().token.id;
    match desk.store.rotate(&first, SAME, NOW).await {
        Err(RotateError::Rotated { successor, .. }) => assert_eq!(successor, second),
        other => panic!("{other:?}"),
    }
    match desk.store.rotate(&second, SAME, NOW).await {
        Err(error @ RotateError::Overlap { .. }) => {
            let error = error.to_string();
            assert!(error.contains(&first) && error.contains("2023-11-14T23:13:20"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.store.list().await.unwrap().0.len(), 2);
    // Its time is over, and that of the second one's predecessor was cut short.
    let third = desk.store.rotate(&second, SAME, NOW.after(HOUR)).await.unwrap().token.id;
    assert_eq!(desk.store.revoke(&second, NOW.after(HOUR)).await.unwrap(), Revoked::Now);
    desk.store.rotate(&third, SAME, NOW.after(HOUR)).await.unwrap();
}

#[tokio::test]
async fn what_can_not_be_rotated_is_left_as_it_is() {
    let desk = Desk::new().await;
    let revoked = desk.create(TokenKind::Bearer, "revoked").await.token.id;
    desk.store.revoke(&revoked, NOW).await.unwrap();
    let canary = desk.store.create_canary(TokenKind::Bearer, "canary".into(), None, NOW).await;
    let canary = canary.unwrap().token.id;
    let fine = desk.create(TokenKind::Bearer, "fine").await.token.id;
    let none = Rotation { lifetime: Lifetime::For(Duration::ZERO), ..SAME };
    let before = format!("{:?}", desk.store.list().await.unwrap().0);
    for (id, rotation, words) in [
        ("tok_0", SAME, "there is no token `tok_0`"),
        (&*revoked, SAME, "was revoked; create a token"),
        (&*canary, SAME, "is a canary"),
        (&*fine, none, "would expire at once"),
    ] {
        let error = desk.store.rotate(id, rotation, NOW).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(format!("{:?}", desk.store.list().await.unwrap().0), before);
}

#[tokio::test]
async fn a_name_means_the_successor_and_is_given_once() {
    let desk = Desk::new().await;
    let first = desk.create(TokenKind::Bearer, "ci").await.token.id;
    let second = desk.store.rotate(&first, SAME, NOW).await.unwrap().token.id;
    let Resolved::One(meant) = desk.store.resolve("ci").await.unwrap() else { panic!() };
    assert_eq!(meant.id, second);
    assert_eq!(desk.store.before(&meant, "ci").await.unwrap(), [first.as_str()]);
    assert!(desk.store.before(&meant, &second).await.unwrap().is_empty());
    let taken = desk.store.create(new(TokenKind::Bearer, "ci"), NOW).await;
    assert!(matches!(taken, Err(AdminError::NameTaken(_))), "{taken:?}");
    // Without its successor the first one is who is left of the name.
    desk.store.revoke(&second, NOW).await.unwrap();
    let Resolved::One(meant) = desk.store.resolve("ci").await.unwrap() else { panic!() };
    assert_eq!(meant.id, first);
    let next = desk.create(TokenKind::Bearer, "ci").await.token.id;
    let Resolved::One(meant) = desk.store.resolve("ci").await.unwrap() else { panic!() };
    assert_eq!(meant.id, next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_rotate_it_one_does() {
    let desk = Desk::new().await;
    for number in 0..10 {
        let id = desk.create(TokenKind::Bearer, &format!("number {number}")).await.token.id;
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let (store, id) = (desk.again().await, id.clone());
            writers.spawn(async move { store.rotate(&id, SAME, NOW).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            writers.join_all().await.into_iter().partition(|outcome| outcome.is_ok());
        assert_eq!(won.len(), 1, "{lost:?}");
        let rotated = |lost: &Result<_, _>| matches!(lost, Err(RotateError::Rotated { .. }));
        assert!(lost.iter().all(rotated), "{lost:?}");
    }
    assert_eq!(desk.store.list().await.unwrap().0.len(), 20);
}
