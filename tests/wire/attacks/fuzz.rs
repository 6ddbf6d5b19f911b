//! Requests at random, over real sockets: what the [reference](super::reference) can't read never reaches the
//! upstream, and what it can arrives in the bytes that were sent.
//!
//! The seed is printed. `FUZZ_SEED` sets another, `FUZZ_COUNT` another number of requests.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::reference::{Ambiguous, Plain, read};
use super::{nobody_else_speaks, only_the_gateway_speaks};
use crate::client::PATIENCE;
use crate::gate::{Gate, HOST};
use crate::upstream::Seen;

const COUNT: usize = 3000;
const SEED: u64 = 20_261_128;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// What is between two of the same in a path, or in their place.
const TRICKS: &[&[u8]] = &[
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"%2f",
    b"%2F",
    b"%5c",
    b"\\",
    b"%2e",
    b"%2e%2e",
    b"..",
    b".",
    b";",
    b";x=y",
    b"%00",
    b"%",
    b"%2",
    b"%25",
    b"%252f",
    b"%61",
    b"?",
    b"#",
    b" ",
    b"\t",
    b"\x01",
    b"\xc3\xa9",
    b"\xff",
    b"%c0%ae",
    b"%0d%0a",
    b"*",
    b"@",
    b":",
    b"+",
    b"~",
    b"members",
];

pub fn target(random: &mut Random) -> Vec<u8> {
    let base: &[u8] = random.of(&[
        b"/api/0/organizations/acme/issues/".as_slice(),
        b"/api/0/organizations/acme/issues/",
        b"/api/0/organizations/acme/issues/?query=a&cursor=0:0:0",
        b"/api/0/organizations/acme/members/",
        b"/_health/",
        b"/api/0/",
    ]);
    let mut target = base.to_vec();
    if random.below(5) > 1 {
        return target;
    }
    for _ in 0..=random.below(2) {
        let at = random.below(target.len() + 1);
        let until = at + random.below(2).min(target.len() - at);
        target.splice(at..until, random.of(TRICKS).iter().copied());
    }
    if random.once_in(12) {
        let before: &[u8] = random.of(&[
            b"http://gw.example".as_slice(),
            b"//gw.example",
            b"gw.example:80",
            b"/_health/..",
        ]);
        target.splice(0..0, before.iter().copied());
    }
    target
}

/// Header lines that say something of the frame, of the caller, or of another address.
pub const LINES: &[&[u8]] = &[
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 2",
    b"Content-Length: +2",
    b"Content-Length: 2, 2",
    b"Content-Length: 0x2",
    b"Content-Length : 2",
    b"Content-Length:2",
    b"Content-Length:\t2 ",
    b"Content-Length:",
    b"Content_Length: 9",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer_Encoding: chunked",
    b"Transfer-Encoding : chunked",
    b"X-A: b",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Authorization",
    b"Connection: Content-Length",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"X_Forwarded_For: 1.2.3.4",
    b"X-Forwarded-For: 1.2.3.4",
    b"X-Forwarded-Host: evil",
    b"Forwarded: for=evil",
    b"Remote-User: evil",
    b"X-Sentry-Relay-Id: evil",
    b"X-HTTP-Method-Override: DELETE",
    b"Cookie: sentrysid=evil",
    b"Host: gw.example",
    b"Host: evil.example",
    b"Authorization: Bearer evil",
    b"Origin: http://a.example",
    b"X-Sentry-Auth: Sentry sentry_key=1",
    b" folded",
    b"\tfolded",
    b"NoColon",
    b": empty",
    b"Bad Name: x",
    b"X-B: a\x00b",
    b"X-C: a\rb",
    b"X-D: \xff\xfe",
    b"X-E\xff: b",
    b"X-Original-URL: /evil",
    b"Proxy-Connection: close",
];

