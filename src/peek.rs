//! What the JSON body of a request names, for those that are bound to projects.
//!
//! **Invariant:** pure, and strict: where two readers could see two things, nothing is read. The body goes on
//! as it came, byte for byte.

mod mentions;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

use crate::policy::bound::{BodyNames, Mentions};
use mentions::resolved;

/// Why a body can't be told what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// Reads the body as one JSON object.
///
/// # Errors
/// What is in the way, as the end of a sentence about the body.
pub fn names(body: &[u8]) -> Result<BodyNames, Unreadable> {
    // What is passed over is not looked at for that.
    let text = std::str::from_utf8(body);
    let text = text.map_err(|_| Unreadable("is not one JSON object".to_owned()))?;
    let read: Result<Names, _> = serde_json::from_str(text);
    match read {
        Ok(Names(names)) => Ok(names),
        // The place is told, and nothing of the body.
        Err(error) if error.is_data() => Err(Unreadable(told(&error.to_string()))),
        Err(_) => Err(Unreadable("is not one JSON object".to_owned())),
    }
}

/// The words that are ours; those of the parser may repeat what was met.
fn told(message: &str) -> String {
    let own = OURS.iter().find(|own| message.starts_with(**own));
    own.map_or_else(|| "can't be read".to_owned(), |own| (*own).to_owned())
}

const TWICE: &str = "has a member twice";
const ANOTHER_WAY: &str = "names projects by a member that is none of `projects` and `project`";
const NO_NAME: &str = "has a project that is neither text nor number";
const OURS: [&str; 3] = [TWICE, ANOTHER_WAY, NO_NAME];

struct Names(BodyNames);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members).map(Names)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = BodyNames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BodyNames, A::Error> {
        let mut names = BodyNames::default();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "projects" => names.projects.extend(map.next_value::<Listed>()?.0),
                "project" => names.projects.push(map.next_value::<Name>()?.0),
                "version" => names.version = Some(map.next_value::<Name>()?.0),
                "commits" => map.next_value::<Commits>()?.mentions(&mut names.mentions),
                other if other.to_ascii_lowercase().contains("project") => {
                    return Err(A::Error::custom(ANOTHER_WAY));
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if !seen.insert(key) {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(names)
    }
}

/// A slug, or an id as a text or a number.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Name(text)),
            serde_json::Value::Number(number) if number.is_u64() => Ok(Name(number.to_string())),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => Err(D::Error::custom(NO_NAME)),
        }
    }
}

struct Listed(Vec<String>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Listed, A::Error> {
                let mut names = Vec::new();
                while let Some(Name(name)) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Listed(names))
            }
        }

        deserializer.deserialize_seq(Elements)
    }
}

/// Commits, by the texts in them, wherever they are.
#[derive(Deserialize)]
struct Commits(serde_json::Value);

impl Commits {
    fn mentions(&self, mentions: &mut Mentions) {
        let mut rest = vec![&self.0];
        while let Some(value) = rest.pop() {
            match value {
                serde_json::Value::String(text) => resolved(text, mentions),
                serde_json::Value::Array(values) => rest.extend(values),
                serde_json::Value::Object(members) => rest.extend(members.values()),
                serde_json::Value::Null
                | serde_json::Value::Bool(_)
                | serde_json::Value::Number(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> String {
        match names(body.as_bytes()) {
            Ok(BodyNames { projects, version, mentions }) => {
                format!(
                    "{} {} {}",
                    projects.join(","),
                    version.unwrap_or_default(),
                    mentions.projects().collect::<Vec<_>>().join(",")
                )
            }
            Err(Unreadable(what)) => format!("! {what}"),
        }
    }

    #[test]
    fn what_bodies_name() {
        for (body, wanted) in [
            ("{}", "  "),
            (r#"{"projects":["web","app",7,"8"],"version":"1.0"}"#, "web,app,7,8 1.0 "),
            (r#" {"project" : "web"} "#, "web  "),
            (r#"{"pro\u006aects":["web"]}"#, "web  "),
            (r#"{"projects":[],"url":"x"}"#, "  "),
            (r#"{"nested":{"projects":["app"],"projects":[1]}}"#, "  "),
            (r#"{"projects":["web"],"projects":["app"]}"#, "! has a member twice"),
            (r#"{"projects":["web"],"pro\u006aects":["app"]}"#, "! has a member twice"),
            (r#"{"a":1,"a":2}"#, "! has a member twice"),
            (r#"{"projects":"web"}"#, "! can't be read"),
            (r#"{"projects":null}"#, "! can't be read"),
            (r#"{"projects":[null]}"#, "! has a project that is neither text nor number"),
            (r#"{"projects":[["web"]]}"#, "! has a project that is neither text nor number"),
            (r#"{"projects":[-1]}"#, "! has a project that is neither text nor number"),
            (r#"{"projects":[1.0]}"#, "! has a project that is neither text nor number"),
            (r#"{"project":{}}"#, "! has a project that is neither text nor number"),
            (
                r#"{"copy_from_project":3}"#,
                "! names projects by a member that is none of `projects` and `project`",
            ),
            (
                r#"{"Projects":["app"]}"#,
                "! names projects by a member that is none of `projects` and `project`",
            ),
            ("", "! is not one JSON object"),
            ("[]", "! can't be read"),
            (r#"["projects"]"#, "! can't be read"),
            (r#"{"projects":["web"]"#, "! is not one JSON object"),
            (r#"{"projects":["web"]} {"projects":["app"]}"#, "! is not one JSON object"),
            ("\u{feff}{}", "! is not one JSON object"),
            (r#"{"projects":["\ud800"]}"#, "! is not one JSON object"),
            (r#"{"a":NaN}"#, "! is not one JSON object"),
        ] {
            assert_eq!(read(body), wanted, "{body}");
        }
        assert_eq!(
            names(b"{\"a\":\"\xff\"}"),
            Err(Unreadable("is not one JSON object".to_owned()))
        );
    }

    #[test]
    fn every_text_in_commits_is_looked_at() {
        let body = serde_json::json!({"commits": [{"id": "a-1", "message": "Fixes APP-1"}]});
        assert_eq!(read(&body.to_string()), "  app");
        // A list of something else is looked through all the same.
        assert_eq!(read(r#"{"commits":[["Fixes APP-1"]]}"#), "  app");
        assert_eq!(read(r#"{"commits":null}"#), "  ");
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let _ = names(&body);
        }
    }
}
