//! The cap on requests in flight, and the queue before it.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

use super::super::counted::Counted;
use crate::policy::decision::Standing;
use crate::policy::reason::Busy;

/// What a part of the room is counted in.
const QUARTERS: u64 = 4;

/// Room for so many requests, and for so many that wait for it: first come, first served.
///
/// Of both, callers whom nobody knows get a part: however many there are of them, those who are known
/// find room.
#[derive(Debug)]
pub(super) struct Queue {
    all: Seats,
    strangers: Seats,
    max_wait: Duration,
    stopping: watch::Sender<bool>,
    in_flight: IntGauge,
    waiting: IntGauge,
}

#[derive(Debug)]
struct Seats {
    /// Fair: what is given back goes to whoever has waited longest, never past a waiting request.
    slots: Arc<Semaphore>,
    places: Semaphore,
}

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) in_flight: u32,
    pub(super) waiting: u32,
    pub(super) wait: Duration,
    /// How many quarters of it are for callers whom nobody knows.
    pub(super) strangers: u32,
}

/// Room for one request; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    // In this order: the gauge never says more than there is room for.
    _counted: Counted,
    _permit: OwnedSemaphorePermit,
    _of_strangers: Option<OwnedSemaphorePermit>,
}

/// Why a request got none.
#[derive(Debug)]
pub(super) enum NoSlot<G> {
    /// There is none.
    Busy(Busy),
    /// Whoever sent it has gone.
    Gone(G),
}

impl Seats {
    fn new(slots: u32, places: u32) -> Self {
        let semaphore = |room: u32| {
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            Semaphore::new(room.min(Semaphore::MAX_PERMITS))
        };
        Self { slots: Arc::new(semaphore(slots)), places: semaphore(places) }
    }
}

impl Queue {
    pub(super) fn new(room: Room, in_flight: IntGauge, waiting: IntGauge) -> Self {
        let part = |of: u32| {
            let part = u64::from(of) * u64::from(room.strangers) / QUARTERS;
            u32::try_from(part).unwrap_or(of)
        };
        Self {
            all: Seats::new(room.in_flight, room.waiting),
            // A single slot is for everybody.
            strangers: Seats::new(part(room.in_flight).max(1), part(room.waiting)),
            max_wait: room.wait,
            stopping: watch::Sender::new(false),
            in_flight,
            waiting,
        }
    }

