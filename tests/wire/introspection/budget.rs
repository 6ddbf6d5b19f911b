//! How many unknown credentials the endpoint is asked for: in all, and for each client.

use std::thread;
use std::time::{Duration, Instant};

use portcullis::clock::{Clock as _, SystemClock};

use super::{LINE, sentry, sentry_store};
use crate::client::{Connection, Reply, request};
use crate::gate::{Gate, Options, eventually};
use crate::upstream::Upstream;

const TOTAL: u32 = 6;
const PER_CLIENT: u32 = 2;

struct Guarded {
    gate: Gate,
    endpoint: Upstream,
    began: Instant,
}

impl Guarded {
    /// A gateway behind a proxy, that has asked for `sntryu_good` before.
    fn new() -> Self {
        let endpoint = sentry();
        let rates = format!("unknown_per_second = {TOTAL}\nunknown_per_client = {PER_CLIENT}");
        let options = Options {
            top: "trusted_proxies = [\"127.0.0.0/8\"]".to_owned(),
            stores: Some(sentry_store(endpoint.address, &rates)),
            tables: "[cache]\nttl = \"1h\"\nunknown_ttl = \"1h\"\n".to_owned(),
            ..Options::default()
        };
        let began = SystemClock.instant();
        let this = Self { gate: Gate::with(Upstream::start(), &options), endpoint, began };
        eventually("the first answer", || this.ask("192.0.2.1", "good").status == 200);
        this
    }

    fn ask(&self, client: &str, token: &str) -> Reply {
        self.ask_on(&mut Connection::open(self.gate.address), client, token)
    }

    fn ask_on(&self, connection: &mut Connection, client: &str, token: &str) -> Reply {
        let token = format!("Bearer sntryu_{token}");
        let headers = [("Authorization", &*token), ("X-Forwarded-For", client)];
        connection.write(&request(LINE, &headers, b""));
        let reply = connection.read_reply("GET").unwrap();
        if reply.status == 429 {
            assert_eq!(reply.code(), "guessing_limited");
            assert_eq!(reply.header("retry-after"), Some("1"));
            assert_eq!(reply.header("www-authenticate"), None);
        }
        reply
    }

    /// Unknown tokens of these clients in turn, until one was asked for and one is too many.
    fn guess(&self, name: &str, clients: impl IntoIterator<Item = String>) {
        let (mut connection, mut asked) = (Connection::open(self.gate.address), false);
        for (number, client) in clients.into_iter().enumerate() {
            let reply = self.ask_on(&mut connection, &client, &format!("{name}-{number}"));
            match reply.status {
                // A machine with too much to do may make the store too slow to answer.
                401 | 503 => asked = true,
                429 if asked => return,
                // Others have used up the whole just now.
                429 => thread::sleep(Duration::from_millis(20)),
                other => panic!("{name} {number}: {other}"),
            }
        }
        panic!("{name} was never told to stop");
    }

    /// As many as a rate allows since the start: a second's at once, and evenly from then on.
    fn allowed(&self, rate: u32) -> usize {
        let elapsed = SystemClock.instant().saturating_duration_since(self.began);
        ((elapsed.as_secs_f64() + 1.0) * f64::from(rate)) as usize + 1
    }
}

/// AC-096: guesses are refused before the store is asked, and who is known at the same address is not shut
/// out by them.
#[test]
fn who_guesses_leaves_the_others_theirs() {
    let guarded = Guarded::new();
    let ours = || (0..500).map(|_| "203.0.113.1".to_owned());
    guarded.guess("one", ours());
    // Another client has its own part, and who is known needs none.
    for client in ["203.0.113.2", "2001:db8::1"] {
        let mut statuses = Vec::new();
        eventually("a look-up for another client", || {
            let reply = guarded.ask(client, &format!("other-{client}-{}", statuses.len()));
            statuses.push(reply.status);
            reply.status == 401
        });
        assert!(!statuses.contains(&429), "{client}: {statuses:?}");
        for _ in 0..20 {
            assert_eq!(guarded.ask(client, "good").status, 200);
        }
    }
    guarded.guess("one-again", ours());
    assert_eq!(guarded.ask("203.0.113.1", "good").status, 200);
    // What the client in front writes to the left of itself makes it nobody else.
    guarded.guess("spoof", (0..500).map(|n| format!("198.51.100.{}, 203.0.113.3", n % 250)));
    // Who has one address of an IPv6 network has all of them.
    guarded.guess("network", (0..500).map(|n| format!("2001:db8:1:2::{n:x}")));

    let seen = guarded.endpoint.take();
    let of = |name: &str| {
        let name = format!("sntryu_{name}-");
        let named = |value: &str| value.contains(&name);
        seen.iter().filter(|seen| seen.value("authorization").is_some_and(named)).count()
    };
    for name in ["one", "spoof", "network"] {
        assert!(of(name) > 0, "{name}");
        assert!(of(name) <= guarded.allowed(PER_CLIENT), "{name}: {}", of(name));
    }
    assert!(seen.len() <= guarded.allowed(TOTAL), "{}", seen.len());
    let limited = &["\"refuse\"", "guessing_limited"];
    assert!(guarded.gate.metric("portcullis_decisions_total", limited) >= 4.0);
}

#[test]
fn all_who_guess_together_have_the_whole_and_no_more() {
    let guarded = Guarded::new();
    let clients = (0..2000).map(|n: u32| format!("203.0.{}.{}", n / 250, n % 250));
    guarded.guess("many", clients);
    // Whoever is known is served, whatever the address; so is who waits for its turn.
    for client in ["203.0.0.1", "192.0.2.77"] {
        assert_eq!(guarded.ask(client, "good").status, 200);
    }
    let mut statuses = Vec::new();
    eventually("a new token that is good", || {
        statuses.push(guarded.ask("192.0.2.78", "good-too").status);
        statuses.ends_with(&[200])
    });
    // 429 is not kept: no answer stood for another.
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429 | 503)), "{statuses:?}");
    let seen = guarded.endpoint.take();
    assert!(seen.len() <= guarded.allowed(TOTAL), "{}", seen.len());
    assert!(seen.len() > PER_CLIENT as usize, "{}", seen.len());
}
