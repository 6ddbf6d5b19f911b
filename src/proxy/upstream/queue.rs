//! The cap on requests in flight, and the queue before it.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::super::counted::Counted;
use crate::policy::reason::Busy;

/// Room for so many requests, and for so many that wait for it: first come, first served.
#[derive(Debug)]
pub(super) struct Queue {
    /// Fair: what is given back goes to whoever has waited longest, never past a waiting request.
    slots: Arc<Semaphore>,
    places: Semaphore,
    max_wait: Duration,
    stopping: watch::Sender<bool>,
    in_flight: IntGauge,
    waiting: IntGauge,
}

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) in_flight: u32,
    pub(super) waiting: u32,
    pub(super) wait: Duration,
}

/// Room for one request; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    // In this order: the gauge never says more than there is room for.
    _counted: Counted,
    _permit: OwnedSemaphorePermit,
}

/// Why a request got none.
#[derive(Debug)]
pub(super) enum NoSlot<G> {
    /// There is none.
    Busy(Busy),
    /// Whoever sent it has gone.
    Gone(G),
}

impl Queue {
    pub(super) fn new(room: Room, in_flight: IntGauge, waiting: IntGauge) -> Self {
        let semaphore = |room: u32| {
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            Semaphore::new(room.min(Semaphore::MAX_PERMITS))
        };
        Self {
            slots: Arc::new(semaphore(room.in_flight)),
            places: semaphore(room.waiting),
            max_wait: room.wait,
            stopping: watch::Sender::new(false),
            in_flight,
            waiting,
        }
    }

    /// Takes a slot, and waits for one if there is none, until `gone` says that nobody wants it.
    pub(super) async fn slot<G>(&self, gone: impl Future<Output = G>) -> Result<Slot, NoSlot<G>> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(self.taken(permit));
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(NoSlot::Busy(Busy::QueueFull));
        };
        let _waiting = Counted::new(&self.waiting);
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            biased;
            // Nobody closes the semaphore.
            permit = Arc::clone(&self.slots).acquire_owned() => match permit {
                Ok(permit) => Ok(self.taken(permit)),
                Err(_) => Err(NoSlot::Busy(Busy::Stopping)),
            },
            gone = gone => Err(NoSlot::Gone(gone)),
            _ = stopping.wait_for(|stopping| *stopping) => Err(NoSlot::Busy(Busy::Stopping)),
            () = tokio::time::sleep(self.max_wait) => Err(NoSlot::Busy(Busy::WaitOver)),
        }
    }

    fn taken(&self, permit: OwnedSemaphorePermit) -> Slot {
        Slot { _counted: Counted::new(&self.in_flight), _permit: permit }
    }

    /// From now on nobody waits.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn queue(in_flight: u32, waiting: u32) -> Queue {
        let gauge = || IntGauge::new("a", "b").unwrap();
        let wait = Duration::from_secs(10);
        Queue::new(Room { in_flight, waiting, wait }, gauge(), gauge())
    }

    fn counts(queue: &Queue) -> (i64, i64) {
        (queue.in_flight.get(), queue.waiting.get())
    }

    type Taken = Result<Slot, NoSlot<()>>;

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_served_first_and_nobody_overtakes() {
        let queue = queue(1, 2);
        let held: Taken = queue.slot(pending()).await;
        let (first, second) = (queue.slot(pending::<()>()), queue.slot(pending::<()>()));
        tokio::pin!(first, second);
        // Each is asked once, so that it waits.
        tokio::select! { biased; _ = &mut first => panic!(), () = ready(()) => {} }
        tokio::select! { biased; _ = &mut second => panic!(), () = ready(()) => {} }
        assert_eq!(counts(&queue), (1, 2));
        let third: Taken = queue.slot(pending()).await;
        assert!(matches!(third, Err(NoSlot::Busy(Busy::QueueFull))), "{third:?}");
        drop(held);
        // What was given back is the first one's already, though that has not looked yet.
        tokio::select! { biased; _ = &mut second => panic!(), () = ready(()) => {} }
        let newcomer: Taken = queue.slot(ready(())).await;
        assert!(newcomer.is_err(), "{newcomer:?}");
        let slot = first.await.unwrap();
        assert_eq!(counts(&queue), (1, 1));
        drop(slot);
        drop(second.await.unwrap());
        assert_eq!(counts(&queue), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_no_longer_leaves_nothing_behind() {
        let queue = queue(1, 1);
        let held: Taken = queue.slot(pending()).await;
        let gone = queue.slot(ready(7)).await;
        assert!(matches!(gone, Err(NoSlot::Gone(7))), "{gone:?}");
        let over: Taken = queue.slot(pending()).await;
        assert!(matches!(over, Err(NoSlot::Busy(Busy::WaitOver))), "{over:?}");
        queue.stop();
        let stopped: Taken = queue.slot(pending()).await;
        assert!(matches!(stopped, Err(NoSlot::Busy(Busy::Stopping))), "{stopped:?}");
        assert_eq!(counts(&queue), (1, 0));
        drop(held);
        // Where there is room nobody waits, so there is nothing to refuse.
        let slot: Taken = queue.slot(pending()).await;
        assert!(slot.is_ok(), "{slot:?}");
        assert_eq!(counts(&queue), (1, 0));
    }

    #[tokio::test]
    async fn without_a_queue_nobody_waits() {
        let queue = queue(1, 0);
        let _held: Taken = queue.slot(pending()).await;
        let refused: Taken = queue.slot(pending()).await;
        assert!(matches!(refused, Err(NoSlot::Busy(Busy::QueueFull))), "{refused:?}");
    }
}
