//! `[forms]`: what a platform asks the user in a form of its own. Nobody is called for it, but the platform must be
//! told of it, and a model that calls it all the same gets an answer.

use serde_json::json;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, list};
use crate::fingerprint::Fingerprint;
use crate::lang::template::{Origin, TemplateText};
use crate::plan::Served;
use crate::plan::arguments::Arguments;
use crate::plan::replies::{Case, Replies};
use crate::plan::route::Route;
use crate::plan::when::When;
use crate::platform::{self, PLATFORMS, Platform};
use crate::table::document::Located;
use crate::table::raw::{RawForm, RawRoute};
use crate::table::reader::{WithJson, missing_key};

use super::routes::{check_name, parameter_type};
use super::{Inputs, TableCompiler};

/// What a model hears that calls a form as if it were a function.
const SHOWN: &str = "This form is shown to the user in the browser. Wait until the user has filled it in; \
                     do not call it again and do not ask for its content.";

impl TableCompiler<'_> {
    /// The forms as routes that answer by themselves, without those that have faults.
    pub(super) fn forms(&self, served: &[Served], diagnostics: &mut Diagnostics) -> Vec<Route> {
        let showing: Vec<&'static dyn Platform> =
            served.iter().map(|served| served.platform).filter(|platform| platform.shows_forms()).collect();
        let somebody_shows = self
            .table
            .platforms
            .iter()
            .any(|(name, _)| platform::find(&name.value).is_some_and(Platform::shows_forms));
        let mut forms = Vec::new();
        for (name, raw) in &self.table.forms {
            if !somebody_shows && !self.table.hides("[platforms", self.sources) {
                diagnostics.push(nobody_shows(name));
            }
            if let Some((route, _)) = self.table.routes.iter().find(|(route, _)| route.value == name.value) {
                diagnostics.push(
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
            check_name(name, &showing, "rename the form", diagnostics);
            forms.extend(raw.get().and_then(|raw| self.form(name, &raw.value, &showing, diagnostics)));
        }
        forms
    }

    fn form(
        &self,
        name: &Located<String>,
        said: &WithJson<RawForm>,
        showing: &[&'static dyn Platform],
        diagnostics: &mut Diagnostics,
    ) -> Option<Route> {
        let raw = &said.entry;
        let fields = raw.args.get().map(|args| args.value.0.as_slice()).unwrap_or_default();
        let needs_one = "add `args.email = { type = \"string\", description = \"…\" }` with your own name";
        match fields {
            [_] => {}
            [] if raw.args.is_absent() || raw.args.get().is_some() => diagnostics.push(missing_key(
                name.span,
                format!("the form `{}` has no field", name.value),
                needs_one,
            )),
            [] => {}
            [(first, _), (second, _), ..] => diagnostics.push(
                Diagnostic::new(Code::ConflictingKeys, second.span, "a form can have only one field")
                    .label("the second one")
                    .related(first.span, "the first one")
                    .help("split it into two forms"),
            ),
        }
        let route = RawRoute { args: raw.args.clone(), ..RawRoute::default() };
        let (asked, _) = self.arguments(name, &route, diagnostics);
        let asked = asked?.schema().clone();
        for platform in showing {
            for (argument, rule) in platform.check_parameters(&asked) {
                let field = fields.iter().find(|(key, _)| key.value == argument);
                let span = field.map_or(name.span, |(key, _)| key.span);
                diagnostics.push(parameter_type(*platform, &argument, rule, span).help("change its type"));
            }
        }
        let inputs = Inputs::none();
        let text = TemplateText { text: SHOWN, origin: Origin::String(name.span) };
        let text = self.templates.compile(text, &self.names(&inputs, &[], 0), diagnostics)?;
        let always = Case {
            when: When::default(),
            text: Some(text),
            data: None,
            max_chars: None,
            extensions: Vec::new(),
        };
        let nothing = Arguments::compile(json!({"type": "object", "properties": {}}), Vec::new()).ok()?;
        let fingerprint = Fingerprint::new().text(&said.json).finish();
        Some(Route {
            description: raw.description.get().map(|description| description.value.clone()),
            platforms: Some(showing.iter().map(|platform| platform.name()).collect()),
            replies: Replies { cases: vec![always] },
            form: Some(asked),
            ..Route::new(name.value.clone(), nothing, fingerprint)
        })
    }
}

/// A form that no served platform could show.
fn nobody_shows(name: &Located<String>) -> Diagnostic {
    let able: Vec<_> =
        PLATFORMS.iter().filter(|platform| platform.shows_forms()).map(|platform| platform.name()).collect();
    Diagnostic::new(
        Code::UnknownPlatform,
        name.span,
        format!("no served platform can show the form `{}`", name.value),
    )
    .help(format!("serve a platform that shows forms ({}), or remove the form", list(&able)))
}
