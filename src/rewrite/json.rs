//! Rewriting the URLs in named fields of a JSON body.
//!
//! The body is read as spans of its own text, so whatever is not rewritten stays byte for byte:
//! numbers, blanks, the order of members, members that come twice.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::UrlRewriter;
use crate::policy::pointer::{JsonPointer, Step};
use crate::policy::site::BaseUrl;

/// A body that is not JSON, so that it can't be told what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not the JSON that its `Content-Type` promises")]
pub struct BadJson;

/// The body with the upstream's URLs in `fields` under `public`; borrowed when there is none.
///
/// A field that is missing or no text is passed over, and so is a URL of another host.
///
/// # Errors
/// [`BadJson`] when the body, all of it, is not one JSON value in UTF-8.
pub fn rewrite<'a>(
    body: &'a [u8],
    fields: &[JsonPointer],
    rewriter: &'a UrlRewriter,
    public: &'a BaseUrl,
) -> Result<Cow<'a, [u8]>, BadJson> {
    let value: &RawValue = serde_json::from_slice(body).map_err(|_| BadJson)?;
    let mut edits = Edits { body, rewriter, public, made: Vec::new() };
    for field in fields {
        edits.follow(value, field.steps())?;
    }
    Ok(edits.applied())
}

/// What to put in place of which part of a body.
struct Edits<'a> {
    body: &'a [u8],
    rewriter: &'a UrlRewriter,
    public: &'a BaseUrl,
    made: Vec<(std::ops::Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    fn follow(&mut self, value: &'a RawValue, steps: &[Step]) -> Result<(), BadJson> {
        let Some((step, rest)) = steps.split_first() else { return self.text(value) };
        for child in children(value, step)? {
            self.follow(child, rest)?;
        }
        Ok(())
    }

    fn text(&mut self, value: &'a RawValue) -> Result<(), BadJson> {
        let raw = value.get();
        if !raw.starts_with('"') {
            return Ok(());
        }
        let text: Cow<'_, str> = serde_json::from_str::<Text<'_>>(raw).map_err(|_| BadJson)?.0;
        let Cow::Owned(url) = self.rewriter.rewrite_absolute(text.as_bytes(), self.public) else {
            return Ok(());
        };
        // What was UTF-8 with an ASCII start replaced still is.
        let url = String::from_utf8(url).map_err(|_| BadJson)?;
        let url = serde_json::to_string(&url).map_err(|_| BadJson)?;
        // A value that was read of the body lies in it.
        let start = raw.as_ptr().addr().wrapping_sub(self.body.as_ptr().addr());
        self.made.push((start..start + raw.len(), url));
        Ok(())
    }

    fn applied(mut self) -> Cow<'a, [u8]> {
        if self.made.is_empty() {
            return Cow::Borrowed(self.body);
        }
        self.made.sort_unstable_by_key(|(range, _)| range.start);
        // Two fields may name the same place.
        self.made.dedup_by_key(|(range, _)| range.start);
        let longer: usize = self.made.iter().map(|(_, url)| url.len()).sum();
        let mut body = Vec::with_capacity(self.body.len() + longer);
        let mut at = 0;
        for (range, url) in &self.made {
            body.extend_from_slice(self.body.get(at..range.start).unwrap_or_default());
            body.extend_from_slice(url.as_bytes());
            at = range.end;
        }
        body.extend_from_slice(self.body.get(at..).unwrap_or_default());
        Cow::Owned(body)
    }
}

/// What a step leads to; nothing where there is no such thing.
fn children<'a>(value: &'a RawValue, step: &Step) -> Result<Vec<&'a RawValue>, BadJson> {
    let raw = value.get();
    if !raw.starts_with(['{', '[']) {
        return Ok(Vec::new());
    }
    serde_json::Deserializer::from_str(raw).deserialize_any(Children(step)).map_err(|_| BadJson)
}

struct Children<'s>(&'s Step);

