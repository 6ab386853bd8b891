//! The same bytes are sent to hyper's server, whose rules these are but for a few stricter ones.

use std::convert::Infallible;

use fastrand::Rng;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::cases::{BAD_BODIES, BAD_HEADS, Hyper, REQUESTS};
use super::*;

/// Serves a stream until it ends, with hyper's server.
async fn serve_by_hyper(stream: impl Stream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(echo(request).await) });
    let mut builder = http1::Builder::new();
    // The tests send everything at once, and then close their side.
    builder.max_buf_size(MAX_HEAD).writev(false).half_close(true);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answered_by_hyper(bytes: &[u8]) -> String {
    answered_by(serve_by_hyper, bytes, usize::MAX).await
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_as_hyper_answers_them() {
    let mut wrong = Vec::new();
    for (text, expected, hyper) in REQUESTS.iter().chain(BAD_HEADS) {
        let bytes = on_the_wire(text);
        let answers = answered(&bytes, 1 << 20).await;
        assert_eq!(summary(&answers), *expected, "{text}");
        // An answer that does not wait for the body depends on how much of it has arrived.
        // Another protocol is recognized by the first piece.
        let is_early = text.contains("/unread") || text.starts_with("SSH") || text.starts_with("PRI");
        if !is_early {
            expect_in_pieces(&bytes, &answers).await;
        }
        let by_hyper = answered_by_hyper(&bytes).await;
        if (by_hyper == answers) != (*hyper == Hyper::Same) {
            wrong.push(format!("{text}\n{answers}\nhyper: {by_hyper}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_the_rules_ends_the_connection() {
    for text in BAD_BODIES {
        let bytes = on_the_wire(&format!("POST /a HTTP/1.1|{text}"));
        let answers = answered(&bytes, 1 << 20).await;
        assert_eq!(summary(&answers), "400 lost", "{text}");
        assert!(answers.contains("\r\nconnection: close\r\n"), "{text}: {answers}");
        expect_in_pieces(&bytes, &answers).await;
        assert_eq!(summary(&answered_by_hyper(&bytes).await), "400 lost", "{text}");
    }
}

/// Whatever a client sends, no request is understood that hyper would reject or understand differently.
#[tokio::test(start_paused = true)]
async fn mutated_requests_are_never_read_more_loosely_than_by_hyper() {
    let bodies = BAD_BODIES.iter().map(|body| format!("POST /a HTTP/1.1|{body}"));
    let texts = REQUESTS.iter().chain(BAD_HEADS).map(|(text, ..)| (*text).to_owned()).chain(bodies);
    let corpus: Vec<_> = texts.map(|text| on_the_wire(&text)).collect();
    let mut random = Rng::with_seed(7);
    let rounds = std::env::var("JACKFIELD_FUZZ_ROUNDS").map_or(3000, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        let mut bytes = random.choice(&corpus).unwrap().clone();
        for _ in 0..random.usize(1..4) {
            let other = random.choice(&corpus).unwrap();
            let at = random.usize(0..=bytes.len());
            let until = random.usize(at..=bytes.len().min(at + 3));
            let from = random.usize(0..=other.len());
            let to = random.usize(from..=other.len().min(from + 20));
            let piece = match random.usize(0..3) {
                0 => other[from..to].to_vec(),
                1 => vec![*random.choice(b"\r\n\0 \t:;,05aZ\x7f\xff").unwrap()],
                _ => Vec::new(),
            };
            bytes.splice(at..until, piece);
        }
        let ours = answered(&bytes, 1 << 20).await;
        let theirs = answered_by_hyper(&bytes).await;
        let (ours, theirs) = (understood(&ours), understood(&theirs));
        let shown = bytes.escape_ascii().to_string();
        let is_same = ours.iter().zip(&theirs).all(|(one, other)| one == other);
        // Hyper gives up a connection after a chunked body that nobody has read.
        let is_further = theirs.len() < ours.len() && !shown.contains("/unread");
        assert!(is_same && !is_further, "{shown}\n{ours:#?}\n{theirs:#?}");
    }
}

/// The answers to requests that were understood, up to the first that was not.
fn understood(answers: &str) -> Vec<String> {
    let all = summary(answers);
    all.split(", ")
        .filter(|one| *one != "100")
        .take_while(|one| one.starts_with("200"))
        .map(str::to_owned)
        .collect()
}
