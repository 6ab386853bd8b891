//! `routes.schema.json` and `routes.test.schema.json` against the program and every table and test file in the
//! repository: the schemas accept every file that the program accepts, and reject unknown and missing keys, wrong types
//! and malformed values.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::folder::Folder;
use crate::{check, examples};

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(name: &str) -> String {
    fs::read_to_string(project().join(name)).unwrap()
}

fn compiled(name: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&shipped(name)).unwrap();
    jsonschema::draft7::meta::validate(&schema).unwrap();
    jsonschema::draft7::new(&schema).unwrap()
}

pub(crate) fn validator() -> jsonschema::Validator {
    compiled("routes.schema.json")
}

fn test_validator() -> jsonschema::Validator {
    compiled("routes.test.schema.json")
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
fn the_shipped_schemas_are_up_to_date() {
    for (name, arguments) in
        [("routes.schema.json", &["schema"][..]), ("routes.test.schema.json", &["schema", "--tests"])]
    {
        let output =
            Command::new(env!("CARGO_BIN_EXE_jackfield")).args(arguments).env_clear().output().unwrap();
        assert!(
            output.status.success() && String::from_utf8(output.stdout).unwrap() == shipped(name),
            "{name} is not up to date: cargo run -- {} > {name}",
            arguments.join(" ")
        );
    }
}

/// The paths of the properties without a description, at any depth.
fn undescribed(schema: &Value, path: &str, seen: &mut usize, out: &mut Vec<String>) {
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (key, property) in properties {
                    *seen += 1;
                    let path = format!("{path}/{key}");
                    if property["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
                        out.push(path.clone());
                    }
                    undescribed(property, &path, seen, out);
                }
            }
            ("definitions", Value::Object(definitions)) => {
                for (name, definition) in definitions {
                    undescribed(definition, &format!("#{name}"), seen, out);
                }
            }
            ("items" | "additionalProperties", value) => undescribed(value, path, seen, out),
            ("anyOf" | "allOf", Value::Array(choices)) => {
                choices.iter().for_each(|choice| undescribed(choice, path, seen, out));
            }
            _ => {}
        }
    }
}

#[test]
fn every_property_of_the_schemas_has_a_description() {
    for (name, at_least) in [("routes.schema.json", 300), ("routes.test.schema.json", 30)] {
        let schema: Value = serde_json::from_str(&shipped(name)).unwrap();
        let (mut seen, mut missing) = (0, Vec::new());
        undescribed(&schema, "", &mut seen, &mut missing);
        assert_eq!(missing, Vec::<String>::new(), "{name}: add them to src/compile/editor/about.rs");
        assert!(seen > at_least, "{name}: {seen}");
    }
}

/// `anyOf` alone would say only that nothing fits.
#[test]
fn an_unknown_key_is_named_where_a_value_has_several_forms() {
    let table = validator();
    for (rest, place) in [
        ("reply = { txt = \"A.\" }", "/routes/a/reply: "),
        ("reply = [{ text = \"A.\" }, { txt = \"A.\" }]", "/routes/a/reply/1: "),
        ("reply = { text = \"A.\", when = { txt = 1 } }", "/routes/a/reply/when: "),
        ("extract.b = { path = \"$.b\", txt = true }", "/routes/a/extract/b: "),
    ] {
        let faults = faults(&table, &format!("[platforms.http]\n[routes.a]\n{rest}\n"));
        let named =
            faults.iter().find(|fault| fault.starts_with(place) && fault.contains("'txt' was unexpected"));
        assert!(named.is_some(), "{rest}: {faults:?}");
    }
}

