//! The context of a compilation: its inputs, its shared state, and the collected diagnostics.

use std::collections::BTreeSet;

use crate::diagnostic::{
    Code, Diagnostic, Diagnostics, FileId, PlacesInString, Severity, Sources, Span, place_in_string, suggest,
};
use crate::lang::template::{
    Compiler, MAKE_READABLE, Names, Template, TemplateOrigin, TemplateText, TemplateUsage,
};
use crate::table::Table;
use crate::table::document::{Kind, Located, Node};
use crate::table::raw::Strings;
use crate::table::reader::Key;

use crate::compile::interned::Interned;
use crate::compile::secrets::{Environment, ResolvedText, Secrets};
use crate::compile::values;

/// How diagnostics refer to `traces.service`.
pub(super) const SERVICE: &str = "`service`";

/// The inputs and shared state of a compilation, and the collected diagnostics.
pub(super) struct Cx<'a> {
    pub(super) table: &'a Table,
    pub(super) sources: &'a Sources,
    pub(super) environment: &'a Environment<'a>,
    pub(super) secrets: Secrets<'a>,
    pub(super) diagnostics: &'a mut Diagnostics,
    /// The warnings that only `jackfield check` reports.
    pub(super) advice: Diagnostics,
    pub(super) interned: Interned,
    /// The files with routes that depend on other files or on each other.
    pub(super) dependent: BTreeSet<FileId>,
    /// The texts of `[server]` that say where the listeners are.
    pub(super) listeners: ListenerTexts,
    templates: Compiler<'a>,
}

/// A part of the plan, and the files and names that its templates use.
#[derive(Debug)]
pub(super) struct Compiled<T> {
    pub(super) value: T,
    pub(super) used: TemplateUsage,
}

/// `listen`, `admin` and `public_url`, as far as they are given and could be resolved.
#[derive(Debug, Default)]
pub(super) struct ListenerTexts {
    pub(super) listen: Option<Located<String>>,
    pub(super) admin: Option<Located<String>>,
    pub(super) public_url: Option<Located<String>>,
}

impl<'a> Cx<'a> {
    pub(super) fn new(
        table: &'a Table,
        sources: &'a Sources,
        environment: &'a Environment<'a>,
        diagnostics: &'a mut Diagnostics,
    ) -> Self {
        Self {
            table,
            sources,
            environment,
            secrets: Secrets::new(environment, &table.folder),
            diagnostics,
            advice: Diagnostics::default(),
            interned: Interned::default(),
            dependent: BTreeSet::new(),
            listeners: ListenerTexts::default(),
            templates: Compiler::new(sources, &table.templates).with_unreadable(&table.unreadable_templates),
        }
    }

    /// Reports a problem with the table.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Adds a warning that only `jackfield check` reports.
    pub(super) fn advise(&mut self, diagnostic: Diagnostic) {
        self.advice.push(diagnostic);
    }

    /// Builds a part of the plan. Also returns the files and names that its templates use.
    pub(super) fn track<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> Compiled<T> {
        let outside = std::mem::take(&mut self.templates.used);
        let value = build(self);
        Compiled { value, used: std::mem::replace(&mut self.templates.used, outside) }
    }

