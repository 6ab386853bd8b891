//! What tests from outside share: a recording upstream and a rude one, the built binary as a running proxy, an HTTP
//! client, and the shapes of answers.

pub(crate) mod client;
pub(crate) mod faulty_upstream;
pub(crate) mod folder;
pub(crate) mod lag;
pub(crate) mod proxy;
pub(crate) mod shape;
pub(crate) mod upstream;

use std::time::{Duration, Instant};

/// Waits until it `happened`; `what` says what has not, when the time is over.
pub(crate) async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !happened().await {
        assert!(started.elapsed() < proxy::GUARD, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A text of `call` without how long anything took; what is told only when it took a while is left out.
pub(crate) fn timeless(text: &str) -> String {
    let took = regex::Regex::new(r"\b\d+ ms").unwrap().replace_all(text, "N ms").into_owned();
    let sometimes = r" +(\w+: )?N ms (between attempts|for the credential|waiting for a permit)\n";
    regex::Regex::new(sometimes).unwrap().replace_all(&took, "").into_owned()
}
