//! Whom a request counts for.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest as _, Sha256};

use crate::policy::identity::Id;

/// What a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The identity behind a credential. Who has none is not counted.
    Token,
    /// The organisation that the path names, by slug or id as it stands there. What names none is not
    /// counted.
    Organization,
    /// The client's address, or of an IPv6 address the network of 64 bits.
    Client,
    /// A group of rules, for all callers together.
    RuleGroup,
}

impl By {
    /// Every one.
    pub const ALL: &'static [By] = &[By::Token, By::Organization, By::Client, By::RuleGroup];

    /// The name in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            By::Token => "token",
            By::Organization => "organization",
            By::Client => "client",
            By::RuleGroup => "rule_group",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whom a request counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// This identity.
    Token(&'a Id),
    /// The organisation of this slug or id.
    Organization(Cow<'a, str>),
    /// The client of this address, which for IPv6 is the first of its network.
    Client(IpAddr),
    /// The rule group of this name.
    RuleGroup(&'a str),
}

impl Key<'_> {
    /// The same for every gateway, and nothing that names anybody.
    pub fn digest(&self) -> [u8; 16] {
        let kind = match self {
            Key::Token(_) => By::Token,
            Key::Organization(_) => By::Organization,
            Key::Client(_) => By::Client,
            Key::RuleGroup(_) => By::RuleGroup,
        };
        let whole: [u8; 32] = Sha256::digest(format!("{kind}:{self}")).into();
        std::array::from_fn(|index| whole[index])
    }

    /// The client at this address.
    pub fn client(address: IpAddr) -> Self {
        Key::Client(network(address))
    }
}

/// Whom an address stands for: who has one IPv6 address has the network, which its first stands for.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Token(id) => id.fmt(f),
            Key::Organization(name) => f.write_str(name),
            Key::Client(IpAddr::V4(address)) => address.fmt(f),
            Key::Client(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Key::RuleGroup(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_client() {
        let of = |text: &str| Key::client(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8::1"), "2001:db8::/64");
        assert_eq!(of("2001:db8::ffff:2"), of("2001:db8::1"));
        assert_eq!(of("2001:db8:0:1::1"), "2001:db8:0:1::/64");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(of("10.0.0.1"), "10.0.0.1");
        assert_eq!(of("::1"), "::/64");
    }
}
