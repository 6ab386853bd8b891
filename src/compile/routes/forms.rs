//! `[forms]`: questions that a platform shows to the user in a form. A form calls no upstream, but it is declared to
//! the platform, and a model that calls it like a function gets a reply.

use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, list};
use crate::fingerprint::Fingerprint;
use crate::lang::template::Template;
use crate::plan::Served;
use crate::plan::replies::{Case, Replies};
use crate::plan::route::Route;
use crate::plan::when::When;
use crate::platform::{self, PLATFORMS, Platform};
use crate::table::document::Located;
use crate::table::raw::RawForm;
use crate::table::reader::{WithJson, missing_key};

use crate::compile::cx::Cx;
use crate::compile::routes::functions::{check_name, parameter_type};
use crate::compile::routes::{arguments, defaults};
use crate::compile::shared::SharedParts;

/// The reply to a model that calls a form like a function.
const SHOWN: &str = "This form is shown to the user in the browser. Wait until the user has filled it in; \
                     do not call it again and do not ask for its content.";

/// The forms as routes with a fixed reply, without those that have errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>, shared: &SharedParts<'_>) -> Vec<Route> {
    let platforms = shared.platforms.iter().map(|served: &Served| served.platform);
    let showing: Vec<&'static dyn Platform> = platforms.filter(|platform| platform.shows_forms()).collect();
    let shows = |name: &str| platform::find(name).is_some_and(Platform::shows_forms);
    let is_shown = cx.table.platforms.iter().any(|(name, _)| shows(&name.value));
    let mut forms = Vec::new();
    for (name, raw) in &cx.table.forms {
        if cx.diagnostics.is_full() {
            break;
        }
        if !is_shown && !cx.table.hides("[platforms", cx.sources) {
            cx.report(not_shown(name));
        }
        if let Some((route, _)) = cx.table.routes.iter().find(|(route, _)| route.value == name.value) {
            cx.report(
                Diagnostic::new(
                    Code::DuplicateName,
                    name.span,
                    format!("the form `{}` has the name of a route", name.value),
                )
                .label("also a function")
                .related(route.span, "the route")
                .help("rename one of them: the model tells them apart by name only"),
            );
        }
        check_name(name, &showing, "rename the form", cx.diagnostics);
        forms.extend(raw.get().and_then(|raw| compile_form(cx, name, &raw.value, &showing)));
    }
    forms
}

fn compile_form(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    with_json: &WithJson<RawForm>,
    showing: &[&'static dyn Platform],
) -> Option<Route> {
    let raw = &with_json.entry;
    cx.no_template_in_description(&raw.description);
    let field = field(cx, name, raw, showing)?;
    let always = Case {
        failure: None,
        when: When::default(),
        text: Some(Template::literal(SHOWN)),
        data: None,
        max_chars: None,
        extensions: Vec::new(),
    };
    let fingerprint = Fingerprint::new().text(&with_json.json).finish();
    Some(Route {
        description: raw.description.get().map(|description| description.value.clone()),
        platforms: Some(showing.iter().map(|platform| platform.name()).collect()),
        replies: Replies { cases: vec![always] },
        form: Some(field),
        ..Route::new(name.value.clone(), arguments::none(cx)?, fingerprint)
    })
}

/// The schema of the one field of a form.
fn field(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    raw: &RawForm,
    showing: &[&'static dyn Platform],
) -> Option<Value> {
    let fields = raw.args.entries();
    match fields {
        [] if !raw.args.is_faulty() => cx.report(missing_key(
            name.span,
            format!("the form `{}` has no field", name.value),
            "add `args.email = { type = \"string\", description = \"…\" }` with your own name",
        )),
        [] | [_] => {}
        [(first, _), (second, _), ..] => cx.report(
            Diagnostic::new(Code::ConflictingKeys, second.span, "a form can have only one field")
                .label("the second one")
                .related(first.span, "the first one")
                .help("split it into two forms"),
        ),
    }
    defaults::refuse(cx, &raw.args);
    let (arguments, _) = arguments::compile(cx, name, &raw.args);
    let schema = arguments?.schema().clone();
    for platform in showing {
        for (argument, rule) in platform.check_parameters(&schema) {
            let field = fields.iter().find(|(key, _)| key.value == argument);
            let span = field.map_or(name.span, |(key, _)| key.span);
            cx.report(parameter_type(*platform, &argument, rule, span).help("change its type"));
        }
    }
    Some(schema)
}

/// A form that no served platform could show.
fn not_shown(name: &Located<String>) -> Diagnostic {
    let able: Vec<_> =
        PLATFORMS.iter().filter(|platform| platform.shows_forms()).map(|platform| platform.name()).collect();
    Diagnostic::new(
        Code::UnknownPlatform,
        name.span,
        format!("no served platform can show the form `{}`", name.value),
    )
    .help(format!("serve a platform that shows forms ({}), or remove the form", list(&able)))
}
