//! Jobs: appended, leased, retried, finished.

use std::collections::HashSet;
use std::time::Duration;

use jackfield::state::{
    DeliveryFilter, DeliveryStatus, JobOutcome, LeaseState, NewJob, Selection, StateFault, Work, WorkKind,
};

use crate::with_each_engine;
use crate::world::{ALL, HOUR, World, job, lease_one, names, ordered, sensitive};

with_each_engine!(
    a_job_comes_back_as_it_was_appended,
    a_failed_job_is_due_again_after_its_delay,
    an_attempt_that_did_nothing_does_not_count,
    a_dead_job_is_kept_and_runs_no_more,
    a_job_of_a_dead_instance_is_leased_by_another,
    a_renewed_lease_is_held,
    many_jobs_are_renewed_and_finished_at_the_same_time,
    ordered_jobs_run_one_after_the_other,
    a_dead_or_dropped_job_lets_the_next_of_its_order_run,
    an_ordered_job_that_is_retried_waits_for_its_turn,
    each_job_is_leased_once,
    a_watch_wakes_for_new_and_due_jobs,
    a_sensitive_payload_comes_back,
    the_longest_due_is_leased_first,
    a_text_may_have_any_character,
);

async fn a_job_comes_back_as_it_was_appended(world: &World) {
    let store = world.store();
    let work = Work { kind: WorkKind::Event, name: "call.ended \u{1F600} 'x'".to_owned() };
    let new = NewJob { work: work.clone(), conversation: None, ordered: true, ..job("") };
    let id = store.append_job(new.clone()).await.unwrap();
    let leased = store.lease_jobs(10).await.unwrap();
    assert_eq!(leased.len(), 1);
    let job = &leased[0];
    assert_eq!((job.lease.id, &job.work, &*job.platform), (id, &work, "vapi"));
    assert_eq!((&job.conversation, &*job.revision, job.is_ordered), (&None, "22482c64", false));
    assert_eq!((job.attempt, job.is_interrupted, job.seed), (1, false, [7; 32]));
    assert_eq!(job.payload, Ok(new.payload.bytes));
    assert!(job.retry_left > HOUR / 2 && job.retry_left <= HOUR, "{:?}", job.retry_left);
    assert!(store.lease_jobs(10).await.unwrap().is_empty());

    assert_eq!(store.finish(&job.lease, JobOutcome::Delivered).await, Ok(LeaseState::Held));
    assert!(store.lease_jobs(10).await.unwrap().is_empty());
    let (delivery, payload) = store.delivery(id).await.unwrap().unwrap();
    assert_eq!((delivery.status, delivery.attempts, delivery.due_at), (DeliveryStatus::Delivered, 1, None));
    assert_eq!((delivery.accepted_at, delivery.reason), (job.accepted_at, None));
    assert!(
        delivery.finished_at >= Some(delivery.accepted_at) && delivery.retry_until > delivery.accepted_at
    );
    assert_eq!(payload, job.payload);
    assert_eq!(store.finish(&job.lease, JobOutcome::Delivered).await, Ok(LeaseState::Lost), "once only");
}

async fn a_failed_job_is_due_again_after_its_delay(world: &World) {
    let store = world.store();
    let id = store.append_job(job("log_lead")).await.unwrap();
    let leased = store.lease_jobs(1).await.unwrap();
    let retry = JobOutcome::RetryIn { delay: Duration::ZERO, reason: "status 503".to_owned() };
    store.finish(&leased[0].lease, retry).await.unwrap();
    let (delivery, _) = store.delivery(id).await.unwrap().unwrap();
    assert_eq!((delivery.status, delivery.reason.as_deref()), (DeliveryStatus::Retrying, Some("status 503")));

    let leased = store.lease_jobs(1).await.unwrap();
    assert_eq!((leased[0].attempt, leased[0].is_interrupted), (2, false));
    let retry = JobOutcome::RetryIn { delay: HOUR, reason: "status 502".to_owned() };
    store.finish(&leased[0].lease, retry).await.unwrap();
    assert!(store.lease_jobs(1).await.unwrap().is_empty(), "not yet");

    // An operator need not wait.
    assert_eq!(store.retry(&Selection::Ids(vec![id])).await, Ok(1));
    let leased = store.lease_jobs(1).await.unwrap();
    assert_eq!(leased[0].attempt, 3);
    store.finish(&leased[0].lease, JobOutcome::Delivered).await.unwrap();
    let (delivery, _) = store.delivery(id).await.unwrap().unwrap();
    assert_eq!(delivery.reason, None);
}

