//! What can go wrong with a file.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use jackfield::state::{
    CallClaim, CallTerms, DeliveryFilter, EncryptionKeys, Remembered, Settings, StateFault, StateUrl, Store,
};
use rusqlite::Connection;

use crate::child;
use crate::world::{ALL, HOUR, World, conversation, job, key, lease_one, names, open_payload, sensitive};

/// Values that must not be found in a file.
const SENSITIVE: [&str; 3] = ["4111-1111-1111-1111", "DE89370400440532013000", "hunter2-hunter2"];

const TERMS: CallTerms = CallTerms { lease: HOUR, unconfirmed_for: HOUR };

fn open(path: &Path, keys: &[u8]) -> Store {
    let keys = EncryptionKeys(keys.iter().map(|byte| key(*byte)).collect());
    Store::open(&Settings { keys, ..Settings::new(StateUrl::Sqlite(path.to_owned())) })
}

/// Stores each kind of sensitive value.
async fn store_sensitive(store: &Store, call: [u8; 32]) {
    let new = jackfield::state::NewJob { payload: sensitive(SENSITIVE[0]), ..job("log_lead") };
    store.append_job(new).await.unwrap();
    let change = vec![("iban".to_owned(), Some(Remembered::new(sensitive(SENSITIVE[1]), false)))];
    store.remember(&conversation("c-1"), change, HOUR).await.unwrap();
    let Ok(CallClaim::Leader(lease)) = store.claim_call(call, TERMS).await else { panic!() };
    store.settle(&lease, sensitive(SENSITIVE[2]), HOUR).await.unwrap();
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let world = World::sqlite();
    let file = world.file();
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let store = world.store();
    store.append_job(job("log_lead")).await.unwrap();
    let mut modes: Vec<_> = fs::read_dir(file.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().mode() & 0o777))
        .collect();
    modes.sort();
    let expected = ["state.db", "state.db-shm", "state.db-wal"].map(|name| (name.to_owned(), 0o600));
    assert_eq!(modes, expected);
}

#[tokio::test]
async fn no_sensitive_value_is_in_a_file() {
    let world = World::sqlite();
    let store = world.store();
    store_sensitive(&store, [1; 32]).await;
    store
        .append_job(jackfield::state::NewJob { payload: open_payload("in the clear"), ..job("open") })
        .await
        .unwrap();
    let mut seen = false;
    for entry in fs::read_dir(world.file().parent().unwrap()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        seen |= has("in the clear");
        for value in SENSITIVE {
            assert!(!has(value), "{value}");
        }
    }
    assert!(seen, "the files were read");
}

#[tokio::test]
async fn keys_are_rotated() {
    let world = World::sqlite();
    let file = world.file();
    store_sensitive(&open(&file, &[1]), [1; 32]).await;
    // The new key comes first, the old one still reads.
    let both = open(&file, &[2, 1]);
    assert_eq!(both.lease_jobs(1).await.unwrap()[0].payload, Ok(SENSITIVE[0].into()));
    assert_eq!(both.recall(&conversation("c-1"), HOUR).await.unwrap()[0].1.value, SENSITIVE[1].as_bytes());
    let kept = CallClaim::Kept(SENSITIVE[2].into());
    assert_eq!(both.claim_call([1; 32], TERMS).await, Ok(kept.clone()));
    store_sensitive(&both, [2; 32]).await;

    let new = open(&file, &[2]);
    assert_eq!(new.claim_call([2; 32], TERMS).await, Ok(kept));
    assert_eq!(new.recall(&conversation("c-1"), HOUR).await.unwrap()[0].1.value, SENSITIVE[1].as_bytes());
    let claimed = new.claim_call([1; 32], TERMS).await;
    assert_eq!(claimed, Ok(CallClaim::Unconfirmed), "a call whose answer cannot be read must not run again");
    // One job that cannot be read does not keep the others from being leased.
    let listed = new.deliveries(&DeliveryFilter::default(), ALL).await.unwrap();
    let mut readable = 0;
    for delivery in &listed {
        readable += usize::from(new.delivery(delivery.id).await.unwrap().unwrap().1.is_ok());
    }
    assert_eq!((listed.len(), readable), (2, 1));
}

