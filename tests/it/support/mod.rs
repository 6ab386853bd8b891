//! Shared by the integration tests: a recording upstream and a faulty one, the binary as a running proxy, an HTTP
//! client, and the response formats.

pub(crate) mod client;
pub(crate) mod faulty_upstream;
pub(crate) mod folder;
pub(crate) mod lag;
pub(crate) mod proxy;
pub(crate) mod shape;
pub(crate) mod upstream;

use std::time::{Duration, Instant};

/// Polls until `attempt` gives a value, and returns it. On timeout the test fails with the message `problem`.
pub(crate) async fn poll<T>(problem: impl Fn() -> String, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(started.elapsed() < proxy::GUARD, "{}", problem());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Polls until `happened` returns true. On timeout the test fails with the message `problem`.
pub(crate) async fn until(problem: &str, mut happened: impl AsyncFnMut() -> bool) {
    poll(|| problem.to_owned(), async || happened().await.then_some(())).await;
}

/// The output of `call` without durations. Lines that appear only if something took a while are removed.
pub(crate) fn timeless(text: &str) -> String {
    let took = regex::Regex::new(r"\b\d+ ms").unwrap().replace_all(text, "N ms").into_owned();
    let sometimes = r" +(\w+: )?N ms (between attempts|for the credential|waiting for a permit)\n";
    regex::Regex::new(sometimes).unwrap().replace_all(&took, "").into_owned()
}
