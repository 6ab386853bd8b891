//! Times as text, in RFC 3339. Each thread formats a second once: calls need it more often than it changes.

use std::cell::Cell;
use std::fmt::Write as _;

use jiff::Timestamp;

/// The length of a time without its fraction.
const LENGTH: usize = "2026-11-27T01:02:03".len();

thread_local! {
    /// The last second that was formatted.
    static LAST: Cell<(i64, [u8; LENGTH])> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
}

/// The time in whole seconds.
pub(crate) fn seconds(time: Timestamp) -> String {
    let mut out = String::with_capacity(LENGTH + 1);
    match second(time) {
        Some(text) => push(&mut out, &text, "Z"),
        None => drop(write!(out, "{time:.0}")),
    }
    out
}

/// Appends the time in microseconds.
pub(crate) fn push_micros(out: &mut String, time: Timestamp) {
    match second(time) {
        Some(text) => {
            let micros = 1_000_000 + time.subsec_nanosecond() / 1000;
            let mut digits = itoa::Buffer::new();
            push(out, &text, ".");
            out.push_str(&digits.format(micros)[1..]);
            out.push('Z');
        }
        None => drop(write!(out, "{time:.6}")),
    }
}

fn push(out: &mut String, second: &[u8], after: &str) {
    // It is ASCII.
    out.push_str(std::str::from_utf8(second).unwrap_or_default());
    out.push_str(after);
}

/// The time up to its second; `None` before 1970.
fn second(time: Timestamp) -> Option<[u8; LENGTH]> {
    let second = time.as_second();
    let (last, text) = LAST.get();
    if last == second && second > 0 {
        return Some(text);
    }
    let text = format!("{time:.0}");
    let text = text.strip_suffix('Z')?.as_bytes().try_into().ok().filter(|_| second > 0)?;
    LAST.set((second, text));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_jiff_does() {
        for (second, nanos) in [
            (1_790_000_000, 0),
            (1_790_000_000, 999),
            (1_790_000_000, 1000),
            (1_790_000_001, 999_999_999),
            (1, 50_000_000),
            (0, 1000),
            (0, -1000),
            (-1, -999_999_999),
            (1_790_000_001, 20_000),
            (253_402_207_199, 999_999_999),
        ] {
            let time = Timestamp::new(second, nanos).unwrap();
            let mut micros = String::from("at ");
            push_micros(&mut micros, time);
            assert_eq!(micros, format!("at {time:.6}"));
            assert_eq!(seconds(time), format!("{time:.0}"));
        }
    }
}
