//! Checks the names and arguments of functions against the rules of the platforms.

use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::platform::Platform;
use crate::table::document::Located;
use crate::table::raw::RawRoute;

/// Checks the name of a function, for each platform that may call it.
pub(in crate::compile) fn check_name(
    name: &Located<String>,
    callers: &[&'static dyn Platform],
    help: &str,
    diagnostics: &mut Diagnostics,
) {
    if name.value.is_empty() || name.value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
    {
        diagnostics.push(
            Diagnostic::new(Code::InvalidName, name.span, format!("invalid function name `{}`", name.value))
                .help("use letters, digits and `_`, starting with a letter"),
        );
        return;
    }
    for platform in callers {
        if let Err(rule) = platform.check_function_name(&name.value) {
            diagnostics.push(
                Diagnostic::new(
                    Code::InvalidName,
                    name.span,
                    format!("{} does not accept the function name `{}`", platform.name(), name.value),
                )
                .label(rule)
                .help(help),
            );
        }
    }
}

/// Checks the declared arguments, for each platform that may call the function.
pub(in crate::compile) fn check_parameters(
    name: &Located<String>,
    raw: &RawRoute,
    schema: &Value,
    callers: &[&'static dyn Platform],
    diagnostics: &mut Diagnostics,
) {
    for platform in callers {
        for (argument, rule) in platform.check_parameters(schema) {
            let declared = raw.args.get().and_then(|args| {
                let (key, arg) = args.value.0.iter().find(|(key, _)| key.value == argument)?;
                Some(arg.get().and_then(|arg| arg.value.type_name.span()).unwrap_or(key.span))
            });
            let span = declared.or(raw.args_schema.span()).unwrap_or(name.span);
            diagnostics
                .push(parameter_type(*platform, &argument, rule, span).help(
                    "change the type, or restrict who may call the function: `platforms = [\"http\"]`",
                ));
        }
    }
}

/// An argument that a platform does not support.
pub(in crate::compile) fn parameter_type(
    platform: &dyn Platform,
    argument: &str,
    rule: String,
    span: Span,
) -> Diagnostic {
    Diagnostic::new(
        Code::ParameterType,
        span,
        format!("{} does not support the argument `{argument}`", platform.name()),
    )
    .label(rule)
}
