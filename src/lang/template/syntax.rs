//! Checks on the text of a template outside Handlebars' grammar: limits, a shortcut for plain names, and readable
//! syntax errors.

use std::ops::Range;

use handlebars::TemplateErrorReason;

/// The longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 256 * 1024;

/// The deepest nesting of blocks, of parentheses, and of partials in each other.
pub(super) const MAX_DEPTH: usize = 32;

/// A piece of a template that consists only of text and plain names.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// A name and the range of its tag.
    Name(&'t str, Range<usize>),
}

/// The pieces of a template in which every tag is a plain name such as `{{args.city}}`; `None` for any other template.
pub(super) fn plain_names(text: &str) -> Option<Vec<Piece<'_>>> {
    // A backslash may escape a tag.
    if text.len() > MAX_TEMPLATE_BYTES || text.contains('\\') {
        return None;
    }
    let is_word = |word: &str| {
        let starts = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let keywords = ["this", "else", "true", "false", "null", "undefined", "as"];
        starts && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !keywords.contains(&word)
    };
    let mut pieces = Vec::new();
    let mut rest = 0;
    while let Some(at) = text[rest..].find("{{").map(|at| rest + at) {
        let end = text[at..].find("}}").map(|end| at + end)?;
        let name = text[at + 2..end].trim_matches(' ');
        // A brace before or after would make it another kind of tag.
        let braced = text[..at].ends_with('{') || text[end + 2..].starts_with('}');
        if braced || !name.split('.').all(is_word) {
            return None;
        }
        if at > rest {
            pieces.push(Piece::Text(&text[rest..at]));
        }
        pieces.push(Piece::Name(name, at..end + 2));
        rest = end + 2;
    }
    if rest < text.len() {
        pieces.push(Piece::Text(&text[rest..]));
    }
    Some(pieces)
}

/// A syntax error, in words. Handlebars itself reports names of grammar rules.
pub(super) struct SyntaxError {
    pub(super) range: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
    /// A text of the same length that can be parsed in place of the tag, to find further errors; `None` if the error
    /// concerns more than one tag.
    pub(super) stand_in: Option<String>,
}

impl SyntaxError {
    pub(super) fn describe(text: &str, error: &handlebars::TemplateError) -> Self {
        let at = error.pos().map_or(0, |(line, column)| offset(text, line, column));
        let whole = |(range, message, help)| Self { range, message, help, stand_in: None };
        match error.reason() {
            TemplateErrorReason::MismatchingClosedHelper(open, close)
            | TemplateErrorReason::MismatchingClosedDecorator(open, close) => whole((
                at..tag_end(text, at),
                format!("`{{{{#{open}}}}}` is closed by `{{{{/{close}}}}}`"),
                format!("close it with `{{{{/{open}}}}}`"),
            )),
            _ => match unclosed(text) {
                Some(error) => whole(error),
                None => Self::of_tag(text, at),
            },
        }
    }

    fn of_tag(text: &str, at: usize) -> Self {
        let start = text[..at.min(text.len())].rfind("{{").unwrap_or(at);
        let range = start..tag_end(text, start);
        Self {
            stand_in: stand_in(&text[range.clone()]),
            range,
            message: "this is not a template expression".to_owned(),
            help:
                "an expression is a name, `{{args.city}}`, or a helper with its values, `{{round temp 1}}`; \
                   write `\\{{` for braces that are meant as they are"
                    .to_owned(),
        }
    }
}

/// A tag of the same length that opens the same block, or text if it opens none.
fn stand_in(tag: &str) -> Option<String> {
    let length = tag.len();
    let inner = tag.strip_prefix("{{")?.trim_start_matches(['~', ' ']);
    if inner.starts_with(['/', '^']) || inner.starts_with("else") {
        return None;
    }
    let Some(block) = inner.strip_prefix('#') else { return Some(" ".repeat(length)) };
    let name = block.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    let opening = format!("{{{{#{name} 1");
    let room = length.checked_sub(opening.len() + 2)?;
    Some(format!("{opening}{}}}}}", " ".repeat(room)))
}

/// The names in single braces outside of tags, with their braces: `{args.city}`.
pub(super) fn single_braces(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some(at) = text[rest..].find('{').map(|at| rest + at) {
        let inside = &text[at + 1..];
        if inside.starts_with('{') {
            rest = tag_end(text, at).max(at + 2);
            continue;
        }
        let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c)).unwrap_or(0);
        let starts = inside.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if starts && inside[end..].starts_with('}') && !inside[end..].starts_with("}}") {
            found.push(at..at + end + 2);
        }
        rest = at + 1;
    }
    found
}

/// The byte offset of a line and a column in characters, both counted from 1.
pub(super) fn offset(text: &str, line: usize, column: usize) -> usize {
    let line_start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let line_start = line_start.min(text.len());
    text[line_start..]
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(text.len(), |(at, _)| line_start + at)
}

fn tag_end(text: &str, start: usize) -> usize {
    let start = text.floor_char_boundary(start.min(text.len()));
    text[start..].find("}}").map_or(text.len(), |end| start + end + 2)
}