async fn an_attempt_that_did_nothing_does_not_count(world: &World) {
    let store = world.store();
    let id = store.append_job(ordered("log_lead", "c")).await.unwrap();
    store.append_job(ordered("behind", "c")).await.unwrap();
    for delay in [Duration::ZERO, Duration::ZERO, HOUR] {
        let leased = store.lease_jobs(2).await.unwrap();
        assert_eq!(names(&leased), ["log_lead"]);
        assert_eq!((leased[0].attempt, leased[0].is_interrupted), (1, false));
        let returned = JobOutcome::Returned { delay, reason: "no route".to_owned() };
        assert_eq!(store.finish(&leased[0].lease, returned.clone()).await, Ok(LeaseState::Held));
        assert_eq!(store.finish(&leased[0].lease, returned).await, Ok(LeaseState::Lost));
        let (delivery, _) = store.delivery(id).await.unwrap().unwrap();
        assert_eq!((delivery.status, delivery.attempts), (DeliveryStatus::Retrying, 0));
        assert_eq!(delivery.reason.as_deref(), Some("no route"));
    }
    assert!(store.lease_jobs(2).await.unwrap().is_empty(), "not yet");
}

async fn a_dead_job_is_kept_and_runs_no_more(world: &World) {
    let store = world.store();
    let id = store.append_job(job("log_lead")).await.unwrap();
    let leased = store.lease_jobs(1).await.unwrap();
    store.finish(&leased[0].lease, JobOutcome::Dead { reason: "status 404".to_owned() }).await.unwrap();
    assert!(store.lease_jobs(1).await.unwrap().is_empty());
    assert_eq!(store.purge(Duration::ZERO).await, Ok(0));
    let (delivery, _) = store.delivery(id).await.unwrap().unwrap();
    assert_eq!((delivery.status, delivery.reason.as_deref()), (DeliveryStatus::Dead, Some("status 404")));

    // Retried by an operator, it begins anew.
    assert_eq!(store.retry(&Selection::Ids(vec![id, id])).await, Ok(1));
    let leased = store.lease_jobs(1).await.unwrap();
    assert_eq!(leased[0].attempt, 1);
    assert!(leased[0].retry_left > HOUR / 2);
}

async fn a_job_of_a_dead_instance_is_leased_by_another(world: &World) {
    // A lease of no length ends at once, as if its instance had died long ago.
    let instances = world.instances(Duration::ZERO);
    let (dead, alive) = (instances.open(), instances.open());
    dead.append_job(job("log_lead")).await.unwrap();
    let first = dead.lease_jobs(1).await.unwrap().pop().unwrap();
    let second = alive.lease_jobs(1).await.unwrap().pop().unwrap();
    assert_eq!(first.lease.id, second.lease.id);
    assert_eq!((second.attempt, second.is_interrupted), (2, true));

    // The first instance was only slow.
    assert_eq!(dead.renew_jobs(std::slice::from_ref(&first.lease)).await, Ok(vec![first.lease.id]));
    let retry = JobOutcome::RetryIn { delay: Duration::ZERO, reason: String::new() };
    for outcome in [JobOutcome::Delivered, retry] {
        assert_eq!(dead.finish(&first.lease, outcome).await, Ok(LeaseState::Lost));
    }
    assert_eq!(alive.finish(&second.lease, JobOutcome::Delivered).await, Ok(LeaseState::Held));
}

async fn a_renewed_lease_is_held(world: &World) {
    let store = world.store();
    for name in ["one", "two", "three"] {
        store.append_job(job(name)).await.unwrap();
    }
    let leased = store.lease_jobs(3).await.unwrap();
    let leases: Vec<_> = leased.iter().map(|job| job.lease.clone()).collect();
    assert_eq!(store.renew_jobs(&leases).await, Ok(Vec::new()));
    store.finish(&leases[1], JobOutcome::Delivered).await.unwrap();
    assert_eq!(store.renew_jobs(&leases).await, Ok(vec![leases[1].id]));
    assert_eq!(store.renew_jobs(&[]).await, Ok(Vec::new()));
}

