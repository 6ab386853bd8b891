//! Blocks and partials.

use std::ops::Range;

use handlebars::template::{BlockParam, DecoratorTemplate, HelperTemplate, Parameter};
use serde_json::Value;

use super::files::{MAKE_READABLE, stem, without_final_newline};
use super::{
    CompileTask, INCLUSION, Included, MAX_INCLUDED, MAX_INCLUDED_BY_ALL, TemplateText, parameter_name,
    without_empty,
};
use crate::diagnostic::{Code, suggest};
use crate::lang::template::names::Block;
use crate::lang::template::parsed_text::{ParsedText, is_alone, section_help};
use crate::lang::template::syntax::MAX_DEPTH;
use crate::lang::template::{Expr, Op};

impl<'c> CompileTask<'_, 'c, '_> {
    pub(super) fn block(&mut self, block: &HelperTemplate, range: &Range<usize>) -> Option<Op> {
        let name = parameter_name(&block.name);
        let kind = match name.as_str() {
            "if" | "unless" | "each" | "with" => name.as_str(),
            _ => {
                let place = self.find(&name, range);
                let is_name = block.params.is_empty() && self.names.resolve(&name, &self.blocks).is_ok();
                let help = if is_name {
                    Some(section_help(&name))
                } else {
                    suggest(&name, ["if", "unless", "each", "with"])
                };
                self.report(Code::UnknownHelper, place, format!("there is no block `{name}`"), help);
                return None;
            }
        };
        let param = self.only_param(kind, block, range)?;
        let subject = self.parameter(param, range);
        let include_zero = self.include_zero(kind, block, range);
        let params: Vec<String> = match &block.block_param {
            None => Vec::new(),
            Some(BlockParam::Single(one)) => vec![parameter_name(one)],
            Some(BlockParam::Pair((one, two))) => vec![parameter_name(one), parameter_name(two)],
            Some(_) => Vec::new(),
        };
        let has_this = matches!(kind, "each" | "with");
        if let (true, Some(subject)) = (has_this, &subject) {
            self.compiler.used.names.add_parts(subject, self.names.before);
        }
        if has_this {
            self.blocks.push(Block { params: params.clone(), has_this });
        }
        let around = range.start..self.parsed.text.len();
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

    /// The single parameter of a block.
    fn only_param<'b>(
        &mut self,
        kind: &str,
        block: &'b HelperTemplate,
        range: &Range<usize>,
    ) -> Option<&'b Parameter> {
        if let [param] = block.params.as_slice() {
            return Some(param);
        }
        let place = self.find(kind, range);
        self.report(
            Code::HelperArguments,
            place,
            format!("`{{{{#{kind}}}}}` takes one value and is given {}", block.params.len()),
            Some(match kind {
                "if" | "unless" => format!("for a comparison write `{{{{#{kind} (eq a b)}}}}`"),
                _ => format!("write `{{{{#{kind} list}}}} … {{{{/{kind}}}}}`"),
            }),
        );
        None
    }

    /// Whether a condition treats 0 as true.
    fn include_zero(&mut self, kind: &str, block: &HelperTemplate, range: &Range<usize>) -> bool {
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
                    self.report(
                        Code::HelperArguments,
                        place,
                        format!("`{{{{#{kind}}}}}` has no `{key}=`"),
                        None,
                    );
                }
            }
        }
        include_zero
    }

    pub(super) fn partial(&mut self, partial: &DecoratorTemplate, range: &Range<usize>) -> Vec<Op> {
        self.compile_partial(partial, range).unwrap_or_default()
    }

    /// Compiles a partial where it is included; `None` if there are errors, which are then in `diagnostics`.
    fn compile_partial(&mut self, partial: &DecoratorTemplate, range: &Range<usize>) -> Option<Vec<Op>> {
        let name = parameter_name(&partial.name);
        let mut text = self.partial_text(&name, range)?;
        let alone = is_alone(&self.parsed.text, range);
        // The line break after a partial on a line of its own is the one at the end of its file.
        if !alone || self.parsed.text[range.end..].trim_matches([' ', '\t']).is_empty() {
            text.text = without_final_newline(text.text);
        }
        if partial.params.len() > 1 {
            let place = self.find(&name, range);
            self.report(
                Code::HelperArguments,
                place,
                "a partial takes one context, and values by name".to_owned(),
                Some(format!("write `{{{{> {name} item title=\"…\"}}}}`")),
            );
            return None;
        }
        let context = match partial.params.first() {
            None => None,
            Some(param) => {
                let context = self.parameter(param, range)?;
                self.compiler.used.names.add_parts(&context, self.names.before);
                Some(context)
            }
        };
        let mut hash: Vec<_> = partial.hash.iter().collect();
        hash.sort_by_key(|(name, _)| name.as_str());
        // All of them are compiled before the first error ends this, so that each error is reported.
        let bindings: Vec<Option<(String, Expr)>> = hash
            .into_iter()
            .map(|(name, param)| Some((name.clone(), self.parameter(param, range)?)))
            .collect();
        let bindings: Vec<(String, Expr)> = bindings.into_iter().collect::<Option<_>>()?;
        let mut blocks = self.blocks.clone();
        if context.is_some() {
            blocks.push(Block { params: Vec::new(), has_this: true });
        }
        for (name, _) in &bindings {
            blocks.push(Block { params: vec![name.clone()], has_this: false });
        }
        let written = self.parsed.written(range.clone());
        let used_at = self.used_at.unwrap_or_else(|| self.text.span(written, self.compiler.sources));
        let mut including = self.including.clone();
        including.push(name);
        let mut inner = CompileTask {
            compiler: self.compiler,
            text,
            parsed: ParsedText::unchanged(text.text),
            names: self.names,
            blocks,
            including,
            used_at: Some(used_at),
            diagnostics: self.diagnostics,
        };
        let mut body = without_empty(inner.source().unwrap_or_default());
        if let Some(indent) = partial.indent.as_ref().filter(|indent| alone && !indent.is_empty()) {
            body = vec![Op::Indented { indent: indent.clone(), body }];
        }
        if context.is_none() && bindings.is_empty() {
            return Some(body);
        }
        Some(vec![Op::Partial { context, bindings, body }])
    }

    /// The text of a partial, if it may be included here.
    fn partial_text(&mut self, name: &str, range: &Range<usize>) -> Option<TemplateText<'c>> {
        let Some(text) = self.compiler.partial(name) else {
            let place = self.find(name, range);
            if let Some(why) = self.compiler.why_unreadable(name) {
                self.report(Code::UnknownPartial, place, why, Some(MAKE_READABLE.to_owned()));
                return None;
            }
            let known: Vec<&str> = self.compiler.files.keys().map(|file| stem(file)).collect();
            let help = if known.is_empty() {
                Some("partials are files in the folder `templates` beside the main file".to_owned())
            } else {
                suggest(name, known.iter().copied())
            };
            self.report(Code::UnknownPartial, place, format!("there is no partial `{name}`"), help);
            return None;
        };
        if self.including.iter().any(|known| known == name) || self.including.len() >= MAX_DEPTH {
            let place = self.find(name, range);
            self.report(Code::UnknownPartial, place, format!("the partial `{name}` includes itself"), None);
            return None;
        }
        self.may_include(text.text.len(), name, range).then_some(text)
    }

    /// Counts an included partial. The first one that exceeds a limit is an error, and no partial is included after it.
    fn may_include(&mut self, bytes: usize, name: &str, range: &Range<usize>) -> bool {
        let Included { by_one, by_all } = &mut self.compiler.included;
        if *by_one > MAX_INCLUDED {
            return false;
        }
        *by_one += bytes + INCLUSION;
        *by_all += bytes + INCLUSION;
        let message = if *by_one > MAX_INCLUDED {
            format!(
                "a template may include {MAX_INCLUDED} bytes of partials, each counted as often as it is included"
            )
        } else if *by_all > MAX_INCLUDED_BY_ALL {
            format!("the templates of a table may include {MAX_INCLUDED_BY_ALL} bytes of partials in total")
        } else {
            return true;
        };
        *by_one = usize::MAX;
        let place = self.find(name, range);
        self.report(
            Code::TemplateTooLarge,
            place,
            message,
            Some("include it in fewer places, or write it out as one".to_owned()),
        );
        false
    }
}
