//! Keeping the addresses of host names up to date.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::address::Address;

/// How often a host name is resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

impl Pool {
    /// The host of a URL, an IPv6 address without its brackets.
    pub(super) fn host(&self, url: usize) -> &str {
        self.urls[url].host().trim_matches(['[', ']'])
    }

    /// The address of a URL whose host is one.
    pub(super) fn literal(&self, url: usize) -> Option<SocketAddr> {
        let ip: IpAddr = self.host(url).parse().ok()?;
        Some(SocketAddr::new(ip, self.urls[url].port()))
    }

    /// Keeps the addresses of a URL's host name up to date, and says whenever there is one.
    pub(super) async fn keep_resolved(self: Arc<Self>, url: usize, known: Arc<impl Fn()>) {
        let (host, port) = (self.host(url).to_owned(), self.urls[url].port());
        let mut failing = false;
        loop {
            match tokio::net::lookup_host((host.as_str(), port)).await {
                Ok(addresses) => {
                    failing = false;
                    let addresses: Vec<_> = addresses.collect();
                    if !addresses.is_empty() {
                        self.found(url, &addresses);
                        known();
                    }
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, host, "the upstream's name can't be resolved; its last addresses are kept");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }

    /// These are the addresses of a URL now. What is known of one that was there before is kept.
    pub(super) fn found(&self, url: usize, found: &[SocketAddr]) {
        self.addresses.rcu(|all| {
            let mut next: Vec<_> = all.iter().filter(|old| old.url != url).cloned().collect();
            for (index, at) in found.iter().enumerate() {
                if found[..index].contains(at) {
                    continue;
                }
                let old = all.iter().find(|old| old.url == url && old.at == *at);
                let new = || Arc::new(Address::new(url, *at, self.peer_at(url, *at)));
                next.push(old.cloned().unwrap_or_else(new));
            }
            next
        });
        self.tell();
    }
}
