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

    /// These are the addresses of a URL now.
    pub(super) fn found(&self, url: usize, found: &[SocketAddr]) {
        let new = |at| Address::new(url, at, self.peer_at(url, at));
        self.addresses.rcu(|all| merged(all, url, found, new));
        self.tell();
    }
}

/// All addresses, when those of a URL are `found`. What is known of one that was there before is kept.
fn merged(
    all: &[Arc<Address>],
    url: usize,
    found: &[SocketAddr],
    new: impl Fn(SocketAddr) -> Address,
) -> Vec<Arc<Address>> {
    let mut next: Vec<_> = all.iter().filter(|old| old.url != url).cloned().collect();
    for (index, at) in found.iter().enumerate() {
        if !found[..index].contains(at) {
            let old = all.iter().find(|old| old.url == url && old.at == *at);
            next.push(old.map_or_else(|| Arc::new(new(*at)), Arc::clone));
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use pingora::prelude::HttpPeer;

    use super::*;

    #[test]
    fn an_address_that_is_still_there_is_the_same_one() {
        let at = |last| SocketAddr::from(([10, 0, 0, last], 9000));
        let new = |url| move |at| Address::new(url, at, HttpPeer::new(at, false, String::new()));
        let places = |all: &[Arc<Address>]| all.iter().map(|a| (a.url, a.at)).collect::<Vec<_>>();
        let other = merged(&[], 1, &[at(1)], new(1));
        let before = merged(&other, 0, &[at(1), at(2), at(1)], new(0));
        assert_eq!(places(&before), [(1, at(1)), (0, at(1)), (0, at(2))]);
        assert!(before[2].failed());
        let after = merged(&before, 0, &[at(3), at(2)], new(0));
        assert_eq!(places(&after), [(1, at(1)), (0, at(3)), (0, at(2))]);
        assert!(Arc::ptr_eq(&after[0], &before[0]) && Arc::ptr_eq(&after[2], &before[2]));
        assert!(!after[2].is_up() && after[1].is_up());
    }
}
