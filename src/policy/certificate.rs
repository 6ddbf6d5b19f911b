//! The names of client certificates, and the credentials that they are.
//!
//! **Invariant:** no header can bring one in. Its digest is of a text that no header can hold, and its
//! scheme is one that no header names.

use std::fmt;

use super::credential::{Credential, Digest, Scheme};

/// The longest name that is looked at, in bytes.
const MAX_LEN: usize = 512;
/// What sets the digest of a name apart from that of a token: NUL is in no token.
const DOMAIN: &str = "client certificate\0";

/// A name in a certificate: `URI:spiffe://prod/ci`, `DNS:ci.example.com` or `CN:ci`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateName(Box<str>);

/// Why a text is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is no name of a certificate; write `URI:spiffe://prod/ci`, `DNS:ci.example.com` or `CN:ci`"
)]
pub struct BadCertificateName;

impl CertificateName {
    /// Reads a name. Of a host name letter case does not count.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, BadCertificateName> {
        let (kind, name) = text.split_once(':').ok_or(BadCertificateName)?;
        let host =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
        let (good, own) = match kind {
            "URI" => {
                (name.contains(':') && name.bytes().all(|b| b.is_ascii_graphic()), text.to_owned())
            }
            "DNS" => (name.bytes().all(host), format!("DNS:{}", name.to_ascii_lowercase())),
            "CN" => (!name.chars().any(char::is_control), text.to_owned()),
            _ => return Err(BadCertificateName),
        };
        let fits = good && !name.trim().is_empty() && text.len() <= MAX_LEN;
        if fits { Ok(Self(own.into())) } else { Err(BadCertificateName) }
    }

    /// What caches, stores and block lists know it by.
    pub fn digest(&self) -> Digest {
        Digest::of(&format!("{DOMAIN}{self}"))
    }

    /// What a request is made with on a connection of its holder.
    pub fn credential(&self) -> Credential {
        let scheme = Scheme::Certificate;
        Credential { scheme, digest: self.digest(), project: None, kinds: scheme.kinds() }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::credential::Authorization;

    #[test]
    fn a_name_has_its_kind_in_front() {
        for (text, wanted) in [
            ("URI:spiffe://prod/ci", Some("URI:spiffe://prod/ci")),
            ("URI:spiffe://Prod/CI", Some("URI:spiffe://Prod/CI")),
            ("DNS:CI.Example.com", Some("DNS:ci.example.com")),
            ("CN:ci", Some("CN:ci")),
            ("CN:Jane Doe", Some("CN:Jane Doe")),
            ("CN:a:b", Some("CN:a:b")),
            ("CN: ", None),
            ("CN:a\nb", None),
            ("CN:", None),
            ("DNS:a b", None),
            ("DNS:", None),
            ("URI:ci", None),
            ("URI:spiffe://a b", None),
            ("uri:spiffe://a", None),
            ("ci", None),
            ("", None),
        ] {
            let name = CertificateName::parse(text).map(|name| name.to_string());
            assert_eq!(name.ok().as_deref(), wanted, "{text}");
        }
        assert!(CertificateName::parse(&format!("CN:{}", "x".repeat(MAX_LEN))).is_err());
        // Names of two kinds are two names.
        let digest = |text| CertificateName::parse(text).unwrap().digest();
        assert_ne!(digest("CN:ci"), digest("DNS:ci"));
        assert_eq!(digest("DNS:CI"), digest("DNS:ci"));
    }

    proptest! {
        /// Whatever is in a header, with the name of a known certificate in it or not.
        #[test]
        fn no_header_brings_one_in(
            before in "[ -~]{0,20}", domain in any::<bool>(), after in any::<Vec<u8>>(),
        ) {
            let name = CertificateName::parse("CN:ci").unwrap();
            for scheme in ["Bearer ", "Basic ", "DSN ", "Certificate ", ""] {
                let middle = if domain { DOMAIN } else { "" };
                let text = format!("{scheme}{before}{middle}{name}");
                for value in [text.as_bytes().to_vec(), [text.as_bytes(), &after].concat()] {
                    if let Authorization::Credential(credential) = Authorization::parse(&value) {
                        prop_assert_ne!(credential.scheme, Scheme::Certificate);
                        prop_assert_ne!(credential.digest, name.digest());
                    }
                }
            }
        }
    }
}
