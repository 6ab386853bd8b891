//! Credentials as upstreams see them: what is sent, how often a token endpoint is asked, and what is never shown.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use futures_util::future::{join, join_all};
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use jackfield::flow::{self, Cache, CallEnv, CallKey, NoCaller, Record};
use jackfield::live;
use jackfield::load::{load, process_environment};
use jackfield::plan::{FunctionsFor, Plan};
use jackfield::platform::{self, Decoded, Settings};
use jackfield::upstream::http::HttpTransport;
use jackfield::upstream::resources::Resources;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::unconstrained;

use crate::support::folder::Folder;
use crate::support::proxy::{GUARD, Proxy, jackfield, run};
use crate::support::upstream::{Reply, Seen, Upstream};
use crate::support::{timeless, until};

const LOGIN: &str = "Basic bWU6dG9wJTJGc2VjcmV0";

/// A table with one upstream whose credential is `auth`, and routes to it.
fn table(api: &Upstream, auth: &str) -> String {
    r#"
        [server]
        listen = "127.0.0.1:0"

        [platforms.http]

        [upstreams.api]
        base_url = "http://UPSTREAM"
        auth.AUTH

        [routes.look]
        upstream = "api"
        request = { path = "/look", query = { a = "1" } }
        reply = { text = "status {{response.status}}" }

        [routes.book]
        upstream = "api"
        request = { method = "POST", path = "/book", body = { seat = 7 } }
        reply = [{ when.status = 401, text = "not let in" }, { text = "booked" }]
        "#
    .replace("UPSTREAM", &api.address.to_string())
    .replace("AUTH", auth)
}

fn oauth2(endpoint: &Upstream) -> String {
    format!(
        r#"oauth2 = {{ token_url = "http://{}/token", client_id = "me", client_secret = "top/secret", scope = "all" }}"#,
        endpoint.address
    )
}

/// An upstream that accepts everyone.
async fn accepting() -> Upstream {
    Upstream::new(|_| Reply::json(&json!({"ok": true}))).await
}

fn token(number: usize, expires_in: u64) -> Reply {
    let token = format!("token-{number}");
    Reply::json(&json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in}))
}

/// A token endpoint that issues a new token each time.
async fn issuing(expires_in: u64) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::new(move |_| token(count.fetch_add(1, Ordering::SeqCst) + 1, expires_in)).await
}

fn authorizations(seen: &[Seen]) -> Vec<String> {
    seen.iter().flat_map(|seen| seen.header("authorization")).collect()
}

async fn call(proxy: &Proxy, function: &str) -> Value {
    proxy.post(&format!("/http/{function}"), &json!({})).await.json()
}

/// A plan in this process, for tests that need a fixed order.
struct InProcess {
    plan: Plan,
    resources: Resources,
    transport: HttpTransport,
    _folder: Folder,
}

impl InProcess {
    fn new(table: &str) -> Self {
        let folder = Folder::with(&[("routes.toml", table)]);
        let loaded = load(&folder.path().join("routes.toml"), &process_environment()).unwrap();
        let plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let resources = live::prepare(&plan, &Resources::default());
        Self { plan, resources, transport: HttpTransport::new().unwrap(), _folder: folder }
    }

    async fn call(&self, function: &str, within: Duration) -> Record {
        let platform = platform::find("http").unwrap();
        let functions = FunctionsFor::new(&self.plan, "http");
        let inbound = platform.sample(function, &json!({}));
        let decoded = platform.decode(&inbound, &Settings::defaults(platform), &functions).unwrap();
        let Decoded::Calls(mut calls, _) = decoded else { panic!("no call") };
        let (call, route) = (calls.remove(0), self.plan.route(function, "http").map(AsRef::as_ref));
        let deadline = Instant::now() + within;
        let (key, validation) = CallKey::of(&call, route, &self.plan.zone);
        let env = CallEnv {
            plan: &self.plan,
            resources: &self.resources,
            platform,
            transport: &self.transport,
            began: Instant::now(),
            deadline,
            now: "2026-01-01T00:00:00Z",
            key,
            cache: &Arc::new(Cache::new(0)),
            traced: None,
            caller: &NoCaller,
            state: None,
        };
        *flow::answer(call, validation, route, &env).await
    }
}

