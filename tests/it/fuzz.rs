//! A short replay of what the fuzz targets have seen; `fuzz/README.md` says how to look for more.

mod calling;
mod decode;
mod loading;
mod table;
mod template;
mod url;

use std::fs;
use std::path::Path;

use crate::support::shape;

/// Runs a target over its corpus.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let ended = std::panic::catch_unwind(|| run(&input));
        assert!(ended.is_ok(), "the input is {}", path.display());
        seen += 1;
    }
    assert!(seen >= 20, "{target}: {seen} inputs");
}

#[test]
fn decoding_takes_any_request() {
    replay("decode", decode::run);
}

#[test]
fn loading_takes_any_text() {
    replay("table", table::run);
}

#[test]
fn rendering_takes_any_template_and_any_values() {
    replay("template", template::run);
}

#[test]
fn urls_keep_their_place_whatever_the_values() {
    replay("url", url::run);
}
