//! The cases, as they are written in `cases.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fill::Words;
use super::send::Version;

const CASES: &str = include_str!("cases.toml");

/// Every case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corpus {
    /// What to do, by class.
    fix: BTreeMap<String, String>,
    /// What can be sent from outside.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
    /// What can't, and why.
    pub elsewhere: Vec<Elsewhere>,
}

/// A case that one request from outside does not show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elsewhere {
    /// The number that it is known by.
    pub id: String,
    /// What it is.
    pub name: String,
    /// Why it is not sent.
    pub why: String,
}

/// What a successful answer means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Success {
    /// That the case got through.
    #[default]
    Through,
    /// That something took what the gateway refuses.
    Noted,
    /// Nothing.
    Expected,
}

/// Which second answer on a connection got through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Second {
    /// Any: there was one request.
    Any,
    /// One of a request that must be refused.
    Success,
}

/// One case; what its keys mean stands at the top of `cases.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The number that it is known by.
    pub id: String,
    /// What it is.
    pub name: String,
    /// What kind of attack it is.
    pub class: String,
    /// Where it is from.
    #[serde(default)]
    pub source: String,
    pub(super) method: Option<String>,
    pub(super) target: Option<String>,
    #[serde(default)]
    pub(super) headers: Vec<String>,
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) anonymous: bool,
    #[serde(default)]
    pub(super) http1: bool,
    pub(super) bytes: Option<String>,
    pub(super) fields: Option<Vec<String>>,
    #[serde(default)]
    pub(super) without: Vec<String>,
    /// Targets that are asked for first.
    #[serde(default)]
    pub before: Vec<String>,
    /// What a success of it means.
    #[serde(default)]
    pub success: Success,
    /// Which second answer got through, if one is waited for.
    pub second: Option<Second>,
    /// What no answer may say.
    pub words: Option<String>,
    /// Whether it would change something if it got through.
    #[serde(default)]
    pub changes: bool,
    /// Why it can't be judged from outside.
    pub unseen: Option<String>,
    /// The statuses that the gateway answers it with.
    pub answers: Vec<u16>,
    /// The target that the gateway forwards, if it does.
    pub forwarded: Option<String>,
    pub(super) fix: Option<String>,
}

impl Corpus {
    /// Reads the corpus that is embedded.
    ///
    /// # Errors
    /// None that anything at run time could cause.
    pub fn read() -> Result<Self, toml::de::Error> {
        toml::from_str(CASES)
    }

    /// What to do where a case got through.
    pub fn fix<'a>(&'a self, case: &'a Case) -> &'a str {
        let own = case.fix.as_ref().or_else(|| self.fix.get(&case.class));
        own.map_or("", String::as_str)
    }
}

impl Case {
    /// A plain request for a target, with the credential.
    pub fn plainly(target: &str) -> Self {
        Self { target: Some(target.to_owned()), ..Self::default() }
    }

    /// Whether it can be sent over a version.
    pub(super) fn speaks(&self, version: Version) -> bool {
        match version {
            Version::Http1 => self.fields.is_none(),
            Version::Http2 => self.bytes.is_none() && !self.http1,
        }
    }

    pub(super) fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("GET")
    }

    pub(super) fn body(&self) -> &str {
        self.body.as_deref().unwrap_or_default()
    }

    /// Whether it is bytes that begin like this.
    pub(super) fn starts_with(&self, text: &str) -> bool {
        self.bytes.as_ref().is_some_and(|bytes| bytes.starts_with(text))
    }

    fn target(&self) -> &str {
        self.target.as_deref().unwrap_or("{allowed}")
    }

    /// The bytes of HTTP/1.1, to be filled in.
    pub(super) fn http1(&self) -> String {
        if let Some(bytes) = &self.bytes {
            return bytes.clone();
        }
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: {{host}}\r\n", self.method(), self.target());
        if !self.anonymous {
            text.push_str("Authorization: {credential}\r\n");
        }
        for header in &self.headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text + "\r\n" + self.body()
    }

    /// The fields of HTTP/2, filled in.
    pub(super) fn http2(&self, words: &Words<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut fields = vec![
            (":method", self.method()),
            (":scheme", "https"),
            (":authority", "{host}"),
            (":path", self.target()),
        ];
        fields.retain(|(name, _)| !self.without.iter().any(|own| own == name));
        let own = self.fields.iter().flatten().filter_map(|field| field.split_once(": "));
        let (pseudo, more): (Vec<_>, Vec<_>) = own.partition(|(name, _)| name.starts_with(':'));
        // One that is meant to come late is written behind another field.
        let late = self.fields.iter().flatten().next().is_some_and(|field| !field.starts_with(':'));
        if !late {
            fields.extend(pseudo.iter().copied());
        }
        if !self.anonymous {
            fields.push(("authorization", "{credential}"));
        }
        fields.extend(more);
        if late {
            fields.extend(pseudo);
        }
        let filled = |name: &str, value: &str| (words.fill(name), words.fill(value));
        let mut fields: Vec<_> =
            fields.into_iter().map(|(name, value)| filled(name, value)).collect();
        for (name, value) in self.headers.iter().filter_map(|header| header.split_once(": ")) {
            fields.push(filled(&name.to_ascii_lowercase(), value));
        }
        if let Some(body) = &self.body {
            fields.push(filled("content-length", &body.len().to_string()));
        }
        fields
    }
}

#[cfg(test)]
mod tests;
