//! How an upstream is spoken to: TLS, and HTTP/2 over it.

use super::super::super::Problem;
use super::super::super::raw::{RawUpstream, RawUpstreamTls};
use super::super::Compiler;
use crate::policy::site::{BaseUrl, HttpScheme};
use crate::tls::{BadPem, Certificates, ClientTls, Identity, Key};

impl Compiler<'_> {
    /// What is said of TLS with an upstream at these URLs.
    pub(super) fn tls(&mut self, at: &str, raw: &RawUpstream, urls: &[BaseUrl]) -> ClientTls {
        // All URLs have one scheme.
        let https = urls.first().is_some_and(|url| url.scheme() == HttpScheme::Https);
        if raw.http2 && !https {
            let what = "is for `https://` URLs: without TLS nothing says whether it is understood";
            self.problem(format!("{at}.http2"), what, "write `https://` in `urls`, or delete it");
        }
        let own = RawUpstreamTls::default();
        let tls = raw.tls.as_ref().unwrap_or(&own);
        if raw.tls.is_some() && !https {
            let help = "write `https://` in `urls`, or delete it";
            self.problem(format!("{at}.tls"), "is for `https://` URLs", help);
        }
        let server_name = tls.server_name.as_deref();
        if let Some(name) = server_name
            && !ClientTls::is_name(name)
        {
            let help = "write the host name, or the IP address, that is in the certificate";
            let what = format!("`{name}` is not the name of a server");
            self.problem(format!("{at}.tls.server_name"), what, help);
        }
        if https && server_name.is_none() {
            for (index, url) in urls.iter().enumerate() {
                let host = url.host().trim_matches(['[', ']']);
                if !ClientTls::is_name(host) {
                    let what = format!("no certificate can be for `{host}`");
                    let help = "write the name in its certificate as `tls.server_name`";
                    self.problem(format!("{at}.urls[{index}]"), what, help);
                }
            }
        }
        self.client_tls(at, tls)
    }

    /// How a client speaks TLS.
    pub(in super::super) fn client_tls(&mut self, at: &str, tls: &RawUpstreamTls) -> ClientTls {
        ClientTls {
            authorities: tls.ca.as_ref().and_then(|path| self.certificates(at, "ca", path)),
            server_name: tls.server_name.as_deref().map(Into::into),
            identity: self.identity(at, tls),
            certificate: tls.certificate.as_deref().map(Into::into),
        }
    }

    fn identity(&mut self, at: &str, tls: &RawUpstreamTls) -> Option<Identity> {
        let certificates = |this: &mut Self, path| this.certificates(at, "certificate", path);
        match (&tls.certificate, &tls.key) {
            (None, None) => None,
            (Some(path), None) => {
                certificates(self, path);
                let help = "write the file of its key";
                self.problem(
                    format!("{at}.tls.key"),
                    "is missing, and there is a `certificate`",
                    help,
                );
                None
            }
            (None, Some(path)) => {
                self.key(at, path);
                let help = "write the file of its certificate";
                let what = "is missing, and there is a `key`";
                self.problem(format!("{at}.tls.certificate"), what, help);
                None
            }
            (Some(path), Some(key_path)) => {
                let (chain, key) = (certificates(self, path), self.key(at, key_path));
                let identity = Identity::new(chain?, key?);
                identity.map_err(|bad| self.bad(at, "key", key_path, bad)).ok()
            }
        }
    }

    fn certificates(&mut self, at: &str, name: &str, path: &str) -> Option<Certificates> {
        let text = self.text(at, name, path)?;
        let read = Certificates::from_pem(&text);
        let certificates = read.map_err(|bad| self.bad(at, name, path, bad)).ok()?;
        let now = self.source.now();
        let ends = certificates.validity().map(|(_, not_after)| not_after);
        // Of several that are believed one is enough; of a chain each has to be valid.
        let end = if name == "ca" { ends.max() } else { ends.min() };
        if let Some(end) = end
            && end < now
        {
            let what = format!("`{path}` holds a certificate that ended at {end}");
            self.notes.push(Problem::new(format!("{at}.tls.{name}"), what, "renew it"));
        }
        Some(certificates)
    }

    fn key(&mut self, at: &str, path: &str) -> Option<Key> {
        let text = self.text(at, "key", path)?;
        Key::from_pem(&text).map_err(|bad| self.bad(at, "key", path, bad)).ok()
    }

    fn text(&mut self, at: &str, name: &str, path: &str) -> Option<String> {
        let read = self.source.read(&self.folder.join(path));
        let what = |error| format!("`{path}` can't be read: {error}");
        let help = "mount the file, in PEM, or name another";
        self.parsed(&format!("{at}.tls.{name}"), read.map_err(what), help)
    }

    fn bad(&mut self, at: &str, name: &str, path: &str, bad: BadPem) {
        let help = match bad {
            BadPem::NoCertificate | BadPem::Certificate(_) => {
                "it must have `-----BEGIN CERTIFICATE-----` and what follows, for each of them"
            }
            BadPem::NoKey | BadPem::Key => {
                "make one that is not encrypted: `openssl pkey -in old.key -out new.key`"
            }
            BadPem::OtherKey => {
                "name the key that the first certificate of `certificate` was made with"
            }
        };
        self.problem(format!("{at}.tls.{name}"), format!("`{path}` {bad}"), help);
    }
}
