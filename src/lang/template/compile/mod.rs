//! From a template as written to its program: parsed by Handlebars, every name and helper checked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use handlebars::Path;
use handlebars::template::{
    BlockParam, DecoratorTemplate, HelperTemplate, Parameter, TemplateElement, TemplateMapping,
};
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, FileId, Sources, Span, place_in_string, suggest};

use super::helpers::{self, HELPERS, Helper};
use super::names::{Block, Names, Resolved};
use super::syntax::{MAX_DEPTH, Piece, in_our_words, offset, plain_names, too_large};
use super::uses::Uses;
use super::{Evaluated, Expr, Op, Template};

/// A template as it is written, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TemplateText<'a> {
    /// What Handlebars sees.
    pub(crate) text: &'a str,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Where a template comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// A string of the table.
    String(Span),
    /// A whole file.
    File(FileId),
}

impl TemplateText<'_> {
    /// The place of a range of this template.
    pub(crate) fn span(&self, range: Range<usize>, sources: &Sources) -> Span {
        match self.origin {
            Origin::String(token) => place_in_string(sources.text(token), token, range),
            Origin::File(file) => Span { file, start: range.start, end: range.end },
        }
    }
}

/// The most bytes of partials that one template may take in, each counted as often as it is included, with what an
/// inclusion costs by itself.
const MAX_INCLUDED: usize = 1024 * 1024;

/// The most that all templates of a table may take in together.
const MAX_INCLUDED_BY_ALL: usize = 64 * 1024 * 1024;

/// What an inclusion costs by itself.
const INCLUSION: usize = 64;

/// Compiles templates against the files they may include.
pub(crate) struct Compiler<'a> {
    sources: &'a Sources,
    /// The template files by name.
    files: &'a BTreeMap<String, FileId>,
    /// What the templates that were compiled so far use.
    pub(crate) used: TemplateUsage,
    included: Included,
}

/// What templates use: for fingerprints, and to find what is declared and never used.
#[derive(Debug, Default)]
pub(crate) struct TemplateUsage {
    /// The template files.
    pub(crate) files: BTreeSet<FileId>,
    /// The arguments and extracts.
    pub(crate) names: Uses,
}

/// How much has been included, in bytes: partials that include others twice double at each level.
#[derive(Debug, Default)]
struct Included {
    by_one: usize,
    by_all: usize,
}

/// What one template is compiled against.
struct CompileTask<'a, 'c, 't> {
    compiler: &'a mut Compiler<'c>,
    text: TemplateText<'t>,
    names: &'a Names<'a>,
    blocks: Vec<Block>,
    /// The partials that are being included, outermost first.
    including: Vec<String>,
    /// Where the outermost partial was asked for.
    used_at: Option<Span>,
    diagnostics: &'a mut Diagnostics,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(sources: &'a Sources, files: &'a BTreeMap<String, FileId>) -> Self {
        Self { sources, files, used: TemplateUsage::default(), included: Included::default() }
    }

    /// The program of a template; `None` after faults, which have been pushed.
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
            names,
            blocks: Vec::new(),
            including: Vec::new(),
            used_at: None,
            diagnostics,
        };
        let ops = task.source()?;
        let (written, in_file) = match text.origin {
            Origin::String(_) => (text.text, false),
            Origin::File(file) => (self.sources.get(file).name.as_str(), true),
        };
        Some(Template { ops: without_empty(ops), written: written.into(), in_file })
    }

    /// The text of a template file, without the newline that ends it, and its id.
    pub(crate) fn file(&mut self, name: &str) -> Option<TemplateText<'a>> {
        let id = self.files.get(name).or_else(|| {
            let with_ending = format!("{name}.hbs");
            self.files.get(&with_ending)
        })?;
        self.used.files.insert(*id);
        let text = self.sources.get(*id).text.as_str();
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        Some(TemplateText { text, origin: Origin::File(*id) })
    }

    /// The file that a partial means: its whole name, or its name without endings when only one file has it.
    fn partial(&mut self, name: &str) -> Option<TemplateText<'a>> {
        if let Some(whole) = self.file(name) {
            return Some(whole);
        }
        let mut found = self.files.keys().filter(|file| stem(file) == name);
        let first = found.next()?;
        if found.next().is_some() { None } else { self.file(first) }
    }
}

