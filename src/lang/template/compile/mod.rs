//! Compiles templates: Handlebars parses them, and every name and helper is checked.

mod blocks;
mod expressions;
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use handlebars::Path;
use handlebars::template::{Parameter, TemplateElement, TemplateMapping};
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, FileId, Sources, Span, place_in_string};

pub(crate) use self::files::MAKE_READABLE;

use super::names::{Block, Names};
use super::parsed_text::ParsedText;
use super::syntax::{Piece, SyntaxError, offset, plain_names, single_braces, too_large};
use super::uses::Uses;
use super::{Expr, Op, Template};

/// The source of a template, and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TemplateText<'a> {
    /// The text that Handlebars parses.
    pub(crate) text: &'a str,
    /// Where the text comes from.
    pub(crate) origin: TemplateOrigin,
}

/// Where a template comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TemplateOrigin {
    /// A string of the table.
    String(Span),
    /// A part of a string of the table, which begins at this byte of it.
    PartOfString(Span, usize),
    /// A whole file.
    File(FileId),
}

impl TemplateText<'_> {
    /// The span of a range of this text.
    pub(crate) fn span(&self, range: Range<usize>, sources: &Sources) -> Span {
        match self.origin {
            TemplateOrigin::String(token) => place_in_string(sources.text(token), token, range),
            TemplateOrigin::PartOfString(token, start) => {
                place_in_string(sources.text(token), token, start + range.start..start + range.end)
            }
            TemplateOrigin::File(file) => Span { file, start: range.start, end: range.end },
        }
    }
}

/// The most bytes of partials in one template. A partial counts each time it is included, with an overhead.
const MAX_INCLUDED: usize = 1024 * 1024;

/// The most bytes of partials in all templates of a table together.
const MAX_INCLUDED_BY_ALL: usize = 64 * 1024 * 1024;

/// The most syntax errors that are reported in one template.
const MAX_SYNTAX_ERRORS: usize = 8;

/// The overhead of an inclusion, in bytes.
const INCLUSION: usize = 64;

/// Compiles templates with the files that they can include.
pub(crate) struct Compiler<'a> {
    sources: &'a Sources,
    /// The template files by name.
    files: &'a BTreeMap<String, FileId>,
    /// The template files that cannot be read, with the reason.
    unreadable: Option<&'a BTreeMap<String, String>>,
    /// What the templates compiled so far use.
    pub(crate) used: TemplateUsage,
    included: Included,
    /// Warnings about templates that work.
    pub(crate) advice: Diagnostics,
    /// The zone of the table, for the helpers that tell times.
    zone: Option<Expr>,
}

/// The files and names that templates use: for fingerprints, and to find unused declarations.
#[derive(Debug, Default)]
pub(crate) struct TemplateUsage {
    /// The template files.
    pub(crate) files: BTreeSet<FileId>,
    /// The arguments and extracts.
    pub(crate) names: Uses,
}

/// The number of bytes included. It is limited because partials that include others twice double at each level.
#[derive(Debug, Default)]
struct Included {
    by_one: usize,
    by_all: usize,
}

/// The compilation of one template.
struct CompileTask<'a, 'c, 't> {
    compiler: &'a mut Compiler<'c>,
    text: TemplateText<'t>,
    /// The text as the parser takes it.
    parsed: ParsedText<'t>,
    names: &'a Names<'a>,
    blocks: Vec<Block>,
    /// The partials that are being included, outermost first.
    including: Vec<String>,
    /// Where the outermost partial is included.
    used_at: Option<Span>,
    diagnostics: &'a mut Diagnostics,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(sources: &'a Sources, files: &'a BTreeMap<String, FileId>) -> Self {
        Self {
            sources,
            files,
            unreadable: None,
            used: TemplateUsage::default(),
            included: Included::default(),
            advice: Diagnostics::default(),
            zone: None,
        }
    }

    /// Gives the templates that are compiled from now on the zone of the table: a name, or an expression.
    pub(crate) fn set_zone(&mut self, zone: &Template) {
        self.zone = match zone.ops.as_slice() {
            [Op::Print(expr)] => Some(expr.clone()),
            _ => zone.as_literal().map(|name| Expr::Literal(name.into())),
        };
    }

    /// Compiles a template; `None` if there are errors, which are then in `diagnostics`.
    pub(crate) fn compile(
        &mut self,
        text: TemplateText<'_>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Template> {
        self.included.by_one = 0;
        let mut task = CompileTask {
            compiler: self,
            text,
            parsed: ParsedText::unchanged(text.text),
            names,
            blocks: Vec::new(),
            including: Vec::new(),
            used_at: None,
            diagnostics,
        };
        let ops = task.source()?;
        let (written, in_file) = match text.origin {
            TemplateOrigin::String(_) | TemplateOrigin::PartOfString(..) => (text.text, false),
            TemplateOrigin::File(file) => (self.sources.get(file).name.as_str(), true),
        };
        Some(Template { ops: without_empty(ops), written: written.into(), in_file })
    }
}

