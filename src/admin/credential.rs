//! Who may ask the admin listener for more than health and metrics.

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
    let Some(wanted) = wanted else { return Access::Closed };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Access::Refused };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    // Digests are compared: how long that takes tells nothing of the secret.
    match token.map(Digest::of) {
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
}
