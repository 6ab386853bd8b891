//! `args.x.allowed`: a list that the platform supplies.

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::lang::template::Names;
use crate::plan::Served;
use crate::plan::allowed::{Allowed, AllowedArgument};
use crate::table::document::{Kind, Located};
use crate::table::raw::{RawArgument, RawRoute};
use crate::table::reader::wrong_type;

use crate::compile::cx::Cx;

/// The allowed values of a route's arguments. `callers` are the served platforms that may call it.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &RawRoute,
    names: &Names<'_>,
    callers: &[&Served],
) -> Allowed {
    let mut allowed = Vec::new();
    let mut first = None;
    for (name, argument) in raw.args.entries() {
        let Some(argument) = argument.get() else { continue };
        let Some(list) = argument.value.allowed.get() else { continue };
        first = first.or(Some(list.span));
        allowed.extend(compile_argument(cx, name, &argument.value, list, names));
    }
    if let Some(span) = first {
        for served in callers.iter().filter(|served| !served.believed) {
            cx.report(not_trusted(served, span));
        }
    }
    Allowed(allowed)
}

fn compile_argument(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    argument: &RawArgument,
    list: &Located<Kind>,
    names: &Names<'_>,
) -> Option<AllowedArgument> {
    const HELP: &str = "write one expression that yields a list: `allowed = \"{{call.global.order_ids}}\"`";
    let text = match &list.value {
        Kind::String(text) => Located { value: text.clone(), span: list.span },
        Kind::List(_) => {
            cx.report(
                Diagnostic::new(
                    Code::WrongType,
                    list.span,
                    "`allowed` must refer to a list from the platform",
                )
                .help("use `enum = [ … ]` for fixed values"),
            );
            return None;
        }
        _ => return wrong_type(list, "a string", cx.diagnostics),
    };
    let template = cx.template(&text, names)?;
    if !template.is_sole() {
        cx.report(
            Diagnostic::new(Code::ArgumentConstraint, text.span, "`allowed` must be a single expression")
                .help(HELP),
        );
        return None;
    }
    if let Some(untrusted) = template.untrusted() {
        const FROM_PLATFORM: &str =
            "use a list that the platform supplies: `call.global`, `call.metadata` or `call.headers`";
        let (who, help) = match untrusted.trim_start_matches("@root.").split('.').next() {
            Some("args") => ("the model writes the arguments", FROM_PLATFORM),
            Some("call") => ("`call.raw` also contains values from the model", FROM_PLATFORM),
            Some("memory") => (
                "not every route that remembers it is `trusted`",
                "add `trusted = true` to the routes that remember it, if the model cannot choose the value there",
            ),
            _ => ("it comes from an API, after the arguments have been validated", FROM_PLATFORM),
        };
        cx.report(
            Diagnostic::new(
                Code::UntrustedAllowed,
                text.span,
                format!("`{untrusted}` is not trusted for `allowed`: {who}"),
            )
            .help(help),
        );
        return None;
    }
    let each = argument.type_name.get().is_some_and(|kind| kind.value == "array");
    Some(AllowedArgument { name: name.value.clone(), list: template, each })
}

fn not_trusted(served: &Served, span: Span) -> Diagnostic {
    let name = served.platform.name();
    let (why, help) = if served.platform.trusted_context() {
        (
            "it accepts calls from anyone",
            format!("add `auth` to `[platforms.{name}]`, or remove it from the route's `platforms`"),
        )
    } else {
        ("it mixes them with the model's values", format!("remove `{name}` from the route's `platforms`"))
    };
    Diagnostic::new(
        Code::AllowedNotBelieved,
        span,
        format!("allowed values from `{name}` are not trusted: {why}"),
    )
    .label("every value is rejected there")
    .help(help)
}
