//! Ways around a limit.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{LINE, gate, is_limited};
use crate::client::{Connection, request};
use crate::gate::{Gate, Options};
use crate::upstream::Upstream;

const CLIENTS: &str = "[limit.clients]\nby = \"client\"\nper_minute = 1\nburst = 5\n";

/// AC-093: whoever is not trusted counts as itself, whatever it says of itself.
#[test]
fn an_address_that_somebody_makes_up_is_nobody_elses() {
    let gate = gate(CLIENTS);
    let token = format!("Bearer {}", gate.token("all"));
    let mut connection = Connection::open(gate.address);
    let mut through = 0;
    for number in 0..200 {
        let address = format!("198.51.100.{number}");
        let forwarded = format!("for={address}");
        let headers = [
            ("Authorization", &*token),
            ("X-Forwarded-For", &*address),
            ("X-Real-IP", &*address),
            ("Forwarded", &*forwarded),
            ("True-Client-IP", &*address),
            ("CF-Connecting-IP", &*address),
        ];
        connection.write(&request(LINE, &headers, b""));
        let reply = connection.read_reply("GET").unwrap();
        match reply.status {
            200 => through += 1,
            _ => is_limited(&reply, "clients"),
        }
    }
    assert_eq!((through, gate.upstream.take().len()), (5, 5));
}

/// Behind a proxy that is trusted, each of its clients has its own; the address that counts is the one
/// that the proxy has added.
#[test]
fn who_comes_through_a_trusted_proxy_counts_by_the_address_that_it_adds() {
    let top = "trusted_proxies = [\"127.0.0.0/8\"]".to_owned();
    let options = Options { top, tables: CLIENTS.to_owned(), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = format!("Bearer {}", gate.token("all"));
    let through = |addresses: &dyn Fn(usize) -> String| {
        let statuses = (0..20).map(|number| {
            let headers = [("Authorization", &*token), ("X-Forwarded-For", &*addresses(number))];
            gate.send(LINE, &headers).status
        });
        statuses.filter(|status| *status == 200).count()
    };
    assert_eq!(through(&|number| format!("198.51.100.{number}")), 20);
    assert_eq!(through(&|number| format!("198.51.100.{number}, 203.0.113.1")), 5);
    assert_eq!(through(&|_| "203.0.113.1".to_owned()), 0);
    // Who has one address of an IPv6 network has all of them.
    assert_eq!(through(&|number| format!("2001:db8::{number:x}")), 5);
    assert_eq!(through(&|number| format!("2001:db8:0:{number:x}::1")), 19);
    assert_eq!(gate.upstream.take().len(), 49);
}

/// AC-094: at the same moment there are exactly as many as one after the other. On one gateway there is no
/// slack.
#[test]
fn requests_that_come_at_the_same_moment_are_not_more_than_the_limit() {
    const CLIENTS: usize = 50;
    const EACH: usize = 10;
    const LIMIT: usize = 100;
    let gate = gate(&format!("[limit.tokens]\nby = \"token\"\nper_minute = 1\nburst = {LIMIT}\n"));
    let (token, other) = (gate.token("all"), gate.token("all"));
    // It is in the cache, so that nobody waits for it.
    assert_eq!(gate.bearer("GET /api/0/organizations/acme/members/", &other).status, 200);
    gate.upstream.take();
    let (through, limited) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let bearer = format!("Bearer {token}");
                let mut connection = Connection::open(gate.address);
                start.wait();
                for _ in 0..EACH {
                    connection.write(&request(LINE, &[("Authorization", &*bearer)], b""));
                    let reply = connection.read_reply("GET").unwrap();
                    match reply.status {
                        200 => through.fetch_add(1, Ordering::Relaxed),
                        429 => limited.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}: {reply:?}"),
                    };
                }
            });
        }
    });
    let (through, limited) = (through.into_inner(), limited.into_inner());
    assert_eq!(through + limited, CLIENTS * EACH);
    assert_eq!(gate.upstream.take().len(), through);
    // What a minute has given meanwhile is one.
    assert!((LIMIT..=LIMIT + 1).contains(&through), "{through}");
    assert_eq!(gate.bearer(LINE, &other).status, 200);
}
