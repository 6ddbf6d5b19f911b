//! What is measured of each upstream's addresses and of its queue.

use prometheus::{IntGauge, IntGaugeVec, Registry};

use super::register::gauge_vec;
use super::{UPSTREAM_ADDRESSES, UPSTREAM_IN_FLIGHT, UPSTREAM_LIMIT, UPSTREAM_WAITING};

/// The gauges of every upstream.
#[derive(Clone, Debug)]
pub(super) struct Families {
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    limits: IntGaugeVec,
    addresses: IntGaugeVec,
}

impl Families {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            in_flight: gauge_vec(registry, UPSTREAM_IN_FLIGHT)?,
            waiting: gauge_vec(registry, UPSTREAM_WAITING)?,
            limits: gauge_vec(registry, UPSTREAM_LIMIT)?,
            addresses: gauge_vec(registry, UPSTREAM_ADDRESSES)?,
        })
    }

    /// So many requests may be at it, and so many may wait.
    pub(super) fn limited(&self, name: &str, in_flight: u32, waiting: u32) {
        for (of, limit) in [("in_flight", in_flight), ("waiting", waiting)] {
            self.limits.with_label_values(&[name, of]).set(limit.into());
        }
    }

    /// This URL is no longer used.
    pub(super) fn left(&self, name: &str, url: &str) {
        for state in ["up", "down"] {
            // It is gone already, if so.
            self.addresses.remove_label_values(&[name, url, state]).unwrap_or_default();
        }
    }

    pub(super) fn of<'a>(
        &self,
        name: &str,
        urls: impl IntoIterator<Item = &'a str>,
    ) -> UpstreamMetrics {
        let of_url = |url| AddressGauges {
            up: self.addresses.with_label_values(&[name, url, "up"]),
            down: self.addresses.with_label_values(&[name, url, "down"]),
        };
        UpstreamMetrics {
            in_flight: self.in_flight.with_label_values(&[name]),
            waiting: self.waiting.with_label_values(&[name]),
            addresses: urls.into_iter().map(of_url).collect(),
        }
    }
}

/// The gauges of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// Requests that are at it.
    pub in_flight: IntGauge,
    /// Requests that wait.
    pub waiting: IntGauge,
    addresses: Vec<AddressGauges>,
}

#[derive(Debug)]
struct AddressGauges {
    up: IntGauge,
    down: IntGauge,
}

impl UpstreamMetrics {
    /// Of the addresses of the URL of this number, so many are up and so many are down.
    pub fn addresses(&self, url: usize, up: usize, down: usize) {
        let Some(gauges) = self.addresses.get(url) else { return };
        gauges.up.set(i64::try_from(up).unwrap_or(i64::MAX));
        gauges.down.set(i64::try_from(down).unwrap_or(i64::MAX));
    }
}