impl CompileTask<'_, '_, '_> {
    /// Parses and compiles the whole text.
    fn source(&mut self) -> Option<Vec<Op>> {
        let text = self.text.text;
        self.advise_on_braces();
        if !text.contains("{{") && !text.contains("\\{{") {
            return Some(if text.is_empty() { Vec::new() } else { vec![Op::Text(text.to_owned())] });
        }
        if let Some(pieces) = plain_names(text) {
            return self.plain(&pieces);
        }
        if let Some((range, what)) = too_large(text) {
            self.report(
                Code::TemplateTooLarge,
                range,
                what,
                Some("split it, or take what it needs from the reply with `extract`".to_owned()),
            );
            return None;
        }
        if let Some(at) = text.find("{{{{") {
            self.report(
                Code::TemplateUnsupported,
                at..at + 4,
                "raw blocks are not supported".to_owned(),
                Some("write `\\{{` for braces that are not an expression".to_owned()),
            );
            return None;
        }
        let before = self.diagnostics.len();
        let parsed = self.parse()?;
        let ops = self.elements(&parsed, 0..self.parsed.text.len());
        (self.diagnostics.len() == before).then_some(ops)
    }

    /// Warns about names in single braces.
    fn advise_on_braces(&mut self) {
        for range in single_braces(self.text.text) {
            let name = &self.text.text[range.start + 1..range.end - 1];
            let (found, expression) = match self.names.resolve(name, &[]) {
                Ok(_) => (true, name.to_owned()),
                Err(_) => (self.names.is_argument(name), format!("args.{name}")),
            };
            if found {
                let span = self.text.span(range.clone(), self.compiler.sources);
                self.compiler.advice.push(
                    Diagnostic::new(
                        Code::SingleBraces,
                        span,
                        format!("`{{{name}}}` is text, not an expression"),
                    )
                    .label("sent as it is")
                    .help(format!("write `{{{{{expression}}}}}`")),
                );
            }
        }
    }

    /// Parses the text. A tag at fault is reported and taken out, so that those after it are reported too; `None` if
    /// nothing can be said about the rest.
    fn parse(&mut self) -> Option<handlebars::Template> {
        let (parsed, unsupported) = ParsedText::of(self.text.text);
        for (range, message, help) in &unsupported {
            // These ranges are in the text as written.
            self.report_written(
                Code::TemplateUnsupported,
                range.clone(),
                message.clone(),
                Some(help.clone()),
            );
        }
        self.parsed = parsed;
        if !unsupported.is_empty() {
            return None;
        }
        for _ in 0..MAX_SYNTAX_ERRORS {
            let error = match handlebars::Template::compile(&self.parsed.text) {
                Ok(parsed) => return Some(parsed),
                Err(error) => SyntaxError::describe(&self.parsed.text, &error),
            };
            self.report(Code::TemplateSyntax, error.range.clone(), error.message, Some(error.help));
            let stand_in = error.stand_in?;
            self.parsed.text.to_mut().replace_range(error.range, &stand_in);
        }
        None
    }

    /// Compiles text and plain names, which is all that most templates contain. The result is the same as with
    /// Handlebars, whose parser would take most of the load time of a large table.
    fn plain(&mut self, pieces: &[Piece<'_>]) -> Option<Vec<Op>> {
        let ops: Vec<Option<Op>> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Some(Op::Text((*text).to_owned())),
                Piece::Name(name, range) => self.name(name, range).map(Op::Print),
            })
            .collect();
        ops.into_iter().collect()
    }

    /// Compiles the elements of a template. `around` stands in for the place of an element without a mapping, such as
    /// `{{else if}}`.
    fn elements(&mut self, template: &handlebars::Template, around: Range<usize>) -> Vec<Op> {
        let mut ops = Vec::new();
        for (index, element) in template.elements.iter().enumerate() {
            let range =
                template.mapping.get(index).map_or_else(|| around.clone(), |mapping| self.range_of(mapping));
            match element {
                TemplateElement::RawString(text) if text.is_empty() => {}
                TemplateElement::RawString(text) => ops.push(Op::Text(text.clone())),
                TemplateElement::Comment(_) => {}
                TemplateElement::Expression(expression) => {
                    ops.extend(self.expression(expression, &range).map(Op::Print));
                }
                TemplateElement::HtmlExpression(_) => self.report(
                    Code::TemplateUnescaped,
                    range,
                    "unescaped output does not exist here".to_owned(),
                    Some(
                        "write `{{x}}`: it is escaped for the place where it stands, and only there"
                            .to_owned(),
                    ),
                ),
                TemplateElement::HelperBlock(block) => ops.extend(self.block(block, &range)),
                TemplateElement::PartialExpression(partial) => ops.extend(self.partial(partial, &range)),
                // Decorators, partial blocks, and elements that a later version of the parser may add.
                _ => self.report(
                    Code::TemplateUnsupported,
                    range,
                    "decorators and partial blocks are not supported".to_owned(),
                    Some("put shared text into a file under `templates/` and write `{{> name}}`".to_owned()),
                ),
            }
        }
        ops
    }

    /// The range of the tag at a position that Handlebars gives as line and column.
    fn range_of(&self, mapping: &TemplateMapping) -> Range<usize> {
        let text = &self.parsed.text;
        let start = offset(text, mapping.0, mapping.1);
        let end = text[start..].find("}}").map_or(text.len(), |end| start + end + 2);
        start..end
    }

    /// The range of a word inside a tag, or of the whole tag if the word is not there.
    fn find(&self, word: &str, range: &Range<usize>) -> Range<usize> {
        let tag = &self.parsed.text[range.clone()];
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let whole = tag.match_indices(word).find(|(at, _)| {
            !tag[..*at].chars().next_back().is_some_and(is_name)
                && !tag[at + word.len()..].chars().next().is_some_and(is_name)
        });
        match whole.or_else(|| tag.match_indices(word).next()) {
            Some((at, _)) if !word.is_empty() => range.start + at..range.start + at + word.len(),
            _ => range.clone(),
        }
    }

    fn report(&mut self, code: Code, range: Range<usize>, message: String, help: Option<String>) {
        self.report_written(code, self.parsed.written(range), message, help);
    }

    fn report_written(&mut self, code: Code, range: Range<usize>, message: String, help: Option<String>) {
        let span = self.text.span(range, self.compiler.sources);
        let mut diagnostic = Diagnostic::new(code, span, message).maybe_help(help);
        if let Some(used_at) = self.used_at {
            diagnostic = diagnostic.related(used_at, "included from here");
        }
        self.diagnostics.push(diagnostic);
    }
}

pub(super) fn parameter_name(parameter: &Parameter) -> String {
    match parameter {
        Parameter::Name(name) => name.clone(),
        Parameter::Path(Path::Relative((_, raw)) | Path::Local((_, _, raw))) => raw.clone(),
        Parameter::Literal(Value::String(text)) => text.clone(),
        Parameter::Literal(value) => value.to_string(),
        _ => "(…)".to_owned(),
    }
}

/// Removes empty texts. Adjacent texts are not merged: a pair that a platform would expand must not arise from two
/// pieces that are separated by a comment in the source.
fn without_empty(ops: Vec<Op>) -> Vec<Op> {
    ops.into_iter().filter(|op| !matches!(op, Op::Text(text) if text.is_empty())).collect()
}
