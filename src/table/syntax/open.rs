//! Finds the brackets and strings that are open at a place in a file.

/// The brackets or the string that are open at a place, each by the place where it was opened.
#[derive(Default)]
pub(super) struct Open {
    pub(super) brackets: Vec<usize>,
    pub(super) string: Option<usize>,
}

impl Open {
    /// Scans `text` up to `end`. The brackets of headers do not count.
    pub(super) fn until(text: &str, end: usize) -> Self {
        let mut open = Self::default();
        let mut start = 0;
        for line in text[..end].split_inclusive('\n') {
            let is_header =
                open.brackets.is_empty() && open.string.is_none() && line.trim_start().starts_with('[');
            if !is_header {
                open.read(text, start, start + line.len());
            }
            start += line.len();
        }
        open
    }

    pub(super) fn read(&mut self, text: &str, mut at: usize, end: usize) {
        while at < end {
            let rest = &text[at..end];
            if let Some(open) = self.string {
                let opening = &text[open..];
                let triple = opening.starts_with("\"\"\"") || opening.starts_with("'''");
                let quote = &opening[..if triple { 3 } else { 1 }];
                if rest.starts_with('\\') && quote.starts_with('"') {
                    at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                } else if rest.starts_with(quote) {
                    at += quote.len();
                    // A multi-line string may end with up to two more quotes.
                    while triple && text[at..end].starts_with(&quote[..1]) {
                        at += 1;
                    }
                    self.string = None;
                } else if rest.starts_with('\n') && !triple {
                    self.string = None;
                } else {
                    // Only these can end the text or hide its end.
                    let first = rest.chars().next().map_or(1, char::len_utf8);
                    let skipped = rest[first..].find(['"', '\'', '\\', '\n']).unwrap_or(rest.len() - first);
                    at += first + skipped;
                }
                continue;
            }
            match rest.chars().next() {
                Some('#') => at += rest.find('\n').unwrap_or(rest.len()),
                Some('"' | '\'') => {
                    self.string = Some(at);
                    let triple = rest.starts_with("\"\"\"") || rest.starts_with("'''");
                    at += if triple { 3 } else { 1 };
                }
                Some('[' | '{') => {
                    self.brackets.push(at);
                    at += 1;
                }
                Some(']' | '}') => {
                    self.brackets.pop();
                    at += 1;
                }
                other => at += other.map_or(1, char::len_utf8),
            }
        }
    }
}
