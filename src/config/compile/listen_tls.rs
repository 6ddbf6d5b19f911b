//! TLS of a listener: its certificates, read and checked.

use super::super::problem::Problem;
use super::super::raw::{ClientCertificates, RawCertificate, RawListenTls};
use super::Compiler;
use crate::policy::site::{BaseUrl, HttpScheme};
use crate::server_tls::{Authorities, BadPem, Certificate, Chain, Key, Names, ServerTls};

/// What a bad file needs.
const RENEW: &str = "renew it, and write its files here";

impl Compiler<'_> {
    /// How the clients of the listener at `own` speak TLS; they call the gateway by `names`.
    pub(super) fn listen_tls(
        &mut self,
        own: &str,
        raw: &RawListenTls,
        names: &[BaseUrl],
    ) -> Option<ServerTls> {
        let at = format!("{own}.tls.certificates");
        if raw.certificates.is_empty() {
            let help = "add `{ certificate = \"path\", key = \"path\" }`, or delete `tls`";
            self.problem(&at, "is empty", help);
            return None;
        }
        let mut read = Vec::new();
        for (index, certificate) in raw.certificates.iter().enumerate() {
            let own = self.certificate(&format!("{at}[{index}]"), certificate);
            read.extend(own.map(|own| (certificate.certificate.clone(), own)));
        }
        let clients = self.authorities(&format!("{own}.tls"), raw);
        if read.len() < raw.certificates.len() || clients.is_none() && raw.client_ca.is_some() {
            return None;
        }
        self.certificate_notes(&at, &read, names);
        let help = "report this: TLS can't be set up on this machine";
        self.parsed(&at, ServerTls::new(read, clients), help)
    }

    /// Whose certificates of clients are believed, if any are asked for.
    fn authorities(&mut self, at: &str, raw: &RawListenTls) -> Option<Authorities> {
        let Some(path) = raw.client_ca.as_deref() else {
            if raw.client_certificates.is_some() {
                let help =
                    "add `client_ca = \"path\"`, the certificates that theirs are signed with";
                let what = "is set, and no `client_ca` says whose certificates are believed";
                self.problem(format!("{at}.client_certificates"), what, help);
            }
            return None;
        };
        let required = match raw.client_certificates {
            None | Some(ClientCertificates::Required) => true,
            Some(ClientCertificates::Optional) => false,
        };
        let read = |text: &str| Authorities::new(&Chain::from_pem(text)?, required);
        self.pem(&format!("{at}.client_ca"), path, read)
    }

    fn certificate(&mut self, at: &str, raw: &RawCertificate) -> Option<Certificate> {
        let chain = self.pem(&format!("{at}.certificate"), &raw.certificate, Chain::from_pem);
        let key_at = format!("{at}.key");
        let key = self.pem(&key_at, &raw.key, Key::from_pem);
        let read = Certificate::new(chain?, key?);
        read.map_err(|bad| self.bad_pem(&key_at, &raw.key, bad)).ok()
    }

    /// What a PEM file at `path` holds, or a problem.
    fn pem<T>(
        &mut self,
        at: &str,
        path: &str,
        read: impl FnOnce(&str) -> Result<T, BadPem>,
    ) -> Option<T> {
        match self.source.read(&self.folder.join(path)) {
            Ok(text) => read(&text).map_err(|bad| self.bad_pem(at, path, bad)).ok(),
            Err(error) => {
                let what = format!("`{path}` can't be read: {error}");
                self.problem(at, what, "mount the file, or name another");
                None
            }
        }
    }

    fn bad_pem(&mut self, at: &str, path: &str, bad: BadPem) {
        let help = match bad {
            BadPem::NoCertificate | BadPem::Certificate(_) => {
                "write the certificate into it, and those that lead to its root after it, in PEM"
            }
            BadPem::NoKey => "write the key into it, in PEM and without a passphrase",
            BadPem::Key => "make an ECDSA key (P-256, P-384), an Ed25519 key, or RSA of 2048 bits",
            BadPem::OtherKey => "name the key that the certificate was made with",
        };
        self.problem(at, format!("`{path}` {bad}"), help);
    }

    /// What an operator should know of certificates that can be served. One that has expired is no
    /// problem: who serves beside it, and who does not check it, is served on, and a gateway that is
    /// started again must not end over what its predecessor served.
    fn certificate_notes(&mut self, at: &str, read: &[(String, Certificate)], names: &[BaseUrl]) {
        let now = self.source.now();
        let mut known = Names::default();
        let mut notes = Vec::new();
        for (index, (path, certificate)) in read.iter().enumerate() {
            let mut note = |what: String, help: &str| {
                notes.push(Problem::new(format!("{at}[{index}]"), what, help));
            };
            if certificate.not_after() < now {
                note(format!("`{path}` expired at {}", certificate.not_after()), RENEW);
            }
            if certificate.not_before() > now {
                let from = certificate.not_before();
                note(format!("`{path}` is not valid before {from}"), "set the clock, or wait");
            }
            if index > 0 && certificate.names().next().is_none() {
                let what = format!("`{path}` has no host name, so no client is shown it");
                note(what, "make it with a `subjectAltName`, or delete it");
            }
            for (name, holder) in known.add(index, certificate.names()) {
                let first = read.get(holder).map_or("", |(path, _)| path);
                let what = format!("`{path}` has the name `{name}`, and `{first}` before it too");
                note(what, "delete one; the first is served");
            }
        }
        // Where TLS ends in front of the gateway, its names are those of another's certificate.
        for name in names.iter().filter(|name| name.scheme() == HttpScheme::Https) {
            let host = name.host();
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            let has = match address {
                // Clients don't ask for addresses, so the first is served.
                Ok(address) => {
                    read.first().is_some_and(|(_, first)| first.addresses().contains(&address))
                }
                Err(_) => known.find(host).is_some(),
            };
            if !has {
                let what = format!("no certificate has the name `{host}`, by which clients call");
                let help = "add one that has it, unless this listener is called by another name";
                notes.push(Problem::new(at, what, help));
            }
        }
        self.notes.extend(notes);
    }
}