#[tokio::test]
async fn concurrent_calls_share_one_token_request() {
    let api = accepting().await;
    let (endpoint, gate) = Upstream::gated(|_| token(1, 3600)).await;
    let inside = InProcess::new(&table(&api, &oauth2(&endpoint)));

    let calls = unconstrained(join_all((0..200).map(|_| inside.call("look", GUARD))));
    // Polled after the calls, when each of them waits for the token.
    let (records, ()) = join(calls, async { gate.add_permits(200) }).await;

    assert_eq!(records.len(), 200);
    for record in records {
        assert!(record.error.is_none(), "{:?}", record.error);
    }
    let asked = endpoint.one();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/token"));
    assert_eq!(asked.body, b"grant_type=client_credentials&scope=all");
    assert_eq!(asked.header("authorization"), [LOGIN]);
    assert_eq!(asked.header("content-type"), ["application/x-www-form-urlencoded"]);
    let seen = api.take();
    assert_eq!(seen.len(), 200);
    assert!(seen.iter().all(|seen| seen.header("authorization") == ["Bearer token-1"]));
}

#[tokio::test]
async fn waiting_calls_share_a_failed_token_request() {
    let api = accepting().await;
    let (endpoint, gate) = Upstream::gated(|_| Reply::status(503, &json!({}))).await;
    let inside = InProcess::new(&table(&api, &oauth2(&endpoint)));

    let calls = unconstrained(join_all((0..200).map(|_| inside.call("look", GUARD))));
    let (records, ()) = join(calls, async { gate.add_permits(200) }).await;

    let kinds: Vec<_> = records.iter().filter_map(|record| record.outcome.failure).collect();
    assert_eq!(kinds.len(), 200);
    assert!(kinds.iter().all(|kind| kind.slug() == "refused"), "{kinds:?}");
    endpoint.one();
    assert!(api.take().is_empty());
}

#[tokio::test]
async fn a_cancelled_call_does_not_cancel_the_token_request_of_others() {
    let api = accepting().await;
    let (endpoint, gate) = Upstream::gated(|_| token(1, 3600)).await;
    let inside = InProcess::new(&table(&api, &oauth2(&endpoint)));

    let gives_up = async {
        let record = inside.call("look", Duration::from_millis(100)).await;
        // One permit for the abandoned token request, one for the next.
        gate.add_permits(2);
        record
    };
    let (short, long) = join(gives_up, inside.call("look", GUARD)).await;

    assert_eq!(short.outcome.failure.unwrap().slug(), "timeout");
    assert!(long.error.is_none(), "{:?}", long.error);
    assert_eq!(authorizations(&api.take()), ["Bearer token-1"]);
}

#[tokio::test]
async fn expired_tokens_are_requested_again() {
    let api = accepting().await;
    for (expires_in, expected) in
        [(3600, ["token-1", "token-1", "token-1"]), (0, ["token-1", "token-2", "token-3"])]
    {
        let endpoint = issuing(expires_in).await;
        let proxy = Proxy::start(&table(&api, &oauth2(&endpoint))).await;
        for _ in 0..3 {
            assert_eq!(call(&proxy, "look").await["text"], "status 200");
        }
        let expected = expected.map(|token| format!("Bearer {token}"));
        assert_eq!(authorizations(&api.take()), expected, "{expires_in}");
    }
}

#[tokio::test]
async fn a_rejected_token_is_replaced_and_the_request_is_sent_again() {
    let endpoint = issuing(3600).await;
    let api = Upstream::new(|seen| {
        let good = seen.header("authorization") == ["Bearer token-2"];
        Reply::status(if good { 200 } else { 401 }, &json!({}))
    })
    .await;
    let proxy = Proxy::start(&table(&api, &oauth2(&endpoint))).await;

    assert_eq!(call(&proxy, "book").await["text"], "booked");
    let seen = api.take();
    assert_eq!(authorizations(&seen), ["Bearer token-1", "Bearer token-2"]);
    for seen in &seen {
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/book"));
        assert_eq!(seen.json(), json!({"seat": 7}));
    }
    assert_eq!(endpoint.take().len(), 2);

    assert_eq!(call(&proxy, "book").await["text"], "booked");
    assert_eq!(authorizations(&api.take()), ["Bearer token-2"]);
    assert!(endpoint.take().is_empty());
}

