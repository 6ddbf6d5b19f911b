//! What the environment says of the machine, and pingora believes.

use std::io::ErrorKind;
use std::path::Path;

use super::Compiler;

impl Compiler<'_> {
    /// Pingora reads the machine's certificates when it starts, whether an upstream speaks TLS or not,
    /// and panics where the places that it is told of can't be read.
    pub(super) fn machine_certificates(&mut self) {
        let mut failed = Vec::new();
        for (name, there) in [
            // A bundle may have comments in any encoding.
            ("SSL_CERT_FILE", ErrorKind::InvalidData),
            ("SSL_CERT_DIR", ErrorKind::IsADirectory),
        ] {
            let Some(path) = self.source.env(name) else { continue };
            match self.source.read(Path::new(&path)) {
                Err(error) if error.kind() != there => failed.push((name, path, error)),
                Ok(_) | Err(_) => return,
            }
        }
        for (name, path, error) in failed {
            let what = format!("names `{path}`, which can't be read: {error}");
            self.problem(name, what, "correct this variable of the environment, or unset it");
        }
    }
}
