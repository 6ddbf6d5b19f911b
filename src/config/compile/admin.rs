//! Who operates the gateway, and how its status page is called.

use super::Compiler;
use crate::config::value::SecretRef;
use crate::policy::credential::Digest;

/// A shorter credential could be guessed.
const MIN_ADMIN_CREDENTIAL: usize = 16;

impl Compiler<'_> {
    pub(super) fn admin_credential(&mut self, secret: Option<&SecretRef>) -> Option<Digest> {
        let at = "admin.credential";
        let text = self.secret(at, secret?)?;
        if text.len() < MIN_ADMIN_CREDENTIAL {
            let what = format!("is shorter than {MIN_ADMIN_CREDENTIAL} characters");
            self.problem(at, what, "make one: `openssl rand -hex 32`");
        }
        Some(Digest::of(&text))
    }

    pub(super) fn admin_names(&mut self, names: &[String]) -> Vec<String> {
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() || !name.bytes().all(is_in_name) {
                let what = format!("`{name}` is not a host name");
                let help = "write the name alone, without scheme and port";
                self.problem(format!("admin.names[{index}]"), what, help);
            }
        }
        names.to_vec()
    }
}