    /// Takes a slot, and waits for one if there is none, until `gone` says that nobody wants it.
    pub(super) async fn slot<G>(
        &self,
        caller: Standing,
        gone: impl Future<Output = G>,
    ) -> Result<Slot, NoSlot<G>> {
        let part = match caller {
            Standing::Known => None,
            Standing::Stranger => Some(&self.strangers),
        };
        if let Some(slot) = self.free(part) {
            return Ok(slot);
        }
        let of_part = part.map(|part| part.places.try_acquire()).transpose();
        let (Ok(_of_part), Ok(_place)) = (of_part, self.all.places.try_acquire()) else {
            return Err(NoSlot::Busy(Busy::QueueFull));
        };
        let _waiting = Counted::new(&self.waiting);
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            biased;
            // Nobody closes the semaphore.
            slot = self.next(part) => slot.map_err(|_| NoSlot::Busy(Busy::Stopping)),
            gone = gone => Err(NoSlot::Gone(gone)),
            _ = stopping.wait_for(|stopping| *stopping) => Err(NoSlot::Busy(Busy::Stopping)),
            () = tokio::time::sleep(self.max_wait) => Err(NoSlot::Busy(Busy::WaitOver)),
        }
    }

    /// A slot that nobody waits for, if there is one.
    fn free(&self, part: Option<&Seats>) -> Option<Slot> {
        let free = |seats: &Seats| Arc::clone(&seats.slots).try_acquire_owned().ok();
        let of_strangers = match part {
            Some(part) => Some(free(part)?),
            None => None,
        };
        Some(self.taken(free(&self.all)?, of_strangers))
    }

    /// The next slot.
    async fn next(&self, part: Option<&Seats>) -> Result<Slot, AcquireError> {
        let of_strangers = match part {
            Some(part) => Some(Arc::clone(&part.slots).acquire_owned().await?),
            None => None,
        };
        let permit = Arc::clone(&self.all.slots).acquire_owned().await?;
        Ok(self.taken(permit, of_strangers))
    }

    fn taken(
        &self,
        permit: OwnedSemaphorePermit,
        of_strangers: Option<OwnedSemaphorePermit>,
    ) -> Slot {
        let counted = Counted::new(&self.in_flight);
        Slot { _counted: counted, _permit: permit, _of_strangers: of_strangers }
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
        Queue::new(Room { in_flight, waiting, wait, strangers: 3 }, gauge(), gauge())
    }

    fn counts(queue: &Queue) -> (i64, i64) {
        (queue.in_flight.get(), queue.waiting.get())
    }

    type Taken = Result<Slot, NoSlot<()>>;

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_served_first_and_nobody_overtakes() {
        let queue = queue(1, 2);
        let held: Taken = queue.slot(Standing::Known, pending()).await;
        let (first, second) = (
            queue.slot(Standing::Known, pending::<()>()),
            queue.slot(Standing::Known, pending::<()>()),
        );
        tokio::pin!(first, second);
        // Each is asked once, so that it waits.
        tokio::select! { biased; _ = &mut first => panic!(), () = ready(()) => {} }
        tokio::select! { biased; _ = &mut second => panic!(), () = ready(()) => {} }
        assert_eq!(counts(&queue), (1, 2));
        let third: Taken = queue.slot(Standing::Known, pending()).await;
        assert!(matches!(third, Err(NoSlot::Busy(Busy::QueueFull))), "{third:?}");
        drop(held);
        // What was given back is the first one's already, though that has not looked yet.
        tokio::select! { biased; _ = &mut second => panic!(), () = ready(()) => {} }
        let newcomer: Taken = queue.slot(Standing::Known, ready(())).await;
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
        let held: Taken = queue.slot(Standing::Known, pending()).await;
        let gone = queue.slot(Standing::Known, ready(7)).await;
        assert!(matches!(gone, Err(NoSlot::Gone(7))), "{gone:?}");
        let over: Taken = queue.slot(Standing::Known, pending()).await;
        assert!(matches!(over, Err(NoSlot::Busy(Busy::WaitOver))), "{over:?}");
        queue.stop();
        let stopped: Taken = queue.slot(Standing::Known, pending()).await;
        assert!(matches!(stopped, Err(NoSlot::Busy(Busy::Stopping))), "{stopped:?}");
        assert_eq!(counts(&queue), (1, 0));
        drop(held);
        // Where there is room nobody waits, so there is nothing to refuse.
        let slot: Taken = queue.slot(Standing::Known, pending()).await;
        assert!(slot.is_ok(), "{slot:?}");
        assert_eq!(counts(&queue), (1, 0));
    }

    #[tokio::test]
    async fn without_a_queue_nobody_waits() {
        let queue = queue(1, 0);
        let _held: Taken = queue.slot(Standing::Known, pending()).await;
        let refused: Taken = queue.slot(Standing::Known, pending()).await;
        assert!(matches!(refused, Err(NoSlot::Busy(Busy::QueueFull))), "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_leave_a_quarter_to_those_who_are_known() {
        // Slots and places in all, and what strangers get of them.
        for (in_flight, waiting, slots, places) in
            [(1, 1, 1, 0), (2, 0, 1, 0), (4, 4, 3, 3), (256, 8, 192, 6)]
        {
            let row = format!("{in_flight} and {waiting}");
            let queue = queue(in_flight, waiting);
            let mut strangers = Vec::new();
            for _ in 0..slots {
                let slot: Taken = queue.slot(Standing::Stranger, pending()).await;
                strangers.push(slot.expect(&row));
            }
            let mut waiting = Vec::new();
            for _ in 0..places {
                let mut slot = Box::pin(queue.slot(Standing::Stranger, pending::<()>()));
                tokio::select! { biased; _ = &mut slot => panic!("{row}"), () = ready(()) => {} }
                waiting.push(slot);
            }
            let over: Taken = queue.slot(Standing::Stranger, pending()).await;
            assert!(matches!(over, Err(NoSlot::Busy(Busy::QueueFull))), "{row}: {over:?}");
            let mut known: Vec<Slot> = Vec::new();
            for _ in slots..in_flight {
                let slot: Taken = queue.slot(Standing::Known, pending()).await;
                known.push(slot.expect(&row));
            }
            drop(known);
            // What those who are known give back is not for strangers.
            for slot in &mut waiting {
                tokio::select! { biased; _ = slot => panic!("{row}"), () = ready(()) => {} }
            }
            drop(strangers);
            for slot in waiting {
                assert!(slot.await.is_ok(), "{row}");
            }
            assert_eq!(counts(&queue), (0, 0), "{row}");
        }
    }
}