/// The range and description of what exceeds the limits of templates.
pub(super) fn too_large(text: &str) -> Option<(Range<usize>, String)> {
    if text.len() > MAX_TEMPLATE_BYTES {
        return Some((
            0..0,
            format!("a template may have at most {MAX_TEMPLATE_BYTES} bytes and this one has {}", text.len()),
        ));
    }
    let (mut blocks, mut parens) = (0_usize, 0_usize);
    let mut rest = 0;
    while let Some(at) = text[rest..].find("{{").map(|at| rest + at) {
        let end = tag_end(text, at);
        let tag = &text[at..end];
        let inner = tag.trim_start_matches(['{', '~']);
        if inner.starts_with(['#', '^']) {
            blocks += 1;
        } else if inner.starts_with('/') {
            blocks = blocks.saturating_sub(1);
        }
        for character in tag.chars() {
            match character {
                '(' | '[' => parens += 1,
                ')' | ']' => parens = parens.saturating_sub(1),
                _ => {}
            }
            if parens > MAX_DEPTH {
                return Some((at..end, format!("parentheses may be nested {MAX_DEPTH} deep")));
            }
        }
        if blocks > MAX_DEPTH {
            return Some((at..end, format!("blocks may be nested {MAX_DEPTH} deep")));
        }
        rest = end.max(at + 2);
    }
    None
}

/// The tag or block that is not closed, or closes nothing: its range, a message and a fix.
fn unclosed(text: &str) -> Option<(Range<usize>, String, String)> {
    let mut open: Vec<(Range<usize>, String)> = Vec::new();
    let mut rest = 0;
    while let Some(at) = text[rest..].find("{{").map(|at| rest + at) {
        let next = text[at + 2..].find("{{").map(|next| at + 2 + next);
        match text[at..].find("}}").map(|end| at + end + 2) {
            Some(end) if next.is_none_or(|next| next >= end - 2) => {
                let inner = text[at + 2..end - 2].trim_matches(['~', ' ', '{', '}']);
                if let Some(name) = inner.strip_prefix('#') {
                    let name = name.split_whitespace().next().unwrap_or_default().to_owned();
                    open.push((at..end, name));
                } else if let Some(name) = inner.strip_prefix('/')
                    && open.pop().is_none()
                {
                    return Some((
                        at..end,
                        format!("`{{{{/{name}}}}}` closes nothing"),
                        format!("take it out, or open the block with `{{{{#{name} …}}}}`"),
                    ));
                }
                rest = end;
            }
            _ => {
                return Some((
                    at..next.unwrap_or(text.len()),
                    "this `{{` is never closed".to_owned(),
                    "close it with `}}`, or write `\\{{` for braces that are meant as they are".to_owned(),
                ));
            }
        }
    }
    open.pop().map(|(range, name)| {
        (range, format!("`{{{{#{name}}}}}` is never closed"), format!("close it with `{{{{/{name}}}}}`"))
    })
}

#[cfg(test)]
mod tests {
    use handlebars::template::{Parameter, TemplateElement};

    use crate::lang::template::compile::parameter_name;
    use crate::lang::template::syntax::*;

    /// The pieces as Handlebars parses them; `None` if one is neither text nor a name.
    fn by_handlebars(text: &str) -> Option<Vec<(bool, String)>> {
        let parsed = handlebars::Template::compile(text).ok()?;
        let pieces = parsed.elements.iter().map(|element| match element {
            TemplateElement::RawString(text) => Some((false, text.clone())),
            TemplateElement::Expression(tag) if tag.params.is_empty() && tag.hash.is_empty() => {
                match &tag.name {
                    name @ (Parameter::Name(_) | Parameter::Path(_)) => Some((true, parameter_name(name))),
                    _ => None,
                }
            }
            _ => None,
        });
        pieces.collect()
    }

    #[test]
    fn plain_names_are_parsed_as_by_handlebars() {
        let mut plain = 0;
        for text in [
            "{{args.city}}",
            "{{ temp }}",
            "It is {{round_1}} in {{args.city}}, {{_x}}.\n",
            "\n {{a}} \n\n{{b.c.d}}\n",
            "{ {{a}} } $ {{b}}",
            "{{a}}{{b}}",
            "/orders/{{args.id}}/x",
            "{{a}} }} b",
            "{ {a}} {{a}}",
            "{{a}}}",
            "{{{a}}}",
            "\\{{a}}",
            "{{~a~}}",
            "{{this}}",
            "{{this.a}}",
            "{{true}} {{null}} {{else}}",
            "{{1}} {{a.0}}",
            "{{\"a\"}}",
            "{{a-b}} {{a/b}} {{../a}} {{@index}}",
            "{{round a}}",
            "{{!a}} {{> a}} {{&a}}",
            "{{a.}} {{.a}} {{}} {{ }}",
            "{{a",
            "{{#if a}}b{{/if}}",
            "{{a}} {{b",
        ] {
            let Some(pieces) = plain_names(text) else { continue };
            let pieces = pieces.into_iter().map(|piece| match piece {
                Piece::Text(text) => (false, text.to_owned()),
                Piece::Name(name, _) => (true, name.to_owned()),
            });
            assert_eq!(Some(pieces.collect::<Vec<_>>()), by_handlebars(text), "{text}");
            plain += 1;
        }
        assert_eq!(plain, 9, "the plain ones are the first ones");
    }
}
