//! Headers, and what is none.

use proptest::prelude::*;

use super::BadHeader::{Malformed, Missing, TooLong};
use super::*;

fn source(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// A header of version 2.
fn two(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

const V4: [u8; 12] = [1, 2, 3, 4, 10, 0, 0, 1, 0x30, 0x39, 1, 187];

fn v6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    [&source.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0x30, 0x39, 1, 187]].concat()
}

fn good() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
    let line = |text: &str| text.as_bytes().to_vec();
    let with = |more: &[u8]| [&V4[..], more].concat();
    vec![
        (line("PROXY TCP4 1.2.3.4 10.0.0.1 12345 443\r\n"), source("1.2.3.4:12345")),
        (
            line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n"),
            source("255.255.255.255:65535"),
        ),
        (line("PROXY TCP6 2001:db8::1 ::1 1 443\r\n"), source("[2001:db8::1]:1")),
        (line("PROXY TCP6 ::ffff:1.2.3.4 ::1 12345 443\r\n"), source("1.2.3.4:12345")),
        (
            line(
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            ),
            source("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        (line("PROXY UNKNOWN\r\n"), None),
        (line("PROXY UNKNOWN 1.2.3.4 whatever there is\r\n"), None),
        (two(0x21, 0x11, &V4), source("1.2.3.4:12345")),
        (two(0x21, 0x21, &v6("2001:db8::1")), source("[2001:db8::1]:12345")),
        (two(0x21, 0x21, &v6("::ffff:1.2.3.4")), source("1.2.3.4:12345")),
        // Extensions: ALPN, and an empty one.
        (two(0x21, 0x11, &with(&[1, 0, 2, b'h', b'2', 4, 0, 0])), source("1.2.3.4:12345")),
        (
            two(0x21, 0x11, &with(&[&[4, 0x0f, 0xe1][..], &[0; 4065]].concat())),
            source("1.2.3.4:12345"),
        ),
        (two(0x20, 0, &[]), None),
        (two(0x20, 0x11, &V4), None),
        (two(0x20, 0xff, b"whatever there is"), None),
        (two(0x21, 0, &[]), None),
        (two(0x21, 0, b"whatever there is"), None),
        (two(0x21, 0x31, &[0; 216]), None),
    ]
}

#[test]
fn a_header_says_who_has_connected_and_where_it_ends() {
    for (bytes, source) in good() {
        let name = bytes.escape_ascii().to_string();
        let header = Some(Header { source, len: bytes.len() });
        assert_eq!(parse(&bytes), Ok(header), "{name}");
        for more in [&b"GET / HTTP/1.1\r\n"[..], b"\n", b"PROXY ", &[0; 5000]] {
            assert_eq!(parse(&[&bytes[..], more].concat()), Ok(header), "{name}");
        }
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{name}, {end} bytes of it");
        }
    }
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_that_shows() {
    let line = |text: &str| text.as_bytes().to_vec();
    let with = |more: &[u8]| [&V4[..], more].concat();
    for (bytes, wanted) in [
        (line("G"), Missing),
        (line("GET / HTTP/1.1\r\n"), Missing),
        (line("proxy TCP4"), Missing),
        (line("PROXYTCP4"), Missing),
        (line("\r\n\r\n\0\r\nQUIT\r"), Missing),
        (line(" PROXY"), Missing),
        (vec![0x16, 3, 1], Missing),
        (line("PROXY \r\n"), Malformed),
        (line("PROXY UNKNOWNS\r\n"), Malformed),
        (line("PROXY UNKNOWN\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4 10.0.0.1 12345 443\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4 10.0.0.1 12345 443 \r\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4 10.0.0.1 12345\r\n"), Malformed),
        (line("PROXY TCP4  1.2.3.4 10.0.0.1 12345 443\r\n"), Malformed),
        (line("PROXY TCP4\t1.2.3.4 10.0.0.1 12345 443\r\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4.5 10.0.0.1 12345 443\r\n"), Malformed),
        (line("PROXY TCP4 01.2.3.4 10.0.0.1 12345 443\r\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4 host 12345 443\r\n"), Malformed),
        (line("PROXY TCP4 ::1 ::1 12345 443\r\n"), Malformed),
        (line("PROXY TCP6 1.2.3.4 ::1 12345 443\r\n"), Malformed),
        (line("PROXY TCP6 fe80::1%eth0 ::1 12345 443\r\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4 10.0.0.1 65536 443\r\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4 10.0.0.1 012 443\r\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4 10.0.0.1 +12 443\r\n"), Malformed),
        (line("PROXY TCP4 1.2.3.4 10.0.0.1 12 \r\n"), Malformed),
        (line("PROXY UDP4 1.2.3.4 10.0.0.1 12 443\r\n"), Malformed),
        (b"PROXY UNKNOWN \xff\r\n".to_vec(), Malformed),
        (line(&format!("PROXY UNKNOWN {}", "x".repeat(93))), TooLong),
        (line(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(92))), TooLong),
        // Another version, and another command.
        (two(0x11, 0x11, &V4), Malformed),
        (two(0x22, 0x11, &V4), Malformed),
        // Datagrams, and families that there are not.
        (two(0x21, 0x12, &V4), Malformed),
        (two(0x21, 0x22, &v6("::1")), Malformed),
        (two(0x21, 0x41, &V4), Malformed),
        (two(0x21, 0x10, &V4), Malformed),
        // Too short for its addresses.
        (two(0x21, 0x11, &V4[..11]), Malformed),
        (two(0x21, 0x21, &V4), Malformed),
        (two(0x21, 0x31, &[0; 215]), Malformed),
        // Extensions that end too early.
        (two(0x21, 0x11, &with(&[1])), Malformed),
        (two(0x21, 0x11, &with(&[1, 0])), Malformed),
        (two(0x21, 0x11, &with(&[1, 0, 3, b'h', b'2'])), Malformed),
        (two(0x21, 0x11, &with(&[0; 4070])), TooLong),
        (two(0x20, 0, &[0; 4081]), TooLong),
    ] {
        assert_eq!(parse(&bytes), Err(wanted), "{}", bytes.escape_ascii());
    }
    // A length that is too large is not waited for.
    let head = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(parse(&head), Err(TooLong));
}

