//! Replays the corpora of the fuzz targets, and inputs mutated from them. `fuzz/README.md` explains how to fuzz for
//! longer.

mod calling;
mod decode;
mod loading;
mod request;
mod table;
mod template;
mod url;

use std::fs;
use std::path::Path;

use fastrand::Rng;

use crate::support::shape;

/// Runs a target over its corpus, then over as many mutated inputs as the environment asks for.
fn replay(target: &str, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut corpus = Vec::new();
    for entry in fs::read_dir(fuzz.join("corpus").join(target)).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let ended = std::panic::catch_unwind(|| run(&input));
        assert!(ended.is_ok(), "the input is {}", path.display());
        corpus.push((path, input));
    }
    assert!(corpus.len() >= 20, "{target}: {} inputs", corpus.len());

    // Sorted, because a seed refers to inputs by their index.
    corpus.sort();
    let mut random = Rng::with_seed(number("JACKFIELD_FUZZ_SEED"));
    for round in 0..number("JACKFIELD_FUZZ_ROUNDS") {
        let input = mutated(&corpus, &mut random);
        if std::panic::catch_unwind(|| run(&input)).is_err() {
            let folder = fuzz.join("artifacts").join(target);
            fs::create_dir_all(&folder).unwrap();
            let path = folder.join(format!("mutated-{round}"));
            fs::write(&path, input).unwrap();
            panic!("the input is {}", path.display());
        }
    }
}

/// A number from an environment variable; 0 if it is not set.
fn number(variable: &str) -> u64 {
    std::env::var(variable).map_or(0, |number| number.parse().unwrap())
}

/// A corpus input with a few parts removed, repeated, changed or replaced by parts of another input.
fn mutated<T>(corpus: &[(T, Vec<u8>)], random: &mut Rng) -> Vec<u8> {
    let any = |random: &mut Rng| corpus[random.usize(0..corpus.len())].1.clone();
    let mut input = any(random);
    for _ in 0..random.usize(1..=4) {
        let start = random.usize(0..=input.len());
        let end = random.usize(start..=input.len().min(start + 16));
        let piece = match random.usize(0..4) {
            0 => Vec::new(),
            1 => input[start..end].repeat(random.usize(2..40)),
            2 => input[start..end].iter().map(|byte| byte ^ (1 << random.usize(0..8))).collect(),
            _ => {
                let other = any(random);
                let from = random.usize(0..=other.len());
                other[from..other.len().min(from + 32)].to_vec()
            }
        };
        input.splice(start..end, piece);
    }
    input
}

#[test]
fn decoding_accepts_any_request() {
    replay("decode", decode::run);
}

#[test]
fn reading_accepts_any_bytes_of_a_client() {
    replay("request", request::run);
}

#[test]
fn loading_accepts_any_text() {
    replay("table", table::run);
}

#[test]
fn rendering_accepts_any_template_and_values() {
    replay("template", template::run);
}

#[test]
fn values_cannot_move_a_url_off_its_base() {
    replay("url", url::run);
}
