//! The body of a request: JSON, a form, or a template file.

use http::HeaderValue;

use crate::diagnostic::{Code, Diagnostic};
use crate::lang::template::{Names, Template};
use crate::plan::request::BodyTemplate;
use crate::table::document::Located;
use crate::table::raw::RawRequest;
use crate::table::reader::{Key, missing_key};

use crate::compile::cx::Cx;
use crate::compile::replies::json;
use crate::compile::steps::parameters;
use crate::compile::values;

/// The body of a request; `None` after errors.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &RawRequest,
    names: &Names<'_>,
) -> Option<BodyTemplate> {
    let RawRequest { body, form, body_file, content_type, .. } = raw;
    let given = [("body", body.span()), ("form", form.span()), ("body_file", body_file.span())];
    let given: Vec<_> = given.into_iter().filter_map(|(name, span)| Some((name, span?))).collect();
    if let [(first, first_span), (second, span), ..] = given.as_slice() {
        cx.report(
            Diagnostic::new(
                Code::ConflictingKeys,
                *span,
                format!("`{first}` and `{second}` exclude each other"),
            )
            .related(*first_span, "the other key")
            .help("remove one of them"),
        );
        return None;
    }
    if let Some(content_type) = content_type.get()
        && body_file.is_absent()
    {
        cx.report(
            Diagnostic::new(Code::ConflictingKeys, content_type.span, "`content_type` needs a `body_file`")
                .help("set another content type in `headers`: `body` is sent as JSON, `form` as a form"),
        );
    }
    if let Some(node) = body.get() {
        cx.no_secret(node, "requests");
        return json::compile(cx, node, names).map(BodyTemplate::Json);
    }
    if form.get().is_some() {
        return Some(BodyTemplate::Form(parameters::compile(cx, form, names)));
    }
    match body_file.get() {
        Some(name) => compile_file(cx, name, content_type, names),
        None => Some(BodyTemplate::None),
    }
}

fn compile_file(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    content_type: &Key<String>,
    names: &Names<'_>,
) -> Option<BodyTemplate> {
    let content_type = content_type_of(cx, name, content_type);
    let template = cx.template_file(name, names)?;
    let content_type = content_type?;
    if is_xml(name) {
        return check_xml_file(cx, name, &template)
            .then_some(BodyTemplate::XmlFile { template, content_type });
    }
    if !is_json(name) {
        return Some(BodyTemplate::TextFile { template, content_type });
    }
    json::check_file(cx, name, &template).then_some(BodyTemplate::JsonFile { template, content_type })
}

/// Whether a template file can render to XML.
fn check_xml_file(cx: &mut Cx<'_>, name: &Located<String>, template: &Template) -> bool {
    let Some(Err(error)) = template.makes_xml() else { return true };
    cx.report(
        Diagnostic::new(Code::TemplateXml, name.span, error.to_string())
            .label(format!("`{}` cannot render to XML", name.value))
            .help("use expressions only in text and in quoted attributes, such as `id=\"{{args.id}}\"`"),
    );
    false
}

/// The content type of a `body_file`: as given, or by its name.
fn content_type_of(cx: &mut Cx<'_>, name: &Located<String>, given: &Key<String>) -> Option<HeaderValue> {
    if let Some(text) = given.get() {
        if !values::no_template(&text.value, text.span, "`content_type`", cx.diagnostics) {
            return None;
        }
        let value = HeaderValue::from_str(&text.value).ok().filter(|_| text.value.contains('/'));
        if value.is_none() {
            cx.report(
                Diagnostic::new(
                    Code::UnknownValue,
                    text.span,
                    format!("invalid content type `{}`", text.value),
                )
                .help("write it like \"text/plain; charset=utf-8\""),
            );
        }
        return value;
    }
    if is_json(name) {
        return Some(HeaderValue::from_static("application/json"));
    }
    if is_xml(name) {
        return Some(HeaderValue::from_static("application/xml"));
    }
    if given.is_absent() {
        cx.report(missing_key(
            name.span,
            "this `body_file` needs a `content_type`",
            "add `content_type = \"text/plain\"`; only `.json.hbs` and `.xml.hbs` files imply a type",
        ));
    }
    None
}

fn is_json(file: &Located<String>) -> bool {
    file.value.trim_end_matches(".hbs").ends_with(".json")
}

fn is_xml(file: &Located<String>) -> bool {
    file.value.trim_end_matches(".hbs").ends_with(".xml")
}
