//! What is measured of connections before there is a request on them.

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Registry};

use super::register::{counter, counter_vec, gauge, gauge_vec};
use super::{
    ACCEPT_ERRORS, CERTIFICATES, CONNECTIONS, CONNECTIONS_LIMITED, PROXY_FAILURES, TLS_FAILURES,
    seconds,
};
use crate::clock::Timestamp;

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HandshakeFailure {
    /// It took too long.
    Timeout,
    /// The client ended the connection.
    Closed,
    /// What came is not TLS.
    NotTls,
    /// There is no version, cipher or protocol that both speak.
    Incompatible,
    /// The client gave it up, such as for a certificate that it does not believe.
    Refused,
    /// The client's own certificate is missing or not believed.
    ClientCertificate,
    /// HTTP/2 was agreed on, and something else came.
    NotHttp2,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    const ALL: &'static [HandshakeFailure] = &[
        HandshakeFailure::Timeout,
        HandshakeFailure::Closed,
        HandshakeFailure::NotTls,
        HandshakeFailure::Incompatible,
        HandshakeFailure::Refused,
        HandshakeFailure::ClientCertificate,
        HandshakeFailure::NotHttp2,
        HandshakeFailure::Other,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            HandshakeFailure::Timeout => "timeout",
            HandshakeFailure::Closed => "closed",
            HandshakeFailure::NotTls => "not_tls",
            HandshakeFailure::Incompatible => "incompatible",
            HandshakeFailure::Refused => "refused",
            HandshakeFailure::ClientCertificate => "client_certificate",
            HandshakeFailure::NotHttp2 => "not_http2",
            HandshakeFailure::Other => "other",
        }
    }
}

/// Why a connection got no further than its PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProxyFailure {
    /// It comes from elsewhere.
    Peer,
    /// There is none.
    Missing,
    /// It can't be read.
    Malformed,
    /// It is too long.
    TooLong,
    /// It took too long.
    Timeout,
    /// The connection ended before.
    Closed,
}

impl ProxyFailure {
    const ALL: &'static [ProxyFailure] = &[
        ProxyFailure::Peer,
        ProxyFailure::Missing,
        ProxyFailure::Malformed,
        ProxyFailure::TooLong,
        ProxyFailure::Timeout,
        ProxyFailure::Closed,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProxyFailure::Peer => "peer",
            ProxyFailure::Missing => "missing",
            ProxyFailure::Malformed => "malformed",
            ProxyFailure::TooLong => "too_long",
            ProxyFailure::Timeout => "timeout",
            ProxyFailure::Closed => "closed",
        }
    }
}

/// A limit of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectionLimit {
    /// Of all together.
    Total,
    /// Of one client.
    Client,
}

impl ConnectionLimit {
    const ALL: &'static [ConnectionLimit] = &[ConnectionLimit::Total, ConnectionLimit::Client];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            ConnectionLimit::Total => "total",
            ConnectionLimit::Client => "client",
        }
    }
}

/// Is told of connections.
#[derive(Debug)]
pub struct ListenMetrics {
    open: IntGauge,
    /// By limit.
    limited: Vec<IntCounter>,
    accept_errors: IntCounter,
    /// By failure.
    handshakes: Vec<IntCounter>,
    /// By failure.
    proxied: Vec<IntCounter>,
    certificates: IntGaugeVec,
}

impl ListenMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken in the registry.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let handshakes = counter_vec(registry, TLS_FAILURES)?;
        let of = |failure: &HandshakeFailure| handshakes.with_label_values(&[failure.as_str()]);
        let proxied = counter_vec(registry, PROXY_FAILURES)?;
        let of_proxy = |failure: &ProxyFailure| proxied.with_label_values(&[failure.as_str()]);
        let limited = counter_vec(registry, CONNECTIONS_LIMITED)?;
        let of_limit = |limit: &ConnectionLimit| limited.with_label_values(&[limit.as_str()]);
        Ok(Self {
            open: gauge(registry, CONNECTIONS)?,
            limited: ConnectionLimit::ALL.iter().map(of_limit).collect(),
            accept_errors: counter(registry, ACCEPT_ERRORS)?,
            handshakes: HandshakeFailure::ALL.iter().map(of).collect(),
            proxied: ProxyFailure::ALL.iter().map(of_proxy).collect(),
            certificates: gauge_vec(registry, CERTIFICATES)?,
        })
    }

    /// One more is open, for as long as what is returned is kept.
    pub fn open(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    /// A limit of connections was met.
    pub fn limited(&self, limit: ConnectionLimit) {
        if let Some(counter) = self.limited.get(limit as usize) {
            counter.inc();
        }
    }

    /// A connection could not be accepted.
    pub fn accept_failed(&self) {
        self.accept_errors.inc();
    }

    /// A TLS handshake failed.
    pub fn handshake_failed(&self, failure: HandshakeFailure) {
        if let Some(counter) = self.handshakes.get(failure as usize) {
            counter.inc();
        }
    }

    /// A connection had no PROXY protocol header that counts.
    pub fn proxy_failed(&self, failure: ProxyFailure) {
        if let Some(counter) = self.proxied.get(failure as usize) {
            counter.inc();
        }
    }

    /// These certificates are served and no others, each by its path.
    pub fn certificates<'a>(&self, shown: impl IntoIterator<Item = (&'a str, Timestamp)>) {
        self.certificates.reset();
        for (path, not_after) in shown {
            self.certificates.with_label_values(&[path]).set(seconds(not_after));
        }
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_as_itself_and_certificates_that_went_are_gone() {
        let registry = Registry::new();
        let metrics = ListenMetrics::register(&registry).unwrap();
        for failure in HandshakeFailure::ALL {
            metrics.handshake_failed(*failure);
            let own = metrics.handshakes[*failure as usize].get();
            assert_eq!(own, 1, "{failure:?}");
        }
        for failure in ProxyFailure::ALL {
            metrics.proxy_failed(*failure);
            assert_eq!(metrics.proxied[*failure as usize].get(), 1, "{failure:?}");
        }
        for limit in ConnectionLimit::ALL {
            metrics.limited(*limit);
            assert_eq!(metrics.limited[*limit as usize].get(), 1, "{limit:?}");
        }
        let open = metrics.open();
        assert_eq!(metrics.open.get(), 1);
        drop(open);
        assert_eq!(metrics.open.get(), 0);
        let at = Timestamp::from_millis(7_900);
        metrics.certificates([("a.crt", at), ("b.crt", at)]);
        metrics.certificates([("b.crt", at), ("c.crt", Timestamp::from_millis(8_000))]);
        let families = registry.gather();
        let family = families.iter().find(|family| family.name().contains("certificate")).unwrap();
        let series = family.get_metric().iter();
        let series = series.map(|one| (one.get_label()[0].value(), one.get_gauge().get_value()));
        assert_eq!(series.collect::<Vec<_>>(), [("b.crt", 7.0), ("c.crt", 8.0)]);
    }
}
