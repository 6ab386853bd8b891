//! How often a request is sent: retries, hedging, circuit breakers, limits, and the deadline that they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::proxy::Proxy;
use crate::support::until;
use crate::support::upstream::{Reply, Seen, Upstream};

/// An upstream that sends these responses in order and repeats the last one.
async fn queued(replies: Vec<Reply>) -> Upstream {
    let next = AtomicUsize::new(0);
    Upstream::new(move |_| {
        let index = next.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1);
        replies[index].clone()
    })
    .await
}

fn ok() -> Reply {
    Reply::json(&json!({"id": 7}))
}

fn failed(status: u16) -> Reply {
    Reply::status(status, &json!({}))
}

/// A table with these keys in its one upstream and in its route `ask`, which uses `method`.
fn table(upstream: &str, method: &str, route: &str) -> String {
    r#"
[platforms.http]
[platforms.voicedock]
[upstreams.api]
base_url = "http://UPSTREAM"
POLICY
[routes.ask]
upstream = "api"
request = { method = "METHOD", path = "/ask" }
ROUTE
reply = { text = "{{response.body.id}}" }
"#
    .replace("POLICY", upstream)
    .replace("METHOD", method)
    .replace("ROUTE", route)
}

async fn ask(proxy: &Proxy) -> Value {
    let answer = proxy.post("/http/ask", &json!({})).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

fn kind(answer: &Value) -> &str {
    answer["error"]["kind"].as_str().unwrap_or(if answer["text"] == "7" { "ok" } else { "?" })
}

fn keys(seen: &[Seen]) -> Vec<String> {
    seen.iter().flat_map(|seen| seen.header("idempotency-key")).collect()
}

#[tokio::test]
async fn failed_requests_are_retried_if_that_is_safe() {
    const KEY: &str = "idempotency_key = \"Idempotency-Key\"";
    const NEVER: &str = "retry = { attempts = 1 }";
    const MORE: &str = "retry = { attempts = 4, backoff = \"1ms\", on = [\"5xx\"] }";
    for (name, upstream, method, route, replies, expected, sent) in [
        ("a read", "", "GET", "", vec![failed(503), ok()], "ok", 2),
        (
            "a read by POST",
            "",
            "POST\", safe = true, path = \"/ask\" } #",
            "",
            vec![failed(503), ok()],
            "ok",
            2,
        ),
        ("a read by its method", "", "REPORT", "", vec![failed(503), ok()], "ok", 2),
        (
            "a write by GET",
            "",
            "GET\", safe = false, path = \"/ask\" } #",
            "",
            vec![failed(503), ok()],
            "bad_response",
            1,
        ),
        ("a write by another method", "", "MERGE", "", vec![failed(503), ok()], "bad_response", 1),
        ("a read, once only", "", "GET", "", vec![failed(503), failed(503), ok()], "bad_response", 2),
        ("a read, never", NEVER, "GET", "", vec![failed(503), ok()], "bad_response", 1),
        ("a read, another status", "", "GET", "", vec![failed(500), ok()], "bad_response", 1),
        ("a read, many times", MORE, "GET", "", vec![failed(500), failed(503), failed(502), ok()], "ok", 4),
        ("a write", "", "POST", "", vec![failed(503), ok()], "bad_response", 1),
        ("a write that may arrive twice", "", "POST", KEY, vec![failed(503), ok()], "ok", 2),
        ("a deletion", "", "DELETE", "", vec![failed(429), ok()], "bad_response", 1),
    ] {
        let api = queued(replies).await;
        let proxy = Proxy::over(&api, &table(upstream, method, route)).await;
        assert_eq!(kind(&ask(&proxy).await), expected, "{name}");
        let seen = api.take();
        assert_eq!(seen.len(), sent, "{name}");
        let keys = keys(&seen);
        assert_eq!(keys.len(), if route == KEY { sent } else { 0 }, "{name}");
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1] && pair[0].len() == 32), "{name}: {keys:?}");
    }
}

#[tokio::test]
async fn retry_after_is_honoured_within_the_deadline() {
    for (wait, expected, sent) in [("1", "ok", 2), ("60", "bad_response", 1)] {
        let api = queued(vec![failed(429).header("retry-after", wait), ok()]).await;
        let proxy = Proxy::over(&api, &table("", "GET", "")).await;
        let began = Instant::now();
        assert_eq!(kind(&ask(&proxy).await), expected);
        assert_eq!(api.take().len(), sent);
        // It was not retried before the second was over.
        assert!(sent == 1 || began.elapsed() >= Duration::from_secs(1));
    }
}