async fn many_jobs_are_renewed_and_finished_at_the_same_time(world: &World) {
    const ORDERS: usize = 20;
    let store = world.store();
    for at in 0..ORDERS {
        let conversation = format!("c-{at}");
        for new in [ordered("first", &conversation), ordered("second", &conversation), job("free")] {
            store.append_job(new).await.unwrap();
        }
    }
    let leased = store.lease_jobs(100).await.unwrap();
    assert_eq!(leased.len(), 2 * ORDERS);
    let leases: Vec<_> = leased.iter().rev().map(|job| job.lease.clone()).collect();
    let finish = |lease| {
        let store = store.clone();
        async move { store.finish(&lease, JobOutcome::Delivered).await }
    };
    let finishing = futures_util::future::join_all(leases.iter().cloned().map(finish));
    let renewing = async {
        for _ in 0..10 {
            store.renew_jobs(&leases).await.unwrap();
        }
    };
    let (finished, ()) = tokio::join!(finishing, renewing);
    assert!(finished.iter().all(|finished| *finished == Ok(LeaseState::Held)), "{finished:?}");
    let leased = store.lease_jobs(100).await.unwrap();
    assert_eq!((leased.len(), names(&leased).contains(&"first")), (ORDERS, false));
}

async fn ordered_jobs_run_one_after_the_other(world: &World) {
    let instances = world.instances(HOUR);
    let (one, other) = (instances.open(), instances.open());
    for (name, conversation) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")] {
        one.append_job(ordered(name, conversation)).await.unwrap();
    }
    // The same conversation, but not ordered; and the same id on another platform.
    other.append_job(NewJob { ordered: false, ..ordered("free", "a") }).await.unwrap();
    other.append_job(NewJob { platform: "retell".to_owned(), ..ordered("retell", "a") }).await.unwrap();

    let mut first = one.lease_jobs(10).await.unwrap();
    first.extend(other.lease_jobs(10).await.unwrap());
    first.sort_by(|a, b| a.work.name.cmp(&b.work.name));
    assert_eq!(names(&first), ["a1", "b1", "free", "retell"]);
    // While it is retried, the others wait.
    let retry = JobOutcome::RetryIn { delay: Duration::ZERO, reason: "status 503".to_owned() };
    one.finish(&first[0].lease, retry).await.unwrap();
    for name in ["a1", "a2", "a3"] {
        let leased = other.lease_jobs(10).await.unwrap();
        assert_eq!(names(&leased), [name]);
        assert!(leased[0].is_ordered);
        other.finish(&leased[0].lease, JobOutcome::Delivered).await.unwrap();
    }
    assert!(other.lease_jobs(10).await.unwrap().is_empty());
    other.append_job(ordered("a4", "a")).await.unwrap();
    assert_eq!(lease_one(&one, &mut one.watch_jobs()).await.work.name, "a4");
}

async fn a_dead_or_dropped_job_lets_the_next_of_its_order_run(world: &World) {
    let store = world.store();
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(store.append_job(ordered(name, "a")).await.unwrap());
    }
    let leased = store.lease_jobs(10).await.unwrap();
    // A job that runs is not dropped.
    assert_eq!(store.drop_jobs(&Selection::Ids(vec![ids[0]])).await, Ok(0));
    store.finish(&leased[0].lease, JobOutcome::Dead { reason: "status 404".to_owned() }).await.unwrap();
    assert_eq!(store.drop_jobs(&Selection::Ids(vec![ids[1]])).await, Ok(1));
    assert_eq!(names(&store.lease_jobs(10).await.unwrap()), ["three"]);
}

async fn an_ordered_job_that_is_retried_waits_for_its_turn(world: &World) {
    let store = world.store();
    let id = store.append_job(ordered("one", "a")).await.unwrap();
    store.append_job(ordered("two", "a")).await.unwrap();
    let leased = store.lease_jobs(10).await.unwrap();
    store.finish(&leased[0].lease, JobOutcome::Dead { reason: "status 404".to_owned() }).await.unwrap();
    let leased = store.lease_jobs(10).await.unwrap();
    assert_eq!(names(&leased), ["two"]);
    assert_eq!(store.retry(&Selection::Ids(vec![id])).await, Ok(1));
    assert!(store.lease_jobs(10).await.unwrap().is_empty(), "`two` is running");
    store.finish(&leased[0].lease, JobOutcome::Delivered).await.unwrap();
    assert_eq!(names(&store.lease_jobs(10).await.unwrap()), ["one"]);
}

