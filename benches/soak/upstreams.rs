//! The upstreams of the soak: a good one, and a rude one that misbehaves for a part of its requests. Both remember what
//! was written to them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::upstream::{Act, Asked, drip, reply, serve};

/// How many of a hundred requests the rude upstream does not answer as it should.
const RUDE: u8 = 15;

/// What has arrived of one write.
#[derive(Default)]
pub(crate) struct Arrived {
    pub(crate) times: u32,
    /// The key that it came with.
    key: Option<String>,
    /// Whether it came with another one as well.
    pub(crate) keys_differ: bool,
}

/// The writes that have arrived, by nonce.
pub(crate) type Arrivals = Arc<Mutex<HashMap<String, Arrived>>>;

/// Starts both; the good one first.
pub(crate) fn start(seed: u64, arrivals: &Arrivals) -> io::Result<[SocketAddr; 2]> {
    let noted = Arc::clone(arrivals);
    let guarded = AtomicU64::new(0);
    let good = serve(move |asked| vec![answer(asked, &noted, &guarded)])?;
    let noted = Arc::clone(arrivals);
    let random = Mutex::new(Rng::with_seed(seed));
    let none = AtomicU64::new(0);
    let rude = serve(move |asked| {
        let good = answer(asked, &noted, &none);
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        misbehave(good, &mut random)
    })?;
    Ok([good, rude])
}

/// What is right.
fn answer(asked: &Asked, arrivals: &Arrivals, guarded: &AtomicU64) -> Act {
    let (method, path) = (asked.method.as_str(), asked.target.trim_start_matches('/'));
    let (place, nonce) = path.split_once('/').unwrap_or((path, ""));
    let said = |nonce: &str| reply(200, "", &json!({ "nonce": nonce }).to_string());
    match (method, place) {
        ("GET", "echo") => said(nonce),
        ("GET", "wide") => {
            reply(200, "", &json!({ "filling": "x".repeat(100_000), "nonce": nonce }).to_string())
        }
        ("GET", "first") => reply(200, "", &json!({ "token": format!("t-{nonce}") }).to_string()),
        ("GET", "second") => said(nonce.trim_start_matches("t-")),
        ("GET", "bearer") if asked.head.contains("authorization: bearer made-up\r\n") => said(nonce),
        // Now and then a token is no good any more before its time.
        ("GET", "guarded") if guarded.fetch_add(1, Ordering::Relaxed) % 200 == 199 => reply(401, "", "{}"),
        ("GET", "guarded") if asked.head.contains("authorization: bearer token\r\n") => said(nonce),
        ("POST", "token") => {
            reply(200, "", r#"{"access_token": "token", "token_type": "Bearer", "expires_in": 40}"#)
        }
        ("POST", "write" | "keyed") => {
            let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
            let nonce = body["nonce"].as_str().unwrap_or_default();
            let key = asked.head.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
            note(arrivals, nonce, key.map(str::to_owned));
            said(nonce)
        }
        _ => reply(404, "", "{}"),
    }
}

fn note(arrivals: &Arrivals, nonce: &str, key: Option<String>) {
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let arrived = arrivals.entry(nonce.to_owned()).or_default();
    arrived.keys_differ |= arrived.times > 0 && arrived.key != key;
    arrived.times += 1;
    arrived.key = key;
}

/// What is done instead, for a part of the requests.
fn misbehave(good: Act, random: &mut Rng) -> Vec<Act> {
    if random.u8(0..100) >= RUDE {
        return vec![good];
    }
    let head = |length: u32| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-type: application/json\r\n\r\n")
    };
    match random.u8(0..14) {
        0 | 1 => vec![Act::Wait(Duration::from_millis(random.u64(300..4000))), good],
        2 => vec![reply(500, "", "{}")],
        3 => vec![reply(503, "", "<busy>")],
        4 => vec![reply(429, "retry-after: 1\r\n", "{}")],
        5 => vec![Act::Reset],
        6 => vec![Act::Hang],
        7 => vec![Act::Write(b"\x16\x03 this is no HTTP\r\n\r\n".to_vec()), Act::Close],
        8 => vec![reply(200, "", "{\"nonce\": ")],
        9 => vec![reply(200, "", &format!("{{\"filling\": \"{}\"}}", "x".repeat(300_000)))],
        10 => drip(),
        11 => vec![Act::Write((head(900) + "{\"nonce\"").into_bytes()), Act::Close],
        // Says nothing of it and is gone when the connection is used again.
        12 => vec![good, Act::Close],
        _ => vec![good, Act::Wait(Duration::from_millis(random.u64(1..200))), Act::Reset],
    }
}
