//! `check --format sarif`, validated against the parts of SARIF 2.1.0 that it uses and compared with `--format json`;
//! and `check --deny-warnings`.

use serde_json::{Value, json};

use crate::check;

/// The objects of SARIF 2.1.0 that are used here. The schema is closed, so that unknown properties fail.
fn form() -> jsonschema::Validator {
    let text = json!({"type": "object", "required": ["text"], "additionalProperties": false, "properties": {
        "text": {"type": "string", "minLength": 1}, "markdown": {"type": "string", "minLength": 1},
    }});
    let level = json!({"enum": ["none", "note", "warning", "error"]});
    let location = json!({"type": "object", "required": ["physicalLocation"], "additionalProperties": false, "properties": {
        "message": text,
        "physicalLocation": {"type": "object", "required": ["artifactLocation"], "additionalProperties": false, "properties": {
            "artifactLocation": {"type": "object", "required": ["uri"], "additionalProperties": false, "properties": {
                "uri": {"type": "string", "pattern": "^[A-Za-z0-9._~:/%!$&'()*+,;=@-]+$"},
            }},
            "region": {"type": "object", "additionalProperties": false,
                "required": ["startLine", "startColumn", "endLine", "endColumn"], "properties": {
                "startLine": {"type": "integer", "minimum": 1}, "startColumn": {"type": "integer", "minimum": 1},
                "endLine": {"type": "integer", "minimum": 1}, "endColumn": {"type": "integer", "minimum": 1},
            }},
        }},
    }});
    let rule = json!({"type": "object", "required": ["id"], "additionalProperties": false, "properties": {
        "id": {"type": "string"}, "shortDescription": text, "help": text,
        "defaultConfiguration": {"type": "object", "additionalProperties": false, "properties": {"level": level}},
    }});
    let result = json!({"type": "object", "required": ["message", "ruleId", "locations"], "additionalProperties": false,
        "properties": {
            "ruleId": {"type": "string"}, "ruleIndex": {"type": "integer", "minimum": 0}, "level": level, "message": text,
            "locations": {"type": "array", "minItems": 1, "maxItems": 1, "items": location},
            "relatedLocations": {"type": "array", "items": location},
        },
    });
    let driver = json!({"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
        "name": {"const": "jackfield"}, "version": {"const": env!("CARGO_PKG_VERSION")},
        "rules": {"type": "array", "uniqueItems": true, "items": rule},
    }});
    let run = json!({"type": "object", "required": ["tool", "results"], "additionalProperties": false, "properties": {
        "tool": {"type": "object", "required": ["driver"], "additionalProperties": false, "properties": {"driver": driver}},
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "results": {"type": "array", "items": result},
    }});
    jsonschema::draft7::new(
        &json!({"type": "object", "required": ["version", "runs"], "additionalProperties": false,
            "properties": {
                "$schema": {"const": "https://json.schemastore.org/sarif-2.1.0.json"},
                "version": {"const": "2.1.0"},
                "runs": {"type": "array", "minItems": 1, "maxItems": 1, "items": run},
            },
        }),
    )
    .unwrap()
}

#[test]
fn sarif_reports_the_same_findings_as_json() {
    let form = form();
    let mut related = 0;
    for (name, table) in check::fixtures() {
        let output = check::check(&table, &["--format", "sarif"]);
        let sarif: Value = serde_json::from_str(&check::printed(&output)).unwrap();
        let faults: Vec<String> =
            form.iter_errors(&sarif).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(faults, Vec::<String>::new(), "{name}");
        let run = &sarif["runs"][0];
        let results = run["results"].as_array().unwrap();
        let found = check::found(&table, &[]);
        assert_eq!(results.len(), found.len(), "{name}");
        for (result, fault) in results.iter().zip(found) {
            let (place, index) =
                (&result["locations"][0]["physicalLocation"], result["ruleIndex"].as_u64().unwrap());
            let rule = &run["tool"]["driver"]["rules"][usize::try_from(index).unwrap()];
            assert_eq!((&rule["id"], &result["ruleId"]), (&fault["code"], &fault["code"]), "{name}");
            assert_eq!(
                (&result["level"], &rule["defaultConfiguration"]["level"]),
                (&fault["severity"], &fault["severity"])
            );
            assert_eq!(place["artifactLocation"]["uri"], fault["file"], "{name}");
            let region = &place["region"];
            assert_eq!(
                (&region["startLine"], &region["startColumn"]),
                (&fault["line"], &fault["column"]),
                "{name}"
            );
            let (line, end) = (&region["startLine"].as_u64(), &region["endLine"].as_u64());
            let is_forward = end > line || region["endColumn"].as_u64() >= region["startColumn"].as_u64();
            assert!(is_forward, "{name}: {region}");
            assert!(
                result["message"]["text"].as_str().unwrap().starts_with(fault["message"].as_str().unwrap())
            );
            related += usize::from(!result["relatedLocations"].is_null());
        }
    }
    assert!(related > 3, "{related}");
}

#[test]
fn sarif_escapes_file_names_and_reports_missing_files() {
    let folder = check::folder("sarif");
    let table = folder.join("my routes#1 ø.toml");
    let uri = "my%20routes%231%20%C3%B8.toml";
    for exit in [2, 1] {
        let output = check::check(&table, &["--format", "sarif"]);
        assert_eq!(output.status.code(), Some(exit));
        let sarif: Value = serde_json::from_str(&check::printed(&output)).unwrap();
        assert!(form().is_valid(&sarif), "{sarif:#}");
        let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], uri);
        std::fs::write(&table, "[platforms.http]\n").unwrap();
    }
}

#[test]
fn deny_warnings_fails_on_warnings_but_not_on_notes() {
    let folder = check::folder("denied");
    for (name, text, code) in [
        ("warning.toml", "[platforms.http]\n[routes.a]\nplatforms = [\"swaig\"]\nreply.text = \"A.\"\n", 1),
        (
            "note.toml",
            "[platforms.swaig]\n[routes.a]\ndescription = \"A.\"\nallow = [\"route-untested\"]\nreply = { text = \"A.\", swaig.action = [{ wait_for_user = true }] }\n",
            0,
        ),
        (
            "allowed.toml",
            "[platforms.http]\n[routes.a]\nallow = [\"route-untested\"]\nreply.text = \"A.\"\n",
            0,
        ),
    ] {
        let table = folder.join(name);
        std::fs::write(&table, text).unwrap();
        for format in ["human", "json", "sarif"] {
            let status = |words: &[&str]| check::check(&table, words).status.code();
            assert_eq!(status(&["--format", format]), Some(0), "{name} {format}");
            assert_eq!(status(&["--format", format, "--deny-warnings"]), Some(code), "{name} {format}");
        }
    }
}
