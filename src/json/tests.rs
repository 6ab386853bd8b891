//! A document and `serde_json` agree about every text: whether it is JSON, and what is in it.

use bytes::Bytes;
use fastrand::Rng;
use serde_json::Value;

use super::index::Entry;
use super::{Document, Kind, Node};

/// What a mutation puts into a text.
const BYTES: &[u8] = b"{}[]\",:\\u0eE+-.dDcC19 \x01\x1f\x7f\x80\xc3\xff\xedtfn";

fn parse(text: &[u8]) -> Option<Document> {
    Document::parse(Bytes::copy_from_slice(text)).ok()
}

/// Both readers on one text. Says whether it is JSON.
fn agree(text: &[u8]) -> bool {
    let shown = String::from_utf8_lossy(text);
    let expected = serde_json::from_slice::<Value>(text);
    let document = Document::parse(Bytes::copy_from_slice(text));
    match (&expected, &document) {
        (Ok(value), Ok(document)) => {
            same(document.root(), value, &shown);
            // Equality of maps does not see the order of their keys.
            assert_eq!(document.root().to_value().to_string(), value.to_string(), "{shown}");
            let mut written = String::new();
            document.root().write_json(&mut written);
            let again: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(again.to_string(), value.to_string(), "{shown}");
            assert!(document.index.len() <= text.len() / 2 + 1, "{shown}");
        }
        (Err(expected), Err(error)) => assert_eq!(error.to_string(), expected.to_string(), "{shown}"),
        _ => panic!("{shown}: serde_json says {expected:?}, the document {document:?}"),
    }
    expected.is_ok()
}

fn same(node: Node<'_>, value: &Value, shown: &str) {
    assert_eq!(node.to_value(), *value, "{shown}");
    assert_eq!(Node::at_place(node.document(), node.place()).unwrap().raw(), node.raw());
    match value {
        Value::Array(items) => {
            assert_eq!(node.len(), items.len(), "{shown}");
            for (at, item) in items.iter().enumerate() {
                same(node.index(at).unwrap(), item, shown);
            }
            assert!(node.index(items.len()).is_none());
        }
        Value::Object(entries) => {
            assert_eq!(node.len(), entries.len(), "{shown}");
            for (key, value) in entries {
                same(node.get(key).unwrap(), value, shown);
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

/// Writes a JSON text of any layout: white space, escapes, repeated keys, all kinds of numbers.
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
            let most = if rng.u8(..8) == 0 { 40 } else { 6 };
            for at in 0..rng.usize(..most) {
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
fn generated_texts_are_read_as_serde_json_reads_them() {
    let mut rng = Rng::with_seed(11);
    let mut valid = 0;
    for _ in 0..5_000 {
        let mut text = String::new();
        generate(&mut rng, 4, &mut text);
        valid += usize::from(agree(text.as_bytes()));
    }
    assert!(valid > 3_000, "{valid}");
}

#[test]
fn mutated_texts_are_refused_when_serde_json_refuses_them() {
    let mut rng = Rng::with_seed(12);
    let (mut valid, mut refused) = (0, 0);
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
        *if agree(&text) { &mut valid } else { &mut refused } += 1;
    }
    assert!(valid > 500 && refused > 5_000, "{valid} {refused}");
}

#[test]
fn edges_are_read_as_serde_json_reads_them() {
    let texts: &[&[u8]] = &[
        b"",
        b" ",
        b"\xef\xbb\xbf1",
        b"1 2",
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
        agree(text);
    }
    for digits in [299, 300, 301, 308, 309, 310, 400, 5_000] {
        agree("9".repeat(digits).as_bytes());
        agree(format!("1{}", "0".repeat(digits)).as_bytes());
        agree(format!("0.{}", "1".repeat(digits)).as_bytes());
        agree(format!("-{}.5", "9".repeat(digits)).as_bytes());
    }
}

#[test]
fn depth_is_bounded_as_in_serde_json() {
    for depth in [1, 126, 127, 128, 129, 100_000] {
        let lists = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(agree(lists.as_bytes()), depth < 128);
        assert_eq!(agree(objects.as_bytes()), depth < 128);
        agree("[".repeat(depth).as_bytes());
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
fn the_index_takes_at_most_eight_bytes_for_a_byte_of_text() {
    assert_eq!(size_of::<Entry>(), 16);
    let text = format!("[{}0]", "0,".repeat(100_000));
    let document = parse(text.as_bytes()).unwrap();
    assert_eq!(document.index.len(), 100_002);
    assert!(document.index_bytes() <= 16 * (text.len() + 64), "{}", document.index_bytes());
}

#[test]
fn repeated_keys_cost_no_more_than_their_text() {
    let entries = "\"k\":[1,2,3],".repeat(50_000);
    let document = parse(format!("{{{entries}\"z\":1}}").as_bytes()).unwrap();
    assert_eq!(document.root().len(), 2);
    assert_eq!(document.index.len(), 8);
}

#[test]
fn a_repeated_key_is_noticed_wherever_it_is_in_the_text() {
    for length in 0..20 {
        let key = "k".repeat(length);
        // The last one ends within the last eight bytes.
        agree(format!("{{\"{key}\":0,\"{key}\":1}}").as_bytes());
        agree(format!("{{\"{key}\":0,\"{key}x\":1,\"{key}\":2}} {:20}", "").as_bytes());
        agree(format!("{{\"{key}\":0,\"\\u006b{key}\":1,\"k{key}\":2}}").as_bytes());
    }
}
