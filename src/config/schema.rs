//! The JSON Schemas of a config and of a rule file, for editors and for the reference.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::raw::{RawConfig, RawFile};
use super::value::{ByteSize, HumanDuration, PointInTime, SecretRef, TextOrSecret};
use crate::policy;

/// The schema of a config.
pub fn config() -> Value {
    of::<RawConfig>("A config of Portcullis")
}

/// The schema of a rule file.
pub fn rules() -> Value {
    of::<RawFile>("A rule file of Portcullis")
}

fn of<T: JsonSchema>(title: &str) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.remove("description");
    without_null(schema.to_value())
}

/// TOML has no `null`: what may be left out is left out.
fn without_null(value: Value) -> Value {
    let Value::Object(map) = value else {
        return match value {
            Value::Array(list) => Value::Array(list.into_iter().map(without_null).collect()),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_)) => other,
        };
    };
    let mut cleaned = serde_json::Map::new();
    for (key, value) in map {
        // Of two alternatives of which one is null, the other is the schema itself.
        if let ("anyOf", Value::Array(alternatives)) = (key.as_str(), &value)
            && let [Value::Object(schema), null] = alternatives.as_slice()
            && null["type"] == "null"
        {
            let schema = without_null(Value::Object(schema.clone()));
            cleaned.extend(schema.as_object().cloned().unwrap_or_default());
            continue;
        }
        let value = match (key.as_str(), value) {
            ("default", Value::Null) => continue,
            ("type", Value::Array(types)) => {
                let mut types: Vec<_> = types.into_iter().filter(|name| name != "null").collect();
                if types.len() == 1 { types.remove(0) } else { Value::Array(types) }
            }
            ("enum", Value::Array(names)) => {
                Value::Array(names.into_iter().filter(|name| !name.is_null()).collect())
            }
            // Lines of a comment are a sentence.
            ("description", Value::String(text)) => text.replace('\n', " ").into(),
            (_, value) => without_null(value),
        };
        cleaned.insert(key, value);
    }
    Value::Object(cleaned)
}

macro_rules! schemas {
    ($($(#[$doc:meta])* $type:ty, $name:literal: $schema:expr;)*) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        })*
    };
}

/// One of the names that a rule calls methods by.
pub(super) struct Method;
/// One of the words of a rule's `access`.
pub(super) struct Access;
/// One of Sentry's scopes.
pub(super) struct Scope;
/// One of the kinds of credential.
pub(super) struct Kind;
/// One of the groups of routes that a listener exposes.
pub(super) struct Group;
/// One of the upstreams.
pub(super) struct Service;

/// One of the places where requests name projects.
pub(super) struct Place;

schemas! {
    HumanDuration, "duration": json_schema!({
        "type": "string", "title": "duration", "examples": ["30s", "5m", "1h"],
    });
    ByteSize, "size": json_schema!({
        "type": "string", "title": "size", "examples": ["64KiB", "100MiB"],
    });
    PointInTime, "time": json_schema!({
        "type": "string", "title": "time", "examples": ["2026-12-24", "2026-12-24T18:00:00Z"],
    });
    SecretRef, "secret": json_schema!({
        "type": "object",
        "title": "secret",
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            "file": { "type": "string", "description": "The path of a file that holds it." },
            "env": { "type": "string", "description": "The variable that holds it." },
        },
    });
    TextOrSecret, "text or secret": json_schema!({
        "title": "string or secret",
        "oneOf": [
            { "type": "string" },
            {
                "type": "object",
                "additionalProperties": false,
                "minProperties": 1,
                "maxProperties": 1,
                "properties": { "file": { "type": "string" }, "env": { "type": "string" } },
            },
        ],
    });
    Method, "method": json_schema!({
        "type": "string", "enum": ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    });
    Access, "access": json_schema!({
        "type": "string", "enum": ["public", "authenticated", "project_key", "pass", "not_exposed"],
    });
    Scope, "scope": json_schema!({
        "type": "string",
        "enum": policy::scope::Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
    });
    Group, "group": json_schema!({
        "type": "string",
        "enum": policy::exposure::Exposure::ALL.iter().map(|e| e.as_str()).collect::<Vec<_>>(),
    });
    Service, "upstream": json_schema!({
        "type": "string",
        "enum": policy::exposure::Service::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>(),
    });
    Place, "place": json_schema!({
        "type": "string",
        "enum": policy::naming::Place::ALL.iter().map(|place| place.as_str()).collect::<Vec<_>>(),
    });
    Kind, "kind": json_schema!({
        "type": "string",
        "enum": policy::identity::IdentityKind::ALL
            .iter()
            .map(|kind| kind.as_str())
            .collect::<Vec<_>>(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the schema knows every key of a file, with its type.
    fn admits(schema: &Value, value: &toml::Value, at: &str) {
        let kind = match value {
            toml::Value::String(_) | toml::Value::Datetime(_) => "string",
            toml::Value::Integer(_) => "integer",
            toml::Value::Float(_) => "number",
            toml::Value::Boolean(_) => "boolean",
            toml::Value::Array(_) => "array",
            toml::Value::Table(_) => "object",
        };
        let one_of = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
        let types = one_of.iter().chain([schema]).map(|schema| &schema["type"]);
        assert!(types.clone().any(|known| known == kind), "{at}: {kind} against {schema}");
        if let Some(names) = schema["enum"].as_array() {
            assert!(names.iter().any(|name| name.as_str() == value.as_str()), "{at}: {value}");
        }
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let known = &schema["properties"][key];
                    assert!(known.is_object(), "{at}.{key} is not in the schema");
                    admits(known, value, &format!("{at}.{key}"));
                }
                for required in schema["required"].as_array().into_iter().flatten() {
                    assert!(table.contains_key(required.as_str().unwrap()), "{at}: {required}");
                }
            }
            toml::Value::Array(list) => {
                list.iter().for_each(|value| admits(&schema["items"], value, at));
            }
            _ => {}
        }
    }

    #[test]
    fn what_is_shipped_is_as_the_schemas_say() {
        let parse = |text: &str| toml::Value::Table(text.parse().unwrap());
        admits(&config(), &parse(crate::config::DEFAULT), "portcullis.toml");
        admits(&rules(), &parse(crate::config::SENTRY_RULES), "sentry.toml");
        let text = config().to_string() + &rules().to_string();
        assert!(!text.contains("null"), "TOML has no null");
    }
}
