//! Calls that run once across instances.

use std::time::Duration;

use jackfield::state::{CallClaim, CallLease, CallTerms, Followed, Following, LeaseState, Store};

use crate::with_each_engine;
use crate::world::{HOUR, World, open_payload, sensitive};

with_each_engine!(
    one_leads_and_the_others_get_its_answer,
    an_answer_that_is_not_kept_is_handed_out_once,
    an_abandoned_call_is_led_by_the_next,
    a_leader_that_died_before_sending_frees_the_call,
    a_leader_that_died_after_sending_leaves_it_unconfirmed,
    a_renewed_lease_is_held,
    a_slow_leader_may_still_settle,
    followers_are_late_without_an_answer,
    expired_calls_are_purged,
    only_one_of_many_leads,
    many_calls_are_claimed_marked_and_settled_at_the_same_time,
    a_mark_is_kept_although_the_lease_is_renewed_at_the_same_time,
);

const KEY: [u8; 32] = [1; 32];
const TERMS: CallTerms = CallTerms { lease: HOUR, unconfirmed_for: HOUR };
/// Its leases end at once, as if the leader had died long ago.
const ENDED: CallTerms = CallTerms { lease: Duration::ZERO, unconfirmed_for: HOUR };

async fn lead(store: &Store, terms: CallTerms) -> CallLease {
    match store.claim_call(KEY, terms).await.unwrap() {
        CallClaim::Leader(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn following(store: &Store) -> Following {
    match store.claim_call(KEY, TERMS).await.unwrap() {
        CallClaim::InFlight(following) => following,
        other => panic!("{other:?}"),
    }
}

async fn one_leads_and_the_others_get_its_answer(world: &World) {
    let instances = world.instances(HOUR);
    let (leader, follower) = (instances.open(), instances.open());
    let lease = lead(&leader, TERMS).await;
    let here = following(&leader).await;
    let there = following(&follower).await;
    let settle = async {
        assert_eq!(leader.mark_sent(&lease).await, Ok(LeaseState::Held));
        assert_eq!(leader.settle(&lease, sensitive("done"), HOUR).await, Ok(LeaseState::Held));
    };
    let (here, there, ()) = tokio::join!(leader.follow(&here, HOUR), follower.follow(&there, HOUR), settle);
    assert_eq!(here, Ok(Followed::Answer(b"done".to_vec())));
    assert_eq!(there, here);
    for store in [&leader, &follower] {
        assert_eq!(store.claim_call(KEY, TERMS).await, Ok(CallClaim::Kept(b"done".to_vec())));
    }
    assert!(matches!(follower.claim_call([2; 32], TERMS).await, Ok(CallClaim::Leader(_))));
    assert_eq!(leader.settle(&lease, open_payload("twice"), HOUR).await, Ok(LeaseState::Lost));
    assert_eq!(leader.renew_call(&lease).await, Ok(LeaseState::Lost));
}

async fn an_answer_that_is_not_kept_is_handed_out_once(world: &World) {
    let instances = world.instances(HOUR);
    let (leader, follower) = (instances.open(), instances.open());
    let lease = lead(&leader, TERMS).await;
    let followed = following(&follower).await;
    leader.settle(&lease, open_payload("failed"), Duration::ZERO).await.unwrap();
    assert_eq!(follower.follow(&followed, HOUR).await, Ok(Followed::Answer(b"failed".to_vec())));
    lead(&follower, TERMS).await;
    assert_eq!(follower.follow(&followed, HOUR).await, Ok(Followed::Free), "another leads by now");
}

async fn an_abandoned_call_is_led_by_the_next(world: &World) {
    let instances = world.instances(HOUR);
    let (leader, follower) = (instances.open(), instances.open());
    let lease = lead(&leader, TERMS).await;
    let followed = following(&follower).await;
    let (followed, abandoned) = tokio::join!(follower.follow(&followed, HOUR), leader.abandon(&lease));
    assert_eq!((followed, abandoned), (Ok(Followed::Free), Ok(())));
    let next = lead(&follower, TERMS).await;
    // The lease of the first one is worth nothing now.
    leader.abandon(&lease).await.unwrap();
    assert_eq!(leader.mark_sent(&lease).await, Ok(LeaseState::Lost));
    assert_eq!(follower.mark_sent(&next).await, Ok(LeaseState::Held));
}

async fn a_leader_that_died_before_sending_frees_the_call(world: &World) {
    let instances = world.instances(HOUR);
    let (dead, alive) = (instances.open(), instances.open());
    let first = lead(&dead, ENDED).await;
    let second = lead(&alive, TERMS).await;
    assert_eq!(dead.mark_sent(&first).await, Ok(LeaseState::Lost), "it must not send now");
    assert_eq!(dead.settle(&first, open_payload("no"), HOUR).await, Ok(LeaseState::Lost));
    assert_eq!(alive.settle(&second, open_payload("yes"), HOUR).await, Ok(LeaseState::Held));
}

async fn a_leader_that_died_after_sending_leaves_it_unconfirmed(world: &World) {
    let instances = world.instances(HOUR);
    let (dead, alive) = (instances.open(), instances.open());
    // A follower that came while the leader was alive learns of its end. On a busy machine it comes too late for a
    // short lease.
    for doubled in 0u8.. {
        let key = [100 + doubled; 32];
        let lease = Duration::from_millis(100) * 2u32.pow(doubled.into());
        let claim = dead.claim_call(key, CallTerms { lease, unconfirmed_for: HOUR }).await.unwrap();
        let CallClaim::Leader(lease) = claim else { panic!("{claim:?}") };
        if dead.mark_sent(&lease).await != Ok(LeaseState::Held) {
            continue;
        }
        let claim = alive.claim_call(key, TERMS).await.unwrap();
        if let CallClaim::InFlight(followed) = &claim {
            assert_eq!(alive.follow(followed, HOUR).await, Ok(Followed::Unconfirmed));
        }
        for _ in 0..2 {
            assert_eq!(alive.claim_call(key, TERMS).await, Ok(CallClaim::Unconfirmed));
        }
        if claim != CallClaim::Unconfirmed {
            break;
        }
    }
    assert_eq!(alive.purge(HOUR).await, Ok(0));
    // It is free again at the end of that time.
    let key = [3; 32];
    let terms = CallTerms { lease: Duration::ZERO, unconfirmed_for: Duration::ZERO };
    let Ok(CallClaim::Leader(lease)) = dead.claim_call(key, terms).await else { panic!() };
    assert_eq!(dead.mark_sent(&lease).await, Ok(LeaseState::Held));
    assert!(matches!(alive.claim_call(key, TERMS).await, Ok(CallClaim::Leader(_))));
}

async fn a_renewed_lease_is_held(world: &World) {
    let store = world.store();
    let lease = lead(&store, TERMS).await;
    assert_eq!(store.renew_call(&lease).await, Ok(LeaseState::Held));
    following(&store).await;
    // Renewing keeps in mind that something was sent.
    let ended = CallTerms { lease: Duration::ZERO, unconfirmed_for: HOUR };
    let Ok(CallClaim::Leader(lease)) = store.claim_call([4; 32], ended).await else { panic!() };
    store.mark_sent(&lease).await.unwrap();
    assert_eq!(store.renew_call(&lease).await, Ok(LeaseState::Held));
    assert_eq!(store.claim_call([4; 32], TERMS).await, Ok(CallClaim::Unconfirmed));
}

async fn a_slow_leader_may_still_settle(world: &World) {
    let store = world.store();
    let lease = lead(&store, ENDED).await;
    store.mark_sent(&lease).await.unwrap();
    assert_eq!(store.claim_call(KEY, TERMS).await, Ok(CallClaim::Unconfirmed));
    assert_eq!(store.settle(&lease, open_payload("done"), HOUR).await, Ok(LeaseState::Held));
    assert_eq!(store.claim_call(KEY, TERMS).await, Ok(CallClaim::Kept(b"done".to_vec())));
}

async fn followers_are_late_without_an_answer(world: &World) {
    let store = world.store();
    lead(&store, TERMS).await;
    let followed = following(&store).await;
    for within in [Duration::ZERO, Duration::from_millis(20)] {
        assert_eq!(store.follow(&followed, within).await, Ok(Followed::Late));
    }
}

async fn expired_calls_are_purged(world: &World) {
    let store = world.store();
    lead(&store, ENDED).await;
    assert_eq!(store.purge(HOUR).await, Ok(1));
    let lease = lead(&store, TERMS).await;
    assert_eq!(store.purge(HOUR).await, Ok(0));
    store.settle(&lease, open_payload("done"), HOUR).await.unwrap();
    assert_eq!(store.purge(HOUR).await, Ok(0));
}

async fn only_one_of_many_leads(world: &World) {
    let instances = world.instances(HOUR);
    let stores: Vec<_> = (0..5).map(|_| instances.open()).collect();
    let claims = (0..30).map(|at| {
        let store = stores[at % stores.len()].clone();
        async move { store.claim_call(KEY, TERMS).await.unwrap() }
    });
    let claims = futures_util::future::join_all(claims).await;
    let leaders = claims.iter().filter(|claim| matches!(claim, CallClaim::Leader(_))).count();
    let followers = claims.iter().filter(|claim| matches!(claim, CallClaim::InFlight(_))).count();
    assert_eq!((leaders, followers), (1, 29));
}

async fn many_calls_are_claimed_marked_and_settled_at_the_same_time(world: &World) {
    let instances = world.instances(HOUR);
    let stores = [instances.open(), instances.open()];
    // The instances get the calls in opposite orders.
    let calls = (0..40_u8).chain((0..40).rev()).enumerate().map(|(at, call)| {
        let store = stores[at / 40].clone();
        async move {
            let CallClaim::Leader(lease) = store.claim_call([call; 32], TERMS).await.unwrap() else {
                return false;
            };
            let (marked, renewed) = tokio::join!(store.mark_sent(&lease), store.renew_call(&lease));
            assert_eq!((marked, renewed), (Ok(LeaseState::Held), Ok(LeaseState::Held)));
            let settled = store.settle(&lease, sensitive(&call.to_string()), HOUR).await;
            assert_eq!(settled, Ok(LeaseState::Held));
            true
        }
    });
    let led = futures_util::future::join_all(calls).await;
    assert_eq!(led.iter().filter(|led| **led).count(), 40);
    for call in 0..40_u8 {
        let kept = CallClaim::Kept(call.to_string().into_bytes());
        assert_eq!(stores[usize::from(call % 2)].claim_call([call; 32], TERMS).await, Ok(kept));
    }
}

async fn a_mark_is_kept_although_the_lease_is_renewed_at_the_same_time(world: &World) {
    let store = world.store();
    for call in 0..20 {
        let Ok(CallClaim::Leader(lease)) = store.claim_call([call; 32], ENDED).await else { panic!() };
        let renew = || store.renew_call(&lease);
        let (.., marked, _, _) = tokio::join!(renew(), renew(), store.mark_sent(&lease), renew(), renew());
        assert_eq!(marked, Ok(LeaseState::Held));
        assert_eq!(store.claim_call([call; 32], TERMS).await, Ok(CallClaim::Unconfirmed));
    }
}
