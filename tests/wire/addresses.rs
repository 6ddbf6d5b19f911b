//! IPv4 and IPv6: where the gateway listens, what it stands in front of, and whom it tells it of.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::client::{request, send};
use crate::gate::{Gate, Options};
use crate::upstream::{Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";

/// A client's address as the upstream is told it.
fn told(gate: &Gate, to: SocketAddr, token: &str) -> String {
    let bearer = format!("Bearer {token}");
    let reply = send(to, &request(LINE, &[("Authorization", &bearer)], b"")).unwrap();
    assert_eq!(reply.status, 200, "{to}");
    gate.upstream.take_one().value("x-forwarded-for").unwrap().to_owned()
}

#[test]
fn both_families_are_listened_to_and_connected_to() {
    let tables = ["[[listen]]\naddress = \"[::]:0\"\n", "[[listen]]\naddress = \"[::1]:0\"\n"];
    // Few machines have it switched off.
    let has_ipv6 = TcpListener::bind("[::1]:0").ok();
    let tables = if has_ipv6.is_some() { tables.concat() } else { String::new() };
    let upstream = match has_ipv6 {
        Some(listener) => Upstream::on(listener, |_, stream| ok(stream, &[], b"{}")),
        None => Upstream::start(),
    };
    let gate = Gate::with(upstream, &Options { tables, ..Options::default() });
    let token = gate.token("read");
    assert_eq!(told(&gate, gate.address, &token), "127.0.0.1");
    let [_, any, rest @ ..] = gate.addresses() else {
        return println!("skipped: this machine has no IPv6");
    };
    // Who comes by IPv4 is called by that.
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST, any.port()));
    assert_eq!(told(&gate, mapped, &token), "127.0.0.1");
    for six in rest {
        assert_eq!(told(&gate, *six, &token), "::1");
        assert_eq!(told(&gate, SocketAddr::new(six.ip(), any.port()), &token), "::1");
    }
}
