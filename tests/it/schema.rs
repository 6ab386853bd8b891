//! `routes.schema.json` against the program and every table in the repository: the schema accepts every table that the
//! program accepts, and rejects unknown keys and wrong types.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::check;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped() -> String {
    fs::read_to_string(project().join("routes.schema.json")).unwrap()
}

pub(crate) fn validator() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&shipped()).unwrap();
    jsonschema::draft7::meta::validate(&schema).unwrap();
    jsonschema::draft7::new(&schema).unwrap()
}

/// TOML as JSON, as an editor sees it: dates are strings.
fn json(text: &str) -> Value {
    fn value(written: toml::Value) -> Value {
        match written {
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::Float(number) => number.into(),
            toml::Value::Boolean(truth) => truth.into(),
            toml::Value::Datetime(date) => date.to_string().into(),
            toml::Value::Array(items) => items.into_iter().map(value).collect(),
            toml::Value::Table(table) => {
                Value::Object(table.into_iter().map(|(key, item)| (key, value(item))).collect())
            }
        }
    }
    value(toml::Value::Table(text.parse().unwrap()))
}

pub(crate) fn faults(validator: &jsonschema::Validator, text: &str) -> Vec<String> {
    validator.iter_errors(&json(text)).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_shipped_schema_is_up_to_date() {
    let output = Command::new(env!("CARGO_BIN_EXE_jackfield")).arg("schema").env_clear().output().unwrap();
    assert!(
        output.status.success() && String::from_utf8(output.stdout).unwrap() == shipped(),
        "routes.schema.json is not up to date: cargo run -- schema > routes.schema.json"
    );
}

#[test]
fn valid_tables_match_the_schema() {
    let validator = validator();
    let table = fs::read_to_string(project().join("routes.toml")).unwrap();
    assert_eq!(table.lines().next(), Some("#:schema ./routes.schema.json"));
    assert_eq!(faults(&validator, &table), Vec::<String>::new());
    let mut seen = 0;
    for document in crate::readme::documents() {
        for block in crate::readme::blocks(&document) {
            if block.language == "toml" && block.value("bad").is_none() {
                seen += 1;
                assert_eq!(faults(&validator, &block.text), Vec::<String>::new(), "{}", block.place);
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// The codes that `check` reports for a bad table.
fn codes(table: &Path) -> Vec<String> {
    let found = check::found(table, &[]);
    found.iter().map(|fault| fault["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_schema_rejects_wrong_keys_and_types_only() {
    // Errors that a schema can detect: `bad` always, `maybe` depending on the value or the place.
    let bad = ["unknown-key", "wrong-type", "unknown-platform", "unknown-event", "unknown-auth", "not-yet"];
    let maybe = [
        "missing-key",
        "conflicting-keys",
        "unknown-value",
        "unknown-failure",
        "invalid-duration",
        "invalid-size",
        "invalid-method",
        "invalid-status",
        "argument-constraint",
        "secret-syntax",
    ];
    let validator = validator();
    let (mut refused, mut taken) = (0, 0);
    for (name, table) in check::fixtures() {
        let Ok(text) = fs::read_to_string(&table) else { continue };
        if text.parse::<toml::Table>().is_err() {
            continue;
        }
        let codes = codes(&table);
        let seen = faults(&validator, &text);
        let slug = name.split('.').next().unwrap();
        // A form whose platform is not served: not detectable from one key. The caller in a test may be any text.
        if ["unknown-platform.form", "unknown-platform.tests"].contains(&name.as_str()) {
            continue;
        }
        if bad.contains(&slug) {
            refused += 1;
            assert_ne!(seen, Vec::<String>::new(), "{name}");
        } else if !codes.iter().any(|code| bad.contains(&code.as_str()) || maybe.contains(&code.as_str())) {
            taken += 1;
            assert_eq!(seen, Vec::<String>::new(), "{name}");
        }
    }
    assert!(refused >= 7 && taken >= 60, "{refused} {taken}");
}

#[test]
fn the_schema_reports_wrong_keys_and_types_at_their_location() {
    let validator = validator();
    for (text, place) in [
        ("[server]\nlisten = 8080", "/server/listen"),
        ("[server]\nwatch = \"often\"", "/server/watch"),
        ("[server]\nmax_body = \"much\"", "/server/max_body"),
        ("[server]\nadmin_auth.none = {}", "/server/admin_auth"),
        ("[platforms.swaig]\nreply = \"result\"", "/platforms/swaig"),
        ("[platforms.voicedock]\nreply = \"both\"", "/platforms/voicedock/reply"),
        ("[platforms.http]\nauth.basic = { username = \"u\" }", "/platforms/http/auth/basic"),
        ("[platforms.http]\nauth = { none = {}, bearer = { token = \"t\" } }", "/platforms/http/auth"),
        ("[upstreams.a]\ntimeout = \"3\"", "/upstreams/a/timeout"),
        ("[upstreams.a]\nnetwork = \"inside\"", "/upstreams/a/network"),
        ("[upstreams.a.limit]\nrate = \"10 per second\"", "/upstreams/a/limit/rate"),
        ("[upstreams.a.breaker]\nfailure_rate = 50", "/upstreams/a/breaker/failure_rate"),
        ("[upstreams.a.auth.signature]\nsecret = \"s\"", "/upstreams/a/auth"),
        ("[defaults]\nfailure.late = \"Late.\"", "/defaults/failure"),
        ("[routes.a]\nargs.b = { typ = \"string\" }", "/routes/a/args/b"),
        ("[routes.a]\nargs.b = { type = \"text\" }", "/routes/a/args/b/type"),
        (
            "[routes.a]\nargs.b = { type = \"array\", items = { type = \"x\" } }",
            "/routes/a/args/b/items/type",
        ),
        ("[routes.a.request]\nmethod = \"get\"", "/routes/a/request/method"),
        ("[routes.a]\nplatforms = [\"phone\"]", "/routes/a/platforms/0"),
        ("[routes.a]\nswaig.action = []", "/routes/a"),
        ("[events.voicedock.status_update]\nargs = {}", "/events/voicedock/status_update"),
        ("[events.http.any]", "/events"),
    ] {
        let found = faults(&validator, text);
        assert!(found.iter().any(|fault| fault.starts_with(&format!("{place}: "))), "{text}: {found:#?}");
    }
    for text in [
        "[upstreams.a]\nhedge_after = \"p95\"\ntimeout = \"1m 30s\"",
        "[upstreams.a]\nretry.on = [\"timeout\", 503, \"5xx\"]",
        "[platforms.swaig]\nauth.bearer = { token = [\"${NEW}\", \"${OLD}\"] }\nsigning_key = \"${KEY}\"",
        "[routes.a]\nreply = { text = \"x\", swaig.action = [] }\ndailybots.before = []",
        "[routes.a]\nreply = [{ when.status = [404, \"5xx\"], text = \"x\" }]\nrequest.query = { a = [1, \"b\"] }",
    ] {
        assert_eq!(faults(&validator, text), Vec::<String>::new(), "{text}");
    }
}
