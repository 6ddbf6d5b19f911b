//! Versions of Sentry, by which rules are chosen.

use std::fmt;
use std::str::FromStr;

/// A version of Sentry as its releases are named: year and month, such as `24.7`. What follows
/// (`24.7.1`) is of no consequence to rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentryVersion {
    year: u8,
    month: u8,
}

impl SentryVersion {
    /// The oldest one that the shipped rules are for: its source was read.
    pub const OLDEST: SentryVersion = SentryVersion { year: 24, month: 7 };
    /// The newest one: its OpenAPI document was read. Rules of newer versions are these.
    pub const NEWEST: SentryVersion = SentryVersion { year: 26, month: 8 };
}

/// What is not a version of Sentry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of Sentry; write year and month, such as `24.7` or `24.7.1`")]
pub struct BadVersion(String);

impl FromStr for SentryVersion {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        let mut parts = text.splitn(3, '.');
        let mut number = || {
            let part =
                parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
            part.parse::<u8>().ok()
        };
        let (year, month) = number().zip(number()).ok_or_else(bad)?;
        // A patch release, or `0.dev0`.
        let rest = parts.next().is_none_or(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if (1..=12).contains(&month) && rest { Ok(Self { year, month }) } else { Err(bad()) }
    }
}

impl fmt::Display for SentryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_year_and_month() {
        for (text, wanted) in [
            ("24.7", Some("24.7")),
            ("24.7.0", Some("24.7")),
            ("26.11.2", Some("26.11")),
            ("24", None),
            ("24.13", None),
            ("24.0", None),
            ("24.7.0.dev0", Some("24.7")),
            ("24.7.256", Some("24.7")),
            ("+24.7", None),
            ("24.+7", None),
            ("24.7.", None),
            ("24.7.x", None),
            ("v24.7", None),
            ("24.-7", None),
            ("", None),
        ] {
            let seen = text.parse::<SentryVersion>().ok().map(|version| version.to_string());
            assert_eq!(seen.as_deref(), wanted, "{text}");
        }
        assert!("24.10".parse::<SentryVersion>().unwrap() > SentryVersion::OLDEST);
    }
}
