//! Whether one sick upstream takes the others down: how long calls to a healthy upstream take through the running
//! binary, alone and while 1,000 callers wait for a sick one, and whether any call passes its deadline.
//!
//! `cargo bench --bench isolation` measures every sickness, `-- --only silent` the lines with this in their first column,
//! and `-- --seconds 20` takes longer for each.
//! It ends with a failure when the p99 of the healthy one is more than twice its own without the sick one, or a call
//! came late.
//!
//! The healthy upstream is called at a fixed rate, and a call's time counts from when it was due: a caller that is held
//! up can't hide it by calling less. The same upstream is called directly as well, past the proxy, for what is the
//! fault of the machine and of this benchmark. Sick calls come in two ways: `steady`, each caller again when it is
//! answered, spread over time, and `at once`, all in the same moment and again when all are answered. So many calls in one
//! moment take the machine some time whoever they are for; so those are held against as many at once with nothing sick.

#![expect(clippy::print_stdout, reason = "a benchmark shows its figures")]

mod callers;
#[expect(dead_code, reason = "the other benchmark uses more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use callers::{CALLERS, Called, DIRECT_CALLERS, EACH, PATIENCE, SICK_CALLERS, sick_calls, steadily};
use support::client::swaig;
use support::figures::{Times, ms};
use support::on_a_thread;
use support::proxy::{Proxy, usage};
use support::upstream::{Act, Asked, drip, reply, serve};

/// How long the healthy upstream takes.
const HEALTHY: Duration = Duration::from_millis(20);

/// The upstream that suffers from nothing: what a burst of calls costs without any sickness.
const WELL: &str = "well";

/// What the sick upstreams suffer from.
const SICKNESSES: [&str; 7] = ["silent", "refuses", "slow", "drips", "cut", "resets", "error"];

/// How they are guarded in the table.
const GUARDS: [(&str, &str); 3] =
    [("none", ""), ("breaker", "breaker = {}"), ("limit", "limit = { concurrency = 20, wait = \"500ms\" }")];

/// Who is called next to the healthy upstream.
#[derive(Clone, Copy)]
struct Sick<'a> {
    function: &'a str,
    at_once: bool,
}

/// What a part of the benchmark came to.
struct Measured {
    healthy: Called,
    direct: Called,
    sick: Option<Called>,
    /// How busy the proxy and this benchmark kept the machine; 1 is one core.
    busy: [f64; 2],
}