async fn each_job_is_leased_once(world: &World) {
    const JOBS: usize = 200;
    let instances = world.instances(HOUR);
    let stores: Vec<_> = (0..4).map(|_| instances.open()).collect();
    let appended = (0..JOBS).map(|at| {
        let store = stores[at % stores.len()].clone();
        tokio::spawn(async move { store.append_job(job("log_lead")).await.unwrap() })
    });
    let mut appended: HashSet<_> =
        futures_util::future::join_all(appended).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(appended.len(), JOBS);
    let leasing = stores.into_iter().map(|store| {
        tokio::spawn(async move {
            let mut leased = Vec::new();
            let mut watch = store.watch_jobs();
            loop {
                let jobs = store.lease_jobs(7).await.unwrap();
                if jobs.is_empty() {
                    if store.counts().await.unwrap().waiting == 0 {
                        break;
                    }
                    // An instance leases what it accepted itself before others do.
                    watch.changed().await;
                }
                leased.extend(jobs.into_iter().map(|job| job.lease.id));
            }
            leased
        })
    });
    for leased in futures_util::future::join_all(leasing).await {
        for id in leased.unwrap() {
            assert!(appended.remove(&id), "{id} was leased twice");
        }
    }
    assert!(appended.is_empty(), "{appended:?}");
}

async fn a_watch_wakes_for_new_and_due_jobs(world: &World) {
    let instances = world.instances(HOUR);
    let (worker, acceptor) = (instances.open(), instances.open());
    let mut watch = worker.watch_jobs();
    watch.changed().await;
    assert!(worker.lease_jobs(1).await.unwrap().is_empty());
    let (leased, _) = tokio::join!(lease_one(&worker, &mut watch), acceptor.append_job(job("log_lead")));
    let retry = JobOutcome::RetryIn { delay: Duration::from_millis(30), reason: "status 503".to_owned() };
    worker.finish(&leased.lease, retry).await.unwrap();
    assert_eq!(lease_one(&worker, &mut watch).await.attempt, 2);
}

async fn a_sensitive_payload_comes_back(world: &World) {
    let store = world.store();
    let id = store.append_job(NewJob { payload: sensitive("4711"), ..job("log_lead") }).await.unwrap();
    assert_eq!(store.lease_jobs(1).await.unwrap()[0].payload, Ok(b"4711".to_vec()));
    assert_eq!(store.delivery(id).await.unwrap().unwrap().1, Ok(b"4711".to_vec()));

    let store = jackfield::state::Store::in_memory(jackfield::state::EncryptionKeys::default(), HOUR);
    let error = store.append_job(NewJob { payload: sensitive("4711"), ..job("log_lead") }).await.unwrap_err();
    assert_eq!(error.fault, StateFault::NoKey);
    assert!(store.deliveries(&Default::default(), ALL).await.unwrap().is_empty());
}

async fn the_longest_due_is_leased_first(world: &World) {
    let store = world.store();
    for name in ["one", "two", "three", "four"] {
        store.append_job(job(name)).await.unwrap();
    }
    assert_eq!(names(&store.lease_jobs(2).await.unwrap()), ["one", "two"]);
    assert!(store.lease_jobs(0).await.unwrap().is_empty());
    assert_eq!(names(&store.lease_jobs(10).await.unwrap()), ["three", "four"]);
}

async fn a_text_may_have_any_character(world: &World) {
    let store = world.store();
    let odd = "a\0b'\u{1F600}\u{FEFF}\\%";
    let new = NewJob { conversation: Some(odd.to_owned()), ..job(odd) };
    // An odd one does not harm those that are stored together with it.
    let (odd_one, plain) = (store.append_job(new), store.append_job(job("plain")));
    let (odd_one, plain) = tokio::join!(odd_one, plain);
    let id = odd_one.unwrap();
    assert!(plain.is_ok());
    for leased in store.lease_jobs(2).await.unwrap() {
        let retry = JobOutcome::RetryIn { delay: HOUR, reason: odd.to_owned() };
        assert_eq!(store.finish(&leased.lease, retry).await, Ok(LeaseState::Held));
    }
    let filter = DeliveryFilter {
        conversation: Some(odd.to_owned()),
        name: Some(odd.to_owned()),
        ..Default::default()
    };
    let found = store.deliveries(&filter, ALL).await.unwrap();
    assert_eq!(found.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [id]);
    assert!(found[0].reason.as_ref().is_some_and(|reason| reason.ends_with("b'\u{1F600}\u{FEFF}\\%")));
}