#[tokio::test]
async fn a_second_401_is_the_response() {
    let endpoint = issuing(3600).await;
    let api = Upstream::new(|_| Reply::status(401, &json!({}))).await;
    let proxy = Proxy::start(&table(&api, &oauth2(&endpoint))).await;

    assert_eq!(call(&proxy, "book").await["text"], "not let in");
    assert_eq!(authorizations(&api.take()), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(endpoint.take().len(), 2);
}

/// A static credential cannot be renewed, so there is no second attempt.
#[tokio::test]
async fn a_rejected_static_credential_is_not_retried() {
    let api = Upstream::new(|_| Reply::status(401, &json!({}))).await;
    let proxy = Proxy::start(&table(&api, r#"bearer = { token = "t" }"#)).await;

    assert_eq!(call(&proxy, "book").await["text"], "not let in");
    api.one();
}

#[tokio::test]
async fn tokens_survive_a_reload_that_does_not_concern_them() {
    let (api, endpoint) = (accepting().await, issuing(3600).await);
    let first = table(&api, &oauth2(&endpoint));
    let mut proxy = Proxy::start(&first).await;
    call(&proxy, "look").await;
    assert_eq!(endpoint.take().len(), 1);

    let second = first
        .replace("booked", "it is booked")
        .replace("[upstreams.api]", "[upstreams.api]\ntimeout = \"9s\"");
    proxy.folder.write("routes.toml", &second);
    proxy.logged("configuration reloaded").await;
    assert_eq!(call(&proxy, "book").await["text"], "it is booked");
    assert!(endpoint.take().is_empty());

    proxy.folder.write(
        "routes.toml",
        &second.replace("scope = \"all\"", "scope = \"less\"").replace("it is", "it's"),
    );
    until("it is never reloaded", async || call(&proxy, "book").await["text"] == "it's booked").await;
    assert_eq!(endpoint.one().body, b"grant_type=client_credentials&scope=less");
    assert_eq!(authorizations(&api.take()).last().unwrap(), "Bearer token-2");
}

#[tokio::test]
async fn nothing_is_sent_without_a_token() {
    let api = accepting().await;
    let never = Upstream::with(|_| std::future::pending()).await;
    let answering = async |reply: Reply| Upstream::new(move |_| reply.clone()).await;
    for (endpoint, kind, problem) in [
        (answering(Reply::status(500, &json!({}))).await, "refused", "answered with status 500"),
        (
            answering(Reply::status(401, &json!({"error": "invalid_client", "x": "top/secret"}))).await,
            "refused",
            "answered with status 401 (invalid_client)",
        ),
        (
            answering(Reply::raw(200, "text/html", "<p>top/secret</p>")).await,
            "refused",
            "not return a JSON object",
        ),
        (
            answering(Reply::json(&json!({"token": "top/secret"}))).await,
            "refused",
            "returned no `access_token`",
        ),
        (
            answering(Reply::json(&json!({"access_token": "a\nb"}))).await,
            "refused",
            "that no header can carry",
        ),
        (
            answering(Reply::raw(200, "application/json", vec![b' '; 100_000])).await,
            "refused",
            "larger than 65536 bytes",
        ),
        (never, "timeout", "was not obtained in time"),
    ] {
        // Long enough for a response, short enough to wait for one that never comes.
        let timeout = if kind == "timeout" { "300ms" } else { "5s" };
        let table = table(&api, &oauth2(&endpoint))
            .replace("[routes.look]", &format!("[routes.look]\ntimeout = \"{timeout}\""));
        let mut proxy = Proxy::start(&table).await;

        let answer = call(&proxy, "look").await;

        assert_eq!(answer["error"]["kind"], kind, "{problem}: {answer}");
        let line = proxy.logged("outcome=").await;
        assert!(line.contains(problem), "{line}");
        assert!(!proxy.log().contains("secret"), "{}", proxy.log());
        assert!(!answer.to_string().contains("secret"), "{answer}");
        assert!(api.take().is_empty(), "{problem}");
    }
}

#[tokio::test]
async fn query_credentials_come_last_and_override_the_routes_own() {
    let api = accepting().await;
    let table = table(&api, r#"query = { name = "key", value = "k-1 &=%" }"#);
    let proxy = Proxy::start(&table.replace(r#"a = "1""#, r#"key = "mine", a = "1""#)).await;

    assert_eq!(call(&proxy, "look").await["text"], "status 200");

    assert_eq!(api.one().target, "/look?a=1&key=k-1%20%26%3D%25");
}

#[tokio::test]
async fn signatures_cover_the_request_as_sent() {
    let api = accepting().await;
    let auth = r#"hmac = { secret = "sign me", header = "x-sig", timestamp_header = "x-time", prefix = "v1=",
        signed = ["timestamp", "\n", "method", " ", "target", "\n", "body"] }"#
        .replace('\n', " ");
    let proxy = Proxy::start(&table(&api, &auth)).await;

    call(&proxy, "look").await;
    call(&proxy, "book").await;

    let seen = api.take();
    assert_eq!(seen.iter().map(|seen| seen.target.as_str()).collect::<Vec<_>>(), ["/look?a=1", "/book"]);
    for seen in seen {
        let [time] = &seen.header("x-time")[..] else { panic!("{seen:?}") };
        let mut mac = Hmac::<Sha256>::new_from_slice(b"sign me").unwrap();
        mac.update(format!("{time}\n{} {}\n", seen.method, seen.target).as_bytes());
        mac.update(&seen.body);
        let expected = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(seen.header("x-sig"), [expected]);
    }
}

#[tokio::test]
async fn inbound_credentials_are_never_forwarded() {
    let api = accepting().await;
    for auth in ["", r#"auth.query = { name = "key", value = "k" }"#] {
        let table = table(&api, "bearer = { token = \"ours\" }")
            .replace("auth.bearer = { token = \"ours\" }", auth)
            .replace(
                "[platforms.http]",
                r#"[platforms.http]
                auth.basic = { username = "platform", password = "callers-own" }"#,
            );
        let proxy = Proxy::start(&table).await;
        let login =
            [("authorization", "Basic cGxhdGZvcm06Y2FsbGVycy1vd24="), ("cookie", "session=callers-own")];

        let answer = proxy.send(Method::POST, "/http/book", &login, "{}").await;

        assert_eq!(answer.json()["text"], "booked");
        let seen = api.one();
        let names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["content-type", "accept", "user-agent", "accept-encoding", "host", "content-length"]
        );
    }
}

/// The output of `call` for an upstream that echoes everything it gets.
async fn explained(auth: &str, options: &[&str]) -> String {
    let api = Upstream::new(|seen| {
        let headers: Vec<_> = seen.headers.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
        Reply::json(&json!({"target": seen.target, "headers": headers}))
    })
    .await;
    let folder = Folder::with(&[("routes.toml", &table(&api, auth))]);
    let mut command = jackfield(folder.path());
    command.args(["call", "look"]).args(options);
    let output = run(command).await;
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(err, "");
    out.replace(&api.address.to_string(), "ADDRESS")
}

#[tokio::test]
async fn explain_shows_no_credentials() {
    let endpoint = issuing(3600).await;
    let mut texts = Vec::new();
    for (auth, secret) in [
        (oauth2(&endpoint), "token-1"),
        (r#"query = { name = "key", value = "k-1 &%" }"#.to_owned(), "k-1"),
        (r#"bearer = { token = "static-token" }"#.to_owned(), "static"),
        (r#"basic = { username = "me", password = "pa ss" }"#.to_owned(), "bWU6cGEgc3M="),
    ] {
        let text = explained(&auth, &["--explain"]).await;
        assert!(text.contains("***") && !text.contains(secret), "{text}");
        let kind = auth.split(' ').next().unwrap().to_owned();
        texts.push(format!("--- {kind}\n{text}"));
    }
    insta::assert_snapshot!("explained_credentials", timeless(&texts.concat()));
}

#[tokio::test]
async fn a_dry_run_requests_no_token() {
    let endpoint = issuing(3600).await;
    let text = explained(&oauth2(&endpoint), &["--dry-run"]).await;
    assert!(endpoint.take().is_empty());
    insta::assert_snapshot!("dry_run_without_token", text);
}

/// These tables are also fixtures of `check.rs`, which uses the same snapshots.
#[tokio::test]
async fn credential_errors_are_reported_at_their_location() {
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bad");
    for (name, folder, file) in [
        ("unknown-value.credential", bad.clone(), "unknown-value.credential.toml"),
        ("tls-file.upstream", bad.join("tls-file.upstream"), "routes.toml"),
    ] {
        let mut command = jackfield(&folder);
        command.args(["check", "--config", file]).env("NO_COLOR", "1").env("SET_SECRET", "tanager-7431");
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(1), "{name}");
        insta::with_settings!({ snapshot_path => "snapshots/check", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, String::from_utf8(output.stdout).unwrap());
        });
    }
}

#[tokio::test]
async fn a_rejected_login_is_remembered_until_the_credential_changes() {
    let api = accepting().await;
    let endpoint = Upstream::new(|seen| {
        let in_body = String::from_utf8_lossy(&seen.body).contains("client_secret=top%2Fsecret");
        match in_body || seen.header("authorization") == [LOGIN] {
            true => Reply::status(401, &json!({"error": "invalid_client"})),
            false => token(1, 3600),
        }
    })
    .await;
    let first = table(&api, &oauth2(&endpoint));
    let mut proxy = Proxy::start(&first).await;
    for _ in 0..3 {
        join_all((0..10).map(|_| call(&proxy, "look"))).await;
    }
    // Each time, the login is sent in the header and in the body. A pause may end during the test if the machine is
    // busy.
    let requested = endpoint.take().len();
    assert!((2..7).contains(&requested), "{requested}");
    assert!(api.take().is_empty());
    proxy.logged("no token is requested for another").await;

    proxy.folder.write("routes.toml", &first.replace("top/secret", "new/secret"));
    proxy.logged("configuration reloaded").await;
    assert_eq!(call(&proxy, "look").await["text"], "status 200");
    endpoint.one();
}

#[tokio::test]
async fn tokens_that_the_upstream_rejects_are_not_requested_for_each_call() {
    let endpoint = issuing(3600).await;
    let api = Upstream::new(|_| Reply::status(401, &json!({}))).await;
    let proxy = Proxy::start(&table(&api, &oauth2(&endpoint))).await;
    for _ in 0..5 {
        assert_eq!(call(&proxy, "look").await["error"]["kind"], "bad_response");
    }
    let requested = endpoint.take().len();
    // A pause may end during the test if the machine is busy.
    assert!((2..5).contains(&requested), "{requested}");
}

#[tokio::test]
async fn a_rejected_credential_has_its_own_reason_and_names_its_secret() {
    for (status, upstream, reason, check) in [
        (
            401,
            "auth.bearer = { token = \"${CRM_TOKEN}\" }",
            "credential",
            "`auth.bearer` of `[upstreams.api]` (`${CRM_TOKEN}`)",
        ),
        (
            403,
            "auth.header = { name = \"x-key\", value = \"${CRM_TOKEN:-none}\" }",
            "credential",
            "`auth.header` of `[upstreams.api]` (`${CRM_TOKEN}`)",
        ),
        (
            403,
            "headers = { x-key = \"${file:key}\", x-app = \"a\" }",
            "credential",
            "the header `x-key` of `[upstreams.api]` (`${file:key}`)",
        ),
        (
            401,
            "auth.basic = { username = \"me\", password = \"literal\" }",
            "credential",
            "`auth.basic` of `[upstreams.api]`",
        ),
        (404, "auth.bearer = { token = \"${CRM_TOKEN}\" }", "status", "no reply case names"),
        // Without a credential in the table, the upstream rejects something else.
        (401, "headers = { x-app = \"a\" }", "status", "no reply case names"),
    ] {
        let api = Upstream::new(move |_| Reply::status(status, &json!({}))).await;
        let table = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[platforms.http]\n\
             [upstreams.api]\nbase_url = \"http://{}\"\n{upstream}\n\
             [routes.look]\nupstream = \"api\"\nrequest.path = \"/\"\n\
             [routes.named]\nupstream = \"api\"\nrequest.path = \"/\"\n\
             reply = {{ when.status = [401, 403, 404], text = \"not let in\" }}\n",
            api.address
        );
        let files = [("routes.toml", table.as_str()), ("key", "k-123456")];
        let mut proxy = Proxy::with(&files, &[("CRM_TOKEN", "t-123456")]).await;

        assert_eq!(call(&proxy, "look").await["error"]["kind"], "bad_response", "{upstream}");
        let line = proxy.logged("outcome=").await;
        assert!(line.contains(&format!("reason={reason}")) && line.contains(check), "{line}");
        let records = proxy.ask_admin("/records", &[]).await.json();
        assert_eq!(records["records"][0]["reason"], reason, "{upstream}");
        let metrics = proxy.ask_admin("/metrics", &[]).await;
        let failures = format!(
            "jackfield_upstream_failures_total{{upstream=\"api\",kind=\"bad_response\",reason=\"{reason}\"}} 1"
        );
        assert!(metrics.text().contains(&failures), "{}", metrics.text());
        let responses = "jackfield_upstream_responses_total{upstream=\"api\",status=\"4xx\"} 1";
        assert!(metrics.text().contains(responses), "{}", metrics.text());
        // A case that names the status is taken.
        assert_eq!(call(&proxy, "named").await, json!({"text": "not let in"}), "{upstream}");
    }
}

/// Either side of a rotation may change first, and no call fails in between, not even a write.
#[tokio::test]
async fn the_second_credential_is_used_if_the_first_is_refused() {
    let accepted = std::sync::Arc::new(std::sync::Mutex::new("old-secret".to_owned()));
    let known = std::sync::Arc::clone(&accepted);
    let upstream = Upstream::new(move |seen| {
        let sent = [seen.header("authorization"), seen.header("x-key")].concat().concat();
        let sent = match sent.strip_prefix("Basic ") {
            Some(login) => {
                String::from_utf8(base64::engine::general_purpose::STANDARD.decode(login).unwrap()).unwrap()
            }
            None => sent,
        };
        let status = if sent.ends_with(&*known.lock().unwrap()) { 200 } else { 401 };
        Reply::status(status, &json!({}))
    })
    .await;
    let mut table = "[platforms.http]\n".to_owned();
    for (name, auth) in [
        ("bearer", "bearer = { token = LIST }"),
        ("basic", "basic = { username = \"u\", password = LIST }"),
        ("header", "header = { name = \"x-key\", value = LIST }"),
        ("one", "bearer = { token = \"new-secret\" }"),
    ] {
        let auth = auth.replace("LIST", "[\"new-secret\", \"old-secret\"]");
        table += &format!(
            "[upstreams.{name}]\nbase_url = \"http://UPSTREAM\"\nauth.{auth}\n\
             [routes.{name}]\nupstream = \"{name}\"\nrequest = {{ method = \"POST\", path = \"/\" }}\nreply.text = \"Done.\"\n"
        );
    }
    let mut proxy = Proxy::over(&upstream, &table).await;
    let call = async |name: &str| {
        let answer = proxy.post(&format!("/http/{name}"), &json!({})).await.json();
        (answer["text"] == "Done.", upstream.take().len())
    };
    for name in ["bearer", "basic", "header"] {
        "old-secret".clone_into(&mut accepted.lock().unwrap());
        // The first call finds out, and later ones know.
        assert_eq!(call(name).await, (true, 2), "{name}");
        assert_eq!(call(name).await, (true, 1), "{name}");
        "new-secret".clone_into(&mut accepted.lock().unwrap());
        assert_eq!(call(name).await, (true, 2), "{name}");
        assert_eq!(call(name).await, (true, 1), "{name}");
        // If both are refused, the call fails after one more request.
        "other".clone_into(&mut accepted.lock().unwrap());
        assert_eq!(call(name).await, (false, 2), "{name}");
    }
    assert_eq!(call("one").await, (false, 1));
    proxy.logged("bearer: a credential was refused; credential 2 of the list is used from now on").await;
    assert!(!proxy.log().contains("-secret"), "{}", proxy.log());
}