fn main() -> ExitCode {
    if !support::is_meant("isolation") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and shows everything; true when all is as it should be.
fn measure() -> Result<bool, Box<dyn std::error::Error>> {
    let time = Duration::from_secs(support::option("--seconds", 8)?);
    let only: String = support::option("--only", String::new())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _context = runtime.enter();

    let healthy = serve(|asked| vec![Act::Wait(HEALTHY), reply(200, "", &echo(asked))])?;
    // Bound and never listening: whoever connects is refused.
    let refusing = TcpSocket::new_v4()?;
    refusing.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let mut sick = vec![(WELL, serve(|_| vec![Act::Wait(HEALTHY), reply(200, "", "{}")])?)];
    for sickness in SICKNESSES {
        let address = match sickness {
            "refuses" => refusing.local_addr()?,
            _ => serve(move |_| suffer(sickness))?,
        };
        sick.push((sickness, address));
    }
    let mut proxy = Proxy::start(&table(healthy, &sick))?;

    println!(
        "{CALLERS} callers of the healthy upstream ({} ms), {} calls/s; {SICK_CALLERS} callers of the sick one; {} s each",
        HEALTHY.as_millis(),
        f64::from(CALLERS) / EACH.as_secs_f64(),
        time.as_secs()
    );
    println!(
        "times in ms; past: calls answered later than {} s; busy: cores, proxy + benchmark\n",
        PATIENCE.as_secs()
    );
    println!(
        "{:<26}{:>7}{:>7}{:>7}{:>7}{:>7}{:>8}{:>8} | {:>6}{:>8}{:>8}{:>5} | {:<10} said to the sick calls",
        "beside",
        "calls",
        "p50",
        "p99",
        "max",
        "ratio",
        "dir.p99",
        "dir.max",
        "calls",
        "p50",
        "max",
        "past",
        "busy"
    );
    let first = part(&proxy, healthy, time, None)?;
    let mut alone = p99(&first);
    let mut fine = show("nothing (alone)", alone, &first);
    let burst = part(&proxy, healthy, time, Some(Sick { function: "well_none", at_once: true }))?;
    let alone_in_a_burst = p99(&burst);
    fine &= show("nothing sick, at once", alone_in_a_burst, &burst);
    for sickness in SICKNESSES {
        for (guard, _) in GUARDS {
            for (arrival, at_once) in [("at once", true), ("steady", false)] {
                let (function, beside) =
                    (format!("{sickness}_{guard}"), format!("{sickness}, {guard}, {arrival}"));
                if beside.contains(&only) {
                    let sick = Some(Sick { function: &function, at_once });
                    let alone = if at_once { alone_in_a_burst } else { alone };
                    fine &= show(&beside, alone, &part(&proxy, healthy, time, sick)?);
                }
            }
        }
    }
    // Last, since these writes go on for half a minute when their calls have long been answered.
    for (guard, _) in GUARDS {
        let (function, beside) = (format!("write_{guard}"), format!("silent to writes, {guard}"));
        if beside.contains(&only) {
            let sick = Some(Sick { function: &function, at_once: false });
            fine &= show(&beside, alone, &part(&proxy, healthy, time, sick)?);
            println!("{:<26}descriptors of the proxy: {}", "", proxy.usage()?.descriptors);
        }
    }
    let last = part(&proxy, healthy, time, None)?;
    alone = alone.min(p99(&last));
    fine &= show("nothing (alone, again)", alone, &last);
    fine &= proxy.end()?.success() && proxy.alarms.load(Ordering::Relaxed) == 0;
    println!(
        "\n{}",
        if fine {
            "as it should be"
        } else {
            "NOT as it should be: the lines marked with !, or a panic, or how it ended"
        }
    );
    Ok(fine)
}

/// What an upstream with this sickness does with a request.
fn suffer(sickness: &str) -> Vec<Act> {
    match sickness {
        "silent" => vec![Act::Hang],
        "slow" => vec![Act::Wait(Duration::from_secs(5)), reply(200, "", "{}")],
        "drips" => drip(),
        "cut" => vec![Act::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\"".to_vec()), Act::Close],
        "resets" => vec![Act::Reset],
        _ => vec![reply(500, "", "{}")],
    }
}

/// A body that holds the last segment of the path.
fn echo(asked: &Asked) -> String {
    json!({ "nonce": asked.target.rsplit('/').next() }).to_string()
}

/// The table: a healthy route, and one for each sickness and guard.
fn table(healthy: SocketAddr, sick: &[(&str, SocketAddr)]) -> String {
    let seconds = PATIENCE.as_secs();
    let mut table = format!(
        r#"
        server = {{ listen = "127.0.0.1:0", admin = "127.0.0.1:0" }}
        platforms.swaig = {{ deadline = "{seconds}s" }}
        platforms.voicedock = {{ deadline = "{seconds}s" }}
        defaults.failure = {{ timeout = "timeout", unreachable = "unreachable", bad_response = "bad_response", refused = "refused" }}
        [upstreams.healthy]
        base_url = "http://{healthy}"
        [routes.healthy]
        upstream = "healthy"
        args.nonce = {{ type = "string", required = true }}
        request.path = "/{{{{args.nonce}}}}"
        extract.nonce = "$.nonce"
        reply.text = "{{{{nonce}}}}"
        "#
    );
    for (guard, key) in GUARDS {
        let mut sick_one = |name: &str, address: SocketAddr, method: &str| {
            table.push_str(&format!(
                r#"
                [upstreams.{name}_{guard}]
                base_url = "http://{address}"
                {key}
                [routes.{name}_{guard}]
                upstream = "{name}_{guard}"
                request = {{ method = "{method}", path = "/" }}
                reply.text = "well"
                "#
            ));
        };
        for (sickness, address) in sick {
            sick_one(sickness, *address, "GET");
        }
        if let Some((_, silent)) = sick.iter().find(|(name, _)| *name == "silent") {
            sick_one("write", *silent, "POST");
        }
    }
    table
}

