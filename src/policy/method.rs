//! Request methods that the gateway knows, and sets of them.

use std::fmt;

/// A method of RFC 9110 (or RFC 5789) that Sentry's API uses. Any other is refused: method names
/// are case-sensitive, and Sentry would take `get` for `GET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`, which follows the rule of `GET`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`, which the gateway answers itself
    Options,
}

impl Method {
    /// Every method.
    pub const ALL: &'static [Method] = &[
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Patch,
        Method::Delete,
        Method::Options,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
        }
    }

    /// The method of exactly this name, in exactly this case.
    pub fn from_name(name: &str) -> Option<Self> {
        Method::ALL.iter().copied().find(|method| method.as_str() == name)
    }

    /// Whether it only reads (RFC 9110, 9.2.1).
    pub const fn is_safe(self) -> bool {
        match self {
            Method::Get | Method::Head | Method::Options => true,
            Method::Post | Method::Put | Method::Patch | Method::Delete => false,
        }
    }

    /// The method whose rule decides: `HEAD` follows `GET`.
    pub const fn governed_by(self) -> Self {
        match self {
            Method::Head => Method::Get,
            Method::Get
            | Method::Post
            | Method::Put
            | Method::Patch
            | Method::Delete
            | Method::Options => self,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodSet(u8);

impl MethodSet {
    /// No method.
    pub const EMPTY: MethodSet = MethodSet(0);

    /// This set and `method`.
    #[must_use]
    pub const fn with(self, method: Method) -> Self {
        MethodSet(self.0 | 1 << method as u8)
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: MethodSet) -> Self {
        MethodSet(self.0 | other.0)
    }

    /// Whether `method` is in the set.
    pub const fn contains(self, method: Method) -> bool {
        self.0 & 1 << method as u8 != 0
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The methods in it.
    pub fn iter(self) -> impl Iterator<Item = Method> {
        Method::ALL.iter().copied().filter(move |method| self.contains(*method))
    }
}

impl FromIterator<Method> for MethodSet {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        methods.into_iter().fold(Self::EMPTY, MethodSet::with)
    }
}

impl fmt::Display for MethodSet {
    /// As the `Allow` header has them (RFC 9110, 10.2.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, method) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(method.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.as_str()), Some(*method));
        }
        for name in ["get", "Get", "GET ", "", "TRACE", "CONNECT", "FOO"] {
            assert_eq!(Method::from_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn sets_print_as_allow_does() {
        let set: MethodSet = [Method::Post, Method::Get, Method::Head].into_iter().collect();
        assert_eq!(set.to_string(), "GET, HEAD, POST");
        assert_eq!(MethodSet::EMPTY.to_string(), "");
    }
}
