//! Where a PostgreSQL is, as its URL says.

use std::fmt;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

/// What a URL may say besides host, port, user, password and database.
const PARAMETERS: [&str; 7] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "password"];
/// What the URL of a PostgreSQL starts with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// A database of a PostgreSQL and how to get into it, secrets in it. Prints neither.
#[derive(Clone)]
pub struct Address {
    pub(super) options: PgConnectOptions,
    url: Box<str>,
}

/// Whether the URLs are the same. A password that came by itself is not part of that: it changes while
/// a store is open.
impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

/// A URL that is none of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Another scheme.
    #[error("is not a PostgreSQL URL")]
    Scheme,
    /// A parameter that means nothing here, or twice; it could be a secret, misspelt.
    #[error("has a parameter that is none of {known}, or one of them twice", known = PARAMETERS.join(", "))]
    Parameter,
    /// A certificate that nothing would be checked against.
    #[error("has `sslrootcert` without `sslmode=verify-full`, so that it checks nothing")]
    Unchecked,
    /// Any certificate of any authority that the machine trusts would do.
    #[error(
        "has `sslmode=verify-ca`, which takes the certificate of any other host; write `verify-full`"
    )]
    AnyHost,
    /// A way to connect that is none.
    #[error("has a `sslmode` that is none of disable, allow, prefer, require, verify-full")]
    Mode,
    /// A path that depends on where the gateway was started.
    #[error("has a relative path to a certificate or key")]
    Relative,
    /// Not readable. The reason could repeat the password.
    #[error("can't be read as a PostgreSQL URL")]
    Unreadable,
}

impl Address {
    /// Whether a URL has the scheme of one.
    pub fn is_one(url: &str) -> bool {
        SCHEMES.iter().any(|scheme| url.starts_with(scheme))
    }

    /// Reads `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=…`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(url: &str) -> Result<Self, BadAddress> {
        if !Self::is_one(url) {
            return Err(BadAddress::Scheme);
        }
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let pairs: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if query.split('&').any(|pair| !pair.is_empty() && !pair.contains('='))
            || pairs.iter().any(|(key, _)| !PARAMETERS.contains(key))
        {
            return Err(BadAddress::Parameter);
        }
        let value =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let twice = |key: &str| pairs.iter().filter(|(other, _)| *other == key).count() > 1;
        match value("sslmode") {
            _ if pairs.iter().any(|(key, _)| twice(key)) => return Err(BadAddress::Parameter),
            Some("verify-ca") => return Err(BadAddress::AnyHost),
            Some("verify-full") => {}
            None | Some("disable" | "allow" | "prefer" | "require") => {
                if value("sslrootcert").is_some() {
                    return Err(BadAddress::Unchecked);
                }
            }
            // In another spelling it could be any of these.
            Some(_) => return Err(BadAddress::Mode),
        }
        let files = ["sslrootcert", "sslcert", "sslkey"].into_iter().filter_map(value);
        if files.into_iter().any(|path| !path.starts_with(['/', '%'])) {
            return Err(BadAddress::Relative);
        }
        let options: PgConnectOptions = url.parse().map_err(|_| BadAddress::Unreadable)?;
        let name = format!("portcullis {}", env!("CARGO_PKG_VERSION"));
        // PgBouncer knows no `extra_float_digits`.
        let options = options.application_name(&name).extra_float_digits(None);
        Ok(Self { options: options.disable_statement_logging(), url: url.into() })
    }

    /// With this password in place of the one in the URL.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        Self { options: self.options.password(password), ..self }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Host and port.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.options.get_host(), self.options.get_port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_it_means() {
        for (url, wanted) in [
            ("postgres://u@h/d", None),
            ("postgresql://u:p@h:5433/d?sslmode=verify-full&sslrootcert=/etc/ca.pem", None),
            ("mysql://u@h/d", Some(BadAddress::Scheme)),
            ("postgres://u@h:port/d", Some(BadAddress::Unreadable)),
            ("postgres://u@h/d?pasword=x", Some(BadAddress::Parameter)),
            ("postgres://u@h/d?passw%6frd=x", Some(BadAddress::Parameter)),
            ("postgres://u@h/d?sslmod=require", Some(BadAddress::Parameter)),
            ("postgres://u@h/d?sslmode", Some(BadAddress::Parameter)),
            ("postgres://u@h/d?sslrootcert=/ca.pem", Some(BadAddress::Unchecked)),
            ("postgres://u@h/d?sslmode=require&sslrootcert=/ca.pem", Some(BadAddress::Unchecked)),
            ("postgres://u@h/d?sslmode=verify-ca&sslrootcert=/ca.pem", Some(BadAddress::AnyHost)),
            ("postgres://u@h/d?sslmode=verify-full&sslrootcert=c.pem", Some(BadAddress::Relative)),
            ("postgres://u@h/d?sslmode=VERIFY-CA", Some(BadAddress::Mode)),
            ("postgres://u@h/d?sslmode=verify%2dca", Some(BadAddress::Mode)),
            ("postgres://u@h/d?sslmode=verify-full&sslmode=require", Some(BadAddress::Parameter)),
        ] {
            assert_eq!(Address::parse(url).err(), wanted, "{url}");
        }
        let address = Address::parse("postgres://u:secret@h:5433/d").unwrap();
        assert_eq!(format!("{address:?}"), "Address(h:5433)");
    }
}
