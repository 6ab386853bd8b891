//! A long steady load on the running binary, with upstreams that misbehave, reloads, faulty tables, and callers that
//! hang up or send half requests.
//!
//! `cargo bench --bench soak -- --minutes 30` is the whole record; without `--minutes` it takes one. `--seed` repeats what
//! was left to chance, `--rate` is the calls in a second.
//!
//! It ends with a failure when a call was answered wrongly, late or not at all, when a write arrived twice, or not at
//! all although its caller heard that it went well, when a reload was not noticed, when connections stay open after the
//! load, or when memory or descriptors grow: see [`grows`].

#![expect(clippy::print_stdout, reason = "a benchmark shows its figures")]

mod callers;
#[expect(dead_code, reason = "the other benchmarks use more of it")]
#[path = "../support/mod.rs"]
mod support;
mod table;
mod upstreams;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use callers::{Callers, Ledger};
use support::client::Connection;
use support::figures::{Times, ms};
use support::proxy::{Proxy, Usage, usage};
use table::{FUNCTIONS, PATIENCE, table};
use upstreams::{Arrivals, Arrived};

/// How often memory and descriptors are looked at.
const SAMPLED: Duration = Duration::from_secs(10);
/// The pause between a table that is in force, or refused, and the next one.
const RELOADED: Duration = Duration::from_secs(3);
/// How long a reload may take to be noticed.
const NOTICED: Duration = Duration::from_secs(10);
/// How long after the load the proxy may keep connections: writes go on for half a minute, and an idle connection to an
/// upstream is closed between a minute and a half and twice that later.
const DRAINED: Duration = Duration::from_secs(240);

/// How many descriptors more than elsewhere are no growth.
const SPARE: u64 = 10;

