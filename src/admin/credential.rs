//! Who may ask the admin listener for more than health and metrics.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::policy::credential::Digest;

/// What a request is, seen from its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// No credential is configured, so there is nothing to ask for.
    Closed,
    /// The credential is missing or another one.
    Refused,
    /// It is the operator's.
    Granted,
}

/// Looks at the `Authorization` header, and at no cookie: a browser sends those by itself.
pub(super) fn access(headers: &HeaderMap, wanted: Option<Digest>) -> Access {
    let presented = presented(headers).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    judge(presented.map(|(_, token)| Digest::of(token)), wanted)
}

/// The same for the credential as a password, of any user name: how a browser presents it once it
/// was typed in. It then sends it by itself, wherever the request comes from, so this is only for
/// what changes nothing.
pub(super) fn password(headers: &HeaderMap, wanted: Option<Digest>) -> Access {
    let presented = presented(headers).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = presented.and_then(|(_, text)| BASE64_STANDARD.decode(text).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let password = decoded.as_deref().and_then(|text| text.split_once(':'));
    judge(password.map(|(_, password)| Digest::of(password)), wanted)
}

/// Scheme and value of the only `Authorization` header.
fn presented(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()?.split_once(' ')
}

/// Digests are compared: how long that takes tells nothing of the secret.
fn judge(presented: Option<Digest>, wanted: Option<Digest>) -> Access {
    let Some(wanted) = wanted else { return Access::Closed };
    match presented {
        Some(digest) if digest == wanted => Access::Granted,
        Some(_) | None => Access::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_and_nothing_else() {
        let wanted = Some(Digest::of("0123456789abcdef"));
        let rows: &[(&[&str], Access)] = &[
            (&["Bearer 0123456789abcdef"], Access::Granted),
            (&["bearer 0123456789abcdef"], Access::Granted),
            (&["Bearer 0123456789abcdeF"], Access::Refused),
            (&["Basic 0123456789abcdef"], Access::Refused),
            (&["0123456789abcdef"], Access::Refused),
            (&["Bearer 0123456789abcdef", "Bearer x"], Access::Refused),
            (&[], Access::Refused),
        ];
        for (values, seen) in rows {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(access(&headers, wanted), *seen, "{values:?}");
            assert_eq!(access(&headers, None), Access::Closed);
        }
    }

    #[test]
    fn the_password_of_anybody() {
        let wanted = Some(Digest::of("0123456789abcdef"));
        let rows = [
            ("Basic", "operator:0123456789abcdef", Access::Granted),
            ("basic", ":0123456789abcdef", Access::Granted),
            ("Basic", "a:b:0123456789abcdef", Access::Refused),
            ("Basic", "0123456789abcdef:", Access::Refused),
            ("Basic", "0123456789abcdef", Access::Refused),
            ("Bearer", "operator:0123456789abcdef", Access::Refused),
        ];
        for (scheme, text, seen) in rows {
            let mut headers = HeaderMap::new();
            let value = format!("{scheme} {}", BASE64_STANDARD.encode(text));
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(password(&headers, wanted), seen, "{scheme} {text}");
            assert_eq!(password(&headers, None), Access::Closed);
        }
        let mut headers = HeaderMap::new();
        for value in ["Basic", "Basic %", "Basic /w=="] {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(password(&headers, wanted), Access::Refused, "{value}");
        }
    }
}
