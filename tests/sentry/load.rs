//! Sentry's database is killed while requests go on, and comes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock, Timestamp};
use portcullis::policy::scope::ScopeSet;

use crate::database::{Database, NOTIFY, Server};
use crate::gate::Gate;
use crate::revocation::listens;

const LINE: &str = "GET /api/0/projects/";
const VALID: usize = 12;
/// Between two requests of one client, so that the load is bounded.
const PAUSE: Duration = Duration::from_millis(4);

/// What the database is doing.
const UP: u8 = 0;
const CHANGING: u8 = 1;
const DOWN: u8 = 2;

fn ask(gate: &Gate, token: &str) -> (u16, String) {
    let header = format!("Authorization: Bearer {token}");
    let reply = gate.send(LINE, "HTTP/1.1", &[header], b"").unwrap();
    (reply.status, if reply.status == 200 { String::new() } else { reply.code() })
}

/// What a client got, and what the database did from before it asked until after.
type Answers = Mutex<Vec<(u8, u16, String)>>;

/// Asks until it is told to stop; an answer across a change of the database counts as of none.
fn keep_asking(
    gate: &Gate,
    state: &AtomicU8,
    stop: &AtomicBool,
    answers: &Answers,
    next: impl Fn() -> String,
) {
    while !stop.load(Ordering::SeqCst) {
        let before = state.load(Ordering::SeqCst);
        let (status, code) = ask(gate, &next());
        let after = state.load(Ordering::SeqCst);
        let during = if before == after { before } else { CHANGING };
        answers.lock().unwrap().push((during, status, code));
        thread::sleep(PAUSE);
    }
}

#[test]
fn a_database_that_is_killed_costs_nobody_who_is_known() {
    let server = Server::own();
    let database = Database::recorded_on(server);
    database.run(NOTIFY);
    let valid: Vec<String> = (0..VALID).map(|number| format!("valid-{number}")).collect();
    for token in valid.iter().map(String::as_str).chain(["revoked", "expiring", "late"]) {
        database.token(token, ScopeSet::ALL);
    }
    let store = database.store();
    let url = store.lines().find_map(|line| line.strip_prefix("url = ")).unwrap();
    let top = "cache.ttl = \"1s\"\ncache.unknown_ttl = \"1s\"\ncache.stale_if_error = \"5m\"";
    let gate = Gate::with_stores(&format!("{store}listen_url = {url}\n"), top);
    gate.wait_until(|| listens(&database, "portcullis"));
    for token in valid.iter().map(String::as_str).chain(["revoked", "expiring"]) {
        gate.wait_until(|| ask(&gate, token).0 == 200);
    }
    database.run("DELETE FROM sentry_apitoken WHERE token = 'revoked'");
    gate.wait_until(|| ask(&gate, "revoked") == (401, "unknown_token".to_owned()));
    // Until that was heard it was let in.
    gate.upstream.take();
    database.run(
        "UPDATE sentry_apitoken SET expires_at = now() + interval '5 s' WHERE token = 'expiring'",
    );

    let expiry = "SELECT floor(extract(epoch FROM expires_at) * 1000)::bigint::text
        FROM sentry_apitoken WHERE token = 'expiring'";
    let expiry = Timestamp::from_millis(database.value(expiry).parse().unwrap());
    // Once that was heard, its expiry is known here.
    gate.wait_until(|| gate.metric("portcullis_revocation_lag_seconds_count") >= Some(2.0));
    ask(&gate, "expiring");

    let (state, stop, count) = (AtomicU8::new(UP), AtomicBool::new(false), AtomicUsize::new(0));
    let (known, unknown, revoked) = (Answers::default(), Answers::default(), Answers::default());
    // When it was sent, and what came.
    let expiring = Mutex::new(Vec::<(Timestamp, u16)>::new());
    let count = || count.fetch_add(1, Ordering::SeqCst);
    thread::scope(|scope| {
        let (gate, state, stop, valid, count) = (&gate, &state, &stop, &valid, &count);
        let (known, unknown, revoked, expiring) = (&known, &unknown, &revoked, &expiring);
        let to = |now| state.store(now, Ordering::SeqCst);
        for _ in 0..3 {
            let next = || valid[count() % VALID].clone();
            scope.spawn(move || keep_asking(gate, state, stop, known, next));
        }
        let stranger = || format!("stranger-{}", count());
        scope.spawn(move || keep_asking(gate, state, stop, unknown, stranger));
        scope.spawn(move || keep_asking(gate, state, stop, revoked, || "revoked".to_owned()));
        scope.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let sent = SystemClock.now();
                let (status, _) = ask(gate, "expiring");
                expiring.lock().unwrap().push((sent, status));
                thread::sleep(PAUSE);
            }
        });
        // Whatever fails here, the clients must end.
        let _ending = Ending(stop);
        thread::sleep(Duration::from_secs(1));
        to(CHANGING);
        server.kill();
        to(DOWN);
        // Past every lifetime, and the expiry of one.
        gate.wait_until(|| ask(gate, "expiring") == (401, "expired_token".to_owned()));
        thread::sleep(Duration::from_secs(2));
        assert_eq!(ask(gate, "late"), (503, "store_unavailable".to_owned()));
        to(CHANGING);
        server.up();
        gate.wait_until(|| ask(gate, "late").0 == 200);
        gate.wait_until(|| ask(gate, "stranger") == (401, "unknown_token".to_owned()));
        to(UP);
        thread::sleep(Duration::from_secs(1));
    });
    let (known, unknown) = (known.into_inner().unwrap(), unknown.into_inner().unwrap());
    let of = |answers: &[(u8, u16, String)], when| {
        answers.iter().filter(|(during, ..)| *during == when).count()
    };
    for when in [UP, DOWN] {
        assert!(of(&known, when) > 50 && of(&unknown, when) > 5, "{when}: too little to tell");
    }
    assert!(known.iter().all(|(_, status, _)| *status == 200), "{known:?}");
    for (during, status, code) in &unknown {
        let wanted: &[&str] = match *during {
            DOWN => &["store_unavailable"],
            // A busy machine may be too slow to answer in time.
            _ => &["unknown_token", "store_unavailable"],
        };
        assert!(wanted.contains(&code.as_str()), "{status} {code} during {during}");
    }
    let revoked = revoked.into_inner().unwrap();
    assert!(revoked.iter().all(|(_, status, _)| *status != 200), "{revoked:?}");
    // That it is not known is remembered for a second.
    assert!(revoked.iter().all(|(_, status, _)| [401, 503].contains(status)), "{revoked:?}");
    // Nobody stands in for a token whose time is over.
    let (before, after): (Vec<_>, Vec<_>) =
        expiring.into_inner().unwrap().into_iter().partition(|(sent, _)| *sent < expiry);
    assert!(before.iter().any(|(_, status)| *status == 200), "{before:?}");
    assert!(after.len() > 50 && after.iter().all(|(_, status)| *status != 200), "{after:?}");
    // What the upstream saw is what was let in.
    let strangers = |token: &&str| token.contains("stranger") || token.contains("revoked");
    let seen = gate.upstream.take();
    let seen = seen.iter().filter_map(|seen| seen.value("authorization"));
    assert_eq!(seen.filter(strangers).collect::<Vec<_>>(), [""; 0]);
    server.stop();
}

/// Ends the clients of a test, however it ends.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
