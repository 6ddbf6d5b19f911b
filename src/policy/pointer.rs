//! JSON Pointers (RFC 6901) that may name several values at once.

use std::fmt;
use std::str::FromStr;

/// One step into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The member of this name, or the element of this index.
    Name(Box<str>),
    /// `*`: every element of an array, every member of an object.
    Each,
}

/// A JSON Pointer in which `*` stands for each element or member: `/regions/*/url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPointer {
    text: Box<str>,
    steps: Box<[Step]>,
}

impl JsonPointer {
    /// The way from the outermost value to what is named.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// Why a pointer can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPointer {
    /// No leading slash, or nothing behind it.
    #[error("a JSON Pointer starts with `/` and names a member; write it as in `/links/regionUrl`")]
    NoSlash,
    /// `~` that escapes nothing.
    #[error("`~` is written `~0` in a JSON Pointer, and `/` in a name `~1`")]
    BadEscape,
}

impl FromStr for JsonPointer {
    type Err = BadPointer;

    fn from_str(text: &str) -> Result<Self, BadPointer> {
        let names = text.strip_prefix('/').filter(|names| !names.is_empty());
        let names = names.ok_or(BadPointer::NoSlash)?;
        let steps = names.split('/').map(|name| match name {
            "*" => Ok(Step::Each),
            name => unescape(name).map(|name| Step::Name(name.into())),
        });
        Ok(Self { text: text.into(), steps: steps.collect::<Result<_, _>>()? })
    }
}

fn unescape(name: &str) -> Result<String, BadPointer> {
    let mut parts = name.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_at_checked(1) {
            Some(("0", rest)) => text.extend(["~", rest]),
            Some(("1", rest)) => text.extend(["/", rest]),
            Some(_) | None => return Err(BadPointer::BadEscape),
        }
    }
    Ok(text)
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers() {
        let name = |text: &str| Step::Name(text.into());
        for (text, steps) in [
            ("/url", vec![name("url")]),
            ("/*/links/regionUrl", vec![Step::Each, name("links"), name("regionUrl")]),
            ("/a~1b/~0*", vec![name("a/b"), name("~*")]),
            ("/a/", vec![name("a"), name("")]),
        ] {
            let pointer: JsonPointer = text.parse().unwrap();
            assert_eq!((pointer.steps(), pointer.to_string()), (&*steps, text.to_owned()));
        }
        for (text, error) in [
            ("", BadPointer::NoSlash),
            ("/", BadPointer::NoSlash),
            ("url", BadPointer::NoSlash),
            ("/a~", BadPointer::BadEscape),
            ("/a~2", BadPointer::BadEscape),
            ("/a~é", BadPointer::BadEscape),
        ] {
            assert_eq!(text.parse::<JsonPointer>(), Err(error), "{text}");
        }
    }
}
