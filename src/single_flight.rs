//! Single-flight: while one caller produces a result, others that need the same result wait for it. Afterwards the
//! result is kept for a while, within a memory limit.
//!
//! The response cache and the deduplication of calls use it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// Identifies a result: a hash of everything it depends on.
pub type FlightKey = [u8; 32];

/// The results, by key.
#[derive(Debug)]
pub struct SingleFlight<V> {
    max_bytes: usize,
    state: Mutex<Slots<V>>,
}

#[derive(Debug)]
struct Slots<V> {
    /// Boxed, so that a table that grows moves 40 bytes for each result. Meanwhile, every call waits for the lock.
    slots: HashMap<FlightKey, Box<Slot<V>>>,
    /// The kept results, oldest first. An entry is obsolete if its slot now has another number.
    order: VecDeque<(FlightKey, u64)>,
    bytes: usize,
    last_number: u64,
}

#[derive(Debug)]
struct Slot<V> {
    kept: Option<Kept<V>>,
    in_flight: Option<(u64, watch::Receiver<Option<V>>)>,
}

impl<V> Default for Slot<V> {
    fn default() -> Self {
        Self { kept: None, in_flight: None }
    }
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    number: u64,
    retention: Retention,
    kept_at: Instant,
}

/// How long a result is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// How long it is fresh.
    pub fresh: Duration,
    /// How much longer it may be used stale, when no new result can be produced.
    pub stale: Duration,
    /// Its approximate size in memory.
    pub bytes: usize,
    /// Its owner. The result is dropped together with the owner.
    pub owner: FlightKey,
}

/// The state of a result.
#[derive(Debug)]
pub enum FlightLookup<V> {
    /// It is available.
    Hit(V),
    /// Another caller is producing it.
    InFlight(Follower<V>),
    /// This caller has to produce it.
    Leader(Lead<V>),
}

/// Waits for a result that another caller is producing.
#[derive(Debug)]
pub struct Follower<V> {
    result: watch::Receiver<Option<V>>,
    /// The previous result, no longer fresh.
    pub stale: Option<V>,
}

/// The obligation to produce a result. If it is dropped without one, the next caller becomes the leader.
#[derive(Debug)]
pub struct Lead<V> {
    flights: Arc<SingleFlight<V>>,
    key: FlightKey,
    number: u64,
    sender: watch::Sender<Option<V>>,
    is_settled: bool,
    /// The previous result, no longer fresh.
    pub stale: Option<V>,
}

impl<V: Clone> SingleFlight<V> {
    /// Without results; keeps at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        let (slots, order) = (HashMap::new(), VecDeque::new());
        Self { max_bytes, state: Mutex::new(Slots { slots, order, bytes: 0, last_number: 0 }) }
    }

    /// Looks up a result at `now`.
    pub fn find(self: &Arc<Self>, key: FlightKey, now: Instant) -> FlightLookup<V> {
        let mut guard = self.state();
        let state = &mut *guard;
        let slot = state.slots.entry(key).or_default();
        let stale = match &slot.kept {
            Some(kept) if now < kept.kept_at + kept.retention.fresh => {
                return FlightLookup::Hit(kept.value.clone());
            }
            Some(kept) => (now < kept.ends()).then(|| kept.value.clone()),
            None => None,
        };
        if let Some((_, result)) = &slot.in_flight {
            return FlightLookup::InFlight(Follower { result: result.clone(), stale });
        }
        state.last_number += 1;
        let number = state.last_number;
        let (sender, result) = watch::channel(None);
        slot.in_flight = Some((number, result));
        FlightLookup::Leader(Lead {
            flights: Arc::clone(self),
            key,
            number,
            sender,
            is_settled: false,
            stale,
        })
    }

    /// Drops the results of owners that are no longer current.
    pub fn retain(&self, is_current: impl Fn(&FlightKey) -> bool) {
        let mut guard = self.state();
        let state = &mut *guard;
        let obsolete = state
            .slots
            .iter()
            .filter(|(_, slot)| slot.kept.as_ref().is_some_and(|kept| !is_current(&kept.retention.owner)));
        let obsolete: Vec<FlightKey> = obsolete.map(|(key, _)| *key).collect();
        obsolete.iter().for_each(|key| state.forget(key));
        let slots = &state.slots;
        state.order.retain(|(key, number)| holds(slots, key, *number));
    }
}

