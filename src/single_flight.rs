//! Results that several calls share (single flight): while one is being made, whoever asks for the same waits for it;
//! afterwards it is kept for a while, within a bound of memory.
//!
//! The cache of replies and the guard against repeated calls are both made of this.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// What tells one result from another: a hash of all that it depends on.
pub type FlightKey = [u8; 32];

/// The results, by key.
#[derive(Debug)]
pub struct SingleFlight<V> {
    max_bytes: usize,
    state: Mutex<Slots<V>>,
}

#[derive(Debug)]
struct Slots<V> {
    slots: HashMap<FlightKey, Slot<V>>,
    /// The kept results, the oldest first; one that has been replaced since has another number in its slot.
    order: VecDeque<(FlightKey, u64)>,
    bytes: usize,
    last_number: u64,
}

#[derive(Debug)]
struct Slot<V> {
    kept: Option<Kept<V>>,
    under_way: Option<(u64, watch::Receiver<Option<V>>)>,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    number: u64,
    keeping: Retention,
    kept_at: Instant,
}

/// How a result is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// For how long it stands for a new one.
    pub fresh: Duration,
    /// For how much longer it is there when no new one can be had.
    pub stale: Duration,
    /// Its size in memory, about.
    pub bytes: usize,
    /// What it belongs to: it is dropped together with that.
    pub owner: FlightKey,
}

/// What is known of a result.
#[derive(Debug)]
pub enum Lookup<V> {
    /// It is there.
    Hit(V),
    /// Somebody makes it.
    InFlight(Follower<V>),
    /// It is for the asker to make.
    Leader(Lead<V>),
}

/// A result that somebody else makes.
#[derive(Debug)]
pub struct Follower<V> {
    told: watch::Receiver<Option<V>>,
    /// What was kept before, and is not fresh any more.
    pub stale: Option<V>,
}

/// The charge to make a result. Dropped without one, it falls to the next who asks.
#[derive(Debug)]
pub struct Lead<V> {
    flights: Arc<SingleFlight<V>>,
    key: FlightKey,
    number: u64,
    tell: watch::Sender<Option<V>>,
    is_settled: bool,
    /// What was kept before, and is not fresh any more.
    pub stale: Option<V>,
}

impl<V: Clone> SingleFlight<V> {
    /// Nothing yet; `max_bytes` is the most that is kept.
    pub fn new(max_bytes: usize) -> Self {
        let (slots, order) = (HashMap::new(), VecDeque::new());
        Self { max_bytes, state: Mutex::new(Slots { slots, order, bytes: 0, last_number: 0 }) }
    }

    /// What is known of a result at `now`.
    pub fn find(self: &Arc<Self>, key: FlightKey, now: Instant) -> Lookup<V> {
        let mut guard = self.state();
        let state = &mut *guard;
        let slot = state.slots.entry(key).or_insert(Slot { kept: None, under_way: None });
        let stale = match &slot.kept {
            Some(kept) if now < kept.kept_at + kept.keeping.fresh => return Lookup::Hit(kept.value.clone()),
            Some(kept) => (now < kept.ends()).then(|| kept.value.clone()),
            None => None,
        };
        if let Some((_, told)) = &slot.under_way {
            return Lookup::InFlight(Follower { told: told.clone(), stale });
        }
        state.last_number += 1;
        let number = state.last_number;
        let (tell, told) = watch::channel(None);
        slot.under_way = Some((number, told));
        Lookup::Leader(Lead { flights: Arc::clone(self), key, number, tell, is_settled: false, stale })
    }

    /// Drops what is kept for those that are not in force any more.
    pub fn retain(&self, is_in_force: impl Fn(&FlightKey) -> bool) {
        let mut guard = self.state();
        let state = &mut *guard;
        let gone = state
            .slots
            .iter()
            .filter(|(_, slot)| slot.kept.as_ref().is_some_and(|kept| !is_in_force(&kept.keeping.owner)));
        let gone: Vec<FlightKey> = gone.map(|(key, _)| *key).collect();
        gone.iter().for_each(|key| state.forget(key));
        let slots = &state.slots;
        state.order.retain(|(key, number)| holds(slots, key, *number));
    }
}

fn holds<V>(slots: &HashMap<FlightKey, Slot<V>>, key: &FlightKey, number: u64) -> bool {
    slots.get(key).and_then(|slot| slot.kept.as_ref()).is_some_and(|kept| kept.number == number)
}

impl<V> SingleFlight<V> {
    /// How many bytes are kept, about.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, Slots<V>> {
        self.state.lock()
    }
}

impl<V> Slots<V> {
    /// Drops what is kept under `key`, and the slot if nobody makes it anew.
    fn forget(&mut self, key: &FlightKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(kept) = slot.kept.take() {
            self.bytes -= kept.keeping.bytes;
        }
        if slot.under_way.is_none() {
            self.slots.remove(key);
        }
    }

    /// Drops what is over, and the oldest until the rest fits.
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
        self.kept_at + self.keeping.fresh + self.keeping.stale
    }
}