impl<'a> Visitor<'a> for Children<'_> {
    type Value = Vec<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        // Of a name that comes twice, readers take the first or the last: so both.
        while let Some(Text(name)) = map.next_key::<Text<'a>>()? {
            match self.0 {
                Step::Name(wanted) if **wanted != *name => {
                    map.next_value::<IgnoredAny>()?;
                }
                Step::Name(_) | Step::Each => found.push(map.next_value()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        let mut index = 0_usize;
        while let Some(value) = list.next_element::<&RawValue>()? {
            match self.0 {
                Step::Name(wanted) if **wanted != *index.to_string() => {}
                Step::Name(_) | Step::Each => found.push(value),
            }
            index += 1;
        }
        Ok(found)
    }
}

/// A JSON text, copied only where it has escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn rewriter() -> (UrlRewriter, BaseUrl) {
        let base = |url| BaseUrl::parse(url).unwrap();
        let rewriter = UrlRewriter::new([base("https://sentry.internal"), base("http://web:9000")]);
        (rewriter, base("https://gw.example.com"))
    }

    fn rewritten(body: &[u8], fields: &[&str]) -> Result<String, BadJson> {
        under(&rewriter(), body, fields)
    }

    fn under(
        (rewriter, public): &(UrlRewriter, BaseUrl),
        body: &[u8],
        fields: &[&str],
    ) -> Result<String, BadJson> {
        let fields: Vec<JsonPointer> = fields.iter().map(|field| field.parse().unwrap()).collect();
        let body = rewrite(body, &fields, rewriter, public)?;
        Ok(String::from_utf8(body.into_owned()).unwrap())
    }

    /// The gateway and Sentry, each under a path.
    fn prefixed() -> (UrlRewriter, BaseUrl) {
        let base = |url| BaseUrl::parse(url).unwrap();
        let own = [base("https://sentry.internal/sentry"), base("http://web:9000")];
        (UrlRewriter::new(own), base("https://gw.example.com/gate"))
    }

    #[test]
    fn under_a_path_relative_urls_stay_too() {
        for (url, wanted) in [
            ("https://sentry.internal/sentry/x/", "https://gw.example.com/gate/x/"),
            ("//sentry.internal/sentry/x/", "https://gw.example.com/gate/x/"),
            ("http://web:9000/x/", "https://gw.example.com/gate/x/"),
            ("https://sentry.internal/x/", "="),
            ("/api/0/x/", "="),
            ("/sentry/api/0/x/", "="),
            ("/gate/api/0/x/", "="),
            ("x/", "="),
            ("?a=b", "="),
            ("", "="),
        ] {
            let wanted = json!({ "url": if wanted == "=" { url } else { wanted } }).to_string();
            let body = json!({ "url": url }).to_string();
            assert_eq!(under(&prefixed(), body.as_bytes(), &["/url"]), Ok(wanted), "{url}");
        }
    }

    #[test]
    fn only_what_is_named_and_the_upstreams() {
        for (body, fields, wanted) in [
            (
                r#"{"url":"https://sentry.internal/x/","n":1.50}"#,
                &["/url"][..],
                r#"{"url":"https://gw.example.com/x/","n":1.50}"#,
            ),
            // Every byte beside stays, and so does a member of that name elsewhere.
            (
                " {\"a\" : 1e400, \"url\" :\t\"http://web:9000\" , \"b\":{\"url\":\"http://web:9000\"}}\n",
                &["/url"],
                " {\"a\" : 1e400, \"url\" :\t\"https://gw.example.com\" , \"b\":{\"url\":\"http://web:9000\"}}\n",
            ),
            (
                r#"[{"l":{"r":"https://sentry.internal"}},{"l":{"r":null}},{},7,{"l":{"r":"https://sentry.internal/2"}}]"#,
                &["/*/l/r"],
                r#"[{"l":{"r":"https://gw.example.com"}},{"l":{"r":null}},{},7,{"l":{"r":"https://gw.example.com/2"}}]"#,
            ),
            // A name that comes twice; an index; every member; the same place twice.
            (
                r#"{"url":"http://web:9000/1","url":"http://web:9000/2"}"#,
                &["/url"],
                r#"{"url":"https://gw.example.com/1","url":"https://gw.example.com/2"}"#,
            ),
            (
                r#"["http://web:9000/0","http://web:9000/1"]"#,
                &["/1", "/*"],
                r#"["https://gw.example.com/0","https://gw.example.com/1"]"#,
            ),
            (
                r#"{"links":{"a":"http://web:9000/a","b":"http://elsewhere/b"}}"#,
                &["/links/*", "/links/a"],
                r#"{"links":{"a":"https://gw.example.com/a","b":"http://elsewhere/b"}}"#,
            ),
            // Escapes in the name and in the text.
            (
                r#"{"u\u0072l":"https:\/\/sentry.internal\/\u00e9\"?a=b"}"#,
                &["/url"],
                r#"{"url":"https://gw.example.com/é\"?a=b"}"#,
            ),
            (r#"{"url":"/relative/"}"#, &["/url"], r#"{"url":"/relative/"}"#),
            (
                r#"{"url":"https://bucket.example.com/k?X-Amz-Signature=00"}"#,
                &["/url"],
                r#"{"url":"https://bucket.example.com/k?X-Amz-Signature=00"}"#,
            ),
            (r#""http://web:9000""#, &["/url"], r#""http://web:9000""#),
        ] {
            // The name's own escapes stay.
            let wanted = wanted.replace(
                r#"{"url":"https://gw.example.com/é"#,
                r#"{"u\u0072l":"https://gw.example.com/é"#,
            );
            assert_eq!(rewritten(body.as_bytes(), fields).as_deref(), Ok(&*wanted), "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_said() {
        let deep = "[".repeat(100_000);
        for body in [
            &b""[..],
            b"{",
            b"{}x",
            b"{\"url\":\"http://web:9000\"",
            b"<html>",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            b"{\"url\":\"\\ud800\"}",
            b"{'url':1}",
            b"{\"url\":01}",
            deep.as_bytes(),
        ] {
            assert_eq!(
                rewritten(body, &["/url"]),
                Err(BadJson),
                "{:?}",
                body.escape_ascii().to_string()
            );
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!("http://web:9000/p")),
            Just(json!("https://sentry.internal/sentry/")),
            Just(json!("/sentry/p")),
            Just(json!("/p")),
            "[a-z\"\\\\é]{0,6}".prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abu]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn plainly(value: &mut Value, steps: &[Step], of: &(UrlRewriter, BaseUrl)) {
        match (steps.split_first(), value) {
            (None, Value::String(text)) => {
                *text = String::from_utf8(of.0.rewrite_absolute(text.as_bytes(), &of.1).to_vec())
                    .unwrap();
            }
            (Some((Step::Each, rest)), Value::Array(list)) => {
                list.iter_mut().for_each(|value| plainly(value, rest, of));
            }
            (Some((Step::Each, rest)), Value::Object(map)) => {
                map.values_mut().for_each(|value| plainly(value, rest, of));
            }
            (Some((Step::Name(name), rest)), Value::Object(map)) => {
                if let Some(value) = map.get_mut(&**name) {
                    plainly(value, rest, of);
                }
            }
            _ => {}
        }
    }

    proptest! {
        /// The same as walking a parsed value.
        #[test]
        fn as_a_walk_over_values(
            mut value in values(),
            field in "(/[abu*]){1,4}",
            pretty: bool,
        ) {
            let print = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let field: JsonPointer = field.parse().unwrap();
            let of = prefixed();
            let seen = under(&of, print(&value).unwrap().as_bytes(), &[&field.to_string()]).unwrap();
            plainly(&mut value, field.steps(), &of);
            prop_assert_eq!(seen, print(&value).unwrap());
        }
    }
}
