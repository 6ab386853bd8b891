//! A document and `serde_json` agree on every text: whether it is JSON, and which value it holds.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::Value;

use super::index::Entry;
use super::{Document, Kind, Node, SharedValue, ValueRef};

/// The bytes that mutations insert.
const BYTES: &[u8] = b"{}[]\",:\\u0eE+-.dDcC19 \x01\x1f\x7f\x80\xc3\xff\xedtfn";

fn parse(text: &[u8]) -> Option<Document> {
    Document::parse(Bytes::copy_from_slice(text)).ok()
}

/// Checks that both parsers agree on a text. Returns whether it is JSON.
fn check(text: &[u8]) -> bool {
    let shown = String::from_utf8_lossy(text);
    let expected = serde_json::from_slice::<Value>(text);
    let document = Document::parse(Bytes::copy_from_slice(text));
    match (&expected, &document) {
        (Ok(value), Ok(document)) => {
            assert_same(document.root(), value, &shown);
            // Equality of maps ignores the order of keys.
            assert_eq!(document.root().to_value().to_string(), value.to_string(), "{shown}");
            let mut written = String::new();
            document.root().write_json(&mut written);
            let reparsed: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(reparsed.to_string(), value.to_string(), "{shown}");
            assert!(document.index().len() <= text.len() / 2 + 1, "{shown}");
        }
        (Err(expected), Err(error)) => assert_eq!(error.to_string(), expected.to_string(), "{shown}"),
        (Ok(_), Err(error)) if has_great_number(&shown) => {
            assert_eq!(error.to_string(), "number out of range");
            return false;
        }
        _ => panic!("{shown}: serde_json: {expected:?}, document: {document:?}"),
    }
    expected.is_ok()
}

/// Whether a text has a number outside the range of a double. `serde_json` accepts such numbers.
fn has_great_number(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let mut words = text.split(|c| !is_part(c));
    words.any(|word| word.parse::<f64>().is_ok_and(f64::is_infinite))
}

fn assert_same(node: Node<'_>, value: &Value, shown: &str) {
    assert_eq!(node.to_value(), *value, "{shown}");
    assert_eq!(Node::at_place(node.document(), node.place()).unwrap().raw(), node.raw());
    match value {
        Value::Array(items) => {
            assert_eq!(node.len(), items.len(), "{shown}");
            for (at, item) in items.iter().enumerate() {
                assert_same(node.index(at).unwrap(), item, shown);
            }
            assert!(node.index(items.len()).is_none());
        }
        Value::Object(entries) => {
            assert_eq!(node.len(), entries.len(), "{shown}");
            for (key, value) in entries {
                assert_same(node.get(key).unwrap(), value, shown);
            }
            assert!(node.get("no such key").is_none());
        }
        Value::String(text) => {
            assert_eq!(node.as_str().unwrap(), *text, "{shown}");
            assert_eq!(node.is_empty_text(), text.is_empty(), "{shown}");
        }
        _ => assert!(node.is_empty()),
    }
}

/// Generates a random JSON text with white space, escapes, repeated keys and all kinds of numbers.
fn generate(rng: &mut Rng, depth: usize, out: &mut String) {
    space(rng, out);
    match rng.u8(..if depth == 0 { 7 } else { 11 }) {
        0 => out.push_str(["null", "true", "false"][rng.usize(..3)]),
        1..=3 => number(rng, out),
        4..=6 => string(rng, out),
        7..=8 => {
            out.push('[');
            for at in 0..rng.usize(..5) {
                out.push_str(if at > 0 { "," } else { "" });
                generate(rng, depth - 1, out);
            }
            space(rng, out);
            out.push(']');
        }
        _ => {
            out.push('{');
            let limit = if rng.u8(..8) == 0 { 40 } else { 6 };
            for at in 0..rng.usize(..limit) {
                out.push_str(if at > 0 { "," } else { "" });
                space(rng, out);
                string(rng, out);
                space(rng, out);
                out.push(':');
                generate(rng, depth - 1, out);
            }
            space(rng, out);
            out.push('}');
        }
    }
    space(rng, out);
}

