//! What operators do with jobs: list, count, retry, drop, purge.

use std::time::Duration;

use jackfield::state::{
    Backlog, Counts, Delivery, DeliveryFilter, DeliveryStatus, JobId, JobOutcome, NewJob, Page, Selection,
    Store, Work, WorkKind,
};

use crate::with_each_engine;
use crate::world::{ALL, HOUR, World, job, names};

with_each_engine!(
    jobs_are_listed_newest_first_in_pages,
    a_filter_selects_by_each_part,
    jobs_are_counted_by_where_they_stand,
    a_selection_is_retried_and_dropped,
    a_large_selection_is_worked_off_in_parts,
    delivered_jobs_are_purged_after_a_while,
    an_unknown_job_is_not_there,
);

/// One job in each status, named after it.
async fn one_of_each(store: &Store) {
    for status in [DeliveryStatus::Delivered, DeliveryStatus::Dead, DeliveryStatus::Retrying] {
        store.append_job(job(status.as_str())).await.unwrap();
        let leased = store.lease_jobs(1).await.unwrap();
        assert_eq!(names(&leased), [status.as_str()]);
        let reason = "status 503".to_owned();
        let outcome = match status {
            DeliveryStatus::Delivered => JobOutcome::Delivered,
            DeliveryStatus::Dead => JobOutcome::Dead { reason },
            _ => JobOutcome::RetryIn { delay: HOUR, reason },
        };
        store.finish(&leased[0].lease, outcome).await.unwrap();
    }
    store.append_job(job("running")).await.unwrap();
    assert_eq!(names(&store.lease_jobs(1).await.unwrap()), ["running"]);
    store.append_job(job("waiting")).await.unwrap();
}

fn listed(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| &*delivery.work.name).collect()
}

async fn jobs_are_listed_newest_first_in_pages(world: &World) {
    let store = world.store();
    let mut ids = Vec::new();
    for at in 0..7 {
        ids.push(store.append_job(job(&format!("job-{at}"))).await.unwrap());
    }
    ids.sort_unstable();
    ids.reverse();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = store.deliveries(&DeliveryFilter::default(), Page { after, limit: 3 }).await.unwrap();
        seen.extend(page.iter().map(|delivery| delivery.id));
        after = page.last().map(|delivery| delivery.id);
        if page.len() < 3 {
            break;
        }
    }
    assert_eq!(seen, ids);
}

async fn a_filter_selects_by_each_part(world: &World) {
    let store = world.store();
    one_of_each(&store).await;
    store.append_job(NewJob { conversation: None, ..job("other") }).await.unwrap();
    for status in DeliveryStatus::ALL {
        let filter = DeliveryFilter { status: Some(status), ..DeliveryFilter::default() };
        let found = store.deliveries(&filter, ALL).await.unwrap();
        let found: Vec<_> = listed(&found).into_iter().filter(|name| *name != "other").collect();
        assert_eq!(found, [status.as_str()]);
    }
    let all = store.deliveries(&DeliveryFilter::default(), ALL).await.unwrap();
    assert_eq!(all.len(), 6);
    let newest = all.iter().map(|delivery| delivery.accepted_at).max();
    for (filter, count) in [
        (DeliveryFilter { name: Some("dead".to_owned()), ..DeliveryFilter::default() }, 1),
        (DeliveryFilter { name: Some("dea%".to_owned()), ..DeliveryFilter::default() }, 0),
        (DeliveryFilter { name: Some("' OR 1=1 --".to_owned()), ..DeliveryFilter::default() }, 0),
        (DeliveryFilter { conversation: Some("conversation-1".to_owned()), ..DeliveryFilter::default() }, 5),
        (DeliveryFilter { since: Some(jiff::Timestamp::UNIX_EPOCH), ..DeliveryFilter::default() }, 6),
        (
            DeliveryFilter {
                since: newest.map(|newest| newest + Duration::from_secs(60)),
                ..DeliveryFilter::default()
            },
            0,
        ),
        (
            DeliveryFilter {
                name: Some("dead".to_owned()),
                status: Some(DeliveryStatus::Delivered),
                ..DeliveryFilter::default()
            },
            0,
        ),
    ] {
        assert_eq!(store.deliveries(&filter, ALL).await.unwrap().len(), count, "{filter:?}");
    }
}

