//! Taking the content encoding off a body (RFC 9110, 8.4.1).
//!
//! **Invariant:** what comes out has a bound, whatever went in.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, HeaderMap};

/// How a body is encoded, where that can be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// `gzip`.
    Gzip,
    /// `deflate`.
    Deflate,
}

/// Another encoding than the known ones, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEncoding;

/// Why an encoding could not be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadEncoding {
    /// The body is larger than it may be.
    TooLarge,
    /// It is not what its header says.
    Damaged,
}

impl Encoding {
    /// What a head says of its body.
    ///
    /// # Errors
    /// [`UnknownEncoding`], as above.
    pub fn of(headers: &HeaderMap) -> Result<Self, UnknownEncoding> {
        let fields = headers.get_all(CONTENT_ENCODING).iter();
        let names = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
        let mut names = names.map(<[u8]>::trim_ascii).filter(|name| {
            // Not a coding, though some write it.
            !name.is_empty() && !name.eq_ignore_ascii_case(b"identity")
        });
        let Some(name) = names.next() else { return Ok(Self::Identity) };
        if names.next().is_some() {
            return Err(UnknownEncoding);
        }
        let is = |known: &[&str]| known.iter().any(|k| k.as_bytes().eq_ignore_ascii_case(name));
        match name {
            _ if is(&["gzip", "x-gzip"]) => Ok(Self::Gzip),
            _ if is(&["deflate"]) => Ok(Self::Deflate),
            _ => Err(UnknownEncoding),
        }
    }

    /// The body without it, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`BadEncoding`], as above.
    pub fn decode(self, body: &[u8], limit: u64) -> Result<Cow<'_, [u8]>, BadEncoding> {
        match self {
            Self::Identity if body.len() as u64 > limit => Err(BadEncoding::TooLarge),
            Self::Identity => Ok(Cow::Borrowed(body)),
            Self::Gzip => bounded(MultiGzDecoder::new(body), limit),
            // It is zlib by the letter, and bare by habit.
            Self::Deflate if is_zlib(body) => bounded(ZlibDecoder::new(body), limit),
            Self::Deflate => bounded(DeflateDecoder::new(body), limit),
        }
    }
}

fn bounded<'a>(reader: impl Read, limit: u64) -> Result<Cow<'a, [u8]>, BadEncoding> {
    let mut decoded = Vec::new();
    let read: io::Result<usize> = reader.take(limit.saturating_add(1)).read_to_end(&mut decoded);
    match read {
        Ok(_) if decoded.len() as u64 > limit => Err(BadEncoding::TooLarge),
        Ok(_) => Ok(Cow::Owned(decoded)),
        Err(_) => Err(BadEncoding::Damaged),
    }
}

/// Whether a body starts as zlib does (RFC 1950, 2.2).
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => {
            method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0
        }
        [_] | [] => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
        let best = Compression::best();
        match encoding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), best);
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            "zlib" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), best);
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            _ => {
                let mut encoder = DeflateEncoder::new(Vec::new(), best);
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    #[test]
    fn what_a_head_says() {
        let rows: &[(&[&str], Result<Encoding, UnknownEncoding>)] = &[
            (&[], Ok(Encoding::Identity)),
            (&["identity"], Ok(Encoding::Identity)),
            (&["", " , "], Ok(Encoding::Identity)),
            (&["GZip"], Ok(Encoding::Gzip)),
            (&["x-gzip"], Ok(Encoding::Gzip)),
            (&["identity, gzip"], Ok(Encoding::Gzip)),
            (&["deflate"], Ok(Encoding::Deflate)),
            (&["br"], Err(UnknownEncoding)),
            (&["zstd"], Err(UnknownEncoding)),
            (&["gzip, gzip"], Err(UnknownEncoding)),
            (&["gzip", "deflate"], Err(UnknownEncoding)),
            (&["gzip;q=1"], Err(UnknownEncoding)),
            (&["\u{ff}"], Err(UnknownEncoding)),
        ];
        for (fields, wanted) in rows {
            let mut headers = HeaderMap::new();
            for field in *fields {
                headers.append(CONTENT_ENCODING, HeaderValue::from_str(field).unwrap());
            }
            assert_eq!(Encoding::of(&headers), *wanted, "{fields:?}");
        }
    }

    #[test]
    fn it_comes_off_within_the_bound() {
        let bomb = vec![b' '; 10_000_000];
        for (name, encoding) in
            [("gzip", Encoding::Gzip), ("zlib", Encoding::Deflate), ("bare", Encoding::Deflate)]
        {
            let body = encoded(name, b"{\"a\": 1}");
            assert_eq!(encoding.decode(&body, 8).as_deref(), Ok(&b"{\"a\": 1}"[..]), "{name}");
            assert_eq!(encoding.decode(&body, 7), Err(BadEncoding::TooLarge), "{name}");
            let cut = &body[..body.len() - 1];
            assert_eq!(encoding.decode(cut, 100), Err(BadEncoding::Damaged), "{name}");
            let large = encoded(name, &bomb);
            assert!(large.len() < 20_000);
            assert_eq!(encoding.decode(&large, 100_000), Err(BadEncoding::TooLarge), "{name}");
        }
        assert_eq!(Encoding::Gzip.decode(b"{}", 10), Err(BadEncoding::Damaged));
        assert_eq!(Encoding::Identity.decode(b"{}", 2).as_deref(), Ok(&b"{}"[..]));
        assert_eq!(Encoding::Identity.decode(b"{}", 1), Err(BadEncoding::TooLarge));
    }
}
