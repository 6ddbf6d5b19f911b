//! The same over HTTP/2: fields at random, spelled out in frames, as no client would send them.

use tokio::io::AsyncWriteExt as _;

use super::fuzz::{LINES, Random, all_arrived_as_sent, drawn, target};
use super::reference::{Ambiguous, Plain, read};
use crate::gate::HOST;
use crate::tls::client::{BEGIN, Speaks, frame, run};

const COUNT: usize = 1000;

type Field = (Vec<u8>, Vec<u8>);

/// The head of a request.
fn fields(random: &mut Random, tokens: [&str; 2], number: usize) -> Vec<Field> {
    let method = match random.below(10) {
        0..5 => "GET",
        5..8 => "PUT",
        _ => random.of(&[
            "HEAD",
            "OPTIONS",
            "POST",
            "get",
            "CONNECT",
            "",
            "GET / HTTP/1.1\r\nx: y\r\n\r\nGET",
        ]),
    };
    let host = match random.once_in(12) {
        true => random.of(&[
            "",
            "GW.EXAMPLE.",
            "gw.example:81",
            "a@gw.example",
            "gw.example/x",
            "evil.example",
        ]),
        false => HOST,
    };
    let mut fields: Vec<Field> = vec![
        (b":method".to_vec(), method.into()),
        (b":scheme".to_vec(), b"https".to_vec()),
        (b":authority".to_vec(), host.into()),
        (b":path".to_vec(), target(random)),
        (b"x-number".to_vec(), number.to_string().into_bytes()),
    ];
    if !random.once_in(10) {
        let value = format!("Bearer {}", random.of(&tokens));
        fields.push((b"authorization".to_vec(), value.into_bytes()));
    }
    for _ in 0..random.below(3) {
        let line = random.of(LINES);
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let mut name = name.to_vec();
        if !random.once_in(15) {
            name.make_ascii_lowercase();
        }
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii().to_vec();
        fields.push((name, value));
    }
    // What stands twice, elsewhere, or not at all.
    if random.once_in(15) {
        let at = random.below(fields.len());
        fields.push(fields[at].clone());
    }
    if random.once_in(20) {
        let at = random.below(fields.len());
        // By its number it is known again.
        if fields[at].0 != b"x-number" {
            fields.remove(at);
        }
    }
    if random.once_in(20) {
        let (one, other) = (random.below(fields.len()), random.below(fields.len()));
        fields.swap(one, other);
    }
    if random.once_in(20) {
        fields.push((b"x-a".to_vec(), b"b\r\nx-c: d".to_vec()));
    }
    fields
}

/// What the fields say, if it is one thing (RFC 9113, 8.2 and 8.3).
fn read_fields(fields: &[Field], body: &[u8]) -> Result<Plain, Ambiguous> {
    let mut regular = false;
    for (name, value) in fields {
        if name.iter().any(u8::is_ascii_uppercase) {
            return Err("a name in capitals");
        }
        if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err("a line in a value");
        }
        if regular && name.starts_with(b":") {
            return Err("a pseudo-field behind others");
        }
        regular |= !name.starts_with(b":");
        let of_connection: &[&[u8]] =
            &[b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];
        if of_connection.contains(&&**name) || name == b"te" && value != b"trailers" {
            return Err("a field of a connection");
        }
    }
    let one = |wanted: &[u8]| {
        let mut values = fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(&**value),
            (None, _) | (Some(_), Some(_)) => Err("a pseudo-field too many, or too few"),
        }
    };
    let (method, path, authority) = (one(b":method")?, one(b":path")?, one(b":authority")?);
    one(b":scheme")?;
    if path.contains(&b' ') || method.contains(&b' ') {
        return Err("a blank that ends nothing");
    }
    // It is no part of a target: it goes no further.
    let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    let mut text = [method, b" ", path, b" HTTP/1.1\r\nHost: ", authority, b"\r\n"].concat();
    let mut length = None;
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(b":")) {
        if name == b"host" {
            if value != authority {
                return Err("another host");
            }
            continue;
        }
        length = if name == b"content-length" { Some(value) } else { length };
        text.extend([&**name, b": ", value, b"\r\n"].concat());
    }
    if length.is_none() && !body.is_empty() {
        text.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
    }
    text.extend_from_slice(b"\r\n");
    let head = text.len();
    // Where there is to be no body, what comes goes nowhere, and need not be waited for.
    let body = if length.is_some_and(|length| length == b"0") { b"" } else { body };
    text.extend_from_slice(body);
    let plain = read(&text)?;
    if plain.length != text.len() || plain.body.len() != text.len() - head {
        return Err("another length than what comes");
    }
    Ok(plain)
}

/// A field, spelled out (RFC 7541, 6.2.2).
fn spelled((name, value): &Field) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127);
        bytes.push(text.len() as u8);
        bytes.extend(text);
    }
    bytes
}

#[test]
fn whatever_comes_over_http2_what_arrives_was_read_in_one_way() {
    let (seed, count) = drawn(COUNT);
    let gate = crate::tls::gate();
    let (reads, writes) = (gate.token("event:read"), gate.token("all"));
    let mut random = Random(seed);
    let (mut sent, mut arrived) = (Vec::new(), Vec::new());
    run(async {
        for number in 0..count {
            let fields = fields(&mut random, [&reads, &writes], number);
            let body: &[u8] = if random.once_in(4) { b"hello" } else { b"" };
            let block: Vec<u8> = fields.iter().flat_map(spelled).collect();
            let mut bytes = BEGIN.to_vec();
            let length = u32::try_from(block.len()).unwrap().to_be_bytes();
            bytes.extend(
                [&length[1..], &[1, if body.is_empty() { 5 } else { 4 }, 0, 0, 0, 1]].concat(),
            );
            bytes.extend(block);
            if !body.is_empty() {
                bytes.extend([&[0, 0, body.len() as u8, 0, 1, 0, 0, 0, 1][..], body].concat());
            }
            let mut stream = Speaks::new(&["h2"]).connect(gate.address, HOST).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            // Until the stream, or the connection, has ended.
            while let Some((kind, flags, _)) = frame(&mut stream).await {
                if matches!(kind, 0 | 1) && flags & 1 == 1 || matches!(kind, 3 | 7) {
                    break;
                }
            }
            let shown: Vec<_> =
                fields.iter().map(|(name, value)| [&**name, b": ", value].concat()).collect();
            sent.push((shown.join(&b", "[..]), read_fields(&fields, body)));
            arrived.extend(gate.upstream.take());
        }
    });
    all_arrived_as_sent(gate, arrived, &sent, &reads);
}