fn holds<V>(slots: &HashMap<FlightKey, Box<Slot<V>>>, key: &FlightKey, number: u64) -> bool {
    slots.get(key).and_then(|slot| slot.kept.as_ref()).is_some_and(|kept| kept.number == number)
}

impl<V> SingleFlight<V> {
    /// The approximate size of all kept results.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, Slots<V>> {
        self.state.lock()
    }
}

impl<V> Slots<V> {
    /// Drops the result of `key`, and its slot unless a new result is in flight.
    fn forget(&mut self, key: &FlightKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(kept) = slot.kept.take() {
            self.bytes -= kept.retention.bytes;
        }
        if slot.in_flight.is_none() {
            self.slots.remove(key);
        }
    }

    /// Drops expired results, then the oldest until the rest fits.
    fn fit(&mut self, max_bytes: usize, now: Instant) {
        while let Some((key, number)) = self.order.front().copied() {
            let kept = self.slots.get(&key).and_then(|slot| slot.kept.as_ref());
            let kept = kept.filter(|kept| kept.number == number);
            if kept.is_some_and(|kept| now < kept.ends()) && self.bytes <= max_bytes {
                return;
            }
            if kept.is_some() {
                self.forget(&key);
            }
            self.order.pop_front();
        }
    }
}

impl<V> Kept<V> {
    fn ends(&self) -> Instant {
        self.kept_at + self.retention.fresh + self.retention.stale
    }
}

