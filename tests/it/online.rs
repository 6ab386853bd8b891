//! `jackfield check --online`: sends one GET to each upstream and reports whether it is reachable and accepts the
//! credential.

use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jackfield::state::{
    Conversation, EncryptionKey, EncryptionKeys, Payload, Remembered, Settings, StateUrl, Store,
};
use regex::Regex;
use serde_json::{Value, json};

use crate::state::server::Server;
use crate::support::faulty_upstream::{Action, FaultyUpstream, Script};
use crate::support::folder::Folder;
use crate::support::proxy::{jackfield, run};
use crate::support::upstream::{Reply, Seen, Upstream};

const SECRET: &str = "tanager-7431";

/// An upstream that accepts the bearer token and no other credential, issues no tokens, and has one forbidden path.
async fn api() -> Upstream {
    Upstream::new(|seen: &Seen| {
        let known = seen.header("authorization") == [format!("Bearer {SECRET}")];
        match seen.path() {
            "/v1/me" if known => Reply::json(&json!({"name": "us"})),
            "/v1/forbidden" => Reply::status(403, &json!({})),
            "/v1/nothing" => Reply::status(404, &json!({})),
            "/v1/long" => Reply::raw(200, "text/plain", "x".repeat(2000)),
            "/given" => {
                Reply::json(&json!({"access_token": SECRET, "token_type": "bearer", "expires_in": 60}))
            }
            "/token" => Reply::status(400, &json!({"error": "invalid_client"})),
            _ => Reply::status(401, &json!({"secret": SECRET})),
        }
    })
    .await
}

async fn check(table: &str, variables: &[(&str, &str)], words: &[&str]) -> Output {
    let folder = Folder::with(&[("routes.toml", table)]);
    let mut command = jackfield(folder.path());
    command.args(["check", "--online"]).args(words).env("TOKEN", SECRET).envs(variables.iter().copied());
    run(command).await
}

fn printed(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    let masked = Regex::new(r"\b\d+ ms\b").unwrap().replace_all(&text, "N ms").into_owned();
    assert!(
        !Regex::new(r"127\.0\.0\.1:\d{5}").unwrap().is_match(&masked),
        "the addresses are secrets, too: {masked}"
    );
    masked
}

const GOOD: &str = r#"
[defaults]
allow = ["route-untested"]
headers = { x-conversation = "{{call.conversation}}", accept = "text/plain" }
[platforms.http]
[routes.a]
reply.text = "A."

[upstreams.good]
base_url = "${API}"
health   = "/me"
headers  = { accept = "application/json" }
auth.bearer = { token = "${TOKEN}" }

[upstreams.token]
base_url = "${API}/me"
headers  = { accept = "application/json" }
auth.oauth2 = { token_url = "${TOKENS}", client_id = "us", client_secret = "${TOKEN}" }

[upstreams.nothing]
base_url = "${API}/nothing"

# It wants a credential, and the table says that it has none.
[upstreams.wanting]
base_url = "${API}"

[upstreams.long]
base_url = "${API}/long"
max_body = "1KB"
"#;

#[tokio::test]
async fn each_upstream_is_probed_once_and_any_response_passes() {
    let upstream = api().await;
    let api = format!("http://{}/v1", upstream.address);
    let tokens = format!("http://{}/given", upstream.address);
    let variables = [("API", api.as_str()), ("TOKENS", tokens.as_str())];
    let output = check(GOOD, &variables, &[]).await;
    insta::assert_snapshot!("online_good", printed(&output));
    assert_eq!(output.status.code(), Some(0));

    let mut seen = upstream.take();
    seen.sort_by(|one, other| one.target.cmp(&other.target));
    let asked: Vec<(&str, &str)> =
        seen.iter().map(|seen| (seen.method.as_str(), seen.target.as_str())).collect();
    // Only tokens are requested with POST.
    let expected = [
        ("POST", "/given"),
        ("GET", "/v1"),
        ("GET", "/v1/long"),
        ("GET", "/v1/me"),
        ("GET", "/v1/me"),
        ("GET", "/v1/nothing"),
    ];
    assert_eq!(asked, expected);
    for seen in seen.iter().filter(|seen| seen.path() != "/given") {
        // The upstream's own headers override the shared ones, and values that only a call knows are omitted.
        let accepted = if seen.path() == "/v1/me" { "application/json" } else { "text/plain" };
        assert_eq!(seen.header("accept"), [accepted], "{}", seen.target);
        assert_eq!(seen.header("x-conversation"), [""; 0]);
    }

    // Without `--online`, or without real secrets, no request is sent.
    let folder = Folder::with(&[("routes.toml", GOOD)]);
    let mut command = jackfield(folder.path());
    command.arg("check").env("TOKEN", SECRET).envs(variables);
    assert_eq!(run(command).await.status.code(), Some(0));
    assert_eq!(check(GOOD, &variables, &["--no-secrets"]).await.status.code(), Some(2));
    assert_eq!(upstream.seen(), 0);
}

