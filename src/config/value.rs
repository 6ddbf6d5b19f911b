//! Values that a config file writes as text: durations, sizes, secrets.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A duration such as `"30s"`. Bare numbers are refused: they have no unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HumanDuration(pub(super) Duration);

/// A size such as `"100MiB"`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

/// Where a secret is; never the secret.
#[derive(Clone, Debug)]
pub(super) struct SecretRef {
    pub(super) env: Option<String>,
    pub(super) file: Option<String>,
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
