//! Path templates with Sentry's own parameter names, and which of two is more specific.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// One position of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, after decoding. Empty only at the end: the trailing slash.
    Literal(Box<str>),
    /// `{name:digits}`: one segment of ASCII digits.
    Digits(Box<str>),
    /// `{name:id}`: one segment of ASCII digits that starts with none but 1 to 9.
    Id(Box<str>),
    /// `{name}`: one segment that is not empty.
    Param(Box<str>),
    /// `{name:path}`: everything that is left, at least one character. Only at the end.
    Rest(Box<str>),
}

impl Segment {
    /// The rank of a position: the greater, the more specific.
    const fn rank(&self) -> u8 {
        match self {
            Segment::Rest(_) => 0,
            Segment::Param(_) => 1,
            Segment::Digits(_) => 2,
            Segment::Id(_) => 3,
            Segment::Literal(_) => 4,
        }
    }

    /// The name of the parameter at this position.
    pub fn name(&self) -> Option<&str> {
        match self {
            Segment::Literal(_) => None,
            Segment::Digits(name)
            | Segment::Id(name)
            | Segment::Param(name)
            | Segment::Rest(name) => Some(name),
        }
    }

    /// Whether a segment of a path satisfies this position; `Rest` takes any that is not empty.
    pub fn admits(&self, segment: &str) -> bool {
        match self {
            Segment::Literal(text) => **text == *segment,
            Segment::Digits(_) => is_digits(segment),
            Segment::Id(_) => is_id(segment),
            Segment::Param(_) | Segment::Rest(_) => !segment.is_empty(),
        }
    }

    /// Whether some segment satisfies both.
    fn overlaps(&self, other: &Segment) -> bool {
        match (self, other) {
            (Segment::Literal(text), position) | (position, Segment::Literal(text)) => {
                position.admits(text)
            }
            (
                Segment::Digits(_) | Segment::Id(_) | Segment::Param(_) | Segment::Rest(_),
                Segment::Digits(_) | Segment::Id(_) | Segment::Param(_) | Segment::Rest(_),
            ) => true,
        }
    }
}

/// Whether `text` is one or more ASCII digits.
pub fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `text` is made of what Sentry's slugs and ids are (`SLUG_REGEX` in `slug/patterns.py`).
pub fn is_slug_or_id(text: &str) -> bool {
    let known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

/// Whether `text` is the number of a row: digits that don't start with 0.
pub fn is_id(text: &str) -> bool {
    is_digits(text) && !text.starts_with('0')
}

/// Why a template can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// No leading slash.
    #[error("a path template starts with `/`; write `/{0}`")]
    NoSlash(String),
    /// An empty position that is not the trailing slash.
    #[error("the path template has an empty segment (`//`); write one slash")]
    EmptySegment,
    /// Braces that are not a whole segment, or characters that a decoded path never matches.
    #[error(
        "`{0}` is neither text nor `{{name}}`, `{{name:digits}}`, `{{name:id}}` or `{{name:path}}`; a parameter is a whole segment"
    )]
    BadSegment(String),
    /// `{name:path}` before the end.
    #[error("`{0}` takes all that is left and can only be the last segment; move it to the end")]
    RestNotLast(String),
    /// A parameter name that occurs twice.
    #[error("the parameter `{0}` occurs twice; give each its own name")]
    DuplicateName(String),
    /// Deeper than a path can be.
    #[error("the path template has more than {max} segments; shorten it", max = super::path::MAX_SEGMENTS)]
    TooLong,
}

/// A path template: `/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: Box<str>,
    segments: Box<[Segment]>,
}

impl PathTemplate {
    /// As it was written; the name of the route in logs, metrics and answers.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its positions.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What stands in a path that matches, as it came, for the first parameter whose name starts with
    /// `name`. A parameter that takes the rest stands for its first segment.
    pub fn value<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let mut pairs = self.segments.iter().zip(path.split('/').skip(1));
        let is_named = |own: &Segment| own.name().is_some_and(|own| own.starts_with(name));
        pairs.find(|(own, _)| is_named(own)).map(|(_, segment)| segment)
    }

    /// Whether some path matches both.
    pub fn overlaps(&self, other: &PathTemplate) -> bool {
        let mut pairs = self.segments.iter().zip(&other.segments);
        let both_rest = |a: &Segment, b: &Segment| {
            matches!(a, Segment::Rest(_)) || matches!(b, Segment::Rest(_))
        };
        for (a, b) in &mut pairs {
            if !a.overlaps(b) {
                return false;
            }
            if both_rest(a, b) {
                return true;
            }
        }
        self.segments.len() == other.segments.len()
    }

    /// Whether both match exactly the same paths, whatever their parameters are called.
    pub fn same_shape(&self, other: &PathTemplate) -> bool {
        let same = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (a, b) => a.rank() == b.rank(),
        };
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }

    /// How this template ranks against one that it overlaps: the more specific one is greater,
    /// and `None` means that neither wins at every position.
    pub fn compare(&self, other: &PathTemplate) -> Option<Ordering> {
        let mut order = Ordering::Equal;
        for (a, b) in self.segments.iter().zip(&other.segments) {
            match (order, a.rank().cmp(&b.rank())) {
                (_, Ordering::Equal) => {}
                (Ordering::Equal, step) => order = step,
                (Ordering::Less, Ordering::Less) | (Ordering::Greater, Ordering::Greater) => {}
                (Ordering::Less, Ordering::Greater) | (Ordering::Greater, Ordering::Less) => {
                    return None;
                }
            }
        }
        Some(order)
    }
}

