//! Values that a config file writes as text: durations, sizes, secrets.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// A duration such as `"30s"`. Bare numbers are refused: they have no unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HumanDuration(pub(super) Duration);

/// A size such as `"100MiB"`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

/// A date such as `2026-12-24`, or a time such as `2026-12-24T18:00:00Z`, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PointInTime(pub(super) Timestamp);

/// Where a secret is; never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretRef {
    pub(super) env: Option<String>,
    pub(super) file: Option<String>,
}

/// A text that may be written, or a secret that may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TextOrSecret {
    Text(String),
    Secret(SecretRef),
}

impl<'de> Deserialize<'de> for TextOrSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self::Text(text)),
            other => SecretRef::deserialize(other).map(Self::Secret).map_err(D::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            env: Option<String>,
            file: Option<String>,
        }
        // Not derived as a whole: the error of a derived one repeats what it met instead.
        let value = toml::Value::deserialize(deserializer)?;
        let toml::Value::Table(table) = value else {
            return Err(D::Error::custom(
                "a secret is written as `{ file = \"path\" }` or `{ env = \"NAME\" }`, never itself",
            ));
        };
        let Table { env, file } = table.try_into().map_err(D::Error::custom)?;
        Ok(Self { env, file })
    }
}

/// As it would be written: for the defaults in the schema.
impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

/// As it would be written: for the defaults in the schema.
impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&bytesize::ByteSize(self.0).to_string().replace(".0 ", ""))
    }
}

struct Text<T> {
    expecting: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expecting: "a duration such as \"30s\", \"5m\" or \"1h\"",
            parse: |text| humantime::parse_duration(text).ok().map(HumanDuration),
        })
    }
}

impl<'de> Deserialize<'de> for PointInTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong =
            "a date such as \"2026-12-24\" or a time in UTC such as \"2026-12-24T18:00:00Z\"";
        let text = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            toml::Value::Datetime(time) => time.to_string(),
            _ => return Err(D::Error::custom(format!("expected {wrong}"))),
        };
        let time = if text.contains('T') { text } else { format!("{text}T00:00:00Z") };
        let time = humantime::parse_rfc3339(&time)
            .map_err(|_| D::Error::custom(format!("expected {wrong}")))?;
        Ok(Self(time.into()))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expecting: "a size such as \"64KiB\" or \"100MiB\"",
            parse: |text| {
                text.parse::<bytesize::ByteSize>().ok().map(|size| ByteSize(size.as_u64()))
            },
        })
    }
}