#[tokio::test]
async fn the_retry_budget_limits_extra_attempts() {
    let api = queued(vec![failed(503)]).await;
    let proxy = Proxy::over(&api, &table("retry = { backoff = \"1ms\" }", "GET", "")).await;
    let calls = 100;
    let answers = futures_util::future::join_all((0..calls).map(|_| ask(&proxy))).await;
    assert!(answers.iter().all(|answer| kind(answer) == "bad_response"));
    let sent = api.take().len();
    // Ten saved retries, at most a fifth of the calls, and one for each second that this may have taken.
    assert!((calls + 10..=calls + 60).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_retried_call_has_the_same_idempotency_key_and_other_calls_do_not() {
    let api = queued(vec![failed(400)]).await;
    let route = "idempotency_key = \"idempotency-key\"\nargs.n = { type = \"integer\" }";
    let proxy = Proxy::over(&api, &table("", "POST", route)).await;
    let call = |id: &str, n: u32| {
        let function = json!({"name": "ask", "arguments": {"n": n}});
        json!({"message": {
            "type": "tool-calls", "call": {"id": "c1"}, "toolCallList": [{"id": id, "function": function}],
            "tool_calls": [{"id": id, "type": "function", "function": function}],
            "tool_call_list": [{"id": id, "type": "function", "function": function}],
        }})
    };
    for (id, n) in [("a", 1), ("a", 1), ("b", 1), ("a", 2)] {
        assert_eq!(proxy.post("/voicedock", &call(id, n)).await.status, 200);
    }
    for _ in 0..2 {
        ask(&proxy).await;
    }
    let keys = keys(&api.take());
    assert_eq!(keys.len(), 6);
    assert_eq!(keys[0], keys[1], "the same call");
    let different: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(different.len(), 5, "{keys:?}");
}

#[tokio::test]
async fn a_slow_read_is_hedged() {
    let (first, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, opened) = (Arc::clone(&first), Arc::clone(&gate));
    let api = Upstream::with(move |_| {
        let (number, gate) = (count.fetch_add(1, Ordering::SeqCst), Arc::clone(&opened));
        async move {
            // Only the first request hangs.
            if number == 0 {
                let _ = gate.acquire().await;
            }
            ok()
        }
    })
    .await;
    let mut proxy = Proxy::over(&api, &table("hedge_after = \"50ms\"", "GET", "")).await;
    assert_eq!(kind(&ask(&proxy).await), "ok");
    assert_eq!(api.take().len(), 2);
    proxy.logged("attempts=2").await;
    drop(gate);
}

#[tokio::test]
async fn a_read_by_post_is_hedged_and_is_over_at_its_deadline() {
    const SAFE: &str = "POST\", safe = true, path = \"/ask\" } #";
    let number = AtomicUsize::new(0);
    let api = Upstream::with(move |_| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        async move { if number == 1 { ok() } else { std::future::pending().await } }
    })
    .await;
    let proxy = Proxy::over(&api, &table("hedge_after = \"20ms\"", SAFE, "")).await;
    assert_eq!(kind(&ask(&proxy).await), "ok");
    assert_eq!(api.take().len(), 2);

    let mut proxy = Proxy::over(&api, &table("retry = { attempts = 1 }", SAFE, "timeout = \"50ms\"")).await;
    let late = ask(&proxy).await;
    assert_eq!(late["error"]["kind"], "timeout");
    let text = late["error"]["text"].as_str().unwrap();
    assert!(!text.contains("may"), "nothing may have been done: {text}");
    proxy.logged("timeout").await;
}

#[tokio::test]
async fn a_slow_write_is_not_hedged() {
    let api = Upstream::with(|_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ok()
    })
    .await;
    let proxy = Proxy::over(&api, &table("hedge_after = \"20ms\"", "POST", "")).await;
    assert_eq!(kind(&ask(&proxy).await), "ok");
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn a_failed_hedge_does_not_replace_a_good_response() {
    let (number, gate) = (AtomicUsize::new(0), Arc::new(Semaphore::new(0)));
    let api = Upstream::with(move |_| {
        let (number, gate) = (number.fetch_add(1, Ordering::SeqCst), Arc::clone(&gate));
        async move {
            // The first request is answered after the second.
            if number == 0 {
                gate.acquire().await.unwrap().forget();
                ok()
            } else {
                gate.add_permits(1);
                failed(503)
            }
        }
    })
    .await;
    let proxy = Proxy::over(&api, &table("hedge_after = \"50ms\"", "GET", "")).await;
    assert_eq!(kind(&ask(&proxy).await), "ok", "the first one was good");
    assert_eq!(api.take().len(), 2);
}

#[tokio::test]
async fn hedging_at_p95_starts_once_latencies_are_known() {
    let slow = Arc::new(AtomicUsize::new(0));
    let is_slow = Arc::clone(&slow);
    let api = Upstream::with(move |_| {
        let hangs = is_slow.swap(0, Ordering::SeqCst) == 1;
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            ok()
        }
    })
    .await;
    let proxy = Proxy::over(&api, &table("hedge_after = \"p95\"", "GET", "")).await;
    for _ in 0..30 {
        assert_eq!(kind(&ask(&proxy).await), "ok");
    }
    api.take();
    slow.store(1, Ordering::SeqCst);
    assert_eq!(kind(&ask(&proxy).await), "ok", "the second request answers for the first, which hangs");
    assert_eq!(api.take().len(), 2);
    let status = proxy.status().await;
    assert!(status["upstreams"]["api"]["p95_ms"].is_number(), "{status:#}");
}