fn space(rng: &mut Rng, out: &mut String) {
    if rng.u8(..4) == 0 {
        out.push_str([" ", "\n", "\t", "\r\n  "][rng.usize(..4)]);
    }
}

fn number(rng: &mut Rng, out: &mut String) {
    match rng.u8(..6) {
        0 => out.push_str(&rng.i64(..).to_string()),
        1 => out.push_str(&f64::from_bits(rng.u64(..)).to_string().replace("NaN", "0").replace("inf", "1")),
        2 => out.push_str(&rng.u128(..).to_string()),
        3 => out.push_str(&format!("{}e{}", rng.i8(..), rng.i16(-400..400))),
        4 => {
            out.push_str(["0", "-0", "-0.0", "1E5", "1.50", "18446744073709551616", "1e-999"][rng.usize(..7)])
        }
        _ => out.push_str(&rng.u8(..).to_string()),
    }
}

fn string(rng: &mut Rng, out: &mut String) {
    out.push('"');
    for _ in 0..rng.usize(..4) {
        let parts = [
            "a",
            "b",
            "\\u0061",
            "\\n",
            "\\/",
            "/",
            "\\\"",
            "\\\\",
            "é",
            "\u{1F600}",
            "\\uD83D\\uDE00",
            "\\u0000",
            "\u{7f}",
            "\\u00e9",
        ];
        out.push_str(parts[rng.usize(..parts.len())]);
    }
    out.push('"');
}

#[test]
fn generated_texts_parse_as_in_serde_json() {
    let mut rng = Rng::with_seed(11);
    let mut valid = 0;
    for _ in 0..5_000 {
        let mut text = String::new();
        generate(&mut rng, 4, &mut text);
        valid += usize::from(check(text.as_bytes()));
    }
    assert!(valid > 3_000, "{valid}");
}

#[test]
fn mutated_texts_are_rejected_as_in_serde_json() {
    let mut rng = Rng::with_seed(12);
    let (mut valid, mut rejected) = (0, 0);
    for _ in 0..20_000 {
        let mut text = String::new();
        generate(&mut rng, 3, &mut text);
        let mut text = text.into_bytes();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..=text.len());
            let byte = BYTES[rng.usize(..BYTES.len())];
            match rng.u8(..3) {
                0 => text.insert(at, byte),
                1 if at < text.len() => text[at] = byte,
                _ => text.truncate(at),
            }
        }
        *if check(&text) { &mut valid } else { &mut rejected } += 1;
    }
    assert!(valid > 500 && rejected > 5_000, "{valid} {rejected}");
}

#[test]
fn edge_cases_parse_as_in_serde_json() {
    let texts: &[&[u8]] = &[
        b"",
        b" ",
        b"\xef\xbb\xbf1",
        b"1 2",
        b"1\0",
        b"[1]\0",
        b"[1\0",
        b"01",
        b"-",
        b"-01",
        b"1.",
        b".5",
        b"1e",
        b"1e+",
        b"+1",
        b"1e308",
        b"1e309",
        b"-1e309",
        b"1.7976931348623157e308",
        b"1.7976931348623159e308",
        b"0e99999999999999999999",
        b"1e-99999999999999999999",
        b"1e99999999999999999999",
        b"[1,]",
        b"[,1]",
        b"{\"a\":1,}",
        b"{\"a\"}",
        b"{a:1}",
        b"{,}",
        b"[1}",
        b"{\"a\":1]",
        b"]",
        b"}",
        b"nul",
        b"nulll",
        b"True",
        b"NaN",
        b"\"",
        b"\"\\",
        b"\"\\u",
        b"\"\\u12\"",
        b"\"\\ud800\"",
        b"\"\\udc00\"",
        b"\"\\ud800\\u0041\"",
        b"\"\\ud800\\ud800\\udc00\"",
        b"\"\\ud800x\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\x\"",
        b"\"\x00\"",
        b"\"\x1f\"",
        b"\"\t\"",
        b"\"\x7f\"",
        b"\"\xff\"",
        b"\"\xc3\"",
        b"\"\xed\xa0\x80\"",
        b"\x0b1",
        b"[1 2]",
        b"{\"a\":1 \"b\":2}",
        b"/**/1",
        b"'a'",
        b"{\"a\":1,\"b\":2,\"a\":3}",
        b"{\"a\":{\"x\":[1,2]},\"\\u0061\":{\"y\":1,\"y\":[]},\"b\":0}",
    ];
    for text in texts {
        check(text);
    }
    for digits in [299, 300, 301, 308, 309, 310, 400, 5_000] {
        check("9".repeat(digits).as_bytes());
        check(format!("1{}", "0".repeat(digits)).as_bytes());
        check(format!("0.{}", "1".repeat(digits)).as_bytes());
        check(format!("-{}.5", "9".repeat(digits)).as_bytes());
    }
}

