//! Bounds what parsing a file may cost, before it is parsed: the parser keeps everything it reads and every error.

use toml_parser::lexer::Token;
use toml_parser::parser::{EventReceiver, RecursionGuard, parse_document};
use toml_parser::{ErrorSink, ParseError, Source, Span};

/// A file up to this size is parsed without being measured first.
const SMALL: usize = 64 * 1024;

/// The maximum number of names, values and signs in a file.
const MAX_TOKENS: usize = 2_000_000;

/// The maximum number of names in one table, and of values in one list.
pub(super) const MAX_NAMES: usize = 50_000;

/// The number of syntax errors after which the rest of a file is not parsed.
const MAX_ERRORS: usize = 1_000;

/// How nesting is limited while measuring, as in the parser itself.
const MAX_DEPTH: u32 = 80;

/// How much of a file can be parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// The part before this byte, which has more syntax errors than anyone reads.
    Until(usize),
    /// None of it: the limit is exceeded at this byte.
    TooLarge { at: usize, reason: String },
}

/// Measures a file. Takes time and memory in proportion to its size.
pub(super) fn measure(text: &str) -> Extent {
    if text.len() <= SMALL {
        return Extent::Whole;
    }
    let source = Source::new(text);
    let mut tokens: Vec<Token> = Vec::new();
    for token in source.lex() {
        if tokens.len() == MAX_TOKENS {
            let reason = format!("a file is limited to {MAX_TOKENS} names, values and signs");
            return Extent::TooLarge { at: token.span().start(), reason };
        }
        tokens.push(token);
    }
    let mut counter = Counter::default();
    let mut errors = Errors::default();
    parse_document(&tokens, &mut RecursionGuard::new(&mut counter, MAX_DEPTH), &mut errors);
    match (counter.exceeded_at, errors.last) {
        (Some(at), _) => {
            let reason = format!("a table is limited to {MAX_NAMES} names, and a list to {MAX_NAMES} values");
            Extent::TooLarge { at, reason }
        }
        (None, Some(end)) => Extent::Until(text.ceil_char_boundary(end.min(text.len()))),
        (None, None) => Extent::Whole,
    }
}

/// Counts errors, and notes where the last one that is read ends.
#[derive(Default)]
struct Errors {
    count: usize,
    last: Option<usize>,
}

impl ErrorSink for Errors {
    fn report_error(&mut self, error: ParseError) {
        self.count += 1;
        // Some errors have no place.
        if self.count >= MAX_ERRORS && self.last.is_none() {
            self.last = error.unexpected().map(|span| span.end());
        }
    }
}

/// Counts the names of each table and the values of each list.
#[derive(Default)]
struct Counter {
    /// The number of names below the last header.
    section: usize,
    /// The open lists and inline tables, innermost last.
    open: Vec<Container>,
    in_header: bool,
    /// Whether the next name continues a dotted one.
    continues: bool,
    exceeded_at: Option<usize>,
}

struct Container {
    is_list: bool,
    count: usize,
}

impl Counter {
    fn count(&mut self, at: Span) {
        let count = self.open.last_mut().map_or(&mut self.section, |container| &mut container.count);
        *count += 1;
        if *count > MAX_NAMES && self.exceeded_at.is_none() {
            self.exceeded_at = Some(at.start());
        }
    }

    fn count_item(&mut self, at: Span) {
        if self.open.last().is_some_and(|container| container.is_list) {
            self.count(at);
        }
    }

    fn begin(&mut self, is_list: bool, at: Span) -> bool {
        self.count_item(at);
        self.open.push(Container { is_list, count: 0 });
        true
    }

    fn begin_section(&mut self) {
        self.section = 0;
        self.open.clear();
        self.in_header = true;
    }
}

impl EventReceiver for Counter {
    fn std_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.begin_section();
    }

    fn std_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.in_header = false;
    }

    fn array_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.begin_section();
    }

    fn array_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.in_header = false;
    }

    fn inline_table_open(&mut self, span: Span, _: &mut dyn ErrorSink) -> bool {
        self.begin(false, span)
    }

    fn inline_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.open.pop();
    }

    fn array_open(&mut self, span: Span, _: &mut dyn ErrorSink) -> bool {
        self.begin(true, span)
    }

    fn array_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.open.pop();
    }

    fn simple_key(&mut self, span: Span, _: Option<toml_parser::decoder::Encoding>, _: &mut dyn ErrorSink) {
        if !self.in_header && !self.continues {
            self.count(span);
        }
        self.continues = false;
    }

    fn key_sep(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.continues = true;
    }

    fn scalar(&mut self, span: Span, _: Option<toml_parser::decoder::Encoding>, _: &mut dyn ErrorSink) {
        self.count_item(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_too_large(text: &str) -> bool {
        matches!(measure(text), Extent::TooLarge { .. })
    }

    #[test]
    fn names_and_values_are_counted_for_each_table_and_list() {
        let section = |name: &str, count: usize| {
            (0..count).fold(format!("[{name}]\n"), |text, key| text + &format!("k{key}.a.b=1\n"))
        };
        assert_eq!(measure(&section("vars", MAX_NAMES)), Extent::Whole);
        assert!(is_too_large(&section("vars", MAX_NAMES + 1)));
        assert_eq!(measure(&(section("a", 40_000) + &section("b", 40_000))), Extent::Whole);
        assert_eq!(measure(&format!("a=[{}]", "1,".repeat(MAX_NAMES))), Extent::Whole);
        assert!(is_too_large(&format!("a=[{}]", "{b=1},".repeat(MAX_NAMES + 1))));
        assert!(is_too_large(&format!("a={{{}}}", "x=1,".repeat(MAX_NAMES + 1))));
        assert_eq!(measure(&format!("a='''{}'''", "x=1\n".repeat(1_000_000))), Extent::Whole);
    }

    #[test]
    fn a_file_of_signs_is_too_large_and_one_full_of_errors_is_cut() {
        assert!(is_too_large(&"=".repeat(MAX_TOKENS + 1)));
        let broken = "ab\n".repeat(40_000);
        let Extent::Until(cut) = measure(&broken) else { panic!("it is not cut") };
        assert!((2_000..4_000).contains(&cut), "{cut}");
        // Nesting is limited, so that measuring needs no deep stack.
        measure(&format!("a={}", "[".repeat(100_000)));
    }
}
