//! An upstream whose address changes while a call hangs at the old one.

use std::time::Instant;

use futures_util::future::join;
use http::Method;

use super::{BUDGET, DEADLINE, Platform, latest, responses};
use crate::support::client::request;
use crate::support::faulty_upstream::{Action, FaultyUpstream, Script};
use crate::support::lag::Lag;
use crate::support::proxy::Proxy;

const TABLE: &str = r#"
[server]
listen = "127.0.0.1:0"
[platforms.PLATFORM]
deadline = "DEADLINEs"
[defaults]
failure.timeout = "It was timeout."
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.f]
upstream = "api"
args.n = { type = "integer" }
request = { path = "/" }
extract = { id = "$.id" }
reply = { text = "It is {{id}}." }
"#;

#[tokio::test]
async fn a_call_hanging_at_the_old_address_times_out_and_the_next_uses_the_new_one() {
    join(moved(Platform::Swaig), moved(Platform::VoiceDock)).await;
}

async fn moved(platform: Platform) {
    let old = FaultyUpstream::new(Script::always([Action::Hang])).await;
    let new = FaultyUpstream::new(Script::always(responses::ok(7))).await;
    let table = |upstream: &FaultyUpstream| {
        TABLE
            .replace("PLATFORM", platform.name())
            .replace("DEADLINE", &DEADLINE.as_secs().to_string())
            .replace("UPSTREAM", &upstream.address.to_string())
    };
    let mut proxy = Proxy::start(&table(&old)).await;
    let path = format!("/{}", platform.name());
    let (started, lag) = (Instant::now(), Lag::measure());
    let (client, url) = (proxy.client.clone(), proxy.url(&path));
    let body = platform.request("f", 0).to_string();
    let hanging = tokio::spawn(async move {
        let request = request(Method::POST, &url, &[], body);
        (client.send(request).await.json(), started.elapsed())
    });
    assert!(old.until(|observed| observed.requests.len() == 1).await);

    proxy.folder.write("routes.toml", &table(&new));
    proxy.logged("configuration reloaded").await;
    let answer = proxy.post(&path, &platform.request("f", 1)).await.json();
    assert_eq!(answer, platform.answer("f", 1, false, "It is 7."), "{}", proxy.log());

    let (answer, took) = hanging.await.unwrap();
    assert_eq!(answer, platform.answer("f", 0, true, "It was timeout."));
    assert!((BUDGET..latest(&lag, started)).contains(&took), "{took:?}");
    assert_eq!((old.observed().requests.len(), new.observed().requests.len()), (1, 1));
}
