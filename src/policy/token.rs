//! The shape of tokens that the gateway issues.
//!
//! `portcullis_t_` (Bearer) or `portcullis_k_` (API key), 43 base-62 characters of randomness
//! (256 bits) and 6 of a CRC-32 over all that stands before: a mistyped token is refused without
//! a look-up, and a secret scanner finds one by
//! `portcullis_[tk]_[0-9A-Za-z]{49}`. A DSN key looks like Sentry's: 32 hex digits.

/// The prefix that no other issuer uses.
pub const PREFIX: &str = "portcullis_";
/// Characters of randomness.
pub const RANDOM_LEN: usize = 43;
/// Characters of the checksum.
const CHECKSUM_LEN: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a text is, seen as a token of the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Another issuer's: says nothing about it.
    Foreign,
    /// The gateway's, and whole.
    Intact,
    /// It claims to be the gateway's and can't be: mistyped, cut off, or padded.
    Damaged,
}

/// Looks at the prefix and the checksum.
pub fn shape(token: &str) -> Shape {
    let Some(rest) = token.strip_prefix(PREFIX) else { return Shape::Foreign };
    let kind = rest.get(..2);
    let whole = matches!(kind, Some("t_" | "k_"))
        && token.len() == PREFIX.len() + 2 + RANDOM_LEN + CHECKSUM_LEN
        && rest[2..].bytes().all(|byte| byte.is_ascii_alphanumeric())
        && token[token.len() - CHECKSUM_LEN..] == *checksum(&token[..token.len() - CHECKSUM_LEN]);
    if whole { Shape::Intact } else { Shape::Damaged }
}

/// Writes a token of the kind `t` or `k` from random bytes. Bytes of 248 and more are skipped, so
/// that every character is equally likely; `None` when too few are left.
pub fn mint(kind: char, random: &[u8]) -> Option<String> {
    let mut token = format!("{PREFIX}{kind}_");
    let usable = random.iter().filter(|byte| **byte < 248).take(RANDOM_LEN);
    token.extend(usable.map(|byte| char::from(ALPHABET[usize::from(*byte % 62)])));
    if token.len() != PREFIX.len() + 2 + RANDOM_LEN {
        return None;
    }
    let sum = checksum(&token);
    token.push_str(&sum);
    Some(token)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> String {
        let random: Vec<u8> = (0..=255).collect();
        mint('t', &random).unwrap()
    }

    #[test]
    fn a_minted_token_is_intact() {
        let token = token();
        assert!(token.starts_with("portcullis_t_0123"), "{token}");
        assert_eq!(token.len(), 62);
        assert_eq!(shape(&token), Shape::Intact);
        assert_eq!(mint('t', &[255; 100]), None);
    }

    #[test]
    fn any_single_change_is_damage() {
        let token = token();
        for at in PREFIX.len()..token.len() {
            for replacement in ['0', 'z', '_', '-'] {
                let mut bytes = token.clone().into_bytes();
                if bytes[at] == replacement as u8 {
                    continue;
                }
                bytes[at] = replacement as u8;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(shape(&changed), Shape::Damaged, "{changed}");
            }
        }
        assert_eq!(shape(&token[..61]), Shape::Damaged);
        assert_eq!(shape(&format!("{token}0")), Shape::Damaged);
        assert_eq!(shape("portcullis_"), Shape::Damaged);
        assert_eq!(shape("portcullis_té"), Shape::Damaged);
    }

    #[test]
    fn other_issuers_tokens_are_foreign() {
        for token in ["", "sntryu_00", "sntrys_x", "Portcullis_t_", "eyJhbGciOi.e30.x"] {
            assert_eq!(shape(token), Shape::Foreign, "{token}");
        }
    }
}
