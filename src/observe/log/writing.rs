//! Writes queued log lines, several at a time, and counts the lines that are lost.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use super::MAX_KEPT;

/// How long to wait before another write if another program has made standard error non-blocking.
const BUSY: Duration = Duration::from_millis(10);

/// Complete lines, concatenated.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    text: Vec<u8>,
    /// The end of each line.
    ends: Vec<usize>,
}

impl LogLines {
    pub(super) fn push(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Clears the lines, and releases memory after a burst.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.text.shrink_to(MAX_KEPT);
        self.ends.shrink_to(MAX_KEPT / 64);
    }

    /// The line with this index, and the lines after it that are written with it: at most `max_write` bytes.
    pub(super) fn part(&self, number: usize, max_write: usize) -> Option<LinesPart<'_>> {
        let ends = self.ends.get(number..).filter(|ends| !ends.is_empty())?;
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let count = ends.partition_point(|end| end - begin <= max_write).max(1);
        Some(LinesPart { begin, text: &self.text[begin..ends[count - 1]], ends: &ends[..count] })
    }
}

/// Lines that are written together.
pub(super) struct LinesPart<'a> {
    pub(super) text: &'a [u8],
    /// The start of the text, and the ends of its lines, among all lines.
    begin: usize,
    pub(super) ends: &'a [usize],
}

impl LinesPart<'_> {
    /// Writes the lines. Returns how many were lost, and the reason for the last one.
    pub(super) fn put(&self, out: &mut impl Write, is_torn: &mut bool) -> Option<(u64, io::Error)> {
        let (mut rest, mut lost) = (self.text, None);
        while let Err(error) = put(out, rest, is_torn) {
            // The line that could not be written completely is lost. Continue with the next one.
            let written = self.begin + self.text.len() - error.left;
            let Some(end) = self.ends.iter().find(|end| **end > written) else { break };
            rest = &self.text[end - self.begin..];
            let before = lost.map_or(0, |(lost, _)| lost);
            lost = Some((before + 1, error.why));
        }
        lost
    }
}

/// A write that did not complete.
pub(super) struct WriteError {
    /// The number of bytes that were not written.
    left: usize,
    why: io::Error,
}

/// Writes lines. If the previous line was cut off, they start on a new line.
pub(super) fn put(out: &mut impl Write, lines: &[u8], is_torn: &mut bool) -> Result<(), WriteError> {
    if lines.is_empty() {
        return Ok(());
    }
    if *is_torn {
        put_bytes(out, b"\n").map_err(|error| WriteError { left: lines.len(), ..error })?;
        *is_torn = false;
    }
    put_bytes(out, lines).inspect_err(|error| {
        let written = &lines[..lines.len() - error.left];
        *is_torn = written.last().is_some_and(|byte| *byte != b'\n');
    })
}

fn put_bytes(out: &mut impl Write, mut bytes: &[u8]) -> Result<(), WriteError> {
    while !bytes.is_empty() {
        let why = match out.write(bytes) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(written) => {
                bytes = &bytes[written..];
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(BUSY);
                continue;
            }
            Err(error) => error,
        };
        return Err(WriteError { left: bytes.len(), why });
    }
    Ok(())
}
