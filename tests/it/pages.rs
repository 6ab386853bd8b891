//! `jackfield explain`: each code has its page, and the examples on each page are as marked.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use jackfield::diagnostic::Code;
use jackfield::load::{self, Environment, process_environment};

use crate::readme::{Block, blocks, completed};
use crate::support::folder::Folder;

/// The codes that no example on a page can trigger: three need what others answer, two a very large table.
const WITHOUT_EXAMPLE: [Code; 5] = [
    Code::UpstreamUnreachable,
    Code::CredentialRefused,
    Code::StateUnavailable,
    Code::TableTooLarge,
    Code::MoreDiagnostics,
];

/// The codes that short examples have although they are about something else.
pub(crate) const INCIDENTAL: [Code; 5] = [
    Code::RouteUntested,
    Code::DescriptionMissing,
    Code::ArgumentUndescribed,
    Code::SecretInTable,
    Code::WriteUnchecked,
];

/// The secrets for the examples.
const SET: [&str; 2] = ["CRM_TOKEN", "SWAIG_PASSWORD"];

fn document(code: Code) -> String {
    format!("src/diagnostic/pages/{}.md", code.slug())
}

/// A certificate for these names that is valid until the start of a day.
pub(crate) fn certificate(key: &rcgen::KeyPair, names: &[&str], until: jiff::Timestamp) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let day = until.to_zoned(jiff::tz::TimeZone::UTC).date();
    let [month, day_of_month] = [day.month(), day.day()].map(|number| u8::try_from(number).unwrap());
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(day.year().into(), month, day_of_month);
    params.self_signed(key).unwrap().pem()
}

/// The codes found in the example of `code`'s page that is marked with `word`. Few examples have tests or check
/// the responses to writes.
fn found(code: Code, blocks: &[Block], word: &str) -> Vec<&'static str> {
    let mut table = None;
    let key = rcgen::KeyPair::generate().unwrap();
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(10 * 24);
    let certificate = |names: &[&str], until: jiff::Timestamp| certificate(&key, names, until);
    let far = "2100-01-01T00:00:00Z".parse().unwrap();
    let folder = Folder::with(&[
        ("cert.pem", &certificate(&["localhost", "tools.example.com"], far)),
        ("other.pem", &certificate(&["localhost"], far)),
        ("old.pem", &certificate(&["localhost"], soon)),
        ("expired.pem", &certificate(&["localhost"], "2024-01-01T00:00:00Z".parse().unwrap())),
        ("key.pem", &key.serialize_pem()),
        ("other.key.pem", include_str!("tls/two.key.pem")),
    ]);
    for block in blocks.iter().filter(|block| block.is(word)) {
        match block.value("file") {
            Some(name) => folder.write(name, &block.text),
            None => assert!(table.replace(block).is_none(), "{}: a second table", block.place),
        }
    }
    let table = table.unwrap_or_else(|| panic!("{}: no example is {word}", blocks[0].place));
    let text = if table.is("whole") { table.text.clone() } else { completed(&table.text) };
    // The completed table has a literal login.
    let text = text.replace("\"let-me-in\"", "\"${SWAIG_PASSWORD}\"");
    folder.write("routes.toml", &text);
    let variable = |name: &str| match name {
        "STATE_KEY" | "OLD_STATE_KEY" => Some("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
        name => SET.contains(&name).then(|| format!("value-of-{name}")),
    };
    let environment = Environment { variable: &variable, ..process_environment() };
    let (loaded, _) = load::check(&folder.path().join("routes.toml"), &environment).unwrap();
    let found = loaded.diagnostics.iter().map(|found| found.code);
    found.filter(|found| *found == code || !INCIDENTAL.contains(found)).map(Code::slug).collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnostic/pages");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let codes: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{}.md", code.slug())).collect();
    assert_eq!(files, codes);
    for code in Code::ALL {
        let page = code.page();
        let head = format!("# {}\n\n{}\n\n", code.slug(), code.meaning());
        assert!(page.starts_with(&head), "{}: its head is\n{head}", code.slug());
        let prose = page[head.len()..].split("```").next().unwrap().trim();
        assert!(prose.len() > 50 && prose.ends_with('.'), "{}: {prose}", code.slug());
        let lines = page.lines().filter(|line| !line.contains("{{trim (trim"));
        for line in lines {
            assert!(line.chars().count() <= 120, "{}: {line}", code.slug());
        }
    }
}

#[test]
fn bad_examples_report_their_code_and_good_examples_nothing() {
    let mut wrong = Vec::new();
    for code in Code::ALL {
        let blocks = blocks(&document(*code));
        let bad = found(*code, &blocks, "bad");
        if WITHOUT_EXAMPLE.contains(code) {
            assert!(bad.is_empty(), "{}: {bad:?}", code.slug());
        } else if bad.is_empty() || bad.iter().any(|found| *found != code.slug()) {
            wrong.push(format!("{}: the bad example has {bad:?}", code.slug()));
        }
        let good = found(*code, &blocks, "good");
        if !good.is_empty() {
            wrong.push(format!("{}: the good example has {good:?}", code.slug()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn explain(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_jackfield"))
        .arg("explain")
        .args(words)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn explain_prints_pages_for_a_terminal() {
    for (name, words) in [("one", &["unknown-key"][..]), ("files", &["template-json"]), ("list", &[])] {
        let (code, page, errors) = explain(words);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{name}");
        assert!(!page.contains("```"), "{page}");
        insta::assert_snapshot!(format!("explained_{name}"), page);
    }
    for pasted in ["[unknown-key]", "error[unknown-key]:", "UNKNOWN-KEY"] {
        assert_eq!(explain(&[pasted]), explain(&["unknown-key"]), "{pasted}");
    }
    let (code, page, errors) = explain(&["unknown-kye"]);
    assert_eq!((code, page.as_str()), (Some(2), ""));
    assert_eq!(errors, "error: unknown code `unknown-kye`\nhelp: did you mean `unknown-key`?\n");
    let (_, _, errors) = explain(&["E0308"]);
    assert_eq!(errors, "error: unknown code `E0308`\nhelp: `jackfield explain` lists all codes\n");
}
