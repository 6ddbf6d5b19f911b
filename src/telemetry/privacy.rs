//! How much of a client's address and of its user agent is recorded, wherever they are.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::redact::{REDACTED, looks_secret};

/// The longest user agent that is recorded, in bytes; longer ones are cut off.
const MAX_AGENT: usize = 256;
/// The length of the network that stands for an address of IPv4.
const SHORT_V4: u8 = 24;
/// The same for IPv6.
const SHORT_V6: u8 = 48;

/// How much of something is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All of it.
    Full,
    /// What does not tell one person from the next.
    Shortened,
    /// Nothing.
    Off,
}

/// How much of a client is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// Of its address; shortened, it is the /24 or /48 that it is in.
    pub client_address: Detail,
    /// Of its user agent; shortened, it is the first product and its version.
    pub user_agent: Detail,
}

impl Privacy {
    /// What is recorded of an address.
    pub(super) fn address(self, client: Option<IpAddr>) -> Option<ClientAddress> {
        let client = client?;
        match self.client_address {
            Detail::Full => Some(ClientAddress::Full(client)),
            Detail::Shortened => {
                let length = if client.is_ipv4() { SHORT_V4 } else { SHORT_V6 };
                let network = IpNet::new(client, length).ok()?;
                Some(ClientAddress::Network(network.trunc()))
            }
            Detail::Off => None,
        }
    }

    /// The network that a client is in, as it may be kept for longer than a log.
    pub fn network(self, client: Option<IpAddr>) -> Option<impl fmt::Display> {
        let client_address = match self.client_address {
            Detail::Full | Detail::Shortened => Detail::Shortened,
            Detail::Off => Detail::Off,
        };
        Privacy { client_address, ..self }.address(client)
    }

    /// A client's address, as it may be shown.
    pub fn shown_address(self, client: Option<IpAddr>) -> Option<impl fmt::Display> {
        self.address(client)
    }

    /// What a client calls itself, as it may be shown.
    pub fn shown_agent(self, agent: Option<&[u8]>) -> Option<impl fmt::Display + '_> {
        self.agent(agent)
    }

    /// What is recorded of a user agent.
    pub(super) fn agent(self, agent: Option<&[u8]>) -> Option<UserAgent<'_>> {
        let agent = agent?;
        let agent = match self.user_agent {
            Detail::Full => agent,
            Detail::Shortened => agent.split(|byte| *byte == b' ').next().unwrap_or_default(),
            Detail::Off => return None,
        };
        Some(UserAgent(agent))
    }
}

/// An address as it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAddress {
    Full(IpAddr),
    Network(IpNet),
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddress::Full(address) => address.fmt(f),
            ClientAddress::Network(network) => network.fmt(f),
        }
    }
}

/// A user agent as it is recorded: visible ASCII, and `?` for every other byte. It ends where it begins to
/// look like a secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct UserAgent<'a>(&'a [u8]);

impl fmt::Display for UserAgent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut written = 0;
        for piece in self.0.chunk_by(|a, b| is_word(a) && is_word(b)) {
            // What is no word is one byte.
            let text = match piece {
                [b' '..=b'~', ..] => std::str::from_utf8(piece).unwrap_or("?"),
                _ => "?",
            };
            if text.len() > 1 && looks_secret(text) {
                return f.write_str(REDACTED);
            }
            written += text.len();
            if written > MAX_AGENT {
                return f.write_str("...");
            }
            f.write_str(text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Privacy = Privacy { client_address: Detail::Full, user_agent: Detail::Full };
    const SHORT: Privacy =
        Privacy { client_address: Detail::Shortened, user_agent: Detail::Shortened };
    const OFF: Privacy = Privacy { client_address: Detail::Off, user_agent: Detail::Off };

    #[test]
    fn addresses_become_networks_or_nothing() {
        for (address, short) in [
            ("203.0.113.7", "203.0.113.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
            ("::1", "::/48"),
        ] {
            let client = Some(address.parse().unwrap());
            let seen = |privacy: Privacy| privacy.address(client).map(|seen| seen.to_string());
            assert_eq!(seen(FULL).as_deref(), Some(address));
            assert_eq!(seen(SHORT).as_deref(), Some(short));
            assert_eq!(seen(OFF), None);
        }
        assert_eq!(FULL.address(None), None);
    }

    #[test]
    fn user_agents_are_one_printable_line_without_a_secret() {
        let hex = "4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
        let long = "ab ".repeat(200);
        let rows: &[(&[u8], &str, &str)] = &[
            (b"sentry-cli/3.8.2", "sentry-cli/3.8.2", "sentry-cli/3.8.2"),
            (
                b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Mozilla/5.0",
            ),
            (b"sentry.javascript.browser/10.100.1", "=", "="),
            (b"a\tb\xc3\xa9\"", "a?b??\"", "a?b??\""),
            (b"x sntryu_0123 y", "x ***", "x"),
            (b"x/Bearer abc", "x/***", "x/***"),
            (b"", "", ""),
        ];
        for (agent, full, short) in rows {
            let seen = |privacy: Privacy| privacy.agent(Some(agent)).map(|seen| seen.to_string());
            let own = String::from_utf8_lossy(agent);
            let wanted = |text: &str| if text == "=" { own.to_string() } else { text.to_owned() };
            assert_eq!(seen(FULL), Some(wanted(full)), "{own}");
            assert_eq!(seen(SHORT), Some(wanted(short)), "{own}");
            assert_eq!(seen(OFF), None);
        }
        let secret = format!("a/{hex} b");
        assert_eq!(FULL.agent(Some(secret.as_bytes())).unwrap().to_string(), "a/***");
        let long = FULL.agent(Some(long.as_bytes())).unwrap().to_string();
        assert!(long.ends_with("...") && long.len() <= MAX_AGENT + 3, "{long}");
        assert!(FULL.agent(None).is_none());
    }
}