impl<V> Follower<V> {
    /// Waits for the result; `None` if its leader gave up.
    pub async fn result(mut self) -> Option<V>
    where
        V: Clone,
    {
        self.result.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<V> Lead<V> {
    /// Hands the result to the followers and keeps it from `now` on.
    pub fn keep(mut self, value: V, retention: Retention, now: Instant)
    where
        V: Clone,
    {
        let number = self.number;
        let kept = Kept { value: value.clone(), number, retention, kept_at: now };
        self.settle(Some(kept), now);
        let _ = self.sender.send(Some(value));
    }

    /// Hands the result to the followers without keeping it.
    pub fn hand_out(mut self, value: V) {
        self.settle(None, Instant::now());
        let _ = self.sender.send(Some(value));
    }

    fn settle(&mut self, kept: Option<Kept<V>>, now: Instant) {
        self.is_settled = true;
        let max_bytes = self.flights.max_bytes;
        let mut guard = self.flights.state();
        let state = &mut *guard;
        let Some(slot) = state.slots.get_mut(&self.key) else { return };
        if slot.in_flight.as_ref().is_some_and(|(number, _)| *number == self.number) {
            slot.in_flight = None;
        }
        match kept.filter(|kept| kept.retention.bytes <= max_bytes) {
            Some(kept) => {
                let bytes = kept.retention.bytes;
                state.order.push_back((self.key, kept.number));
                if let Some(before) = slot.kept.replace(kept) {
                    state.bytes -= before.retention.bytes;
                }
                state.bytes += bytes;
                state.fit(max_bytes, now);
            }
            None if slot.kept.is_none() && slot.in_flight.is_none() => {
                state.slots.remove(&self.key);
            }
            None => {}
        }
    }
}

impl<V> Drop for Lead<V> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.settle(None, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::single_flight::*;
    use futures_util::FutureExt as _;

    const MINUTE: Duration = Duration::from_secs(60);

    fn flights(max_bytes: usize) -> Arc<SingleFlight<&'static str>> {
        Arc::new(SingleFlight::new(max_bytes))
    }

    fn retention(bytes: usize) -> Retention {
        Retention { fresh: MINUTE, stale: MINUTE, bytes, owner: [0; 32] }
    }

    fn lead(flights: &Arc<SingleFlight<&'static str>>, key: u8, now: Instant) -> Lead<&'static str> {
        match flights.find([key; 32], now) {
            FlightLookup::Leader(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    fn kept(flights: &Arc<SingleFlight<&'static str>>, key: u8, now: Instant) -> Option<&'static str> {
        match flights.find([key; 32], now) {
            FlightLookup::Hit(value) => Some(value),
            _ => None,
        }
    }

    #[tokio::test]
    async fn one_caller_leads_others_wait_and_later_ones_get_a_hit() {
        let (flights, now) = (flights(100), Instant::now());
        let claim = lead(&flights, 1, now);
        let waiting = [flights.find([1; 32], now), flights.find([1; 32], now)];
        claim.keep("made", retention(1), now);
        for found in waiting {
            let FlightLookup::InFlight(waiting) = found else { panic!("{found:?}") };
            assert_eq!(waiting.result().await, Some("made"));
        }
        assert_eq!(kept(&flights, 1, now + MINUTE / 2), Some("made"));
        assert_eq!(kept(&flights, 2, now), None);
    }

    #[tokio::test]
    async fn handed_out_results_are_not_kept_and_a_dropped_lead_passes_to_the_next_caller() {
        let (flights, now) = (flights(100), Instant::now());
        for gives_up in [false, true] {
            let claim = lead(&flights, 1, now);
            let FlightLookup::InFlight(waiting) = flights.find([1; 32], now) else { panic!() };
            let result = if gives_up {
                drop(claim);
                None
            } else {
                claim.hand_out("failed");
                Some("failed")
            };
            assert_eq!(waiting.result().await, result);
        }
        drop(lead(&flights, 1, now));
        assert!(flights.state().slots.is_empty(), "nothing is left behind");
    }

    #[test]
    fn leaders_and_followers_get_the_stale_result() {
        let (flights, now) = (flights(100), Instant::now());
        lead(&flights, 1, now).keep("old", retention(1), now);
        let later = now + MINUTE;
        let claim = lead(&flights, 1, later);
        assert_eq!(claim.stale, Some("old"));
        let FlightLookup::InFlight(waiting) = flights.find([1; 32], later) else { panic!() };
        assert_eq!(waiting.stale, Some("old"));
        // A failure does not remove the kept result.
        claim.hand_out("failed");
        assert!(waiting.result().now_or_never().is_some());
        assert_eq!(lead(&flights, 1, later).stale, Some("old"));
        assert_eq!(lead(&flights, 1, now + 2 * MINUTE).stale, None);
    }

    #[test]
    fn expired_results_are_evicted_first_then_the_oldest() {
        let (flights, now) = (flights(10), Instant::now());
        for key in 1..=3 {
            lead(&flights, key, now).keep("value", retention(4), now);
        }
        assert_eq!([1, 2, 3].map(|key| kept(&flights, key, now).is_some()), [false, true, true]);
        assert_eq!(flights.bytes(), 8);
        lead(&flights, 4, now).keep("too large", retention(11), now);
        assert_eq!([2, 3, 4].map(|key| kept(&flights, key, now).is_some()), [true, true, false]);
        let later = now + 2 * MINUTE;
        lead(&flights, 5, later).keep("new", retention(1), later);
        assert_eq!(flights.bytes(), 1);
        assert_eq!(flights.state().order.len(), 1);
    }

    #[test]
    fn a_replaced_result_is_counted_once() {
        let (flights, now) = (flights(10), Instant::now());
        lead(&flights, 1, now).keep("one", retention(4), now);
        let later = now + MINUTE;
        lead(&flights, 1, later).keep("two", retention(5), later);
        assert_eq!((flights.bytes(), kept(&flights, 1, later)), (5, Some("two")));
        // The obsolete first entry in `order` is skipped during eviction.
        lead(&flights, 2, later).keep("three", retention(5), later);
        assert_eq!((flights.bytes(), kept(&flights, 1, later)), (10, Some("two")));
    }

    #[test]
    fn results_of_removed_owners_are_dropped() {
        let (flights, now) = (flights(10), Instant::now());
        for key in 1..=2 {
            lead(&flights, key, now).keep("value", Retention { owner: [key; 32], ..retention(4) }, now);
        }
        flights.retain(|owner| owner[0] == 2);
        assert_eq!([1, 2].map(|key| kept(&flights, key, now).is_some()), [false, true]);
        assert_eq!((flights.bytes(), flights.state().order.len()), (4, 1));
    }
}