impl FromStr for PathTemplate {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(BadTemplate::NoSlash(text.to_owned()));
        };
        let parts: Vec<&str> = rest.split('/').collect();
        if parts.len() > super::path::MAX_SEGMENTS {
            return Err(BadTemplate::TooLong);
        }
        let mut segments: Vec<Segment> = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            if part.is_empty() && !last {
                return Err(BadTemplate::EmptySegment);
            }
            let segment = parse_segment(part)?;
            if matches!(segment, Segment::Rest(_)) && !last {
                return Err(BadTemplate::RestNotLast((*part).to_owned()));
            }
            let name = segment.name();
            if name.is_some() && segments.iter().any(|other| other.name() == name) {
                return Err(BadTemplate::DuplicateName(name.unwrap_or_default().to_owned()));
            }
            segments.push(segment);
        }
        Ok(Self { text: text.into(), segments: segments.into() })
    }
}

fn parse_segment(part: &str) -> Result<Segment, BadTemplate> {
    let bad = || BadTemplate::BadSegment(part.to_owned());
    let Some(inner) = part.strip_prefix('{') else {
        let text = !part.contains(['{', '}', '%', '?', '#', '\\', '*', ' '])
            && !part.contains(char::is_control)
            && part != "."
            && part != "..";
        return if text { Ok(Segment::Literal(part.into())) } else { Err(bad()) };
    };
    let inner = inner.strip_suffix('}').ok_or_else(bad)?;
    let (name, kind) = inner.split_once(':').unwrap_or((inner, ""));
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(word) {
        return Err(bad());
    }
    match kind {
        "" if !inner.contains(':') => Ok(Segment::Param(name.into())),
        "digits" => Ok(Segment::Digits(name.into())),
        "id" => Ok(Segment::Id(name.into())),
        "path" => Ok(Segment::Rest(name.into())),
        _ => Err(bad()),
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PathTemplate {
        text.parse().unwrap()
    }

    #[test]
    fn reads_or_says_why_not() {
        for text in ["/", "/api/0/", "/a/{b}/{c:digits}/{d:id}", "/a/{b:path}", "/a.b-c_d~e:f@g/"] {
            assert_eq!(template(text).to_string(), text);
        }
        let rows: &[(&str, BadTemplate)] = &[
            ("", BadTemplate::NoSlash(String::new())),
            ("api/", BadTemplate::NoSlash("api/".into())),
            ("/a//b", BadTemplate::EmptySegment),
            ("/a{b}/", BadTemplate::BadSegment("a{b}".into())),
            ("/{b}a/", BadTemplate::BadSegment("{b}a".into())),
            ("/{}/", BadTemplate::BadSegment("{}".into())),
            ("/{b:}/", BadTemplate::BadSegment("{b:}".into())),
            ("/{b:int}/", BadTemplate::BadSegment("{b:int}".into())),
            ("/{B}/", BadTemplate::BadSegment("{B}".into())),
            ("/a%20b/", BadTemplate::BadSegment("a%20b".into())),
            ("/../", BadTemplate::BadSegment("..".into())),
            ("/{a:path}/b", BadTemplate::RestNotLast("{a:path}".into())),
            ("/{a}/{a:digits}/", BadTemplate::DuplicateName("a".into())),
        ];
        for (text, wanted) in rows {
            assert_eq!(text.parse::<PathTemplate>().as_ref(), Err(wanted), "{text}");
        }
    }

    #[test]
    fn overlap_and_order() {
        use Ordering::*;
        // The order of the first against the second; `None` where no path matches both.
        let rows: &[(&str, &str, Option<Option<Ordering>>)] = &[
            ("/a/{x}/", "/a/b/", Some(Some(Less))),
            ("/a/b/", "/a/{x}/", Some(Some(Greater))),
            ("/a/{x}/", "/a/{y}/", Some(Some(Equal))),
            ("/a/{x:digits}/", "/a/{y}/", Some(Some(Greater))),
            ("/a/{x:digits}/", "/a/b/", None),
            ("/a/{x:id}/", "/a/{y:digits}/", Some(Some(Greater))),
            ("/a/{x:id}/", "/a/7/", Some(Some(Less))),
            ("/a/{x:id}/", "/a/0/", None),
            ("/a/{x:digits}/", "/a/7/", Some(Some(Less))),
            ("/a/{x}/c/", "/a/b/{y}/", Some(None)),
            ("/a/{x:digits}/c/", "/a/b/{y}/", None),
            ("/a/{x}/", "/a/{x}", None),
            ("/a/{x}/", "/b/{x}/", None),
            ("/a/{x:path}", "/a/b/c/", Some(Some(Less))),
            ("/a/{x:path}", "/a/{y}/", Some(Some(Less))),
            ("/a/{x:path}", "/a/", None),
            ("/{x}/{y:path}", "/{z:path}", Some(Some(Greater))),
            ("/{x}/b/{y:path}", "/a/{z:path}", Some(None)),
        ];
        for (first, second, wanted) in rows {
            let (a, b) = (template(first), template(second));
            let seen = a.overlaps(&b).then(|| a.compare(&b));
            assert_eq!(seen, *wanted, "{first} against {second}");
            assert_eq!(b.overlaps(&a), wanted.is_some(), "{second} against {first}");
        }
    }
}