#[tokio::test]
async fn a_breaker_opens_is_reported_and_closes_again() {
    let failing = Arc::new(AtomicUsize::new(1));
    let failing_now = Arc::clone(&failing);
    let api =
        Upstream::new(move |_| if failing_now.load(Ordering::SeqCst) == 1 { failed(500) } else { ok() })
            .await;
    let breaker = "breaker = { min_calls = 4, open_for = \"3s\" }\nretry = { attempts = 1 }";
    let mut proxy = Proxy::over(&api, &table(breaker, "GET", "failure.refused = \"Not now.\"")).await;
    let state = async |proxy: &Proxy| proxy.status().await["upstreams"]["api"].clone();
    assert_eq!(state(&proxy).await["breaker"], "closed");

    for _ in 0..4 {
        assert_eq!(kind(&ask(&proxy).await), "bad_response");
    }
    assert_eq!(ask(&proxy).await, json!({"error": {"kind": "refused", "text": "Not now."}}));
    assert_eq!(api.take().len(), 4, "nothing is sent while it is open");
    let opened = proxy.logged("circuit breaker opened").await;
    assert!(opened.contains("api: circuit breaker opened: 4 of the last 4 requests failed"), "{opened}");
    let refused = proxy.logged("refused after").await;
    assert!(refused.contains("not sent to `api`: its circuit breaker is open for another"), "{refused}");
    assert!(["open", "half_open"].contains(&state(&proxy).await["breaker"].as_str().unwrap()));

    // Calls are refused until the breaker is half open; the probe then closes it.
    failing.store(0, Ordering::SeqCst);
    until("the circuit breaker never closes", async || kind(&ask(&proxy).await) == "ok").await;
    proxy.logged("api: circuit breaker closed").await;
    assert_eq!(state(&proxy).await["breaker"], "closed");
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn a_breaker_counts_a_detached_write_at_once() {
    let api = Upstream::with(|_| std::future::pending::<Reply>()).await;
    let keys = "timeout = \"1s\"\nbreaker = { min_calls = 1, open_for = \"1m\" }";
    let proxy = Proxy::over(&api, &table(keys, "POST", "limit = { concurrency = 7 }")).await;
    assert_eq!(kind(&ask(&proxy).await), "timeout");
    assert_eq!(kind(&ask(&proxy).await), "refused");
    assert_eq!(api.take().len(), 1);
    let status = proxy.status().await;
    let open_for = status["upstreams"]["api"]["open_for_ms"].as_u64().unwrap();
    assert!((1..=60_000).contains(&open_for), "{status:#}");
    assert!(status["limits"]["ask"]["in_flight"].is_u64(), "{status:#}");
}

#[tokio::test]
async fn events_and_routes_of_the_same_name_have_separate_limits() {
    let api = queued(vec![ok()]).await;
    let entry = |name: &str| {
        let entry = r#"
[NAME]
upstream = "api"
limit = { rate = "1/h", wait = "0s" }
request = { method = "POST", path = "/NAME" }
"#;
        entry.replace("NAME", name)
    };
    let (event, route) = (entry("events.voicedock.status_update"), entry("routes.status_update"));
    let proxy = Proxy::over(
        &api,
        &table("", "GET", "").replace("[routes.ask]", &format!("{event}{route}[routes.ask]")),
    )
    .await;
    proxy.post("/voicedock", &json!({"message": {"type": "status-update"}})).await;
    proxy.post("/http/status_update", &json!({})).await;
    let paths: Vec<String> = api.take().iter().map(|seen| seen.path().to_owned()).collect();
    assert_eq!(paths, ["/events.voicedock.status_update", "/routes.status_update"]);
}

#[tokio::test]
async fn an_open_breaker_survives_a_reload() {
    let api = queued(vec![failed(500)]).await;
    let breaker = "breaker = { min_calls = 2, open_for = \"1m\" }\nretry = { attempts = 1 }";
    let mut proxy = Proxy::over(&api, &table(breaker, "GET", "")).await;
    for _ in 0..2 {
        assert_eq!(kind(&ask(&proxy).await), "bad_response");
    }
    let path = proxy.folder.path().join("routes.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    proxy.folder.write("routes.toml", &format!("{text}\n[routes.more]\nreply.text = \"More.\"\n"));
    proxy.logged("added=more").await;
    assert_eq!(kind(&ask(&proxy).await), "refused");
    // A breaker with another policy starts closed.
    proxy.folder.write("routes.toml", &text.replace("min_calls = 2", "min_calls = 3"));
    proxy.logged("removed=more").await;
    assert_eq!(kind(&ask(&proxy).await), "bad_response");
}