/// A file's name without its endings.
fn stem(file: &str) -> &str {
    let name_start = file.rfind('/').map_or(0, |slash| slash + 1);
    let end = file[name_start..].find('.').map_or(file.len(), |dot| name_start + dot);
    &file[..end]
}

impl CompileTask<'_, '_, '_> {
    /// Parses and compiles the whole text.
    fn source(&mut self) -> Option<Vec<Op>> {
        let text = self.text.text;
        if !text.contains("{{") && !text.contains("\\{{") {
            return Some(if text.is_empty() { Vec::new() } else { vec![Op::Text(text.to_owned())] });
        }
        if let Some(pieces) = plain_names(text) {
            return self.plain(&pieces);
        }
        if let Some((range, what)) = too_large(text) {
            self.fault(
                Code::TemplateTooLarge,
                range,
                what,
                Some("split it, or take what it needs from the reply with `extract`".to_owned()),
            );
            return None;
        }
        if let Some(at) = text.find("{{{{") {
            self.fault(
                Code::TemplateUnsupported,
                at..at + 4,
                "raw blocks are not supported".to_owned(),
                Some("write `\\{{` for braces that are not an expression".to_owned()),
            );
            return None;
        }
        let before = self.diagnostics.len();
        let parsed = match handlebars::Template::compile(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.syntax_fault(&error);
                return None;
            }
        };
        let ops = self.elements(&parsed, 0..text.len());
        (self.diagnostics.len() == before).then_some(ops)
    }

    /// Compiles literal texts and plain names, which is what most templates are: Handlebars would say the same, and
    /// take most of the time in which a large table is loaded.
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

    /// `around` is where to look for the place of an element that Handlebars gives none for: an `{{else if}}`.
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
                TemplateElement::HtmlExpression(_) => self.fault(
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
                // Decorators, partial blocks, and whatever a later version of the parser may know.
                _ => self.fault(
                    Code::TemplateUnsupported,
                    range,
                    "decorators and partial blocks are not supported".to_owned(),
                    Some("put shared text into a file under `templates/` and write `{{> name}}`".to_owned()),
                ),
            }
        }
        ops
    }

    fn expression(&mut self, expression: &HelperTemplate, range: &Range<usize>) -> Option<Expr> {
        let has_params = !expression.params.is_empty() || !expression.hash.is_empty();
        match &expression.name {
            Parameter::Subexpression(sub) => self.parameter(&Parameter::Subexpression(sub.clone()), range),
            Parameter::Literal(value) => Some(Expr::Literal(value.clone())),
            Parameter::Path(path) if !has_params => self.path(path, range),
            Parameter::Name(name) if !has_params => self.name(name, range),
            name => {
                let name = parameter_name(name);
                let helper = self.helper(&name, range)?;
                self.helper_call(helper, &expression.params, &expression.hash, range)
            }
        }
    }

    fn helper(&mut self, name: &str, range: &Range<usize>) -> Option<&'static Helper> {
        let found = helpers::find(name);
        if found.is_none() {
            let place = self.find(name, range);
            self.fault(
                Code::UnknownHelper,
                place,
                format!("there is no helper `{name}`"),
                suggest(name, HELPERS.iter().map(|helper| helper.name)),
            );
        }
        found
    }

    fn helper_call(
        &mut self,
        helper: &'static Helper,
        params: &[Parameter],
        hash: &std::collections::HashMap<String, Parameter>,
        range: &Range<usize>,
    ) -> Option<Expr> {
        let usage = format!("write `{{{{{}}}}}`", helper.usage);
        let (least, most) = helper.params;
        if params.len() < least || params.len() > most {
            let place = self.find(helper.name, range);
            let takes = if least == most { least.to_string() } else { format!("{least} to {most}") };
            self.fault(
                Code::HelperArguments,
                place,
                format!("`{}` takes {takes} values and is given {}", helper.name, params.len()),
                Some(usage),
            );
            return None;
        }
        let mut compiled = Vec::new();
        for param in params {
            compiled.push(self.parameter(param, range));
        }
        let mut by_name = Vec::new();
        let mut sorted: Vec<_> = hash.iter().collect();
        sorted.sort_by_key(|(name, _)| name.as_str());
        for (name, param) in sorted {
            match helper.named.iter().find(|known| *known == name) {
                Some(known) => by_name.push((*known, self.parameter(param, range)?)),
                None => {
                    let place = self.find(name, range);
                    self.fault(
                        Code::HelperArguments,
                        place,
                        format!("`{}` has no `{name}=`", helper.name),
                        Some(usage.clone()),
                    );
                }
            }
        }
        let call =
            Expr::Helper { helper, params: compiled.into_iter().collect::<Option<_>>()?, named: by_name };
        self.try_constants(&call, range, usage);
        Some(call)
    }

    /// Tries a helper at load when what it needs to be told is written out: a format, a zone, a number of digits.
    fn try_constants(&mut self, call: &Expr, range: &Range<usize>, usage: String) {
        let Expr::Helper { helper, params, named } = call else { return };
        let sample = match helper.name {
            "date" => Value::from(0),
            "round" => Value::from(1.5),
            "truncate" => Value::from("x"),
            _ => return,
        };
        fn constant(expr: &Expr) -> Option<Evaluated<'_>> {
            match expr {
                Expr::Literal(value) => Some(Evaluated::Ref(value.into())),
                _ => None,
            }
        }
        let rest: Option<Vec<Evaluated<'_>>> = params[1..].iter().map(constant).collect();
        let by_name: Option<Vec<(&'static str, Evaluated<'_>)>> =
            named.iter().map(|(name, expr)| constant(expr).map(|value| (*name, value))).collect();
        let (Some(rest), Some(by_name)) = (rest, by_name) else { return };
        let values: Vec<_> = std::iter::once(Evaluated::Made(sample)).chain(rest).collect();
        if let Err(problem) = (helper.run)(&values, &by_name) {
            let place = self.find(helper.name, range);
            self.fault(Code::HelperArguments, place, format!("`{}` {problem}", helper.name), Some(usage));
        }
    }

    fn parameter(&mut self, parameter: &Parameter, range: &Range<usize>) -> Option<Expr> {
        match parameter {
            Parameter::Literal(value) => Some(Expr::Literal(value.clone())),
            Parameter::Path(path) => self.path(path, range),
            Parameter::Name(name) => self.name(name, range),
            Parameter::Subexpression(sub) => match sub.as_element() {
                TemplateElement::Expression(inner) => self.expression(inner, range),
                _ => None,
            },
            _ => None,
        }
    }

    fn path(&mut self, path: &Path, range: &Range<usize>) -> Option<Expr> {
        let raw = match path {
            Path::Relative((_, raw)) | Path::Local((_, _, raw)) => raw.clone(),
        };
        self.name(&raw, range)
    }

    fn name(&mut self, raw: &str, range: &Range<usize>) -> Option<Expr> {
        match self.names.resolve(raw, &self.blocks) {
            Ok(Resolved::Constant(value)) => Some(Expr::Literal(value)),
            Ok(Resolved::Path(path)) => {
                self.compiler.used.names.add(&path);
                Some(Expr::Path(path))
            }
            Err(bad) => {
                let place = self.find(raw, range);
                let mut help = bad.help;
                if helpers::find(raw).is_some() {
                    help = helpers::find(raw)
                        .map(|helper| format!("`{raw}` is a helper: write `{{{{{}}}}}`", helper.usage));
                }
                self.fault(bad.code, place, bad.message, help);
                None
            }
        }
    }

    fn block(&mut self, block: &HelperTemplate, range: &Range<usize>) -> Option<Op> {
        let name = parameter_name(&block.name);
        let kind = match name.as_str() {
            "if" | "unless" | "each" | "with" => name.as_str(),
            _ => {
                let place = self.find(&name, range);
                self.fault(
                    Code::UnknownHelper,
                    place,
                    format!("there is no block `{name}`"),
                    suggest(&name, ["if", "unless", "each", "with"]),
                );
                return None;
            }
        };
        let [param] = block.params.as_slice() else {
            let place = self.find(kind, range);
            self.fault(
                Code::HelperArguments,
                place,
                format!("`{{{{#{kind}}}}}` takes one value and is given {}", block.params.len()),
                Some(match kind {
                    "if" | "unless" => format!("for a comparison write `{{{{#{kind} (eq a b)}}}}`"),
                    _ => format!("write `{{{{#{kind} list}}}} … {{{{/{kind}}}}}`"),
                }),
            );
            return None;
        };
        let subject = self.parameter(param, range);
        let mut include_zero = false;
        for (key, value) in &block.hash {
            match (key.as_str(), value) {
                ("includeZero", Parameter::Literal(Value::Bool(truth)))
                    if matches!(kind, "if" | "unless") =>
                {
                    include_zero = *truth;
                }
                _ => {
                    let place = self.find(key, range);
                    self.fault(
                        Code::HelperArguments,
                        place,
                        format!("`{{{{#{kind}}}}}` has no `{key}=`"),
                        None,
                    );
                }
            }
        }
        let params: Vec<String> = match &block.block_param {
            None => Vec::new(),
            Some(BlockParam::Single(one)) => vec![parameter_name(one)],
            Some(BlockParam::Pair((one, two))) => vec![parameter_name(one), parameter_name(two)],
            Some(_) => Vec::new(),
        };
        let has_this = matches!(kind, "each" | "with");
        if has_this {
            self.blocks.push(Block { params: params.clone(), has_this });
        }
        let around = range.start..self.text.text.len();
        let body =
            block.template.as_ref().map(|body| self.elements(body, around.clone())).unwrap_or_default();
        if has_this {
            self.blocks.pop();
        }
        let otherwise = block.inverse.as_ref().map(|body| without_empty(self.elements(body, around.clone())));
        let (subject, body) = (subject?, without_empty(body));
        Some(match kind {
            "each" => Op::Each { list: subject, params, body, otherwise },
            "with" => Op::With { value: subject, params, body, otherwise },
            _ => Op::If {
                condition: subject,
                negated: kind == "unless",
                include_zero,
                then: body,
                otherwise: otherwise.unwrap_or_default(),
            },
        })
    }

    fn partial(&mut self, partial: &DecoratorTemplate, range: &Range<usize>) -> Vec<Op> {
        let name = parameter_name(&partial.name);
        let Some(text) = self.compiler.partial(&name) else {
            let place = self.find(&name, range);
            let known: Vec<&str> = self.compiler.files.keys().map(|file| stem(file)).collect();
            let help = if known.is_empty() {
                Some("partials are files in the folder `templates` beside the main file".to_owned())
            } else {
                suggest(&name, known.iter().copied())
            };
            self.fault(Code::UnknownPartial, place, format!("there is no partial `{name}`"), help);
            return Vec::new();
        };
        if self.including.contains(&name) || self.including.len() >= MAX_DEPTH {
            let place = self.find(&name, range);
            self.fault(Code::UnknownPartial, place, format!("the partial `{name}` includes itself"), None);
            return Vec::new();
        }
        if !self.may_include(text.text.len(), &name, range) {
            return Vec::new();
        }
        if partial.params.len() > 1 {
            let place = self.find(&name, range);
            self.fault(
                Code::HelperArguments,
                place,
                "a partial takes one context, and values by name".to_owned(),
                Some(format!("write `{{{{> {name} item title=\"…\"}}}}`")),
            );
            return Vec::new();
        }
        let context = match partial.params.first() {
            None => None,
            Some(param) => match self.parameter(param, range) {
                None => return Vec::new(),
                some => some,
            },
        };
        let mut hash: Vec<_> = partial.hash.iter().collect();
        hash.sort_by_key(|(name, _)| name.as_str());
        let mut bindings = Vec::new();
        for (name, param) in hash {
            match self.parameter(param, range) {
                Some(expr) => bindings.push((name.clone(), expr)),
                None => return Vec::new(),
            }
        }
        let mut blocks = self.blocks.clone();
        if context.is_some() {
            blocks.push(Block { params: Vec::new(), has_this: true });
        }
        for (name, _) in &bindings {
            blocks.push(Block { params: vec![name.clone()], has_this: false });
        }
        let used_at = self.used_at.unwrap_or_else(|| self.text.span(range.clone(), self.compiler.sources));
        let mut including = self.including.clone();
        including.push(name);
        let mut inner = CompileTask {
            compiler: self.compiler,
            text,
            names: self.names,
            blocks,
            including,
            used_at: Some(used_at),
            diagnostics: self.diagnostics,
        };
        let body = without_empty(inner.source().unwrap_or_default());
        if context.is_none() && bindings.is_empty() {
            return body;
        }
        vec![Op::Partial { context, bindings, body }]
    }

    /// Counts a partial; the first one that is too much is a fault, and none is taken in from then on.
    fn may_include(&mut self, bytes: usize, name: &str, range: &Range<usize>) -> bool {
        let Included { by_one, by_all } = &mut self.compiler.included;
        if *by_one > MAX_INCLUDED {
            return false;
        }
        *by_one += bytes + INCLUSION;
        *by_all += bytes + INCLUSION;
        let message = if *by_one > MAX_INCLUDED {
            format!(
                "a template may take in {MAX_INCLUDED} bytes of partials, each as often as it is included"
            )
        } else if *by_all > MAX_INCLUDED_BY_ALL {
            format!("the templates of a table may take in {MAX_INCLUDED_BY_ALL} bytes of partials together")
        } else {
            return true;
        };
        *by_one = usize::MAX;
        let place = self.find(name, range);
        self.fault(
            Code::TemplateTooLarge,
            place,
            message,
            Some("include it in fewer places, or write it out as one".to_owned()),
        );
        false
    }

    /// The range of the tag at a place that Handlebars counts in lines and characters.
    fn range_of(&self, mapping: &TemplateMapping) -> Range<usize> {
        let start = offset(self.text.text, mapping.0, mapping.1);
        let end = self.text.text[start..].find("}}").map_or(self.text.text.len(), |end| start + end + 2);
        start..end
    }

    /// The range of a word inside a tag, else the whole tag.
    fn find(&self, word: &str, range: &Range<usize>) -> Range<usize> {
        let tag = &self.text.text[range.clone()];
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

    fn fault(&mut self, code: Code, range: Range<usize>, message: String, help: Option<String>) {
        let span = self.text.span(range, self.compiler.sources);
        let mut diagnostic = Diagnostic::new(code, span, message).maybe_help(help);
        if let Some(used_at) = self.used_at {
            diagnostic = diagnostic.related(used_at, "included from here");
        }
        self.diagnostics.push(diagnostic);
    }

    fn syntax_fault(&mut self, error: &handlebars::TemplateError) {
        let (range, message, help) = in_our_words(self.text.text, error);
        self.fault(Code::TemplateSyntax, range, message, Some(help));
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

/// Drops empty texts. Neighbouring texts stay apart: a pair that a platform would expand must not arise from two
/// pieces that a comment parts in the source.
fn without_empty(ops: Vec<Op>) -> Vec<Op> {
    ops.into_iter().filter(|op| !matches!(op, Op::Text(text) if text.is_empty())).collect()
}
