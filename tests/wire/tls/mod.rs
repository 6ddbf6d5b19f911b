//! TLS towards clients: who is shown what, and what speaks above it.

pub mod authority;
mod certificates;
pub mod client;
mod clients;
mod floods;
mod handshakes;
mod late;
mod problems;
mod proxied;
mod rotation;
mod same;
mod stop;
mod streams;

use crate::gate::{Gate, HOST, Options};
use crate::upstream::Upstream;
use authority::Authority;

/// The `tls` of a listener with these certificates, and their files.
pub fn files(certificates: &[&authority::Made]) -> (String, Vec<(String, String)>) {
    let mut files = Vec::new();
    let mut table = String::new();
    for (index, made) in certificates.iter().enumerate() {
        files.push((format!("{index}.crt"), made.certificate.clone()));
        files.push((format!("{index}.key"), made.key.clone()));
        table += &format!("{{ certificate = \"{index}.crt\", key = \"{index}.key\" }}, ");
    }
    (format!("certificates = [{table}]"), files)
}

/// A gateway on TLS, with a certificate of [`HOST`].
pub fn gate() -> Gate {
    before(Upstream::start(), Options::default())
}

pub fn before(upstream: Upstream, options: Options) -> Gate {
    let made = Authority::new("ours").certificate(&format!("DNS:{HOST}"));
    let (tls, files) = files(&[&made]);
    let listen = format!("tls = {{ {tls} }}\n{}", options.listen);
    Gate::with(upstream, &Options { listen, files, ..options })
}