const BAD: &str = r#"
[defaults]
allow = ["route-untested"]
[platforms.http]
[routes.a]
reply.text = "A."

[upstreams.good]
base_url = "${API}"
health   = "/me"
auth.bearer = { token = "${TOKEN}" }

[upstreams.denied]
base_url = "${API}"
auth.header = { name = "x-key", value = "${TOKEN}" }

[upstreams.forbidden]
base_url = "${API}"
health   = "forbidden"
headers  = { x-key = "${TOKEN}" }

[upstreams.no_token]
base_url = "${API}"
auth.oauth2 = { token_url = "${TOKENS}", client_id = "us", client_secret = "${TOKEN}" }

[upstreams.nobody]
base_url = "${NOBODY}"

[upstreams.silent]
base_url = "${SILENT}"
timeout  = "300ms"

[upstreams.no_tls]
base_url = "${NO_TLS}"

[upstreams.inside]
base_url = "${INSIDE}"
network  = "public"
"#;

#[tokio::test]
async fn unreachable_upstreams_and_rejected_credentials_are_errors() {
    let upstream = api().await;
    let plain = FaultyUpstream::new(Script::on_connect([
        Action::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        Action::Close,
    ]))
    .await;
    let (nobody, silent) = (
        FaultyUpstream::new(Script::Refuse).await,
        FaultyUpstream::new(Script::always([Action::Hang])).await,
    );
    let variables = [
        ("API", format!("http://{}/v1", upstream.address)),
        ("TOKENS", format!("http://{}/token", upstream.address)),
        ("NOBODY", format!("http://{}", nobody.address)),
        ("SILENT", format!("http://{}", silent.address)),
        ("NO_TLS", format!("https://{}", plain.address)),
        ("INSIDE", format!("http://localhost:{}", upstream.address.port())),
    ];
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();

    let output = check(BAD, &variables, &[]).await;
    insta::assert_snapshot!("online_bad", printed(&output));
    assert_eq!(output.status.code(), Some(1));
    let methods: Vec<String> =
        upstream.take().into_iter().filter(|seen| seen.path() != "/token").map(|seen| seen.method).collect();
    assert_eq!(methods, ["GET"; 3]);

    let output = check(BAD, &variables, &["--format", "json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&printed(&output)).unwrap();
    let found: Vec<(&str, bool)> = report["upstreams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["ok"].as_bool().unwrap()))
        .collect();
    let names = ["good", "denied", "forbidden", "no_token", "nobody", "silent", "no_tls", "inside"];
    assert_eq!(found, names.map(|name| (name, name == "good")));
    let faults: Vec<(&str, u64)> = report["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["code"].as_str().unwrap(), fault["line"].as_u64().unwrap()))
        .collect();
    let (refused, unreachable) = ("credential-refused", "upstream-unreachable");
    let expected = [
        (refused, 15),
        (refused, 20),
        (refused, 24),
        (unreachable, 27),
        (unreachable, 30),
        (unreachable, 34),
        (unreachable, 37),
    ];
    assert_eq!(faults, expected);

    let output = check(BAD, &variables, &["--format", "sarif"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!(report["runs"][0]["results"].as_array().unwrap().len(), expected.len());
}

#[tokio::test]
async fn the_starter_table_passes_with_the_sample_api() {
    let folder = Folder::with(&[]);
    let mut command = jackfield(folder.path());
    command.arg("init");
    assert_eq!(run(command).await.status.code(), Some(0));
    let mut command = jackfield(folder.path());
    command.args(["check", "--online", "--demo"]);
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Before the old credential is removed, somebody must know whether the new one works.
#[tokio::test]
async fn each_credential_of_a_rotation_is_probed() {
    let upstream = api().await;
    let api = format!("http://{}/v1", upstream.address);
    let variables = [("API", api.as_str()), ("OTHER", "some-other-token"), ("THIRD", "a-third-token")];
    let table = |list: &str| {
        format!(
            "[platforms.http]\n[routes.a]\nreply.text = \"A.\"\n[defaults]\nallow = [\"route-untested\"]\n\
             [upstreams.crm]\nbase_url = \"${{API}}\"\nhealth = \"/me\"\nauth.bearer = {{ token = [{list}] }}\n"
        )
    };
    for (list, code, expected) in [
        (
            "\"${TOKEN}\", \"${OTHER}\"",
            0,
            "ok    crm: credential 1 of 2: responds 200 OK and accepts the credential; \
             credential 2 of 2: rejects the credential with 401 Unauthorized (N ms)",
        ),
        (
            "\"${OTHER}\", \"${TOKEN}\"",
            0,
            "ok    crm: credential 1 of 2: rejects the credential with 401 Unauthorized; \
             credential 2 of 2: responds 200 OK and accepts the credential (N ms)",
        ),
        (
            "\"${OTHER}\", \"${THIRD}\"",
            1,
            "error[credential-refused]: the upstream `crm` rejects the credential with 401",
        ),
    ] {
        let output = check(&table(list), &variables, &[]).await;
        let shown = printed(&output);
        assert!(shown.contains(expected), "{shown}");
        assert_eq!((output.status.code(), upstream.take().len()), (Some(code), 2), "{shown}");
    }
}

const STORING: &str = r#"
[state]
url = "${STATE}"

[defaults]
allow = ["route-untested"]
[platforms.http]
[routes.greet]
remember = { greeted = "yes" }
reply.text = "Hello."
"#;

/// The line about the database, and the codes with their lines.
async fn database(url: &str) -> (String, Vec<(String, u64)>) {
    let output = check(STORING, &[("STATE", url)], &["--format", "json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes = report["diagnostics"].as_array().unwrap().iter();
    let codes: Vec<_> =
        codes.map(|one| (one["code"].as_str().unwrap().to_owned(), one["line"].as_u64().unwrap())).collect();
    assert_eq!(report["state"]["ok"], codes.is_empty(), "{report}");
    assert_eq!(output.status.success(), codes.is_empty(), "{report}");
    (report["state"]["found"].as_str().unwrap().to_owned(), codes)
}

#[tokio::test]
async fn the_database_is_looked_at_and_not_changed() {
    let folder =
        Folder::with(&[("other.db", &"no database".repeat(20)), ("short.db", "x"), ("empty.db", "")]);
    let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let unavailable = vec![("state-unavailable".to_owned(), 3)];
    for (url, found, codes) in [
        (file("new.db"), "has no schema yet", vec![]),
        (file("empty.db"), "has no schema yet", vec![]),
        (file("no-folder/new.db"), "the file cannot be opened", unavailable.clone()),
        (file("other.db"), "is not a Jackfield database", unavailable.clone()),
        (file("short.db"), "is not a Jackfield database", unavailable.clone()),
    ] {
        let looked = database(&url).await;
        assert!(looked.0.contains(found) && looked.1 == codes, "{url}: {looked:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "a file was made");

    let made = Store::open(&Settings::new(StateUrl::parse(&file("made.db")).unwrap()));
    made.check().await.unwrap();
    drop(made);
    let newer = rusqlite::Connection::open(folder.path().join("made.db")).unwrap();
    newer.execute_batch("PRAGMA wal_checkpoint").unwrap();
    assert_eq!(database(&file("made.db")).await.1, []);
    newer.execute_batch("PRAGMA user_version = 99; PRAGMA wal_checkpoint").unwrap();
    let looked = database(&file("made.db")).await;
    assert!(
        looked.0.contains("made by a newer version of Jackfield") && looked.1 == unavailable,
        "{looked:?}"
    );
}

#[tokio::test]
async fn a_server_is_looked_at_and_not_changed() {
    let server = Server::shared().await;
    let database_name = server.database().await;
    let url = server.url(&database_name);
    assert_eq!(
        database(&url).await,
        (format!("`{}` has no schema yet; `serve` makes it", place(&url)), vec![])
    );
    assert_eq!(database(&url).await.1, [], "still no schema");
    let key = |byte: u8| EncryptionKey::parse(&STANDARD.encode([byte; 32])).unwrap();
    let settings =
        Settings { keys: EncryptionKeys(vec![key(1)]), ..Settings::new(StateUrl::parse(&url).unwrap()) };
    let store = Store::open(&settings);
    let conversation = Conversation { platform: "http".to_owned(), id: "c".to_owned() };
    let secret = Payload { bytes: b"1".to_vec(), is_sensitive: true };
    let changes = vec![("a".to_owned(), Some(Remembered::new(secret, false)))];
    store.check_keys().await.unwrap();
    let hour = std::time::Duration::from_secs(3600);
    store.remember(&conversation, changes, hour).await.unwrap();
    let looked = database(&url).await;
    assert!(looked.0.contains("encrypted with another key"), "{looked:?}");
    let looked = database(&server.url("not_there")).await;
    assert!(looked.0.contains("there is no such database"), "{looked:?}");
    assert_eq!(looked.1, [("state-unavailable".to_owned(), 3)]);
}

fn place(url: &str) -> String {
    StateUrl::parse(url).unwrap().place()
}