#[test]
fn depth_is_limited_as_in_serde_json() {
    for depth in [1, 126, 127, 128, 129, 100_000] {
        let arrays = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(check(arrays.as_bytes()), depth < 128);
        assert_eq!(check(objects.as_bytes()), depth < 128);
        check("[".repeat(depth).as_bytes());
    }
}

#[test]
fn numbers_keep_their_digits() {
    let document = parse(b"[12345678901234567890123, 0.10, 1E2]").unwrap();
    let mut written = String::new();
    document.root().write_json(&mut written);
    assert_eq!(written, "[12345678901234567890123,0.10,1E2]");
    assert_eq!(document.root().index(1).unwrap().kind(), Kind::Number);
}

#[test]
fn the_index_of_a_dense_array_has_one_entry_per_two_bytes() {
    assert_eq!(size_of::<Entry>(), 16);
    let text = format!("[{}0]", "0,".repeat(100_000));
    let document = parse(text.as_bytes()).unwrap();
    assert_eq!(document.index().len(), 100_002);
    assert!(document.index_bytes() <= 16 * (text.len() + 64), "{}", document.index_bytes());
}

#[test]
fn repeated_keys_leave_no_entries_in_the_index() {
    let entries = "\"k\":[1,2,3],".repeat(50_000);
    let document = parse(format!("{{{entries}\"z\":1}}").as_bytes()).unwrap();
    assert_eq!(document.root().len(), 2);
    assert_eq!(document.index().len(), 8);
}

#[test]
fn repeated_keys_are_detected_at_any_length_and_position() {
    for length in 0..20 {
        let key = "k".repeat(length);
        // The repeated key ends within the last eight bytes of the text.
        check(format!("{{\"{key}\":0,\"{key}\":1}}").as_bytes());
        check(format!("{{\"{key}\":0,\"{key}x\":1,\"{key}\":2}} {:20}", "").as_bytes());
        check(format!("{{\"{key}\":0,\"\\u006b{key}\":1,\"k{key}\":2}}").as_bytes());
    }
}

#[test]
fn strings_end_where_they_do_in_serde_json_wherever_a_block_of_the_scan_ends() {
    for length in 0..200 {
        let plain = "é".repeat(length / 2) + &"a".repeat(length % 2);
        for end in ["", "\\\"", "\\\\", "\\ud83d\\ude00", "\\u00e9\\n", "\u{1f}", "\\", "\\u12", "\\ud83dx"] {
            check(format!("[\"{plain}{end}\",\"{end}{plain}\", {{\"{plain}\":\"{end}\"}}]").as_bytes());
            check(format!("\"{plain}{end}").as_bytes());
        }
    }
}

#[test]
fn a_document_that_gave_up_its_index_is_the_same_document() {
    let document = Arc::new(Document::parse(r#"{"a": [1, {"b": "x"}], "c": "y"}"#.into()).unwrap());
    let part = |name: &str| SharedValue::part(&document, document.root().get(name).unwrap());
    let all = part("a").keep_all(&[ValueRef::Node(document.root().get("c").unwrap())]);
    let mut values = [SharedValue::whole(Arc::clone(&document)), part("a"), part("c"), all];
    let before = values.each_ref().map(SharedValue::to_value);
    let size = values[0].bytes();
    SharedValue::give_up_indexes(values.iter_mut());
    assert_eq!(Arc::strong_count(&document), 1);
    assert!(values[0].bytes() < size);
    assert!(values[0].shares_document(&values[3]));
    assert_eq!(values.each_ref().map(SharedValue::to_value), before);
}
