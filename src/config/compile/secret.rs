//! Secrets: read from where the config says, and never part of a problem.

use std::path::Path;

use http::HeaderValue;

use super::super::Source;
use super::super::value::SecretRef;
use super::Compiler;

/// What is wrong, and what to do.
type Wrong = (String, &'static str);

impl SecretRef {
    /// The text of the secret, in visible ASCII.
    pub(in super::super) fn read(
        &self,
        folder: &Path,
        source: &dyn Source,
    ) -> Result<String, Wrong> {
        let is_token = |name: &String| name.starts_with("sntry") || name.starts_with("portcullis_");
        if [&self.env, &self.file].into_iter().flatten().any(is_token) {
            let help = "write the token into a file and its path here";
            return Err(("holds what looks like the token itself".to_owned(), help));
        }
        let text = match (&self.env, &self.file) {
            (Some(name), None) => source.env(name).ok_or_else(|| {
                (format!("the environment has no `{name}`"), "set it, or name another")
            }),
            (None, Some(path)) => source.read(&folder.join(path)).map_err(|error| {
                (format!("`{path}` can't be read: {error}"), "mount the file, or name another")
            }),
            (Some(_), Some(_)) | (None, None) => Err((
                "must be either a file or a variable".to_owned(),
                "write `{ file = \"path\" }` or `{ env = \"NAME\" }`",
            )),
        };
        let text = text?.trim().to_owned();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let help = "it must hold the secret alone, in visible ASCII";
            return Err(("what it names is empty or not a token".to_owned(), help));
        }
        Ok(text)
    }
}

impl Compiler<'_> {
    /// A token as `Authorization` has it, or a problem at `at`.
    pub(super) fn bearer(&mut self, at: &str, secret: &SecretRef) -> Option<HeaderValue> {
        let token = self.secret(at, secret)?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The text of a secret, or a problem at `at`.
    pub(super) fn secret(&mut self, at: &str, secret: &SecretRef) -> Option<String> {
        let read = secret.read(self.folder, self.source);
        read.map_err(|(what, help)| self.problem(at, what, help)).ok()
    }
}
