//! JWTs of issuers that the gateway trusts: they are for the gateway, and so for nobody else.
//!
//! Whoever else is shown one may read it otherwise than the gateway does: out of `Basic`, with padding, or
//! without minding what comes twice. So whatever anybody could take for such a token counts as one; whether
//! it is authentic is for its store to say.

use super::credential::{is_between, patiently_decoded};
use super::identity::{Identity, Issuer};

/// An issuer that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedIssuer {
    /// The gateway's name for it, with which the ids of whom it vouches for begin.
    pub name: Box<str>,
    /// `iss`.
    pub issuer: Box<str>,
    /// What tells apart by what it lets in: 8 hex digits.
    pub hash: Box<str>,
}

/// Those of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedIssuers(Box<[TrustedIssuer]>);

impl FromIterator<TrustedIssuer> for TrustedIssuers {
    fn from_iter<I: IntoIterator<Item = TrustedIssuer>>(issuers: I) -> Self {
        Self(issuers.into_iter().collect())
    }
}

impl TrustedIssuers {
    /// Whether there is a token of one of them in a text, such as a header or a decoded query, as it is or in
    /// base64 once more.
    pub fn vouch_in(&self, text: &[u8]) -> bool {
        !self.0.is_empty()
            && decoded(text).any(|part| {
                self.are_claimed_in(&part) || decoded(&part).any(|part| self.are_claimed_in(&part))
            })
    }

    /// The one that vouches for `identity`, if one does.
    pub fn of(&self, identity: &Identity) -> Option<&TrustedIssuer> {
        match identity.issuer {
            Issuer::Gateway if !self.0.is_empty() => self.named_in(&identity.id.to_string()),
            Issuer::Gateway | Issuer::Sentry => None,
        }
    }

    /// The one that the id of an identity of theirs begins with.
    pub fn named_in(&self, id: &str) -> Option<&TrustedIssuer> {
        let (name, _) = id.split_once(':')?;
        self.0.iter().find(|own| *own.name == *name)
    }

    /// Whether one lets in by what this tells apart.
    pub fn has(&self, hash: &str) -> bool {
        self.0.iter().any(|own| *own.hash == *hash)
    }

    /// Whether one of them is `iss` in JSON, or in what somebody takes for it: at any depth, and beside
    /// others of that name.
    fn are_claimed_in(&self, json: &[u8]) -> bool {
        let json = String::from_utf8_lossy(json);
        let mut rest: &str = &json;
        while let Some((name, after)) = string(rest) {
            rest = after;
            let value = after.trim_ascii_start().strip_prefix(':').map(str::trim_ascii_start);
            let value = value.filter(|value| name == "iss" && value.starts_with('"'));
            let issuer = value.and_then(string).map(|(issuer, _)| issuer);
            if issuer.is_some_and(|issuer| self.0.iter().any(|own| *own.issuer == *issuer)) {
                return true;
            }
        }
        false
    }
}

/// What parts of a text may be the base64 of.
fn decoded(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    text.split(is_between).filter(|part| !part.is_empty()).flat_map(patiently_decoded)
}

/// The first string of JSON, without its quotes and escapes (RFC 8259, section 7), and what follows it.
fn string(json: &str) -> Option<(String, &str)> {
    let (_, text) = json.split_once('"')?;
    let mut chars = text.chars();
    let mut units = Vec::new();
    loop {
        let next = match chars.next()? {
            '"' => return Some((String::from_utf16_lossy(&units), chars.as_str())),
            '\\' => match chars.next()? {
                'u' => {
                    let (digits, after) = chars.as_str().split_at_checked(4)?;
                    chars = after.chars();
                    units.push(u16::from_str_radix(digits, 16).ok()?);
                    continue;
                }
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            },
            other => other,
        };
        units.extend_from_slice(next.encode_utf16(&mut [0; 2]));
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

    use super::*;

    fn jwt(payload: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
        format!("{header}.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn whatever_anybody_could_take_for_a_token_of_one_counts() {
        let named = |issuer: &str| TrustedIssuer {
            name: "ci".into(),
            issuer: issuer.into(),
            hash: "0badcafe".into(),
        };
        let issuers = ["https://one.example", "https://zwei\u{fc}.example"].map(named);
        let issuers: TrustedIssuers = issuers.into_iter().collect();
        let token = jwt(r#"{"iss":"https://one.example","sub":"a"}"#);
        let padded: Vec<_> = token
            .split('.')
            .map(|part| URL_SAFE.encode(URL_SAFE_NO_PAD.decode(part).unwrap()))
            .collect();
        let of_them = [
            token.clone(),
            format!("Bearer {token}"),
            format!("Bearer {token}="),
            format!("Bearer {token}.."),
            format!("Bearer \"{token}\""),
            format!("JWT {token}"),
            format!("Sentry sentry_version=7, sentry_key={token}"),
            format!("a=b&access_token={token}&c=d"),
            padded.join("."),
            format!("Basic {}", STANDARD.encode(format!("{token}:"))),
            format!("Basic {}", STANDARD.encode(format!(":{token}")).trim_end_matches('=')),
            format!("Basic {}", URL_SAFE.encode(format!("user:{token}:x"))),
            jwt("{\"iss\":\"https://one.example\",\"sub\":\"\u{ff}\u{3ff}?>?>\"}"),
            jwt(r#"{ "iss" : "https:\/\/one.example" }"#),
            jwt(r#"{"sub":"a\"b\\","\u0069ss":"\u0068ttps://one.example"}"#),
            jwt("{\"iss\"\n:\t\"https://zwei\u{fc}.example\"}"),
            jwt(r#"{"iss":"https://zwei\u00fc.example"}"#),
            // Some mind neither which of two counts, nor how deep it is, nor how it ends.
            jwt(r#"{"iss":"https://other.example","iss":"https://one.example"}"#),
            jwt(r#"{"iss":"https://one.example","iss":"https://other.example"}"#),
            jwt(r#"{"a":{"iss":"https://one.example"}}"#),
            jwt(r#"{"iss":"https://one.example","#),
        ];
        let of_others = [
            String::new(),
            "Bearer sntryu_0123456789abcdef".to_owned(),
            format!("Bearer {}", jwt(r#"{"iss":"https://other.example"}"#)),
            jwt(r#"{"iss":"https://one.example/"}"#),
            jwt(r#"{"iss":"https://ONE.example"}"#),
            jwt(r#"{"idp":"https://one.example","iss":["https://one.example"]}"#),
            jwt(r#"{"iss":7,"a":"https://one.example"}"#),
            jwt(r#"{"sub":"iss","a":"https://one.example"}"#),
            jwt(r#"{"iss":"https://one.example"#),
            jwt(r#"{"iss":"\ud"#),
            jwt("{\"iss\":\"\\u00\u{e9}\u{e9}\"}"),
            "https://one.example".to_owned(),
            format!("Basic {}", STANDARD.encode("0123456789abcdef0123456789abcdef:")),
        ];
        for (texts, wanted) in [(&of_them[..], true), (&of_others[..], false)] {
            for text in texts {
                assert_eq!(issuers.vouch_in(text.as_bytes()), wanted, "{text}");
                assert!(!TrustedIssuers::default().vouch_in(text.as_bytes()), "{text}");
            }
        }
    }
}
