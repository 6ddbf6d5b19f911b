//! What each listener lets in.

use std::net::SocketAddr;

use pingora::proxy::Session;

use crate::policy::exposure::Exposures;

/// The listeners by their addresses.
#[derive(Debug)]
pub struct Listeners {
    /// Addresses as they were taken, ports in.
    own: Vec<(SocketAddr, Exposures)>,
    /// What all of them let in, if that is the same.
    same: Option<Exposures>,
}

impl Listeners {
    /// These.
    pub fn new(own: Vec<(SocketAddr, Exposures)>) -> Self {
        let first = own.first().map(|(_, exposed)| *exposed);
        let same = first.filter(|first| own.iter().all(|(_, exposed)| exposed == first));
        Self { own, same }
    }

    /// What the listener lets in that a request came by; nothing, where that can't be told.
    pub(super) fn exposed(&self, session: &Session) -> Exposures {
        let local = || session.server_addr().and_then(|address| address.as_inet());
        self.same.or_else(|| self.at(*local()?)).unwrap_or(Exposures::NONE)
    }

    /// That of the listener at exactly this address, or else at this port of every address.
    fn at(&self, local: SocketAddr) -> Option<Exposures> {
        let port = local.port();
        let named = |(own, _): &&(SocketAddr, Exposures)| {
            own.port() == port && own.ip().to_canonical() == local.ip().to_canonical()
        };
        let any =
            |(own, _): &&(SocketAddr, Exposures)| own.port() == port && own.ip().is_unspecified();
        // Where IPv6 sockets take IPv6 alone, both families may have a listener at one port.
        let family = local.ip().to_canonical().is_ipv4();
        let of_family = |own: &&(SocketAddr, Exposures)| any(own) && own.0.ip().is_ipv4() == family;
        let own = self.own.iter();
        let found = own.clone().find(named).or_else(|| own.clone().find(of_family));
        found.or_else(|| own.clone().find(any)).map(|(_, exposed)| *exposed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::exposure::Exposure;

    #[test]
    fn the_address_tells_the_listener() {
        let (a, b) = (Exposures::API, Exposures::NONE.with(Exposure::Ingest));
        let c = Exposures::NONE.with(Exposure::Ui);
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let listeners = Listeners::new(vec![
            (at("0.0.0.0:80"), a),
            (at("127.0.0.1:81"), b),
            (at("10.0.0.1:81"), c),
            (at("[::]:82"), c),
            (at("0.0.0.0:84"), a),
            (at("[::]:84"), c),
        ]);
        assert_eq!(listeners.same, None);
        for (local, exposed) in [
            ("10.0.0.1:80", Some(a)),
            ("127.0.0.1:81", Some(b)),
            ("[::ffff:127.0.0.1]:81", Some(b)),
            ("10.0.0.1:81", Some(c)),
            ("10.0.0.2:81", None),
            ("[::ffff:10.0.0.2]:82", Some(c)),
            ("[::1]:82", Some(c)),
            ("127.0.0.1:83", None),
            ("127.0.0.1:84", Some(a)),
            ("[::ffff:127.0.0.1]:84", Some(a)),
            ("[::1]:84", Some(c)),
        ] {
            assert_eq!(listeners.at(at(local)), exposed, "{local}");
        }
        assert_eq!(Listeners::new(vec![(at("0.0.0.0:80"), a), (at("[::]:81"), a)]).same, Some(a));
        assert_eq!(Listeners::new(Vec::new()).same, None);
    }
}
