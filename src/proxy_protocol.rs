//! The PROXY protocol: what a load balancer says, before anything else, of the connection that it
//! hands on. <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>, whose sections are named
//! below.
//!
//! **Invariant:** pure, and nothing of what follows the header is looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read, in bytes. One with a client's certificate in it fits.
pub const MAX_LEN: usize = 4096;

/// The longest header of version 1, its line end included (2.1).
const MAX_LINE: usize = 107;
/// What a header of version 2 begins with (2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// And what follows it: version and command, family and protocol, a length.
const FIXED: usize = SIGNATURE.len() + 4;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who has connected to the load balancer; `None` when it speaks for itself, as in a health check,
    /// or does not know.
    pub source: Option<SocketAddr>,
    /// How many bytes the header has.
    pub len: usize,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// It does not begin as one.
    #[error("no PROXY protocol header")]
    Missing,
    /// It begins as one and does not go on so.
    #[error("a malformed PROXY protocol header")]
    Malformed,
    /// It is longer than [`MAX_LEN`], or than its version allows.
    #[error("a PROXY protocol header that is too long")]
    TooLong,
}

/// Reads the header that `bytes` begin with; `None` when it goes on behind them.
///
/// # Errors
/// [`BadHeader`] as soon as no more bytes could make it one.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted);
    if begins(SIGNATURE) {
        binary(bytes)
    } else if begins(b"PROXY ") {
        line(bytes)
    } else {
        Err(BadHeader::Missing)
    }
}

/// Version 1 (2.1).
fn line(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_LINE { Ok(None) } else { Err(BadHeader::TooLong) };
    };
    let (line, _) = bytes.split_at(end);
    let text = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix('\r'));
    let text = text.and_then(|line| line.strip_prefix("PROXY ")).ok_or(BadHeader::Malformed)?;
    let len = end + 1;
    // Whatever follows it is not to be looked at.
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(Some(Header { source: None, len }));
    }
    let words: Vec<&str> = text.split(' ').collect();
    let [family, source, destination, port, other_port] = words[..] else {
        return Err(BadHeader::Malformed);
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse().map(IpAddr::V4).ok(),
        "TCP6" => text.parse().map(IpAddr::V6).ok(),
        _ => None,
    };
    let all = (address(source), address(destination), number(port), number(other_port));
    let (Some(address), Some(_), Some(port), Some(_)) = all else {
        return Err(BadHeader::Malformed);
    };
    Ok(Some(Header { source: Some(canonical(address, port)), len }))
}

/// A port, without a sign or leading zeros.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let leads = text.len() > 1 && text.starts_with('0');
    if plain && !leads { text.parse().ok() } else { None }
}

/// Version 2 (2.2).
fn binary(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED + length;
    let local = match command {
        0x20 => true,
        0x21 => false,
        // Another version, or a command that there is not.
        _ => return Err(BadHeader::Malformed),
    };
    if len > MAX_LEN {
        return Err(BadHeader::TooLong);
    }
    let Some(rest) = bytes.get(FIXED..len) else { return Ok(None) };
    if local {
        return Ok(Some(Header { source: None, len }));
    }
    let (source, more) = match family {
        // TCP over IPv4: two addresses, two ports.
        0x11 => match rest.split_first_chunk() {
            Some((&[a, b, c, d, _, _, _, _, high, low, _, _], more)) => {
                let port = u16::from_be_bytes([high, low]);
                (Some(canonical(Ipv4Addr::new(a, b, c, d).into(), port)), more)
            }
            None => return Err(BadHeader::Malformed),
        },
        // TCP over IPv6.
        0x21 => match (rest.first_chunk::<16>(), rest.split_first_chunk::<36>()) {
            (Some(address), Some((all, more))) => {
                let port = u16::from_be_bytes([all[32], all[33]]);
                (Some(canonical(Ipv6Addr::from(*address).into(), port)), more)
            }
            (_, None) | (None, _) => return Err(BadHeader::Malformed),
        },
        // Not known, and anything may follow.
        0x00 => (None, &[][..]),
        // A socket of the load balancer's machine: nobody's address, two paths.
        0x31 => (None, rest.get(216..).ok_or(BadHeader::Malformed)?),
        // Datagrams come by no connection, and there is no other.
        _ => return Err(BadHeader::Malformed),
    };
    if is_well_formed(more) { Ok(Some(Header { source, len })) } else { Err(BadHeader::Malformed) }
}

/// Whether what follows the addresses is a list of extensions, each with its length (2.2.1 on).
fn is_well_formed(mut extensions: &[u8]) -> bool {
    while let [_, high, low, rest @ ..] = extensions {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match rest.get(length..) {
            Some(next) => extensions = next,
            None => return false,
        }
    }
    extensions.is_empty()
}

fn canonical(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests;