/// Calls the healthy upstream for some time, with the sick one beside it.
fn part(proxy: &Proxy, upstream: SocketAddr, time: Duration, sick: Option<Sick<'_>>) -> io::Result<Measured> {
    let listen = proxy.listen;
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (go, start) = oneshot::channel();
    let sick = match sick {
        Some(Sick { function, at_once }) => {
            let calls = sick_calls(listen, function.to_owned(), at_once, time, ready, start);
            let thread = on_a_thread(calls)?;
            // An error is the thread's end, and told by it below.
            let _ = is_ready.recv();
            Some(thread)
        }
        None => None,
    };
    let start = Instant::now();
    let _ = go.send(start);
    let before = [proxy.usage()?, usage(std::process::id())?];
    let healthy = on_a_thread(async move {
        let call = |nonce: &str| swaig("healthy", "c", &json!({ "nonce": nonce }));
        let ask = |nonce: &str| format!("GET /{nonce} HTTP/1.1\r\nhost: upstream\r\n\r\n").into_bytes();
        tokio::join!(
            steadily(CALLERS, start, time, listen, call, "response"),
            steadily(DIRECT_CALLERS, start, time, upstream, ask, "nonce"),
        )
    })?;
    let join = |_| io::Error::other("a thread of the benchmark panicked");
    let (healthy, direct) = healthy.join().map_err(join)?;
    let after = [proxy.usage()?, usage(std::process::id())?];
    let busy =
        [0, 1].map(|of| (after[of].cpu.saturating_sub(before[of].cpu)).div_duration_f64(start.elapsed()));
    let sick = sick.map(|sick| sick.join().map_err(join)).transpose()?.transpose()?;
    Ok(Measured { healthy, direct, sick, busy })
}

fn p99(measured: &Measured) -> Duration {
    Times::of(&measured.healthy.times).quantile(0.99)
}

/// Shows what a part came to; true when it is as it should be.
fn show(beside: &str, alone: Duration, measured: &Measured) -> bool {
    let (healthy, direct) = (Times::of(&measured.healthy.times), Times::of(&measured.direct.times));
    let ratio = healthy.quantile(0.99).div_duration_f64(alone);
    let [proxy, own] = measured.busy;
    let sick = measured.sick.as_ref().map(|sick| (Times::of(&sick.times), &sick.said));
    let (calls, p50, max, past) = sick.as_ref().map_or_else(Default::default, |(times, _)| {
        let past = times.longer_than(PATIENCE);
        (times.count().to_string(), ms(times.quantile(0.5)), ms(times.longest()), past.to_string())
    });
    let past_any =
        healthy.longer_than(PATIENCE) + sick.as_ref().map_or(0, |(times, _)| times.longer_than(PATIENCE));
    let unheard = sick.as_ref().is_some_and(|(_, said)| said.contains_key("nothing"));
    let fine = ratio <= 2.0 && past_any == 0 && !unheard && measured.healthy.said.is_empty();
    println!(
        "{beside:<26}{:>7}{:>7}{:>7}{:>7}{ratio:>7.2}{:>8}{:>8} | {calls:>6}{p50:>8}{max:>8}{past:>5} | {:<10} {}{}",
        healthy.count(),
        ms(healthy.quantile(0.5)),
        ms(healthy.quantile(0.99)),
        ms(healthy.longest()),
        ms(direct.quantile(0.99)),
        ms(direct.longest()),
        format!("{proxy:.2}+{own:.2}"),
        sick.as_ref().map(|(_, said)| counts(said)).unwrap_or_default(),
        match direct.quantile(0.99) > HEALTHY * 2 {
            _ if fine => "",
            true => "  ! (past the proxy too)",
            false => "  !",
        },
    );
    if !measured.healthy.said.is_empty() {
        println!("{:<26}not answered as they should be: {}", "", counts(&measured.healthy.said));
    }
    fine
}

fn counts(said: &BTreeMap<String, usize>) -> String {
    said.iter().map(|(said, count)| format!("{said} {count}")).collect::<Vec<_>>().join(", ")
}
