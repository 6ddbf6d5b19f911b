//! An upstream, and secrets.

use http::HeaderValue;

use super::super::Upstream;
use super::super::raw::RawUpstream;
use super::super::value::SecretRef;
use super::Compiler;

impl Compiler<'_> {
    pub(super) fn upstream(&mut self, at: &str, raw: &RawUpstream) -> Option<Upstream> {
        let address = match raw.urls.as_slice() {
            [url] => self.base_url(&format!("{at}.urls[0]"), url),
            urls => {
                let what = format!("has {} addresses, and this version takes one", urls.len());
                self.problem(format!("{at}.urls"), what, "write exactly one URL");
                None
            }
        };
        if address.as_ref().is_some_and(|address| !address.prefix().is_empty()) {
            let help = "write scheme, host and port alone; `canonical_url` may have a prefix";
            self.problem(format!("{at}.urls[0]"), "has a path, which would be lost", help);
        }
        let canonical = match &raw.canonical_url {
            Some(url) => self.base_url(&format!("{at}.canonical_url"), url),
            None => address.clone(),
        };
        let credential = raw.credential.as_ref().map(|secret| {
            let token = self.secret(&format!("{at}.credential"), secret)?;
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let timeouts = [
            ("connect_timeout", raw.connect_timeout),
            ("timeout", raw.timeout),
            ("idle_timeout", raw.idle_timeout),
        ];
        for (name, timeout) in timeouts {
            if timeout.0.is_zero() {
                self.problem(format!("{at}.{name}"), "is zero", "write a time such as `\"10s\"`");
            }
        }
        Some(Upstream {
            address: address?,
            canonical: canonical?,
            credential: match credential {
                Some(read) => Some(read?),
                None => None,
            },
            connect_timeout: raw.connect_timeout.0,
            timeout: raw.timeout.0,
            idle_timeout: raw.idle_timeout.0,
        })
    }

    /// A secret's text, which is never part of a problem.
    pub(super) fn secret(&mut self, at: &str, secret: &SecretRef) -> Option<String> {
        let is_token = |name: &String| name.starts_with("sntry") || name.starts_with("portcullis_");
        if [&secret.env, &secret.file].into_iter().flatten().any(is_token) {
            let help = "write the token into a file and its path here";
            self.problem(at, "holds what looks like the token itself", help);
            return None;
        }
        let text = match (&secret.env, &secret.file) {
            (Some(name), None) => self.source.env(name).ok_or_else(|| {
                (format!("the environment has no `{name}`"), "set it, or name another")
            }),
            (None, Some(path)) => self.source.read(&self.folder.join(path)).map_err(|error| {
                (format!("`{path}` can't be read: {error}"), "mount the file, or name another")
            }),
            (Some(_), Some(_)) | (None, None) => Err((
                "must be either a file or a variable".to_owned(),
                "write `{ file = \"path\" }` or `{ env = \"NAME\" }`",
            )),
        };
        match text.map(|text| text.trim().to_owned()) {
            Ok(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Some(text)
            }
            Ok(_) => {
                let help = "it must hold the token alone, in visible ASCII";
                self.problem(at, "what it names is empty or not a token", help);
                None
            }
            Err((what, help)) => {
                self.problem(at, what, help);
                None
            }
        }
    }
}
