//! JWTs as credentials: what one looks like, and what it is known by.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Digest;

/// The order of P-256, big endian (SEC 2, section 2.4.2).
const P256: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// The order of P-384 (section 2.5.1).
const P384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// Whether a token has the form of a JWT that is signed: three parts of base64, of which the first begins
/// an object (RFC 7515, section 7.1).
pub fn has_form_of_jwt(token: &str) -> bool {
    let is_part = |part: &str| {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !part.is_empty() && part.bytes().all(is_base64)
    };
    token.starts_with("ey") && token.split('.').count() == 3 && token.split('.').all(is_part)
}

impl Digest {
    /// The digest of a Bearer token. Where a signature is `r` and `s` of ECDSA, anybody can write the order
    /// of the curve less `s` in place of `s`, and it is as good: both are one credential, and the one with
    /// the smaller number is digested.
    pub fn of_bearer(token: &str) -> Self {
        match twin(token) {
            Some((twin, Ordering::Less)) => Self::of(&twin),
            Some((_, Ordering::Equal | Ordering::Greater)) | None => Self::of(token),
        }
    }

    /// The digest of the one with the larger number, if a Bearer token has one: who has only the text of it
    /// may know it by that.
    pub fn of_other_form(token: &str) -> Option<Self> {
        let (twin, order) = twin(token)?;
        match order {
            Ordering::Less => Some(Self::of(token)),
            Ordering::Equal | Ordering::Greater => Some(Self::of(&twin)),
        }
    }
}

/// The same token with the other `s`, and whether that is the smaller one. By how long a signature is it may be
/// one of ECDSA; of what is none, no twin is authentic.
fn twin(token: &str) -> Option<(String, Ordering)> {
    if !has_form_of_jwt(token) {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let order: &[u8] = match signature.len() {
        64 => &P256,
        96 => &P384,
        _ => return None,
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let other = difference(order, s)?;
    let compared = other.as_slice().cmp(s);
    Some((format!("{message}.{}", URL_SAFE_NO_PAD.encode([r, &other].concat())), compared))
}

/// One number less another, of as many bytes; `None` if it is the smaller one.
fn difference(from: &[u8], less: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(from.len());
    let mut borrowed = false;
    for (from, less) in from.iter().zip(less).rev() {
        let (byte, first) = from.overflowing_sub(*less);
        let (byte, second) = byte.overflowing_sub(borrowed.into());
        borrowed = first || second;
        bytes.push(byte);
    }
    bytes.reverse();
    (!borrowed).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(signature: &[u8]) -> String {
        format!("eyJh.e30.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn the_two_forms_of_a_signature_are_one_credential() {
        let one = |len: usize| [vec![0; len - 1], vec![1]].concat();
        for order in [P256.as_slice(), &P384] {
            let (r, small) = (vec![7; order.len()], one(order.len()));
            // The order ends with an odd digit, so that one less is no borrow.
            let large = [&order[..order.len() - 1], &[order[order.len() - 1] - 1]].concat();
            let [small, large] = [small, large].map(|s| token(&[r.as_slice(), &s].concat()));
            assert_ne!(small, large);
            assert_eq!(Digest::of_bearer(&small), Digest::of(&small));
            assert_eq!(Digest::of_bearer(&large), Digest::of(&small));
            for form in [&small, &large] {
                assert_eq!(Digest::of_other_form(form), Some(Digest::of(&large)));
            }
            // Another `r`, and another message.
            let other = token(&[vec![8; order.len()], one(order.len())].concat());
            assert_ne!(Digest::of_bearer(&other), Digest::of_bearer(&small));
            let other = large.replace("e30", "e31");
            assert_ne!(Digest::of_bearer(&other), Digest::of_bearer(&large));
        }
    }

    #[test]
    fn what_has_no_twin_is_digested_as_it_is() {
        let mut plain: Vec<_> =
            [0, 1, 63, 65, 95, 97, 256].map(|len| token(&vec![0xfe; len])).into();
        // No numbers below the order, and zero.
        plain.extend([64, 96].map(|len| token(&vec![0xff; len])));
        plain.push(token(&[0; 64]));
        plain.extend(["", "sntryu_0", "..", "eyJh.e30.***"].map(str::to_owned));
        plain.push(format!("{}=", token(&[0xfe; 64])));
        for token in plain {
            assert_eq!(Digest::of_bearer(&token), Digest::of(&token), "{token}");
        }
    }

    #[test]
    fn numbers_are_subtracted_with_what_was_borrowed() {
        let rows: &[(&[u8], &[u8], Option<&[u8]>)] = &[
            (&[1, 0, 0], &[0, 0, 1], Some(&[0, 0xff, 0xff])),
            (&[5, 4], &[4, 5], Some(&[0, 0xff])),
            (&[5, 4], &[5, 4], Some(&[0, 0])),
            (&[5, 4], &[5, 5], None),
            (&[2, 0, 0], &[1, 0xff, 0xff], Some(&[0, 0, 1])),
        ];
        for (from, less, wanted) in rows {
            assert_eq!(difference(from, less).as_deref(), *wanted, "{from:?} {less:?}");
        }
    }
}
