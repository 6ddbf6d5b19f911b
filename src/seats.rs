//! How many connections there may be: in all, and of each client.
//!
//! **Invariant:** what is taken is given back when the connection ends, however it ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;

use crate::limit::key::network;

/// How many there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatLimits {
    /// In all; more wait until there is room.
    pub total: usize,
    /// Of one client: an IPv4 address, or the 64 bits of an IPv6 network.
    pub per_client: usize,
    /// Networks that may have as many as there are: proxies, which call for many clients.
    pub exempt: Vec<IpNet>,
}

/// Connections, counted.
#[derive(Debug)]
pub struct Seats {
    limits: ArcSwap<SeatLimits>,
    taken: AtomicUsize,
    freed: Notify,
    /// Only clients that have one: there are never more than connections.
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Seats {
    /// None yet.
    pub fn new(limits: SeatLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: ArcSwap::from_pointee(limits),
            taken: AtomicUsize::new(0),
            freed: Notify::new(),
            clients: Mutex::default(),
        })
    }

    /// Other limits, for connections that come from now on.
    pub fn limit(&self, limits: SeatLimits) {
        self.limits.store(Arc::new(limits));
        self.freed.notify_waiters();
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.taken.load(Ordering::Acquire) < self.limits.load().total
    }

    /// Whether there is little room left, so that nobody should keep a connection without need.
    pub fn is_tight(&self) -> bool {
        let total = self.limits.load().total;
        self.taken.load(Ordering::Relaxed) > total - total / 8
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Takes one, room or not: who has been accepted is there.
    pub fn take(self: &Arc<Self>) -> Seat {
        self.taken.fetch_add(1, Ordering::AcqRel);
        Seat { seats: Arc::clone(self), client: None }
    }

    fn of_clients<T>(&self, act: impl FnOnce(&mut HashMap<IpAddr, usize>) -> T) -> T {
        act(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// That of one connection, for as long as this is kept.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    client: Option<IpAddr>,
}

impl Seat {
    /// Counts it as one of `client`'s; `false` when the client has as many as it may.
    pub fn is_granted_to(&mut self, client: IpAddr) -> bool {
        let limits = self.seats.limits.load();
        let client = client.to_canonical();
        if self.client.is_some() || limits.exempt.iter().any(|net| net.contains(&client)) {
            return true;
        }
        let client = network(client);
        let granted = self.seats.of_clients(|clients| {
            let own = clients.entry(client).or_default();
            let granted = *own < limits.per_client;
            *own += usize::from(granted);
            granted
        });
        self.client = granted.then_some(client);
        granted
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.seats.of_clients(|clients| {
                let left = clients.get_mut(&client).map(|own| {
                    *own = own.saturating_sub(1);
                    *own
                });
                if left == Some(0) {
                    clients.remove(&client);
                }
            });
        }
        self.seats.taken.fetch_sub(1, Ordering::AcqRel);
        self.seats.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn limits(total: usize, per_client: usize) -> SeatLimits {
        let exempt = vec!["10.9.0.0/16".parse().unwrap()];
        SeatLimits { total, per_client, exempt }
    }

    #[test]
    fn a_client_has_its_own_and_gives_them_back() {
        let seats = Seats::new(limits(100, 2));
        let granted = |client: &str| {
            let mut seat = seats.take();
            seat.is_granted_to(client.parse().unwrap()).then_some(seat)
        };
        let first = granted("10.0.0.1");
        let second = granted("::ffff:10.0.0.1");
        assert!(first.is_some() && second.is_some());
        assert!(granted("10.0.0.1").is_none());
        assert!(granted("10.0.0.2").is_some());
        drop(first);
        assert!(granted("10.0.0.1").is_some());
        // A network of IPv6 is one client, and a proxy calls for many.
        let six = (granted("2001:db8::1"), granted("2001:db8::2"), granted("2001:db8::3"));
        assert!(six.0.is_some() && six.1.is_some() && six.2.is_none());
        let proxy: Vec<_> = (0..9).map(|_| granted("10.9.3.4")).collect();
        assert!(proxy.iter().all(Option::is_some));
        drop((second, six, proxy));
        assert_eq!(seats.taken.load(Ordering::Acquire), 0);
        assert!(seats.of_clients(|clients| clients.is_empty()), "nobody is remembered");
    }

    #[test]
    fn more_wait_until_there_is_room() {
        let seats = Seats::new(limits(8, 8));
        let mut cx = Context::from_waker(Waker::noop());
        let mut taken: Vec<_> = (0..8).map(|_| seats.take()).collect();
        assert!(seats.is_tight() && !seats.has_room());
        let mut room = Box::pin(seats.room());
        assert_eq!(room.as_mut().poll(&mut cx), Poll::Pending);
        taken.pop();
        assert_eq!(room.as_mut().poll(&mut cx), Poll::Ready(()));
        assert!(!seats.is_tight());
        taken.push(seats.take());
        let mut room = Box::pin(seats.room());
        assert_eq!(room.as_mut().poll(&mut cx), Poll::Pending);
        seats.limit(limits(9, 8));
        assert_eq!(room.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
