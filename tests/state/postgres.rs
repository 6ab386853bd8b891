//! What can go wrong with a server.

use std::collections::HashSet;
use std::fs;
use std::future::poll_fn;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use jackfield::state::{
    CallClaim, CallTerms, Counts, DeliveryFilter, EncryptionKeys, Followed, JobOutcome, NewJob, Remembered,
    Selection, Settings, StateFault, StateUrl, Store,
};
use tokio_postgres::{AsyncMessage, NoTls};

use crate::server::Server;
use crate::world::{ALL, HOUR, World, conversation, job, key, lease_one, names, ordered, sensitive};

const TERMS: CallTerms = CallTerms { lease: HOUR, unconfirmed_for: HOUR };

fn settings(url: &str) -> Settings {
    Settings { keys: EncryptionKeys(vec![key(1)]), ..Settings::new(StateUrl::parse(url).unwrap()) }
}

fn open(url: &str) -> Store {
    Store::open(&settings(url))
}

async fn fault(store: &Store) -> StateFault {
    let error = store.append_job(job("refused")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("postgres://") && !text.contains("correct-horse"), "{text}");
    error.fault
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_may_be_corrected() {
    let server = Server::shared().await;
    let database = server.database().await;
    server
        .run(
            "postgres",
            &format!("CREATE ROLE late LOGIN PASSWORD 'old'; GRANT ALL ON DATABASE {database} TO late"),
        )
        .await;
    server.run(&database, "GRANT ALL ON SCHEMA public TO late").await;
    let store = open(&format!("postgres://late:new@127.0.0.1:{}/{database}", server.port()));
    assert_eq!(fault(&store).await, StateFault::Denied);
    server.run("postgres", "ALTER ROLE late PASSWORD 'new'").await;
    store.append_job(job("accepted")).await.unwrap();
    let without = open(&format!("postgres://late@127.0.0.1:{}/{database}", server.port()));
    assert_eq!(fault(&without).await, StateFault::Denied);
}

#[tokio::test]
async fn a_job_that_is_handed_back_is_announced_to_the_other_instances() {
    let server = Server::shared().await;
    let url = server.url(&server.database().await);
    let store = open(&url);
    store.append_job(job("log_lead")).await.unwrap();
    let leased = lease_one(&store, &mut store.watch_jobs()).await;
    let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let (sender, mut payloads) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification.payload().to_owned());
            }
        }
    });
    client.batch_execute("LISTEN jackfield_jobs").await.unwrap();
    let at_once = JobOutcome::RetryIn { delay: Duration::ZERO, reason: "stopped".to_owned() };
    store.finish(&leased.lease, at_once).await.unwrap();
    client.batch_execute("NOTIFY jackfield_jobs, 'the end of the test'").await.unwrap();
    assert_eq!(payloads.recv().await.as_deref(), Some(""));
}

#[tokio::test]
async fn a_missing_database_is_reported() {
    let server = Server::shared().await;
    let store = open(&server.url("not_there"));
    assert_eq!(fault(&store).await, StateFault::NoDatabase);
    server.run("postgres", "CREATE DATABASE not_there OWNER jackfield").await;
    store.append_job(job("accepted")).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let server = Server::shared().await;
    let database = server.database().await;
    let url = server.url(&database);
    open(&url).append_job(job("accepted")).await.unwrap();
    server.run(&database, "UPDATE jackfield_schema SET version = 99").await;
    let store = open(&url);
    let error = store.append_job(job("refused")).await.unwrap_err();
    assert_eq!(error.fault, StateFault::NewerSchema);
    assert!(error.to_string().contains("made by a newer version of Jackfield"), "{error}");
    server.run(&database, "UPDATE jackfield_schema SET version = 2").await;
    assert_eq!(names(&[lease_one(&store, &mut store.watch_jobs()).await]), ["accepted"]);
}

#[tokio::test]
async fn another_key_is_noticed_before_a_value_is_read() {
    let server = Server::shared().await;
    let database = server.database().await;
    let url = server.url(&database);
    let with = |keys: &[u8]| {
        let keys = EncryptionKeys(keys.iter().copied().map(key).collect());
        Store::open(&Settings { keys, ..settings(&url) })
    };
    for keys in [&[1][..], &[3], &[], &[1]] {
        assert_eq!(with(keys).check_keys().await, Ok(()), "{keys:?}");
    }
    with(&[1]).append_job(NewJob { payload: sensitive("4711"), ..job("log_lead") }).await.unwrap();
    for keys in [&[2][..], &[]] {
        assert_eq!(with(keys).check_keys().await.unwrap_err().fault, StateFault::OtherKey, "{keys:?}");
    }
    for keys in [&[1][..], &[2, 1], &[1, 2]] {
        assert_eq!(with(keys).check_keys().await, Ok(()), "{keys:?}");
    }
    let older = "DROP TABLE jackfield_encryption_keys; UPDATE jackfield_schema SET version = 1";
    server.run(&database, older).await;
    assert_eq!(with(&[2]).check_keys().await.unwrap_err().fault, StateFault::OtherKey);
    with(&[2]).drop_jobs(&Selection::Matching(DeliveryFilter::default())).await.unwrap();
    assert_eq!(with(&[2]).check_keys().await, Ok(()));
}