#[tokio::test]
async fn concurrency_limits_are_enforced() {
    let (in_flight, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, seen) = (Arc::clone(&in_flight), Arc::clone(&most));
    let api = Upstream::with(move |_| {
        let (counted, seen) = (Arc::clone(&counted), Arc::clone(&seen));
        async move {
            seen.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            counted.fetch_sub(1, Ordering::SeqCst);
            ok()
        }
    })
    .await;
    let limit = "limit = { concurrency = 3, wait = \"9s\" }";
    for (upstream, route) in [(limit, ""), ("", limit)] {
        most.store(0, Ordering::SeqCst);
        let proxy = Proxy::over(&api, &table(upstream, "GET", route)).await;
        let answers = futures_util::future::join_all((0..30).map(|_| ask(&proxy))).await;
        assert!(answers.iter().all(|answer| kind(answer) == "ok"), "{answers:?}");
        assert_eq!((api.take().len(), most.load(Ordering::SeqCst)), (30, 3));
    }
}

#[tokio::test]
async fn requests_that_get_no_permit_are_refused() {
    let (api, gate) = Upstream::gated(|_| ok()).await;
    let limit = "limit = { concurrency = 1, wait = \"0s\" }";
    let proxy = Proxy::over(&api, &table(limit, "GET", "")).await;
    let (first, second) = tokio::join!(ask(&proxy), async {
        api.arrived(1).await;
        let answer = ask(&proxy).await;
        gate.add_permits(1);
        answer
    });
    assert_eq!([kind(&first), kind(&second)], ["ok", "refused"]);
    api.take();

    let rate = "limit = { rate = \"1/h\", burst = 2 }";
    for (upstream, route) in [(rate, ""), ("", rate)] {
        gate.add_permits(2);
        let mut proxy = Proxy::over(&api, &table(upstream, "GET", route)).await;
        let mut kinds = Vec::new();
        for _ in 0..3 {
            kinds.push(kind(&ask(&proxy).await).to_owned());
        }
        assert_eq!(kinds, ["ok", "ok", "refused"]);
        assert_eq!(api.take().len(), 2);
        let line = proxy.logged("refused after").await;
        assert!(line.contains("`limit.rate` is exhausted, and the next permit is"), "{line}");
    }
}

#[tokio::test]
async fn steps_attempts_backoff_and_permits_share_one_deadline() {
    let api = Upstream::with(|seen: Seen| async move {
        if seen.target == "/hangs" {
            std::future::pending::<()>().await;
        }
        failed(503)
    })
    .await;
    let table = "[platforms.http]\ndeadline = \"1s\"\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n\
        retry = { attempts = 10, backoff = \"200ms\" }\nlimit = { concurrency = 100, rate = \"4/s\", wait = \"5s\" }\n\
        [routes.ask]\nupstream = \"api\"\nfailure.timeout = \"Too slow.\"\n\
        [[routes.ask.steps]]\nname = \"one\"\nrequest = { path = \"/fails\" }\n\
        [[routes.ask.steps]]\nname = \"two\"\nwhen.failed = \"one\"\nrequest = { path = \"/hangs\" }\n";
    let proxy = Proxy::over(&api, table).await;
    let began = Instant::now();
    let answers =
        futures_util::future::join_all((0..8).map(|_| proxy.send(Method::POST, "/http/ask", &[], "{}")))
            .await;
    // A single wait for a permit could take longer than this.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for answer in answers {
        let kind = answer.json()["error"]["kind"].clone();
        assert!(kind == "timeout" || kind == "refused", "{kind}");
    }
}