/// A request, and what may come behind it.
fn request(random: &mut Random, tokens: [&str; 2], number: usize) -> Vec<u8> {
    let end = |random: &mut Random| -> &[u8] {
        if random.once_in(150) { random.of(&[b"\n".as_slice(), b"\r", b"\r\r\n"]) } else { b"\r\n" }
    };
    let mut bytes = Vec::new();
    if random.once_in(25) {
        bytes.extend_from_slice(random.of(&[b"\r\n".as_slice(), b"\n", b"\r\n\r\n", b" "]));
    }
    let method = match random.below(12) {
        0..5 => "GET",
        5..9 => "PUT",
        _ => random.of(&["HEAD", "OPTIONS", "POST", "DELETE", "get", "PATCH", "TRACE", "FOO", ""]),
    };
    bytes.extend_from_slice(method.as_bytes());
    bytes.extend_from_slice(
        if random.once_in(60) { random.of(&["  ", "\t", ""]) } else { " " }.as_bytes(),
    );
    bytes.extend(target(random));
    let version = match random.once_in(20) {
        true => {
            random.of(&["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 HTTP/1.1", ""])
        }
        false => "HTTP/1.1",
    };
    bytes.extend_from_slice(format!(" {version}").as_bytes());
    bytes.extend_from_slice(end(random));
    let mut lines: Vec<Vec<u8>> = Vec::new();
    if !random.once_in(20) {
        let host = match random.once_in(12) {
            true => random.of(&[
                "",
                "GW.EXAMPLE.",
                "gw.example:81",
                "a@gw.example",
                "gw.example/x",
                "gw.example, evil",
            ]),
            false => HOST,
        };
        lines.push(format!("Host: {host}").into_bytes());
    }
    if !random.once_in(10) {
        let scheme = if random.once_in(15) {
            random.of(&["bearer", "Bearer ", "Basic", "DSN"])
        } else {
            "Bearer"
        };
        lines.push(format!("Authorization: {scheme} {}", random.of(&tokens)).into_bytes());
    }
    // By which it is known again, since it may arrive after its client has gone.
    lines.push(format!("X-Number: {number}").into_bytes());
    let mut body: &[u8] = b"";
    match random.below(8) {
        0..=3 => {}
        4 => {
            lines.push(b"Content-Length: 5".to_vec());
            body = b"hello";
        }
        5 => {
            lines.push(b"Transfer-Encoding: chunked".to_vec());
            body = random.of(&[
                b"5\r\nhello\r\n0\r\n\r\n".as_slice(),
                b"5;a=b\r\nhello\r\n0\r\nX-T: y\r\n\r\n",
                b"0\r\n\r\n",
                b"-1\r\nhello\r\n0\r\n\r\n",
                b"5\nhello\n0\n\n",
                b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
                b"5\r\nhelloX\r\n0\r\n\r\n",
                b"5 \r\nhello\r\n0\r\n\r\n",
            ]);
        }
        _ => {
            for _ in 0..=random.below(2) {
                let at = random.below(lines.len() + 1);
                lines.insert(at, random.of(LINES).to_vec());
            }
            body = random.of(&[
                b"".as_slice(),
                b"",
                b"hello",
                b"{}",
                b"0\r\n\r\n",
                b"5\r\nhello\r\n0\r\n\r\n",
            ]);
        }
    }
    if random.once_in(3) {
        lines.push(random.of(LINES).to_vec());
    }
    for line in lines {
        bytes.extend(line);
        bytes.extend_from_slice(end(random));
    }
    bytes.extend_from_slice(end(random));
    bytes.extend_from_slice(body);
    if random.once_in(8) {
        let behind = "GET /api/0/organizations/acme/members/ HTTP/1.1\r\nHost: gw.example\r\n\r\n";
        bytes.extend_from_slice(behind.as_bytes());
    }
    bytes
}

/// Sends bytes and reads until nothing more comes of them: the statuses that were answered.
fn send(address: SocketAddr, bytes: &[u8], whole: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let _ = stream.write_all(bytes);
    // Whoever waits for more is told that there is none.
    if !whole {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let (mut all, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(length) => all.extend_from_slice(&buffer[..length]),
            Err(error) => {
                assert!(
                    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "no answer and no end: {}",
                    bytes.escape_ascii()
                );
                return all;
            }
        }
        let end = all.windows(4).position(|four| four == b"\r\n\r\n");
        // One answer is enough: its head, if it is no `100 Continue`.
        if let (true, Some(_)) = (whole && !all.starts_with(b"HTTP/1.1 1"), end) {
            return all;
        }
    }
}

