//! Expressions: names, literals and helper calls.

use std::ops::Range;

use handlebars::Path;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use serde_json::Value;

use super::{CompileTask, parameter_name};
use crate::diagnostic::{Code, suggest};
use crate::lang::template::helper::{Helper, TABLE_ZONE};
use crate::lang::template::helpers::{self, HELPERS};
use crate::lang::template::names::Resolved;
use crate::lang::template::{Evaluated, Expr};

impl CompileTask<'_, '_, '_> {
    pub(super) fn expression(&mut self, expression: &HelperTemplate, range: &Range<usize>) -> Option<Expr> {
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
            self.report(
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
            self.report(
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
        if let (true, Some(Some(list))) = (helper.takes_apart, compiled.first()) {
            self.compiler.used.names.add_parts(list, self.names.before);
        }
        let mut by_name = Vec::new();
        let mut sorted: Vec<_> = hash.iter().collect();
        sorted.sort_by_key(|(name, _)| name.as_str());
        for (name, param) in sorted {
            match helper.named.iter().find(|known| *known == name) {
                Some(known) => by_name.push(self.parameter(param, range).map(|value| (*known, value))),
                None => {
                    let place = self.find(name, range);
                    self.report(
                        Code::HelperArguments,
                        place,
                        format!("`{}` has no `{name}=`", helper.name),
                        Some(usage.clone()),
                    );
                }
            }
        }
        let mut by_name: Vec<(&'static str, Expr)> = by_name.into_iter().collect::<Option<_>>()?;
        if helper.in_zone
            && let Some(zone) = &self.compiler.zone
        {
            by_name.push((TABLE_ZONE, zone.clone()));
        }
        let call =
            Expr::Helper { helper, params: compiled.into_iter().collect::<Option<_>>()?, named: by_name };
        self.try_constants(&call, range, usage);
        Some(call)
    }

    /// Runs a helper at load if its options are constants, to check a format, a time zone or a number of digits.
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
        // A zone is tried whatever the format is, and a format whatever the zone is.
        let rest = match rest {
            Some(rest) => rest,
            None if helper.in_zone => vec![Evaluated::Owned(Value::from("%Y"))],
            None => return,
        };
        let by_name: Vec<(&'static str, Evaluated<'_>)> =
            named.iter().filter_map(|(name, expr)| constant(expr).map(|value| (*name, value))).collect();
        let values: Vec<_> = std::iter::once(Evaluated::Owned(sample)).chain(rest).collect();
        if let Err(problem) = (helper.run)(&values, &by_name) {
            let place = self.find(helper.name, range);
            self.report(Code::HelperArguments, place, format!("`{}` {problem}", helper.name), Some(usage));
        }
    }

    pub(super) fn parameter(&mut self, parameter: &Parameter, range: &Range<usize>) -> Option<Expr> {
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

    pub(super) fn name(&mut self, raw: &str, range: &Range<usize>) -> Option<Expr> {
        match self.names.resolve(raw, &self.blocks) {
            Ok(Resolved::Constant(value)) => Some(Expr::Literal(value)),
            Ok(Resolved::Path(mut path)) => {
                self.compiler.used.names.add(&path, self.names.before);
                Some(match path.take_length() {
                    true => Expr::Helper {
                        helper: &helpers::LENGTH,
                        params: vec![Expr::Path(path)],
                        named: Vec::new(),
                    },
                    false => Expr::Path(path),
                })
            }
            Err(bad) => {
                let place = self.find(raw, range);
                let mut help = bad.help;
                if helpers::find(raw).is_some() {
                    help = helpers::find(raw)
                        .map(|helper| format!("`{raw}` is a helper: write `{{{{{}}}}}`", helper.usage));
                }
                self.report(bad.code, place, bad.message, help);
                None
            }
        }
    }
}
