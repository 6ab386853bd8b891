//! Instances that are killed and started again while they take calls, over an upstream that fails half the time and a
//! database that is killed too. At the end, what the callers heard is compared with what the upstream saw.

mod callers;
mod instances;
mod upstream;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use jackfield::state::{Counts, DeliveryFilter, DeliveryStatus, Page, Selection, Settings, StateUrl, Store};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::server::Server;
use super::support;

use callers::Callers;
use instances::Instances;
use upstream::Upstream;

use verdict::{Happened, Outage};

pub(crate) use verdict::Verdict;

/// How long the queue may take to become empty at the end.
const DRAIN: Duration = Duration::from_secs(300);

/// How often jobs are made due at the end.
const MAKE_DUE: Duration = Duration::from_secs(15);

const TABLE: &str = r#"
[server]
listen = "127.0.0.1:0"
admin  = "127.0.0.1:0"

[state]
url = "STATE"

[platforms.http]
deadline   = "10s"
auth.basic = { username = "jack", password = "field" }
[platforms.voicedock]
deadline = "10s"
auth.none = {}

[upstreams.api]
base_url = "http://UPSTREAM"
retry    = { attempts = 1 }

[routes.note]
upstream        = "api"
delivery        = "async"
idempotency_key = "idempotency-key"
args.n  = { type = "integer", required = true }
request = { method = "POST", path = "/notes/{{args.n}}" }
reply.text = "Done."

[routes.order]
upstream = "api"
args.n  = { type = "integer", required = true }
request = { method = "POST", path = "/orders/{{args.n}}" }
reply.text = "Done."
"#;

/// What is done to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Repeats what is left to chance.
    pub(crate) seed: u64,
    pub(crate) instances: usize,
    /// Calls of the `async` route.
    pub(crate) notes: usize,
    /// Writes, each of which is sent twice.
    pub(crate) orders: usize,
    /// How often the upstream fails for one call at most, so that the pauses between attempts stay short.
    pub(crate) most_failures: usize,
    /// Callers at the same time.
    pub(crate) callers: usize,
    /// The longest pause of a caller between two calls.
    pub(crate) pause: Duration,
    /// When an instance is killed.
    pub(crate) kills: Kills,
    /// How often the database server is killed.
    pub(crate) server_kills: usize,
    /// How many calls are answered before the server is started again.
    pub(crate) server_away: usize,
}

/// When an instance is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kills {
    /// Again and again, after about so long.
    Every(Duration),
    /// Each time that so many calls have been answered.
    Answers(usize),
}

/// The database of the instances.
pub(crate) enum Database<'a> {
    Sqlite(&'a std::path::Path),
    Postgres(&'a Server),
}

impl Scenario {
    /// Runs it to its end.
    pub(crate) async fn run(self, database: Database<'_>) -> Verdict {
        let mut rng = Rng::with_seed(self.seed);
        let upstream = Upstream::start(rng.fork(), self.most_failures);
        let (url, server) = match database {
            Database::Sqlite(path) => (format!("sqlite:{}", path.display()), None),
            Database::Postgres(server) => (server.url(&server.database().await), Some(server)),
        };
        let table = TABLE.replace("UPSTREAM", &upstream.address.to_string()).replace("STATE", &url);
        let instances = Arc::new(Instances::start(self.instances, &table).await);
        let callers = Arc::new(Callers::new(Arc::clone(&instances)));
        let began = Instant::now();
        let is_over = AtomicBool::new(false);
        let mut kill_rng = rng.fork();
        let calling = async {
            let heard = callers.call(&self, &mut rng).await;
            is_over.store(true, Ordering::Relaxed);
            heard
        };
        let (heard, (), outages) = tokio::join!(
            calling,
            self.kill_instances(&instances, &callers, &is_over, &mut kill_rng),
            self.kill_server(server, &callers, &is_over)
        );
        let (calling, began) = (began.elapsed(), Instant::now());
        let store = Store::open(&Settings::new(StateUrl::parse(&url).expect("a URL")));
        let counts = drain(&store).await;
        Verdict::of(&Happened {
            heard,
            upstream: upstream.seen(),
            kills: instances.kills(),
            ends: instances.ends(),
            stored: stored(&store).await,
            outages,
            noted: instances.outages(),
            left: counts.waiting + counts.retrying + counts.running,
            dead: counts.dead,
            panics: instances.panics(),
            calling,
            draining: began.elapsed(),
        })
    }

    /// Kills instances, or asks them to end, and starts them again.
    async fn kill_instances(
        &self,
        instances: &Arc<Instances>,
        callers: &Callers,
        is_over: &AtomicBool,
        rng: &mut Rng,
    ) {
        let (mut answers, mut restarts) = (0, JoinSet::new());
        loop {
            match self.kills {
                Kills::Every(time) => sleep(time.mul_f64(0.5 + rng.f64())).await,
                Kills::Answers(count) => {
                    answers += count;
                    callers.answered(answers, is_over).await;
                }
            }
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let (victim, is_killed) = (rng.usize(..self.instances), rng.u8(..8) > 0);
            let Some(proxy) = instances.take(victim) else { continue };
            let instances = Arc::clone(instances);
            // An instance that is asked to end finishes its attempts first. Meanwhile others are killed.
            restarts.spawn(async move {
                if is_killed {
                    instances.kill(proxy).await
                } else {
                    instances.end(proxy).await
                }
                instances.start_again(victim).await;
            });
        }
        restarts.join_all().await;
    }

    /// Kills the server whenever one more part of the calls has been answered.
    async fn kill_server(
        &self,
        server: Option<&Server>,
        callers: &Callers,
        is_over: &AtomicBool,
    ) -> Vec<Outage> {
        let mut outages = Vec::new();
        let Some(server) = server else { return outages };
        for kill in 1..=self.server_kills {
            let part = (self.notes + self.orders) / (self.server_kills + 1);
            callers.answered(kill * part, is_over).await;
            let began = Instant::now();
            server.tell("kill").await;
            callers.answered_more(self.server_away.max(1), is_over).await;
            server.tell("start").await;
            outages.push(Outage { began, ended: Some(Instant::now()) });
        }
        outages
    }
}

/// How many jobs each conversation has.
async fn stored(store: &Store) -> HashMap<String, usize> {
    let (mut stored, mut after) = (HashMap::new(), None);
    loop {
        let page = store.deliveries(&DeliveryFilter::default(), Page { after, limit: 1000 }).await;
        let page = page.expect("a list");
        let Some(last) = page.last() else { return stored };
        after = Some(last.id);
        for conversation in page.into_iter().filter_map(|delivery| delivery.conversation) {
            *stored.entry(conversation).or_default() += 1;
        }
    }
}

/// Waits until nothing is waiting to be delivered. A job whose instances were killed again and again waits for long until
/// its next attempt, so from time to time all of them are made due, as an operator would do it.
async fn drain(store: &Store) -> Counts {
    let retrying = DeliveryFilter { status: Some(DeliveryStatus::Retrying), ..DeliveryFilter::default() };
    let (began, mut due) = (Instant::now(), Instant::now() + MAKE_DUE);
    loop {
        let counts = store.counts().await;
        let is_late = began.elapsed() > DRAIN;
        match counts {
            Ok(counts) if is_late || counts.waiting + counts.retrying + counts.running == 0 => return counts,
            Err(error) if is_late => panic!("{error}"),
            _ => {}
        }
        if Instant::now() > due {
            let _ = store.retry(&Selection::Matching(retrying.clone())).await;
            due += MAKE_DUE;
        }
        sleep(Duration::from_millis(50)).await;
    }
}