#[tokio::test]
async fn another_key_is_noticed_before_a_value_is_read() {
    let world = World::sqlite();
    let file = world.file();
    let old = open(&file, &[1]);
    // While nothing is encrypted, the key may be replaced.
    for keys in [&[1][..], &[3], &[], &[1]] {
        assert_eq!(open(&file, keys).check_keys().await, Ok(()), "{keys:?}");
    }
    store_sensitive(&old, [1; 32]).await;
    for keys in [&[2][..], &[]] {
        let error = open(&file, keys).check_keys().await.unwrap_err();
        assert_eq!((error.fault, error.fault.is_away()), (StateFault::OtherKey, false), "{keys:?}");
        assert!(error.to_string().contains("encrypted with another key"), "{error}");
    }
    for keys in [&[1][..], &[2, 1], &[1, 2]] {
        assert_eq!(open(&file, keys).check_keys().await, Ok(()), "{keys:?}");
    }
    // It was stored by a version that did not note its key.
    let older = rusqlite::Connection::open(&file).unwrap();
    older.execute_batch("DROP TABLE encryption_keys; PRAGMA user_version = 1").unwrap();
    drop(older);
    assert_eq!(open(&file, &[2]).check_keys().await.unwrap_err().fault, StateFault::OtherKey);
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_may_be_replaced() {
    let world = World::sqlite();
    let file = world.file();
    fs::write(&file, "this is not a database, but it is long enough to have a header".repeat(100)).unwrap();
    let store = world.store();
    for _ in 0..2 {
        let error = store.append_job(job("log_lead")).await.unwrap_err();
        assert_eq!(error.fault, StateFault::Corrupt);
        let text = error.to_string();
        assert!(text.contains(&*file.to_string_lossy()) && text.contains("move it away"), "{text}");
    }
    assert!(store.check().await.is_err());
    fs::rename(&file, file.with_extension("damaged")).unwrap();
    store.append_job(job("log_lead")).await.unwrap();
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let world = World::sqlite();
    Connection::open(world.file()).unwrap().execute_batch("CREATE TABLE invoices (id)").unwrap();
    let before = fs::read(world.file()).unwrap();
    assert_eq!(world.store().check().await.unwrap_err().fault, StateFault::Corrupt);
    assert_eq!(fs::read(world.file()).unwrap(), before);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let world = World::sqlite();
    world.store().append_job(job("log_lead")).await.unwrap();
    let other = Connection::open(world.file()).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    let store = world.store();
    let error = store.append_job(job("log_lead")).await.unwrap_err();
    assert_eq!(error.fault, StateFault::NewerSchema);
    assert!(error.to_string().contains("made by a newer version of Jackfield"), "{error}");
    other.pragma_update(None, "user_version", 2).unwrap();
    assert_eq!(store.lease_jobs(10).await.unwrap().len(), 1, "the one of before");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_reported() {
    let world = World::sqlite();
    let folder = world.file().with_file_name("missing");
    let store = open(&folder.join("state.db"), &[]);
    assert_eq!(store.check().await.unwrap_err().fault, StateFault::CannotOpen);
    fs::create_dir(&folder).unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_deleted_file_is_noticed() {
    let world = World::sqlite();
    let store = world.store();
    store.append_job(job("lost")).await.unwrap();
    for entry in fs::read_dir(world.file().parent().unwrap()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let started = Instant::now();
    while !world.file().exists() && started.elapsed() < Duration::from_secs(30) {
        store.append_job(job("kept")).await.unwrap();
    }
    store.append_job(job("last")).await.unwrap();
    let leased = world.store().lease_jobs(usize::MAX).await.unwrap();
    assert_eq!(names(&leased).last(), Some(&"last"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn opening_more_connections_keeps_the_lock_of_the_first() {
    let world = World::sqlite();
    let store = world.store();
    store.append_job(job("log_lead")).await.unwrap();
    // SQLite locks these bytes for as long as it uses the write-ahead log. Without the lock, another process that
    // closes the file would delete the log.
    let lock = format!(":{} 1073741826 ", fs::metadata(world.file()).unwrap().ino());
    let is_locked = || fs::read_to_string("/proc/locks").unwrap().contains(&lock);
    assert!(is_locked());
    store.counts().await.unwrap();
    assert!(is_locked());
    store.recall(&conversation("c-1"), HOUR).await.unwrap();
    assert!(is_locked());
    world.store().check().await.unwrap();
    assert!(is_locked());
}

#[tokio::test]
async fn a_job_that_was_refused_in_time_does_not_run() {
    let world = World::sqlite();
    let store = world.store();
    store.check().await.unwrap();
    let other = Connection::open(world.file()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (limit, started) = (Duration::from_millis(50), Instant::now());
    let error = store.within(limit).append_job(job("refused")).await.unwrap_err();
    assert_eq!(error.fault, StateFault::Timeout);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    other.execute_batch("COMMIT").unwrap();
    store.append_job(job("accepted")).await.unwrap();
    assert_eq!(names(&store.lease_jobs(10).await.unwrap()), ["accepted"]);
}

#[tokio::test]
async fn jobs_run_although_the_clock_was_set_back() {
    let world = World::sqlite();
    world.store().append_job(job("log_lead")).await.unwrap();
    let other = Connection::open(world.file()).unwrap();
    let day = 24 * 3600 * 1000;
    other.execute("UPDATE jobs SET due_at = due_at + ?1, accepted_at = accepted_at + ?1", [day]).unwrap();
    assert_eq!(names(&world.store().lease_jobs(1).await.unwrap()), ["log_lead"]);
}

#[tokio::test]
async fn a_running_job_is_not_leased_again_because_the_clock_was_set_back() {
    let world = World::sqlite();
    let store = world.store();
    store.append_job(job("log_lead")).await.unwrap();
    store.lease_jobs(1).await.unwrap();
    let other = Connection::open(world.file()).unwrap();
    let day = 24 * 3600 * 1000;
    other.execute("UPDATE jobs SET due_at = due_at + ?1, accepted_at = accepted_at + ?1", [day]).unwrap();
    // Another instance starts.
    assert!(world.store().lease_jobs(1).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_another_process_retries_is_noticed() {
    let world = World::sqlite();
    let (worker, operator) = (world.store(), world.store());
    let id = worker.append_job(job("log_lead")).await.unwrap();
    let leased = worker.lease_jobs(1).await.unwrap();
    let dead = jackfield::state::JobOutcome::Dead { reason: "status 404".to_owned() };
    worker.finish(&leased[0].lease, dead).await.unwrap();
    let mut watch = worker.watch_jobs();
    watch.changed().await;
    let retry = jackfield::state::Selection::Ids(vec![id]);
    let (leased, retried) = tokio::join!(lease_one(&worker, &mut watch), operator.retry(&retry));
    assert_eq!((leased.lease.id, retried), (id, Ok(1)));
}

#[tokio::test]
async fn nothing_is_written_where_nothing_may_be() {
    child::run("sqlite::child_read_only", child::As::Nobody);
}

#[tokio::test]
#[ignore = "runs in a process of its own, by nothing_is_written_where_nothing_may_be"]
async fn child_read_only() {
    let world = World::sqlite();
    let file = world.file();
    let folder = file.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).unwrap();
    let store = world.store();
    let error = store.append_job(job("log_lead")).await.unwrap_err();
    assert_eq!(error.fault, StateFault::ReadOnly, "{error}");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    store.append_job(job("log_lead")).await.unwrap();

    let other = world.store();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let error = other.append_job(job("log_lead")).await.unwrap_err();
    assert_eq!(error.fault, StateFault::ReadOnly, "{error}");
    assert_eq!(other.check().await.unwrap_err().fault, StateFault::ReadOnly);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    other.append_job(job("log_lead")).await.unwrap();
    assert_eq!(store.counts().await.unwrap().waiting, 2);
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals() {
    child::run("sqlite::child_full", child::As::Limited);
}

#[tokio::test]
#[ignore = "runs in a process of its own, by a_full_disk_refuses_and_heals"]
async fn child_full() {
    let world = World::sqlite();
    let store = world.store();
    let large = || jackfield::state::NewJob { payload: open_payload(&"x".repeat(20_000)), ..job("large") };
    let mut accepted = 0;
    let error = loop {
        match store.append_job(large()).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 10_000, "the limit has no effect");
    };
    assert!(matches!(error.fault, StateFault::DiskFull | StateFault::DiskIo), "{error}");
    assert!(accepted > 0);
    // Somebody makes room.
    let (_, hard) = rlimit::Resource::FSIZE.get().unwrap();
    rlimit::Resource::FSIZE.set(hard, hard).unwrap();
    store.append_job(job("small")).await.unwrap();
    let counts = store.counts().await.unwrap();
    assert_eq!(counts.waiting, accepted + 1, "exactly what was accepted");
}