    /// Builds a part that is used only after a failure. What it uses of a body is not needed of a successful response.
    pub(super) fn after_failure<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.templates.used.names.bodies().len();
        let built = build(self);
        self.templates.used.names.forget_bodies(before);
        built
    }

    /// Builds a part of the plan and drops the warnings that its `allow` lists.
    pub(super) fn allowing<T>(&mut self, allow: &Key<Strings>, build: impl FnOnce(&mut Self) -> T) -> T {
        let (found, advised) = (self.diagnostics.len(), self.advice.len());
        let built = build(self);
        let codes = allowed_codes(allow);
        self.diagnostics.silence(found, &codes);
        self.advice.silence(advised, &codes);
        self.check_allow(allow);
        built
    }

    /// Reports each entry of an `allow` that is not a warning.
    pub(super) fn check_allow(&mut self, allow: &Key<Strings>) {
        for slug in allow.get().into_iter().flat_map(|slugs| &slugs.value) {
            if self.diagnostics.is_full() {
                break;
            }
            let message = match Code::from_slug(&slug.value) {
                Some(code) if code.severity() != Severity::Error => continue,
                Some(_) => format!("`{}` is an error and cannot be allowed", slug.value),
                None => format!("unknown warning `{}`", slug.value),
            };
            self.report(
                Diagnostic::new(Code::UnknownValue, slug.span, message)
                    .help("use the code that a warning shows in brackets: `allow = [\"route-untested\"]`")
                    .maybe_help(suggest(&slug.value, Code::allowable())),
            );
        }
    }

    /// Compiles a string of the table as a template.
    pub(super) fn template(&mut self, text: &Located<String>, names: &Names<'_>) -> Option<Template> {
        self.template_text(
            TemplateText { text: &text.value, origin: TemplateOrigin::String(text.span) },
            names,
        )
    }

    /// Compiles a template, which may come from a string of the table or from elsewhere.
    pub(super) fn template_text(&mut self, text: TemplateText<'_>, names: &Names<'_>) -> Option<Template> {
        let template = self.templates.compile(text, names, self.diagnostics);
        self.advice.append(std::mem::take(&mut self.templates.advice));
        template
    }

    /// Gives the templates that are compiled from now on the zone of the table.
    pub(super) fn set_zone(&mut self, zone: &Template) {
        self.templates.set_zone(zone);
    }

    /// Compiles a template without reporting its errors, because the caller has a more specific message.
    pub(super) fn try_template(
        &mut self,
        text: TemplateText<'_>,
        names: &Names<'_>,
    ) -> (Option<Template>, Diagnostics) {
        let mut diagnostics = Diagnostics::default();
        let template = self.templates.compile(text, names, &mut diagnostics);
        self.advice.append(std::mem::take(&mut self.templates.advice));
        (template, diagnostics)
    }

    /// Compiles a template file that a key names.
    pub(super) fn template_file(&mut self, name: &Located<String>, names: &Names<'_>) -> Option<Template> {
        if let Some(text) = self.templates.file(&name.value) {
            return self.template_text(text, names);
        }
        let (message, help) = match self.templates.why_unreadable(&name.value) {
            Some(why) => (why, MAKE_READABLE.to_owned()),
            None => {
                (format!("unknown template file `{}`", name.value), self.table.template_help(&name.value))
            }
        };
        self.report(Diagnostic::new(Code::UnknownTemplateFile, name.span, message).help(help));
        None
    }

    /// The text of a string with its secrets resolved.
    pub(super) fn resolve(&mut self, text: &str, span: Span) -> Option<ResolvedText> {
        self.secrets.resolve(text, span, self.sources, self.diagnostics)
    }

    /// Warns about a credential that is written into the table.
    pub(super) fn advise_on_literal(&mut self, resolved: &ResolvedText, span: Span) {
        if !resolved.secret && !resolved.placeholder && !resolved.text.is_empty() {
            self.advise(
                Diagnostic::new(Code::SecretInTable, span, "this credential is written into the table")
                    .label("everyone who can read the table has it")
                    .help("write `\"${NAME}\"` or `\"${file:/run/secrets/name}\"`, and set it outside of the table"),
            );
        }
    }

    /// The text of a setting with its references to the environment resolved; `None` after an error, and if a variable is
    /// not set while secrets may be missing.
    pub(super) fn resolve_setting(&mut self, text: &Located<String>) -> Option<Located<String>> {
        let resolved = self.secrets.resolve_setting(text, self.sources, self.diagnostics)?;
        (!resolved.placeholder).then_some(Located { value: resolved.text, span: text.span })
    }

    /// The content of the PEM file that a key names; `None` after errors. If secrets may be missing and the file does
    /// not exist, returns `None` without an error and sets `placeholder`.
    pub(super) fn file(&mut self, name: &Located<String>, placeholder: &mut bool) -> Option<String> {
        if !values::no_template(&name.value, name.span, "the name of a file", self.diagnostics) {
            return None;
        }
        self.secrets.file(name, placeholder, self.sources, self.diagnostics)
    }

    /// Reports each secret in a value where secrets are not resolved.
    pub(super) fn no_secret(&mut self, node: &Node, place: &str) {
        each_string(node, &mut |text, span| self.no_secret_in(text, span, place));
    }

    /// Reports each secret in a text where secrets are not resolved.
    pub(super) fn no_secret_in(&mut self, text: &str, token: Span, place: &str) {
        let mut places = PlacesInString::new(self.sources.text(token), token);
        for (at, _) in text.match_indices("${") {
            if self.diagnostics.is_full() {
                break;
            }
            let end = text[at..].find('}').map_or(text.len(), |end| at + end + 1);
            let span = places.place(at..end);
            self.report(
                Diagnostic::new(Code::SecretPlace, span, format!("secrets are not resolved in {place}"))
                    .label("would be used literally")
                    .help(if place == SERVICE {
                        "write the value itself; secrets belong in `auth`, and in the `base_url` and `headers` of an upstream"
                    } else if place == "[server]" {
                        "write the value itself; in [server] `${NAME}` works in `listen`, `admin`, `public_url` and `admin_auth`"
                    } else {
                        "put the secret in the upstream's `auth` or `headers`; put constants in [vars] and write `{{vars.name}}`"
                    }),
            );
        }
    }

    /// Reports an expression in a text of another language, such as a JSONPath, that is fixed at load. Returns whether
    /// there is none.
    pub(super) fn no_expression(&mut self, text: &Located<String>, what: &str, help: &str) -> bool {
        let Some(range) = values::expression_in(&text.value) else { return true };
        let span = place_in_string(self.sources.text(text.span), text.span, range);
        let message = format!("{what} cannot contain a template");
        self.report(Diagnostic::new(Code::TemplatePlace, span, message).help(help));
        false
    }

    /// Reports a template in a description, which the model would read as it is written.
    pub(super) fn no_template_in_description(&mut self, description: &Key<String>) {
        if let Some(text) = description.get() {
            self.no_expression(
                text,
                "a description",
                "write plain text: it is declared once, before any call",
            );
        }
    }

    /// Reports each template in a value that must be constant.
    pub(super) fn no_templates(&mut self, node: &Node, what: &str) {
        each_string(node, &mut |text, span| {
            values::no_template(text, span, what, self.diagnostics);
        });
    }
}

fn each_string(node: &Node, visit: &mut dyn FnMut(&str, Span)) {
    match &node.value {
        Kind::String(text) => visit(text, node.span),
        Kind::List(items) => items.iter().for_each(|item| each_string(item, visit)),
        Kind::Table(entries) => entries.iter().for_each(|(_, node)| each_string(node, visit)),
        _ => {}
    }
}

/// The codes of the warnings that `allow` lists.
pub(crate) fn allowed_codes(allow: &Key<Strings>) -> Vec<Code> {
    let slugs = allow.get().into_iter().flat_map(|slugs| &slugs.value);
    let codes = slugs.filter_map(|slug| Code::from_slug(&slug.value));
    codes.filter(|code| code.severity() != Severity::Error).collect()
}