impl<V> Follower<V> {
    /// The result, when it is made; `None` when whoever made it gave up.
    pub async fn result(mut self) -> Option<V>
    where
        V: Clone,
    {
        self.told.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<V> Lead<V> {
    /// Hands the result to those that wait for it, and keeps it from `now` on.
    pub fn keep(mut self, value: V, keeping: Retention, now: Instant)
    where
        V: Clone,
    {
        let number = self.number;
        let kept = Kept { value: value.clone(), number, keeping, kept_at: now };
        self.settle(Some(kept), now);
        let _ = self.tell.send(Some(value));
    }

    /// Hands the result to those that wait for it, and to nobody else.
    pub fn hand_out(mut self, value: V) {
        self.settle(None, Instant::now());
        let _ = self.tell.send(Some(value));
    }

    fn settle(&mut self, kept: Option<Kept<V>>, now: Instant) {
        self.is_settled = true;
        let max_bytes = self.flights.max_bytes;
        let mut guard = self.flights.state();
        let state = &mut *guard;
        let Some(slot) = state.slots.get_mut(&self.key) else { return };
        if slot.under_way.as_ref().is_some_and(|(number, _)| *number == self.number) {
            slot.under_way = None;
        }
        match kept.filter(|kept| kept.keeping.bytes <= max_bytes) {
            Some(kept) => {
                let bytes = kept.keeping.bytes;
                state.order.push_back((self.key, kept.number));
                if let Some(before) = slot.kept.replace(kept) {
                    state.bytes -= before.keeping.bytes;
                }
                state.bytes += bytes;
                state.fit(max_bytes, now);
            }
            None if slot.kept.is_none() && slot.under_way.is_none() => {
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

    fn keeping(bytes: usize) -> Retention {
        Retention { fresh: MINUTE, stale: MINUTE, bytes, owner: [0; 32] }
    }

    fn mine(flights: &Arc<SingleFlight<&'static str>>, key: u8, now: Instant) -> Lead<&'static str> {
        match flights.find([key; 32], now) {
            Lookup::Leader(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    fn kept(flights: &Arc<SingleFlight<&'static str>>, key: u8, now: Instant) -> Option<&'static str> {
        match flights.find([key; 32], now) {
            Lookup::Hit(value) => Some(value),
            _ => None,
        }
    }

    #[tokio::test]
    async fn one_makes_it_the_others_wait_and_later_ones_find_it() {
        let (flights, now) = (flights(100), Instant::now());
        let claim = mine(&flights, 1, now);
        let waiting = [flights.find([1; 32], now), flights.find([1; 32], now)];
        claim.keep("made", keeping(1), now);
        for found in waiting {
            let Lookup::InFlight(waiting) = found else { panic!("{found:?}") };
            assert_eq!(waiting.result().await, Some("made"));
        }
        assert_eq!(kept(&flights, 1, now + MINUTE / 2), Some("made"));
        assert_eq!(kept(&flights, 2, now), None);
    }

    #[tokio::test]
    async fn what_is_handed_out_is_not_kept_and_what_is_given_up_falls_to_the_next() {
        let (flights, now) = (flights(100), Instant::now());
        for gives_up in [false, true] {
            let claim = mine(&flights, 1, now);
            let Lookup::InFlight(waiting) = flights.find([1; 32], now) else { panic!() };
            let result = if gives_up {
                drop(claim);
                None
            } else {
                claim.hand_out("failed");
                Some("failed")
            };
            assert_eq!(waiting.result().await, result);
        }
        drop(mine(&flights, 1, now));
        assert!(flights.state().slots.is_empty(), "nothing is left behind");
    }

    #[test]
    fn what_is_stale_is_there_for_the_next_claim_and_for_those_that_wait() {
        let (flights, now) = (flights(100), Instant::now());
        mine(&flights, 1, now).keep("old", keeping(1), now);
        let later = now + MINUTE;
        let claim = mine(&flights, 1, later);
        assert_eq!(claim.stale, Some("old"));
        let Lookup::InFlight(waiting) = flights.find([1; 32], later) else { panic!() };
        assert_eq!(waiting.stale, Some("old"));
        // A failure takes nothing away from what was kept.
        claim.hand_out("failed");
        assert!(waiting.result().now_or_never().is_some());
        assert_eq!(mine(&flights, 1, later).stale, Some("old"));
        assert_eq!(mine(&flights, 1, now + 2 * MINUTE).stale, None);
    }

    #[test]
    fn the_oldest_make_room_and_what_is_over_goes_first() {
        let (flights, now) = (flights(10), Instant::now());
        for key in 1..=3 {
            mine(&flights, key, now).keep("value", keeping(4), now);
        }
        assert_eq!([1, 2, 3].map(|key| kept(&flights, key, now).is_some()), [false, true, true]);
        assert_eq!(flights.bytes(), 8);
        mine(&flights, 4, now).keep("too large", keeping(11), now);
        assert_eq!([2, 3, 4].map(|key| kept(&flights, key, now).is_some()), [true, true, false]);
        let later = now + 2 * MINUTE;
        mine(&flights, 5, later).keep("new", keeping(1), later);
        assert_eq!(flights.bytes(), 1);
        assert_eq!(flights.state().order.len(), 1);
    }

    #[test]
    fn a_value_that_is_replaced_is_counted_once() {
        let (flights, now) = (flights(10), Instant::now());
        mine(&flights, 1, now).keep("one", keeping(4), now);
        let later = now + MINUTE;
        mine(&flights, 1, later).keep("two", keeping(5), later);
        assert_eq!((flights.bytes(), kept(&flights, 1, later)), (5, Some("two")));
        // Its first entry in the order is skipped when room is made.
        mine(&flights, 2, later).keep("three", keeping(5), later);
        assert_eq!((flights.bytes(), kept(&flights, 1, later)), (10, Some("two")));
    }

    #[test]
    fn what_belongs_to_something_gone_is_dropped() {
        let (flights, now) = (flights(10), Instant::now());
        for key in 1..=2 {
            mine(&flights, key, now).keep("value", Retention { owner: [key; 32], ..keeping(4) }, now);
        }
        flights.retain(|owner| owner[0] == 2);
        assert_eq!([1, 2].map(|key| kept(&flights, key, now).is_some()), [false, true]);
        assert_eq!((flights.bytes(), flights.state().order.len()), (4, 1));
    }
}