/// What the schema detects beyond wrong keys and types; `check` detects all of it too.
#[test]
fn the_schema_rejects_missing_and_conflicting_keys_and_malformed_values() {
    let table = validator();
    let api =
        "[platforms.http]\n[upstreams.a]\nbase_url = \"https://a.example\"\n[routes.a]\nupstream = \"a\"\n";
    for (rest, code) in [
        (
            "request = { method = \"POST\", path = \"/a\", body = { b = 1 }, form = { b = 1 } }",
            "conflicting-keys",
        ),
        ("request = { method = \"POST\", body = {}, body_file = \"a.json.hbs\" }", "conflicting-keys"),
        ("request = { path = \"/a\" }\nreply = { text = \"A.\", text_file = \"a\" }", "conflicting-keys"),
        ("request = { path = \"/a\" }\nreply = { data = 1, data_file = \"a.json\" }", "conflicting-keys"),
        ("request = { path = \"/a\" }\nsteps = [{ name = \"b\", request = {} }]", "conflicting-keys"),
        ("request = {}\nextract.b = { path = \"$.b\", required = true, default = 1 }", "conflicting-keys"),
        ("request = {}\nargs.b = { type = \"string\" }\nargs_schema = \"b.json\"", "conflicting-keys"),
        ("request = {}\nargs.b = { type = \"string\", min = 1 }", "argument-constraint"),
        ("request = {}\nargs.b = { type = \"integer\", max_length = 1 }", "argument-constraint"),
        ("request = {}\nargs.b = { type = \"integer\", pattern = \"b\" }", "argument-constraint"),
        (
            "request = {}\nargs.b = { type = \"string\", items = { type = \"string\" } }",
            "argument-constraint",
        ),
        (
            "request = {}\nargs.b = { type = \"array\", items = { type = \"string\", max = 1 } }",
            "argument-constraint",
        ),
        ("request = {}\ntests = [{ name = \"b\", expect.failure = \"late\" }]", "unknown-failure"),
        (
            "request = {}\ntests = [{ name = \"b\", args = {}, request_file = \"b\", expect.text = \"\" }]",
            "conflicting-keys",
        ),
    ] {
        let text = format!("{api}{rest}");
        let file = Folder::with(&[("routes.toml", &text)]);
        let codes = codes(&file.path().join("routes.toml"));
        assert!(codes.iter().any(|known| known == code), "{rest}: {codes:?}");
        assert_ne!(faults(&table, &text), Vec::<String>::new(), "{rest}");
    }
    for (text, code) in [
        ("[upstreams.a]\ntimeout = \"3s\"", "missing-key"),
        ("[traces]\nsample = 0.1", "missing-key"),
        ("[server]\ntls = { cert = \"c.pem\" }", "missing-key"),
        ("[upstreams.a]\nbase_url = \"https://a.example\"\ntls = {}", "missing-key"),
        ("[upstreams.a]\nbase_url = \"https://a.example\"\nlimit = { wait = \"1s\" }", "missing-key"),
        (
            "[upstreams.a]\nbase_url = \"https://a.example\"\nlimit = { concurrency = 3, burst = 2 }",
            "missing-key",
        ),
        ("[upstreams.a]\nbase_url = \"https://a.example\"\nauth.bearer = {}", "missing-key"),
        ("[routes.a]\nreply.text = \"A.\"\nargs.b = { description = \"B\" }", "missing-key"),
        (
            "[routes.a]\nupstream = \"a\"\nrequest = { path = \"/a\" }\nextract.b = { all = true }",
            "missing-key",
        ),
        ("[routes.a]\nupstream = \"a\"\nrequest = { path = \"/a\", form = { b = 1 } }", "missing-key"),
        ("[routes.a]\nupstream = \"a\"\nsteps = [{ name = \"b\" }]", "missing-key"),
        ("[routes.a]\nreply.text = \"A.\"\ntests = [{ name = \"b\", expect = {} }]", "missing-key"),
        ("[routes.a]\nreply.text = \"A.\"\ntests = [{ expect.text = \"A.\" }]", "missing-key"),
        ("[forms.a]\ndescription = \"A\"", "missing-key"),
        ("[routes.a]\ntimeout = \"3\"", "invalid-duration"),
        ("[routes.a]\ntimeout = \"three seconds\"", "invalid-duration"),
        ("[routes.a]\ntimeout = \"3 sek\"", "invalid-duration"),
        ("[routes.a]\ntimeout = 3", "wrong-type"),
        ("[server]\nmax_body = \"big\"", "invalid-size"),
        ("[server]\nmax_body = \"1 MegaByte\"", "invalid-size"),
        ("[upstreams.a]\nbase_url = \"https://a.example\"\nlimit.rate = \"10 per second\"", "unknown-value"),
    ] {
        let file = Folder::with(&[("routes.toml", text)]);
        let codes = codes(&file.path().join("routes.toml"));
        assert!(codes.iter().any(|known| known == code), "{text}: {codes:?}");
        assert_ne!(faults(&table, text), Vec::<String>::new(), "{text}");
    }
    for text in [
        "[routes.a]\ntimeout = \"1m 30s\"\ncache = \"1 day\"",
        "[routes.a]\ntimeout = \"1.5s\"\nlimit = { rate = \"10/s\", burst = 2, wait = \"0s\" }",
        "[server]\nmax_body = \"1MB\"",
        "[server]\nmax_body = \"65536\"",
        "[server]\nmax_body = \"0.5 gib\"",
    ] {
        assert_eq!(faults(&table, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn test_files_match_their_schema() {
    let validator = test_validator();
    let mut files = vec![project().join("routes.test.toml")];
    files.extend(
        examples::names().iter().map(|name| project().join("examples").join(name).join("routes.test.toml")),
    );
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(faults(&validator, &text), Vec::<String>::new(), "{}", file.display());
    }
    for (text, place) in [
        ("[[tests]]\nroute = \"a\"\nexpect.text = \"A.\"", "/tests/0"),
        ("[[tests]]\nroute = \"a\"\nname = \"b\"", "/tests/0"),
        ("[[tests]]\nroute = \"a\"\nname = \"b\"\nexpect = {}", "/tests/0/expect"),
        ("[[tests]]\nroute = \"a\"\nname = \"b\"\nexpect.txt = \"A.\"", "/tests/0/expect"),
        ("[[tests]]\nevent = \"swaig.post_prompt\"\nname = \"b\"\nexpect.data = {}", "/tests/0"),
        ("[[test]]\nname = \"b\"", ""),
    ] {
        let found = faults(&validator, text);
        assert!(found.iter().any(|fault| fault.starts_with(&format!("{place}: "))), "{text}: {found:#?}");
    }
}

#[test]
fn valid_tables_match_the_schema() {
    let validator = validator();
    let table = fs::read_to_string(project().join("routes.toml")).unwrap();
    assert_eq!(table.lines().next(), Some("#:schema ./routes.schema.json"));
    assert_eq!(faults(&validator, &table), Vec::<String>::new());
    for name in examples::names() {
        let table = fs::read_to_string(project().join("examples").join(&name).join("routes.toml")).unwrap();
        assert_eq!(faults(&validator, &table), Vec::<String>::new(), "{name}");
    }
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
        "[upstreams.a]\nbase_url = \"https://a.example\"\nhedge_after = \"p95\"\ntimeout = \"1m 30s\"",
        "[upstreams.a]\nbase_url = \"https://a.example\"\nretry.on = [\"timeout\", 503, \"5xx\"]",
        "[platforms.swaig]\nauth.bearer = { token = [\"${NEW}\", \"${OLD}\"] }\nsigning_key = \"${KEY}\"",
        "[routes.a]\nreply = { text = \"x\", swaig.action = [] }\ndailybots.before = []",
        "[routes.a]\nreply = [{ when.status = [404, \"5xx\"], text = \"x\" }]\nrequest.query = { a = [1, \"b\"] }",
    ] {
        assert_eq!(faults(&validator, text), Vec::<String>::new(), "{text}");
    }
}