#[tokio::test]
async fn many_instances_make_the_schema_together() {
    let server = Server::shared().await;
    let url = server.url(&server.database().await);
    let checks = (0..10).map(|_| {
        let store = open(&url);
        async move { store.check().await }
    });
    for checked in futures_util::future::join_all(checks).await {
        checked.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_allows_no_writing_is_reported() {
    let server = Server::shared().await;
    let database = server.database().await;
    open(&server.url(&database)).check().await.unwrap();
    let set = format!("ALTER DATABASE {database} SET default_transaction_read_only");
    server.run("postgres", &format!("{set} = on")).await;
    let store = open(&server.url(&database));
    assert_eq!(fault(&store).await, StateFault::ReadOnly);
    assert_eq!(store.counts().await, Ok(Counts::default()), "reading works");
    server.run("postgres", &format!("{set} = off")).await;
    open(&server.url(&database)).append_job(job("accepted")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    // It takes connections into its queue, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let store = open(&format!("postgres://u:p@127.0.0.1:{port}/x")).within(Duration::from_millis(100));
    let started = Instant::now();
    assert_eq!(fault(&store).await, StateFault::Timeout);
    for error in [
        store.check().await.unwrap_err(),
        store.counts().await.unwrap_err(),
        store.recall(&conversation("c"), HOUR).await.unwrap_err(),
        store.claim_call([1; 32], TERMS).await.unwrap_err(),
    ] {
        assert_eq!(error.fault, StateFault::Timeout);
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn calls_wait_once_for_a_server_that_hangs_and_it_heals_by_itself() {
    let server = Server::shared().await;
    let url = server.url(&server.database().await);
    let store = open(&url);
    // Another session holds the tables, so nothing is answered.
    let (blocker, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    store.check().await.unwrap();
    blocker
        .batch_execute("BEGIN; LOCK TABLE jackfield_calls, jackfield_jobs, jackfield_conversations")
        .await
        .unwrap();
    let brief = store.within(Duration::from_millis(300));
    assert_eq!(brief.claim_call([1; 32], TERMS).await.unwrap_err().fault, StateFault::Timeout);
    assert_eq!(brief.recall(&conversation("c"), HOUR).await.unwrap_err().fault, StateFault::Timeout);
    for operation in 0..2 {
        let refused = async || match operation {
            0 => brief.claim_call([1; 32], TERMS).await.unwrap_err(),
            _ => brief.recall(&conversation("c"), HOUR).await.unwrap_err(),
        };
        // Once in a while, one asks again.
        let mut error = refused().await;
        for _ in 0..20 {
            if error.detail.contains("it was not asked") {
                break;
            }
            error = refused().await;
        }
        assert!(error.detail.contains("it was not asked"), "{operation}: {error}");
    }
    blocker.batch_execute("COMMIT").await.unwrap();
    // What the worker does in the background shows that the server answers again.
    store.renew_jobs(&[]).await.unwrap();
    store.counts().await.unwrap();
    assert!(matches!(store.claim_call([1; 32], TERMS).await, Ok(CallClaim::Leader(_))));
    assert_eq!(store.recall(&conversation("c"), HOUR).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_job_that_was_refused_in_time_does_not_run() {
    let server = Server::shared().await;
    let database = server.database().await;
    let store = open(&server.url(&database));
    store.check().await.unwrap();
    let locking = server.client(&database).await.unwrap();
    locking.batch_execute("BEGIN; LOCK TABLE jackfield_jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let hurried = store.within(Duration::from_millis(100));
    for refused in [job("refused"), ordered("refused", "a")] {
        assert_eq!(hurried.append_job(refused).await.unwrap_err().fault, StateFault::Timeout);
    }
    locking.batch_execute("COMMIT").await.unwrap();
    store.append_job(ordered("accepted", "a")).await.unwrap();
    assert_eq!(names(&[lease_one(&store, &mut store.watch_jobs()).await]), ["accepted"]);
    while store.counts().await.unwrap().waiting > 0 {
        tokio::task::yield_now().await;
    }
    let listed = store.deliveries(&DeliveryFilter::default(), ALL).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
}

#[tokio::test]
async fn operations_that_time_out_leave_no_connections_behind() {
    let server = Server::shared().await;
    let database = server.database().await;
    let store = open(&server.url(&database));
    store.check().await.unwrap();
    let locking = server.client(&database).await.unwrap();
    locking.batch_execute("BEGIN; LOCK TABLE jackfield_calls").await.unwrap();
    // Within a transaction, the server would count only once.
    let counting = server.client(&database).await.unwrap();
    let hurried = store.within(Duration::from_millis(200));
    let (mut most, pool) = (0, settings(&server.url(&database)).pool as i64);
    for _ in 0..4 {
        let claims = (0..8).map(|call| hurried.claim_call([call; 32], TERMS));
        for claim in futures_util::future::join_all(claims).await {
            assert_eq!(claim.unwrap_err().fault, StateFault::Timeout);
        }
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND usename = 'jackfield'";
        most = most.max(counting.query_one(sql, &[]).await.unwrap().get::<_, i64>(0));
    }
    assert!(most <= pool, "{most} connections");
    locking.batch_execute("COMMIT").await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_server_that_went_away_comes_back() {
    let server = Server::own("").await;
    let url = server.url(&server.database().await);
    let lasting = Settings { job_lease: HOUR, ..settings(&url) };
    let (one, other) = (Store::open(&lasting), Store::open(&lasting));
    one.append_job(job("before")).await.unwrap();
    let CallClaim::Leader(lease) = one.claim_call([1; 32], TERMS).await.unwrap() else { panic!() };
    let CallClaim::InFlight(following) = other.claim_call([1; 32], TERMS).await.unwrap() else { panic!() };
    server.tell("stop").await;
    assert_eq!(fault(&one).await, StateFault::Unreachable);
    assert_eq!(one.recall(&conversation("c"), HOUR).await.unwrap_err().fault, StateFault::Unreachable);
    server.tell("start").await;
    one.append_job(job("after")).await.unwrap();
    let (followed, settled) =
        tokio::join!(other.follow(&following, HOUR), one.settle(&lease, sensitive("done"), HOUR));
    assert_eq!((followed, settled.is_ok()), (Ok(Followed::Answer(b"done".to_vec())), true));
    let mut watch = one.watch_jobs();
    let mut leased = [lease_one(&one, &mut watch).await, lease_one(&one, &mut watch).await];
    leased.sort_by(|one, other| one.work.name.cmp(&other.work.name));
    assert_eq!(names(&leased), ["after", "before"]);
}

/// The server dies while jobs are appended, so that for some of them nobody knows whether they were committed.
#[tokio::test]
async fn what_was_accepted_runs_and_what_was_refused_does_not() {
    let server = Server::own("fsync = on\n").await;
    let url = server.url(&server.database().await);
    let store = open(&url);
    store.check().await.unwrap();
    let appending = async {
        let (mut accepted, mut refused) = (HashSet::new(), HashSet::new());
        for round in 0.. {
            let names: Vec<String> = (0..20).map(|at| format!("job-{round}-{at}")).collect();
            let appends = names.iter().map(|name| store.append_job(job(name)));
            for (name, result) in names.iter().zip(futures_util::future::join_all(appends).await) {
                if result.is_ok() { &mut accepted } else { &mut refused }.insert(name.clone());
            }
            if refused.len() > 100 {
                break;
            }
        }
        (accepted, refused)
    };
    let killing = async {
        while store.counts().await.is_ok_and(|counts| counts.waiting < 200) {
            tokio::task::yield_now().await;
        }
        server.tell("kill").await;
    };
    let ((accepted, refused), ()) = tokio::join!(appending, killing);
    server.tell("start").await;
    let mut watch = store.watch_jobs();
    let mut run = HashSet::new();
    while run.len() < accepted.len() || store.counts().await.unwrap().waiting > 0 {
        for job in store.lease_jobs(50).await.unwrap() {
            run.insert(job.work.name.clone());
            store.finish(&job.lease, JobOutcome::Delivered).await.unwrap();
        }
        watch.changed().await;
    }
    assert!(!refused.is_empty() && accepted.len() >= 200);
    assert_eq!(run, accepted);
}

#[tokio::test]
async fn one_connection_is_enough() {
    let server = Server::shared().await;
    let url = server.url(&server.database().await);
    let store = Store::open(&Settings { pool: 1, ..settings(&url) });
    let appends = (0..50).map(|at| store.append_job(ordered("log_lead", &format!("c-{}", at % 5))));
    for appended in futures_util::future::join_all(appends).await {
        appended.unwrap();
    }
    let mut watch = store.watch_jobs();
    for _ in 0..50 {
        let leased = lease_one(&store, &mut watch).await;
        let (renewed, finished) = tokio::join!(
            store.renew_jobs(std::slice::from_ref(&leased.lease)),
            store.finish(&leased.lease, JobOutcome::Delivered)
        );
        assert!(renewed.is_ok() && finished.is_ok());
    }
    assert_eq!(store.counts().await.unwrap().delivered, 50);
}

#[tokio::test]
async fn no_sensitive_value_is_in_the_servers_files() {
    let server = Server::own("").await;
    let database = server.database().await;
    let store = open(&server.url(&database));
    let values = ["4111-1111-1111-1111", "DE89370400440532013000", "hunter2-hunter2"];
    store.append_job(NewJob { payload: sensitive(values[0]), ..job("in the clear") }).await.unwrap();
    let change = vec![("iban".to_owned(), Some(Remembered::new(sensitive(values[1]), false)))];
    store.remember(&conversation("c-1"), change, HOUR).await.unwrap();
    let Ok(CallClaim::Leader(lease)) = store.claim_call([1; 32], TERMS).await else { panic!() };
    store.settle(&lease, sensitive(values[2]), HOUR).await.unwrap();
    server.run(&database, "CHECKPOINT").await;
    let mut seen = false;
    search(server.folder(), &mut |bytes| {
        let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        seen |= has("in the clear");
        assert!(!values.iter().any(|value| has(value)));
    });
    assert!(seen, "the files were read");
}

fn search(folder: &Path, look: &mut impl FnMut(&[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            search(&entry.path(), look);
        } else if kind.is_file() && entry.metadata().unwrap().len() < 20_000_000 {
            look(&fs::read(entry.path()).unwrap());
        }
    }
}

/// A certificate for `localhost`, as files that the server reads.
fn certificate(folder: &Path) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert.display().to_string(), key.display().to_string())
}

#[tokio::test]
async fn tls_is_refused_by_a_server_without_it() {
    let server = Server::shared().await;
    let database = server.database().await;
    for (mode, result) in [
        ("disable", None),
        ("prefer", None),
        ("require", Some(StateFault::Tls)),
        ("verify-full", Some(StateFault::Tls)),
    ] {
        let store = open(&format!("{}?sslmode={mode}", server.url(&database)));
        assert_eq!(store.check().await.err().map(|error| error.fault), result, "{mode}");
    }
}

#[tokio::test]
async fn each_mode_of_tls_checks_as_much_as_it_says() {
    let server = Server::own("").await;
    let database = server.database().await;
    let ((cert, key), other) = (certificate(server.folder()), tempfile::tempdir().unwrap());
    let (stranger, _) = certificate(other.path());
    server.own_file(&key);
    let setting = |name: &str, value: &str| format!("ALTER SYSTEM SET {name} = '{value}'");
    for (name, value) in [("ssl_cert_file", &*cert), ("ssl_key_file", &key), ("ssl", "on")] {
        server.run("postgres", &setting(name, value)).await;
    }
    server.tell("stop").await;
    server.tell("start").await;
    let tls = Some(StateFault::Tls);
    for (host, options, result) in [
        ("127.0.0.1", "sslmode=require".to_owned(), None),
        ("127.0.0.1", "sslmode=prefer".to_owned(), None),
        ("127.0.0.1", "sslmode=verify-ca".to_owned(), tls),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={cert}"), None),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={cert}"), tls),
        ("localhost", format!("sslmode=verify-full&sslrootcert={cert}"), None),
        ("localhost", format!("sslmode=verify-full&sslrootcert={stranger}"), tls),
        ("localhost", format!("sslmode=require&sslrootcert={stranger}"), tls),
        ("localhost", "sslmode=verify-full&sslrootcert=/not/there".to_owned(), tls),
        ("localhost", "sslmode=verify-full".to_owned(), tls),
    ] {
        let url = server.url(&database).replace("127.0.0.1", host);
        let store = open(&format!("{url}?{options}"));
        let error = store.check().await.err();
        assert_eq!(error.as_ref().map(|error| error.fault), result, "{host} {options} {error:?}");
    }
    server.run(&database, "SELECT 1").await;
}

#[tokio::test]
async fn an_instance_sees_the_jobs_of_a_busy_one() {
    let World::Postgres(url) = World::postgres().await else { panic!() };
    let (busy, idle) = (open(&url), open(&url));
    busy.append_job(job("log_lead")).await.unwrap();
    // The one that accepted it does not lease it.
    assert_eq!(lease_one(&idle, &mut idle.watch_jobs()).await.work.name, "log_lead");
    assert!(busy.lease_jobs(1).await.unwrap().is_empty());
}
