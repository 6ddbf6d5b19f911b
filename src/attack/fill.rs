//! What stands in the places of a case.

use super::corpus::Case;
use super::send::Version;
use crate::policy::site::BaseUrl;

/// The most of a request that is shown, in characters.
const MAX_SHOWN: usize = 240;

/// What is filled in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    pub(super) target: &'a BaseUrl,
    /// `None` where it is only shown.
    pub(super) credential: Option<&'a str>,
    pub(super) allowed: &'a str,
    pub(super) refused: &'a str,
    pub(super) public: &'a str,
}

impl Words<'_> {
    /// The same, to be shown.
    pub(super) const fn without_credential(self) -> Self {
        Self { credential: None, ..self }
    }

    /// Fills in a text. What is in braces and is no word stays as it is.
    pub(super) fn fill(&self, text: &str) -> Vec<u8> {
        let mut filled = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            filled.extend_from_slice(before.as_bytes());
            rest = behind;
            let word = behind.split_once('}').and_then(|(word, after)| {
                let (name, how) = word.split_once(':').unwrap_or((word, ""));
                Some((self.word(name, how)?, after))
            });
            match word {
                Some((word, after)) => {
                    filled.extend(word);
                    rest = after;
                }
                None => filled.push(b'{'),
            }
        }
        filled.extend_from_slice(rest.as_bytes());
        filled
    }

    fn word(&self, name: &str, how: &str) -> Option<Vec<u8>> {
        let prefix = self.target.prefix();
        let text = match (name, how) {
            ("host", "") => self.target.authority().to_owned(),
            ("host", "spelt") => {
                let host = self.target.authority().to_ascii_uppercase();
                // An address has no capitals, and no dot behind it.
                if self.target.host().ends_with(|last: char| last.is_ascii_digit() || last == ']') {
                    host
                } else {
                    match host.split_once(':') {
                        Some((host, port)) => format!("{host}.:{port}"),
                        None => host + ".",
                    }
                }
            }
            // Some port that is not the target's.
            ("host", "port") => format!("{}:{}", self.target.host(), self.target.port() ^ 1),
            ("credential", "") => self.credential.unwrap_or("***").to_owned(),
            ("prefix", "") => prefix.to_owned(),
            ("public", how) => format!("{prefix}{}", otherwise(self.public, how)?),
            // It stands behind what has the prefix in it already.
            ("allowed", "tail") => otherwise(self.allowed, "tail")?,
            ("refused", "tail") => otherwise(self.refused, "tail")?,
            ("allowed", how) => otherwise(&format!("{prefix}{}", self.allowed), how)?,
            ("refused", how) => otherwise(&format!("{prefix}{}", self.refused), how)?,
            ("byte", how) => return u8::from_str_radix(how, 16).ok().map(|byte| vec![byte]),
            ("fill", how) => self.many("a", how)?,
            ("lines", how) => self.many("X-A: b\r\n", how)?,
            _ => return None,
        };
        Some(text.into_bytes())
    }

    fn many(&self, what: &str, how: &str) -> Option<String> {
        let count = how.parse().ok()?;
        Some(match self.credential {
            Some(_) => what.repeat(count),
            None => format!("{} ({count} times)", what.trim_end()),
        })
    }

    /// A case as it can be shown.
    pub(super) fn show(&self, case: &Case, version: Version) -> String {
        let text = match version {
            Version::Http1 => self.fill(&case.http1()),
            Version::Http2 => {
                let fields = case.http2(self).into_iter();
                let fields = fields.map(|(name, value)| [&*name, b": ", &*value].concat());
                fields.collect::<Vec<_>>().join(&b", "[..])
            }
        };
        let shown = text.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'");
        match shown.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}…", &shown[..end]),
            None => shown,
        }
    }
}

/// A path that other readers take for the same one.
fn otherwise(path: &str, how: &str) -> Option<String> {
    let rest = &path[1..];
    let (first, behind) = rest.split_once('/')?;
    let bare = path.strip_suffix('/').unwrap_or(path);
    // Before the last segment.
    let (before, last) = bare.rsplit_once('/')?;
    Some(match how {
        "" => path.to_owned(),
        "tail" => rest.to_owned(),
        "bare" => bare.to_owned(),
        "doubled" => path.replace('/', "//"),
        "dotted" => format!("/{first}/./{behind}"),
        "climbing" => format!("/{first}/x/../{behind}"),
        "encoded" => {
            let (letter, more) = first.split_at_checked(1)?;
            format!("/%{:02x}{more}/{behind}", letter.bytes().next()?)
        }
        "slash" => format!("{before}%2f{last}/"),
        "backslash" => format!("{before}\\{last}/"),
        "params" => format!("/{first};x=y/{behind}"),
        "upper" => path.to_ascii_uppercase(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_otherwise() {
        let rows = [
            ("tail", "api/0/members/"),
            ("bare", "/api/0/members"),
            ("doubled", "//api//0//members//"),
            ("dotted", "/api/./0/members/"),
            ("climbing", "/api/x/../0/members/"),
            ("encoded", "/%61pi/0/members/"),
            ("slash", "/api/0%2fmembers/"),
            ("backslash", "/api/0\\members/"),
            ("params", "/api;x=y/0/members/"),
            ("upper", "/API/0/MEMBERS/"),
        ];
        for (how, wanted) in rows {
            assert_eq!(otherwise("/api/0/members/", how).as_deref(), Some(wanted));
        }
        assert_eq!(otherwise("/api/0/members/", "nonsense"), None);
    }

    #[test]
    fn words_are_filled_in_and_braces_stay() {
        let target = BaseUrl::parse("http://gw.example:81/gw").unwrap();
        let words = Words {
            target: &target,
            credential: Some("Bearer x"),
            allowed: "/a/b/",
            refused: "/c/d/",
            public: "/_health/",
        };
        let rows: &[(&str, &[u8])] = &[
            ("{host} {credential}", b"gw.example:81 Bearer x"),
            ("{host:spelt} {host:port}", b"GW.EXAMPLE.:81 gw.example:80"),
            ("{public} {allowed} {refused:tail}", b"/gw/_health/ /gw/a/b/ c/d/"),
            ("{} {x} {", b"{} {x} {"),
            ("{byte:ff}{fill:3}", b"\xffaaa"),
        ];
        for (text, wanted) in rows {
            assert_eq!(words.fill(text), *wanted, "{text}");
        }
        let shown = words.without_credential().fill("{credential} {fill:70000}");
        assert_eq!(shown, b"*** a (70000 times)");
    }
}