fn main() -> ExitCode {
    if !support::is_meant("soak") {
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs and shows everything; true when all is as it should be.
fn run() -> Result<bool, Box<dyn Error>> {
    let minutes: f64 = support::option("--minutes", 1.0)?;
    let seed: u64 = support::option("--seed", 4)?;
    let rate: u32 = support::option("--rate", 300)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(soak(Duration::from_secs_f64(minutes * 60.0), seed, rate.max(1)))
}

async fn soak(time: Duration, seed: u64, rate: u32) -> Result<bool, Box<dyn Error>> {
    let mut random = Rng::with_seed(seed);
    let arrivals = Arrivals::default();
    let [good, rude] = upstreams::start(random.u64(..), &arrivals)?;
    let mut proxy = Proxy::start(&table(0, false, good, rude, &mut random))?;
    let callers = Arc::new(Callers::new(proxy.listen));
    let before = proxy.usage()?;
    println!("{rate} requests/s for {:.0} s, seed {seed}; times in ms, memory in MiB", time.as_secs_f64());
    println!("before the load: memory {}, {} descriptors", mib(before.memory), before.descriptors);
    println!(
        "{:>7}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}{:>6}{:>6}{:>9}{:>8}{:>5}{:>8} cpu: proxy + benchmark",
        "minutes",
        "requests",
        "right",
        "failed",
        "p50",
        "p99",
        "max",
        "late",
        "wrong",
        "reloads",
        "memory",
        "fds",
        "threads"
    );
    let progress = Progress {
        started: Instant::now(),
        late: Cell::default(),
        reloads: Cell::default(),
        samples: RefCell::default(),
    };
    tokio::select! {
        () = load(&callers, time, rate, random.fork()) => {}
        Err(error) = reload(&proxy, &callers, [good, rude], random.fork(), &progress) => return Err(error),
        Err(error) = watch(&proxy, &callers, &progress) => return Err(error),
    }
    show(&proxy, &callers, &progress)?;

    println!("waiting for connections to be closed");
    callers.hang_up();
    let after = drained(&proxy, before).await?;
    println!("after the load: memory {}, {} descriptors", mib(after.memory), after.descriptors);
    let ended = proxy.end()?;
    let mut ledger = callers.ledger();
    if !ended.success() {
        ledger.wrong(format!("the proxy ended with {ended}"));
    }
    if proxy.alarms.load(Ordering::Relaxed) > 0 {
        ledger.wrong("the proxy panicked".to_owned());
    }
    if after.descriptors > before.descriptors + SPARE {
        ledger.wrong("connections stay open after the load".to_owned());
    }
    settle(&mut ledger, &arrivals);
    show_counts(&ledger);
    let flat = !grows(&progress.samples.borrow(), time);
    let fine = flat && ledger.wrong == 0 && progress.late.get() == 0;
    println!("\n{}", if fine { "as it should be" } else { "NOT as it should be" });
    Ok(fine)
}

/// What has happened besides calls.
struct Progress {
    started: Instant,
    /// How many answers came later than the platforms wait.
    late: Cell<usize>,
    /// Tables that came in force, and faulty ones that did not.
    reloads: Cell<[u64; 2]>,
    samples: RefCell<Vec<(Duration, Usage)>>,
}

/// Makes calls at a steady rate, and ends when all of them have ended.
async fn load(callers: &Arc<Callers>, time: Duration, rate: u32, mut random: Rng) {
    let mut tasks = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    let started = Instant::now();
    for number in 0.. {
        if started.elapsed() >= time {
            break;
        }
        ticks.tick().await;
        tasks.spawn(Arc::clone(callers).call(number, random.fork()));
        if number % u64::from(rate) == 0 {
            tasks.spawn(Arc::clone(callers).half(random.fork()));
        }
        while tasks.try_join_next().is_some() {}
    }
    tasks.join_all().await;
}

/// Saves one table after the other, and looks whether each comes in force, or is refused when it is faulty.
async fn reload(
    proxy: &Proxy,
    callers: &Callers,
    [good, rude]: [SocketAddr; 2],
    mut random: Rng,
    progress: &Progress,
) -> Result<Infallible, Box<dyn Error>> {
    let mut faulty = false;
    for number in 1.. {
        sleep(RELOADED).await;
        // After a faulty table always a good one, so that each is noticed by itself.
        faulty = !faulty && random.u8(0..4) == 0;
        proxy.save(&table(number, faulty, good, rude, &mut random))?;
        let saved = Instant::now();
        loop {
            let status = status(proxy).await?;
            let marked = status["plan"]["routes"].as_array().is_some_and(|routes| {
                routes.iter().any(|route| route.as_str() == Some(&format!("mark_{number}")))
            });
            let refused = !status["rejected"].is_null();
            if marked != faulty && refused == faulty {
                break;
            }
            if saved.elapsed() > NOTICED {
                callers
                    .ledger()
                    .wrong(format!("table {number} was not noticed (faulty: {faulty}): {status}"));
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        let [taken, refused] = progress.reloads.get();
        progress.reloads.set([taken + u64::from(!faulty), refused + u64::from(faulty)]);
    }
    Err("there are no more numbers".into())
}

async fn status(proxy: &Proxy) -> Result<Value, Box<dyn Error>> {
    let mut connection = Connection::open(proxy.admin).await?;
    let answer = connection.ask(b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    Ok(answer.json())
}

/// Notes what the proxy takes, and shows it once in a minute.
async fn watch(proxy: &Proxy, callers: &Callers, progress: &Progress) -> Result<Infallible, Box<dyn Error>> {
    let mut ticks = interval(SAMPLED);
    ticks.tick().await;
    for number in 1_u64.. {
        ticks.tick().await;
        progress.samples.borrow_mut().push((progress.started.elapsed(), proxy.usage()?));
        if number % 6 == 0 {
            show(proxy, callers, progress)?;
        }
    }
    Err("there are no more numbers".into())
}

/// Shows how far it has come, and how long requests took since it was shown last.
fn show(proxy: &Proxy, callers: &Callers, progress: &Progress) -> io::Result<()> {
    let (used, own) = (proxy.usage()?, usage(std::process::id())?);
    let mut ledger = callers.ledger();
    let times = Times::of(&std::mem::take(&mut ledger.times));
    progress.late.set(progress.late.get() + times.longer_than(PATIENCE));
    let said = |right: bool| -> u64 {
        ledger.said.iter().filter(|((_, kind), _)| (kind == "right") == right).map(|(_, count)| count).sum()
    };
    let [taken, refused] = progress.reloads.get();
    println!(
        "{:>7.1}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}{:>6}{:>6}{:>9}{:>8}{:>5}{:>8} {:.0}s + {:.0}s",
        progress.started.elapsed().as_secs_f64() / 60.0,
        times.count(),
        said(true),
        said(false),
        ms(times.quantile(0.5)),
        ms(times.quantile(0.99)),
        ms(times.longest()),
        progress.late.get(),
        ledger.wrong,
        format!("{taken}+{refused}"),
        mib(used.memory),
        used.descriptors,
        used.threads,
        used.cpu.as_secs_f64(),
        own.cpu.as_secs_f64(),
    );
    Ok(())
}

/// Waits until the proxy has let go of its connections, or should have.
async fn drained(proxy: &Proxy, before: Usage) -> io::Result<Usage> {
    let started = Instant::now();
    loop {
        let now = proxy.usage()?;
        if now.descriptors <= before.descriptors + SPARE || started.elapsed() > DRAINED {
            return Ok(now);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Holds what the upstreams saw of the writes against what their callers heard.
fn settle(ledger: &mut Ledger, arrivals: &Arrivals) {
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let unknown = Arrived::default();
    let (mut lost, mut twice) = (vec![], vec![]);
    for (nonce, written) in &ledger.writes {
        let arrived = arrivals.get(nonce).unwrap_or(&unknown);
        if written.went_well && arrived.times == 0 {
            lost.push(nonce.clone());
        }
        if arrived.times > 1 && (!written.keyed || arrived.keys_differ) {
            twice.push(nonce.clone());
        }
    }
    let well = ledger.writes.values().filter(|written| written.went_well).count();
    println!(
        "\nwrites: {} made, {well} went well, {} arrived; {} told to have gone well and never arrived, {} arrived twice",
        ledger.writes.len(),
        arrivals.len(),
        lost.len(),
        twice.len()
    );
    for nonce in lost {
        ledger.wrong(format!("the write {nonce} was told to have gone well and never arrived"));
    }
    for nonce in twice {
        ledger.wrong(format!("the write {nonce} arrived twice"));
    }
}

/// Shows what was said, by function, and what was wrong.
fn show_counts(ledger: &Ledger) {
    println!(
        "requests: {} made, {} answered; {} of them repeats; besides: {} hung up, {} half\n",
        ledger.made, ledger.answered, ledger.repeated, ledger.hung_up, ledger.half
    );
    for function in &FUNCTIONS {
        let said = ledger.said.iter().filter(|((name, _), _)| *name == function.name);
        let said: Vec<_> = said.map(|((_, kind), count)| format!("{kind} {count}")).collect();
        println!("{:<12}{}", function.name, said.join(", "));
    }
    for told in &ledger.told {
        println!("WRONG: {told}");
    }
}

/// Whether memory or descriptors grow: the mean of the last quarter against that of the first one, after a fifth of the
/// time in which pools and what is kept for five minutes fill up.
///
/// Descriptors may differ by a tenth and [`SPARE`]: they follow the calls under way, and one in a thousand calls that
/// leaves a connection behind would be hundreds within minutes. Memory may differ by a tenth and 4 MiB, where 100 bytes
/// a call that are never freed would be 25 MiB in half an hour. Both are judged from 25 minutes on: idle connections pile
/// up for a minute and a half as they should, what is kept of writes for five.
fn grows(samples: &[(Duration, Usage)], time: Duration) -> bool {
    let settled: Vec<Usage> = samples
        .iter()
        .filter(|(at, _)| *at >= time / 5 && *at <= time + SAMPLED / 2)
        .map(|(_, usage)| *usage)
        .collect();
    let quarter = settled.len().div_ceil(4);
    let mean = |samples: &[Usage], of: fn(&Usage) -> u64| {
        samples.iter().map(of).sum::<u64>() / (samples.len() as u64).max(1)
    };
    let (first, last) = (&settled[..quarter], &settled[settled.len() - quarter..]);
    let [memory, memory_last] = [first, last].map(|samples| mean(samples, |usage| usage.memory));
    let [open, open_last] = [first, last].map(|samples| mean(samples, |usage| usage.descriptors));
    println!(
        "\nfirst and last quarter, after a fifth of the time: memory {} and {}, descriptors {open} and {open_last}",
        mib(memory),
        mib(memory_last)
    );
    let judged = time >= Duration::from_secs(25 * 60);
    if !judged {
        println!("(too short a time to judge them)");
    }
    let more_memory = memory_last > memory + memory / 10 + 4096;
    let more_open = open_last > open + open / 10 + SPARE;
    judged && (more_memory || more_open)
}

/// Memory in MiB.
fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}
