//! The reference of every key, out of the schemas.

use serde_json::{Map, Value};

use super::schema;

const HEAD: &str = "\
# Reference of the configuration

Generated from the code: `portcullis generate reference`. `portcullis.toml` beside this file is the
annotated default, `portcullis.schema.json` and `rules.schema.json` are JSON Schemas for editors.

Unknown keys are errors, and all problems are reported at once. Durations are written `\"30s\"`, sizes
`\"100MiB\"`. A secret is never written itself: `{ file = \"path\" }` or `{ env = \"NAME\" }`. Relative
paths start from the folder of the config.
";

const RULES: &str = "
## Rule files

The shipped rules (`sentry.toml`) are such a file; `rules.files` names your own.
";

/// The reference, in Markdown.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    section(&mut text, "", &schema::config());
    text.push_str(RULES);
    section(&mut text, "", &schema::rules());
    text
}

/// The keys of a table, then the tables in it.
fn section(text: &mut String, path: &str, schema: &Value) {
    let empty = Map::new();
    let keys = schema["properties"].as_object().unwrap_or(&empty);
    let required = |key: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == key))
    };
    let (tables, values): (Vec<_>, Vec<_>) = keys.iter().partition(|(_, schema)| is_table(schema));
    if !values.is_empty() {
        text.push_str("\n| key | type | default | what it is |\n| --- | --- | --- | --- |\n");
    }
    for (key, schema) in values {
        let default = match &schema["default"] {
            Value::Null if required(key) => "required".to_owned(),
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let what = schema["description"].as_str().unwrap_or_default();
        text.push_str(&format!("| `{key}` | {} | {default} | {what} |\n", kind(schema)));
    }
    for (key, schema) in tables {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let (path, brackets, inner) = if schema["items"].is_object() {
            (path, ["[[", "]]"], &schema["items"])
        } else if is_named(schema) {
            (format!("{path}.NAME"), ["[", "]"], &schema["additionalProperties"])
        } else {
            (path, ["[", "]"], schema)
        };
        // A table of nothing but tables is only a name in front of them.
        let keys = inner["properties"].as_object();
        if keys.is_some_and(|keys| keys.values().any(|schema| !is_table(schema))) {
            let [open, close] = brackets;
            let what = schema["description"].as_str().unwrap_or_default();
            let wanted = if required(key) { " Required." } else { "" };
            text.push_str(&format!("\n### `{open}{path}{close}`\n\n{what}{wanted}\n"));
        }
        section(text, &path, inner);
    }
}

/// Whether it is written as a table of its own, or as several.
fn is_table(schema: &Value) -> bool {
    let table = |schema: &Value| schema["properties"].is_object() && schema["title"] != "secret";
    table(schema) || table(&schema["items"]) || is_named(schema)
}

/// Whether it is written as several tables, each with a name.
fn is_named(schema: &Value) -> bool {
    schema["additionalProperties"]["properties"].is_object()
}

/// The type, in words.
fn kind(schema: &Value) -> String {
    let names = |values: &mut dyn Iterator<Item = &Value>| {
        values.map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
    };
    if let Some(title) = schema["title"].as_str() {
        return title.to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        return names(&mut values.iter());
    }
    if let Some(cases) = schema["oneOf"].as_array() {
        return names(&mut cases.iter().map(|case| &case["const"]));
    }
    match schema["type"].as_str() {
        Some("array") => match kind(&schema["items"]) {
            // All of Sentry's scopes would be a page.
            long if long.len() > 80 => "list of scopes".to_owned(),
            item => format!("list of {item}"),
        },
        Some(name) => name.to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every copy that is committed, and what it must be.
    #[test]
    fn the_committed_copies_are_what_the_code_makes() {
        let pretty = |schema: Value| serde_json::to_string_pretty(&schema).unwrap() + "\n";
        for (name, copy, made, command) in [
            ("reference.md", include_str!("../../config/reference.md"), reference(), "reference"),
            (
                "portcullis.schema.json",
                include_str!("../../config/portcullis.schema.json"),
                pretty(schema::config()),
                "schema",
            ),
            (
                "rules.schema.json",
                include_str!("../../config/rules.schema.json"),
                pretty(schema::rules()),
                "schema --rules",
            ),
        ] {
            assert!(copy == made, "`portcullis generate {command} > config/{name}`");
        }
    }

    #[test]
    fn every_key_is_described() {
        let reference = reference();
        for line in reference.lines().filter(|line| line.starts_with("| `")) {
            let what = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            assert!(what.len() > 5 && !what.contains('|'), "{line}");
        }
        for section in ["[[listen]]", "[upstream.web]", "[[store]]", "[[rule]]", "[[remove]]"] {
            assert!(reference.contains(&format!("### `{section}`\n")), "{section}");
        }
    }
}
