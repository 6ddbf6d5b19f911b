//! What narrows a token, as stores keep it: one JSON object, so that what is added to it later can't
//! be overlooked by a program that does not know it.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::object::Object;
use crate::policy::identity::Narrowing;

/// A [`Narrowing`] as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Narrow {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Box<[Box<str>]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    networks: Option<Box<[IpNet]>>,
}

impl From<&Narrowing> for Narrow {
    fn from(narrowing: &Narrowing) -> Self {
        let Narrowing { read_only, profile, groups, networks } = narrowing.clone();
        Self { read_only, profile, groups, networks }
    }
}

impl From<Narrow> for Narrowing {
    fn from(narrow: Narrow) -> Self {
        let Narrow { read_only, profile, groups, networks } = narrow;
        Self { read_only, profile, groups, networks }
    }
}

/// The JSON of it; `None` for nothing.
pub(super) fn written(narrowing: &Narrowing) -> Option<String> {
    let written = serde_json::to_string(&Narrow::from(narrowing)).ok()?;
    (*narrowing != Narrowing::NONE).then_some(written)
}

/// What the JSON says.
///
/// # Errors
/// When there is anything in it that is not known here.
pub(super) fn read(json: &str) -> Result<Narrowing, &'static str> {
    let read: Result<Object<Narrow>, _> = serde_json::from_str(json);
    let Object(narrow) =
        read.map_err(|_| "what narrows it is not as this version of the gateway writes it")?;
    Ok(narrow.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_known_is_refused() {
        let all = Narrowing {
            read_only: true,
            profile: Some("ci-release".into()),
            groups: Some(["issues".into()].into()),
            networks: Some(
                ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()].into(),
            ),
        };
        let none =
            Narrowing { groups: Some([].into()), networks: Some([].into()), ..Narrowing::NONE };
        for narrowing in [all, none] {
            let json = written(&narrowing).unwrap();
            assert_eq!(read(&json).as_ref(), Ok(&narrowing), "{json}");
        }
        assert_eq!(written(&Narrowing::NONE), None);
        for json in [
            "",
            "{",
            "[]",
            "null",
            r#"{"read_only":1}"#,
            r#"{"weekdays":[1]}"#,
            r#"{"networks":["x"]}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