/// What arrived is what was sent.
fn check(bytes: &[u8], read: &Result<Plain, Ambiguous>, seen: &Seen, reads: &str) {
    let shown = bytes.escape_ascii();
    let plain = match read {
        Ok(plain) => plain,
        Err(why) => panic!("{why}, and it arrived: {shown}\n{seen:#?}"),
    };
    assert_eq!(seen.method, plain.method, "{shown}");
    assert_eq!(seen.target.as_bytes(), plain.target, "{shown}");
    assert_eq!(seen.body, plain.body, "{shown}\n{seen:#?}");
    assert_eq!(seen.values("transfer-encoding"), [""; 0], "{shown}");
    let path = seen.path();
    match seen.value("authorization") {
        Some(_) => only_the_gateway_speaks(seen),
        // One route is for everybody.
        None => {
            assert_eq!(path, "/api/0/", "{shown}");
            nobody_else_speaks(seen);
        }
    }
    // Whose scopes were asked for is what the worst reader understands.
    let token = plain.authorization.as_deref().and_then(|value| value.split(' ').next_back());
    if token == Some(reads) {
        assert!(matches!(&*seen.method, "GET" | "HEAD"), "{shown}\n{seen:#?}");
        assert!(!path.contains("/members/"), "{path}: {shown}");
    }
    assert!(plain.host.to_ascii_lowercase().starts_with(HOST), "{shown}");
}

/// What has arrived, and arrives until the gateway has stopped, is what was sent, each once at most: each as it
/// is shown, and how it is read.
pub fn all_arrived_as_sent(
    mut gate: Gate,
    mut arrived: Vec<Seen>,
    sent: &[(Vec<u8>, Result<Plain, Ambiguous>)],
    reads: &str,
) {
    gate.stop();
    arrived.extend(gate.upstream.take());
    let mut numbers = BTreeSet::new();
    for seen in &arrived {
        let number = seen.values("x-number").first().and_then(|text| text.parse::<usize>().ok());
        let number = number.unwrap_or_else(|| panic!("nobody sent this: {seen:#?}"));
        assert!(numbers.insert(number), "one request, twice: {seen:#?}");
        let (bytes, read) = &sent[number];
        check(bytes, read, seen, reads);
    }
    let (arrived, count) = (arrived.len(), sent.len());
    let plain = sent.iter().filter(|(_, read)| read.is_ok()).count();
    println!("{plain} of {count} could be read in one way, {arrived} arrived");
    // It is no test if nothing arrives, or everything does.
    assert!(arrived * 20 > count && plain < count, "{arrived} {plain}");
    let output = gate.output();
    for word in ["panicked", "portcullis_t_"] {
        assert!(!output.contains(word), "{word}: {output}");
    }
}

/// The seed, and how many requests; both are printed.
#[expect(clippy::disallowed_methods, reason = "a seed is for whoever runs the test")]
pub fn drawn(count: usize) -> (u64, usize) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("FUZZ_SEED").unwrap_or(SEED);
    let count = number("FUZZ_COUNT").map_or(count, |count| count as usize);
    println!("FUZZ_SEED={seed} FUZZ_COUNT={count}");
    (seed, count)
}

#[test]
fn whatever_comes_what_arrives_was_read_in_one_way() {
    let (seed, count) = drawn(COUNT);
    let gate = Gate::start();
    let (reads, writes) = (gate.token("event:read"), gate.token("all"));
    let mut random = Random(seed);
    let (mut sent, mut arrived) = (Vec::new(), Vec::new());
    for number in 0..count {
        let bytes = request(&mut random, [&reads, &writes], number);
        let read = read(&bytes);
        let expects = bytes.windows(7).any(|seven| seven == b"Expect:");
        let answer = send(gate.address, &bytes, read.is_ok() && !expects);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.starts_with("HTTP/1.1 5"), "{}: {answer}", bytes.escape_ascii());
        sent.push((bytes, read));
        arrived.extend(gate.upstream.take());
    }
    all_arrived_as_sent(gate, arrived, &sent, &reads);
}