proptest! {
    #[test]
    fn every_address_is_read_as_it_was_written(
        address in any::<IpAddr>(), port in any::<u16>(), more in any::<Vec<u8>>(),
    ) {
        let family = if address.is_ipv4() { "TCP4" } else { "TCP6" };
        let text = format!("PROXY {family} {address} {address} {port} 1\r\n");
        let (code, octets) = match address {
            IpAddr::V4(v4) => (0x11, v4.octets().to_vec()),
            IpAddr::V6(v6) => (0x21, v6.octets().to_vec()),
        };
        let rest = [&octets[..], &octets, &port.to_be_bytes(), &[0, 1]].concat();
        for bytes in [text.into_bytes(), two(0x21, code, &rest)] {
            let header = parse(&[&bytes[..], &more].concat()).unwrap().unwrap();
            prop_assert_eq!(header.len, bytes.len());
            prop_assert_eq!(header.source, Some(canonical(address, port)));
        }
    }

    /// What is decided on a start is not changed by what follows.
    #[test]
    fn a_start_decides(bytes in any::<Vec<u8>>(), good in 0..18_usize, cut in any::<usize>()) {
        let good = good_at(good);
        let mut all = good[..cut % (good.len() + 1)].to_vec();
        all.extend(bytes);
        let whole = parse(&all);
        for end in 0..=all.len() {
            match parse(&all[..end]) {
                Ok(None) => {}
                decided => prop_assert_eq!(decided, whole),
            }
        }
        if let Ok(Some(header)) = whole {
            prop_assert!(header.len <= all.len() && header.len <= MAX_LEN);
        }
    }
}

fn good_at(index: usize) -> Vec<u8> {
    let all = good();
    all[index % all.len()].0.clone()
}