async fn jobs_are_counted_by_where_they_stand(world: &World) {
    let store = world.store();
    assert_eq!(store.counts().await, Ok(Counts::default()));
    one_of_each(&store).await;
    let counts = store.counts().await.unwrap();
    let unfinished = [DeliveryStatus::Retrying, DeliveryStatus::Running, DeliveryStatus::Waiting];
    let all = store.deliveries(&DeliveryFilter::default(), ALL).await.unwrap();
    let oldest = all.iter().filter(|delivery| unfinished.contains(&delivery.status));
    let oldest = oldest.map(|delivery| delivery.accepted_at).min();
    let one = Counts { waiting: 1, retrying: 1, running: 1, delivered: 1, dead: 1, oldest };
    assert_eq!(counts, one);
    let mut backlog = store.backlog().await.unwrap();
    backlog.sort_by(|one, other| one.work.name.cmp(&other.work.name));
    let of = |name: &str| Backlog {
        work: Work { kind: WorkKind::Route, name: name.to_owned() },
        platform: "vapi".to_owned(),
        count: 1,
    };
    assert_eq!(backlog, ["retrying", "running", "waiting"].map(of));
}

async fn a_selection_is_retried_and_dropped(world: &World) {
    let store = world.store();
    one_of_each(&store).await;
    let with =
        |status| Selection::Matching(DeliveryFilter { status: Some(status), ..DeliveryFilter::default() });
    assert_eq!(store.retry(&with(DeliveryStatus::Dead)).await, Ok(1));
    assert_eq!(store.retry(&with(DeliveryStatus::Running)).await, Ok(0), "it is running");
    let mut leased = names(&store.lease_jobs(10).await.unwrap()).join(" ");
    leased.make_ascii_lowercase();
    assert_eq!(leased, "dead waiting");
    assert_eq!(store.drop_jobs(&Selection::Matching(DeliveryFilter::default())).await, Ok(2));
    let left = store.deliveries(&DeliveryFilter::default(), ALL).await.unwrap();
    assert!(left.iter().all(|delivery| delivery.status == DeliveryStatus::Running), "{left:?}");
    assert_eq!(left.len(), 3);
}

async fn a_large_selection_is_worked_off_in_parts(world: &World) {
    let store = world.store();
    let append = |name| store.append_job(job(name));
    futures_util::future::try_join_all(
        (0..2500).map(|at| append(if at % 5 == 0 { "other" } else { "many" })),
    )
    .await
    .unwrap();
    let first = store.lease_jobs(1).await.unwrap().pop().unwrap();
    let is_many = u64::from(first.work.name == "many");
    store.finish(&first.lease, JobOutcome::Delivered).await.unwrap();
    let of = |name: &str| DeliveryFilter { name: Some(name.to_owned()), ..DeliveryFilter::default() };
    let undelivered = Selection::Matching(DeliveryFilter { is_undelivered: true, ..of("many") });
    assert_eq!(store.retry(&undelivered).await, Ok(2000 - is_many));
    let (dropped, appended) = tokio::join!(store.drop_jobs(&undelivered), store.append_job(job("later")));
    assert_eq!((dropped, appended.is_ok()), (Ok(2000 - is_many), true));
    assert_eq!(store.drop_jobs(&Selection::Matching(of("many"))).await, Ok(is_many));
    let others = store.deliveries(&of("other"), Page { after: None, limit: 600 }).await.unwrap();
    assert_eq!(others.len(), 500);
    let ids = others.iter().map(|delivery| delivery.id).collect();
    assert_eq!(store.drop_jobs(&Selection::Ids(ids)).await, Ok(500));
    assert_eq!(store.drop_jobs(&Selection::Matching(DeliveryFilter::default())).await, Ok(1));
}

async fn delivered_jobs_are_purged_after_a_while(world: &World) {
    let store = world.store();
    one_of_each(&store).await;
    assert_eq!(store.purge(HOUR).await, Ok(0));
    assert_eq!(store.purge(Duration::ZERO).await, Ok(1));
    let left = store.deliveries(&DeliveryFilter::default(), ALL).await.unwrap();
    assert_eq!(left.len(), 4);
    assert!(!listed(&left).contains(&"delivered"));
}

async fn an_unknown_job_is_not_there(world: &World) {
    let store = world.store();
    let id: JobId = "01arz3ndektsv4rrffq69g5fav".parse().unwrap();
    assert_eq!(store.delivery(id).await, Ok(None));
    assert_eq!(store.retry(&Selection::Ids(vec![id])).await, Ok(0));
    assert_eq!(store.drop_jobs(&Selection::Ids(vec![id])).await, Ok(0));
    assert_eq!(store.drop_jobs(&Selection::Ids(Vec::new())).await, Ok(0));
}
