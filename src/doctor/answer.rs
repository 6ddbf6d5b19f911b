//! What an answer tells of whoever gave it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, LOCATION};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::policy::site::BaseUrl;

/// The longest text of somebody else that is shown.
const MAX_SHOWN: usize = 120;

/// An answer, and when it was waited for.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The local clock when the question was sent.
    pub(super) asked: Timestamp,
    /// The local clock when the answer came.
    pub(super) came: Timestamp,
}

impl Answer {
    pub(super) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, if it is JSON.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The `code` of an answer that a gateway gave itself.
    pub(super) fn code(&self) -> Option<String> {
        let body = self.json()?;
        let code = body.get("code")?.as_str()?;
        // Sentry has no such pair in a body.
        let id = body.get("request_id")?.as_str()?;
        (self.header("x-request-id") == Some(id)).then(|| shown(code))
    }

    /// Sentry's answer to `GET /api/0/` (`api/endpoints/index.py`).
    pub(super) fn index(&self) -> Option<Value> {
        let body = self.json().filter(|_| self.status == StatusCode::OK)?;
        (body.get("version").is_some() && body.get("auth").is_some()).then_some(body)
    }

    /// Where it redirects to, without path and query.
    pub(super) fn redirect(&self) -> Option<String> {
        let location = self.header(LOCATION).filter(|_| self.status.is_redirection())?;
        Some(base(location).map_or_else(|| "another path".to_owned(), |base| base.to_string()))
    }

    /// What it is, in a few words.
    pub(super) fn outline(&self) -> String {
        let status = self.status.as_u16();
        let own = |code| format!("{status}, the gateway's own `{code}`");
        let redirect = |to| format!("{status}, a redirect to {to}");
        let other = || {
            let kind = self.header(CONTENT_TYPE).and_then(|kind| kind.split(';').next());
            match kind {
                Some(kind) => format!("{status}, `{}`", shown(kind)),
                None => status.to_string(),
            }
        };
        let told = self.code().map(own).or_else(|| self.redirect().map(redirect));
        told.unwrap_or_else(other)
    }

    /// How far the clock of whoever answered is from this machine's, in whole seconds: positive when
    /// it is ahead. `None` when the answer has no `Date`, which uWSGI does not send.
    pub(super) fn clock_offset(&self) -> Option<i64> {
        let date = http_date(self.header(DATE)?)?;
        Some(offset(date, Duration::from_secs(1), self.asked, self.came))
    }
}

/// How far a time that was told with `precision`, between two readings of the local clock, is outside
/// of them, in whole seconds.
pub(super) fn offset(
    told: Timestamp,
    precision: Duration,
    before: Timestamp,
    after: Timestamp,
) -> i64 {
    let millis = |time: Timestamp| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let (earliest, latest) = (millis(told), millis(told.after(precision)));
    let ahead = earliest.saturating_sub(millis(after)).max(0);
    let behind = millis(before).saturating_sub(latest).max(0);
    (ahead - behind) / 1000
}

/// The preferred form of a date (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let time = format!("{year}-{month:02}-{day}T{time}Z");
    (zone == "GMT").then(|| humantime::parse_rfc3339(&time).ok())?.map(Into::into)
}

/// The base of an absolute URL of Sentry's: what stands before the path of the API, or before any.
pub(super) fn base(url: &str) -> Option<BaseUrl> {
    let before = url.split_once("/api/0/").map_or(url, |(before, _)| before);
    let before = before.split(['?', '#']).next().unwrap_or_default();
    let origin = || {
        let (scheme, rest) = before.split_once("://")?;
        let authority = rest.split('/').next()?;
        BaseUrl::parse(&format!("{scheme}://{authority}")).ok()
    };
    BaseUrl::parse(before).ok().or_else(origin)
}

/// A text of somebody else's, as it can be shown.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        let millis = |text| http_date(text).map(Timestamp::as_millis);
        assert_eq!(millis("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        for text in ["", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "x, y"]
        {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_is_off_by_what_nothing_else_explains() {
        let at = Timestamp::from_millis;
        let second = Duration::from_secs(1);
        for (told, before, after, wanted) in [
            (10_000, 10_000, 10_100, 0),
            // A second is told by its start.
            (10_000, 10_900, 10_950, 0),
            // The answer took long.
            (10_000, 5_000, 15_000, 0),
            (70_000, 10_000, 10_000, 60),
            (10_000, 71_000, 71_500, -60),
        ] {
            assert_eq!(offset(at(told), second, at(before), at(after)), wanted, "{told}");
        }
    }

    #[test]
    fn the_base_of_a_url() {
        for (url, wanted) in [
            (
                "https://sentry.internal/api/0/organizations/?&cursor=0:1:0",
                "https://sentry.internal",
            ),
            ("https://a/prefix/api/0/x/", "https://a/prefix"),
            ("http://a:9000", "http://a:9000"),
            ("http://a:9000/auth/login/?next=/api/0/", "http://a:9000/auth/login"),
        ] {
            assert_eq!(base(url).unwrap().to_string(), wanted, "{url}");
        }
        for url in ["/api/0/organizations/", "", "nonsense"] {
            assert_eq!(base(url), None, "{url}");
        }
    }
}
