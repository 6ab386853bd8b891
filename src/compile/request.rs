//! `[routes.x.request]`: what is sent.

use std::sync::Arc;

use http::{HeaderValue, Method};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, place_in_string, suggest};
use crate::lang::template::json::JsonTemplate;
use crate::lang::template::{Names, Template};
use crate::plan::request::{BodyTemplate, Parameter, RequestTemplate, Upstream};
use crate::table::document::{Entries, Kind, Located, Node};
use crate::table::raw::RawRequest;
use crate::table::reader::{Key, Named, missing_key, wrong_type};

use super::TableCompiler;
use super::upstreams::{CompiledUpstream, HeaderOwner};

pub(super) const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

impl TableCompiler<'_> {
    /// A request; `None` after faults.
    pub(super) fn request(
        &self,
        raw: &Located<RawRequest>,
        known: Option<&CompiledUpstream<'_>>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<RequestTemplate> {
        let before = diagnostics.len();
        let RawRequest { method, path, query, headers, body, form, body_file, content_type } = &raw.value;
        let has_body = !(body.is_absent() && form.is_absent() && body_file.is_absent());
        let method = match method.get() {
            Some(text) => self.method(text, diagnostics),
            None if has_body && method.is_absent() => {
                diagnostics.push(missing_key(
                    raw.span,
                    "a request with a body needs a `method`",
                    "add `method = \"POST\"`",
                ));
                None
            }
            None => Some(Method::GET),
        };
        let path = match path.get() {
            Some(text) => self.path(text, names, diagnostics),
            None => Some(Template::default()),
        };
        let query = self.parameters(query, names, diagnostics);
        let own_headers = self.header_templates(headers, names, HeaderOwner::Request, diagnostics);
        let body = self.body(body, form, body_file, content_type, names, diagnostics);
        if diagnostics.len() > before {
            return None;
        }
        let known = known?;
        let upstream: Arc<Upstream> = Arc::clone(known.upstream.as_ref()?);
        Some(RequestTemplate {
            upstream,
            step: Arc::default(),
            method: method?,
            path: path?,
            query,
            headers: Arc::clone(&known.headers),
            own_headers,
            body: body?,
        })
    }

    fn method(&self, text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<Method> {
        if METHODS.contains(&text.value.as_str()) {
            return Method::from_bytes(text.value.as_bytes()).ok();
        }
        diagnostics.push(
            Diagnostic::new(
                Code::InvalidMethod,
                text.span,
                format!("unknown request method `{}`", text.value),
            )
            .maybe_help(suggest(&text.value, METHODS)),
        );
        None
    }

    fn path(
        &self,
        text: &Located<String>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Template> {
        self.no_secret_in(&text.value, text.span, "requests", diagnostics);
        for (range, message, help) in super::values::path_errors(&text.value) {
            let span = place_in_string(self.sources.text(text.span), text.span, range);
            diagnostics.push(Diagnostic::new(Code::InvalidPath, span, message).help(help));
        }
        self.template(text, names, diagnostics)
    }

    fn parameters(
        &self,
        raw: &Key<Named<Kind>>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<(String, Parameter)> {
        let mut out = Vec::new();
        for (name, value) in raw.get().map(|raw| raw.value.0.as_slice()).unwrap_or_default() {
            super::values::no_template(&name.value, name.span, "the name of a parameter", diagnostics);
            let Some(node) = value.get() else { continue };
            let parameter = match &node.value {
                Kind::List(items) => {
                    let templates: Vec<_> =
                        items.iter().map(|item| self.scalar(item, names, diagnostics)).collect();
                    templates.into_iter().collect::<Option<Vec<_>>>().map(Parameter::Many)
                }
                _ => self.scalar(node, names, diagnostics).map(Parameter::One),
            };
            out.extend(parameter.map(|parameter| (name.value.clone(), parameter)));
        }
        out
    }

    /// A text, number or boolean as a template.
    fn scalar(&self, node: &Node, names: &Names<'_>, diagnostics: &mut Diagnostics) -> Option<Template> {
        match &node.value {
            Kind::String(text) => {
                self.no_secret_in(text, node.span, "requests", diagnostics);
                self.template(&Located { value: text.clone(), span: node.span }, names, diagnostics)
            }
            Kind::Integer(_) | Kind::Float(_) | Kind::Boolean(_) => {
                Some(Template::literal(node.to_json().to_string()))
            }
            Kind::Datetime(text) => Some(Template::literal(text.as_str())),
            Kind::List(_) | Kind::Table(_) => wrong_type(node, "a string or a number", diagnostics),
        }
    }

    fn body(
        &self,
        body: &Key<Kind>,
        form: &Key<Named<Kind>>,
        body_file: &Key<String>,
        content_type: &Key<String>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<BodyTemplate> {
        let given: Vec<_> = [("body", body.span()), ("form", form.span()), ("body_file", body_file.span())]
            .into_iter()
            .filter_map(|(name, span)| span.map(|span| (name, span)))
            .collect();
        if let [(first, first_span), (second, span), ..] = given.as_slice() {
            diagnostics.push(
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
            diagnostics.push(
                Diagnostic::new(
                    Code::ConflictingKeys,
                    content_type.span,
                    "`content_type` needs a `body_file`",
                )
                .help("set another content type in `headers`: `body` is sent as JSON, `form` as a form"),
            );
        }
        if let Some(node) = body.get() {
            self.no_secret(node, "requests", diagnostics);
            return self.json_template(node, names, diagnostics).map(BodyTemplate::Json);
        }
        if form.get().is_some() {
            return Some(BodyTemplate::Form(self.parameters(form, names, diagnostics)));
        }
        match body_file.get() {
            Some(name) => self.body_file(name, content_type, names, diagnostics),
            None => Some(BodyTemplate::None),
        }
    }

    fn body_file(
        &self,
        name: &Located<String>,
        content_type: &Key<String>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<BodyTemplate> {
        let bare = name.value.trim_end_matches(".hbs");
        let (is_json, is_xml) = (bare.ends_with(".json"), bare.ends_with(".xml"));
        let given = content_type.get().and_then(|text| match HeaderValue::from_str(&text.value) {
            Ok(value) if text.value.contains('/') => Some(value),
            _ => {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownValue,
                        text.span,
                        format!("invalid content type `{}`", text.value),
                    )
                    .help("write it like \"text/plain; charset=utf-8\""),
                );
                None
            }
        });
        let content_type = match given {
            Some(value) => Some(value),
            None if is_json => Some(HeaderValue::from_static("application/json")),
            None if is_xml => Some(HeaderValue::from_static("application/xml")),
            None if content_type.is_absent() => {
                diagnostics.push(missing_key(
                    name.span,
                    "this `body_file` needs a `content_type`",
                    "add `content_type = \"text/plain\"`; only `.json.hbs` and `.xml.hbs` files imply a type",
                ));
                None
            }
            None => None,
        };
        let template = self.template_file(name, names, diagnostics)?;
        let content_type = content_type?;
        if is_xml {
            return self
                .check_xml_file(name, &template, diagnostics)
                .then_some(BodyTemplate::XmlFile { template, content_type });
        }
        if !is_json {
            return Some(BodyTemplate::TextFile { template, content_type });
        }
        self.check_json_file(name, &template, diagnostics)
            .then_some(BodyTemplate::JsonFile { template, content_type })
    }

    /// Whether a file that is to make XML can do so; a fault otherwise.
    fn check_xml_file(
        &self,
        name: &Located<String>,
        template: &Template,
        diagnostics: &mut Diagnostics,
    ) -> bool {
        let Some(Err(error)) = template.makes_xml() else { return true };
        diagnostics.push(
            Diagnostic::new(Code::TemplateXml, name.span, error.to_string())
                .label(format!("`{}` cannot render to XML", name.value))
                .help("use expressions only in text and in quoted attributes, such as `id=\"{{args.id}}\"`; each was tried with a short text"),
        );
        false
    }

    /// Whether a file that is to make JSON can do so; a fault otherwise.
    pub(super) fn check_json_file(
        &self,
        name: &Located<String>,
        template: &Template,
        diagnostics: &mut Diagnostics,
    ) -> bool {
        let Some(Err(error)) = template.makes_json() else { return true };
        diagnostics.push(
            Diagnostic::new(Code::TemplateJson, name.span, error.to_string())
                .label(format!("`{}` cannot render to JSON", name.value))
                .help("check the quotes: inside them an expression becomes text, outside a JSON value"),
        );
        false
    }

    /// A tree of JSON whose strings are templates; `None` after faults.
    pub(super) fn json_template(
        &self,
        node: &Node,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<JsonTemplate> {
        match &node.value {
            Kind::String(text) if text.contains("{{") => {
                let text = Located { value: text.clone(), span: node.span };
                let template = self.template(&text, names, diagnostics)?;
                Some(if template.is_sole() {
                    JsonTemplate::Sole(template)
                } else {
                    JsonTemplate::Text(template)
                })
            }
            Kind::List(items) => {
                let items: Vec<_> =
                    items.iter().map(|item| self.json_template(item, names, diagnostics)).collect();
                let items: Vec<_> = items.into_iter().collect::<Option<_>>()?;
                let literal = items.iter().all(|item| matches!(item, JsonTemplate::Literal(_)));
                Some(if literal { JsonTemplate::Literal(node.to_json()) } else { JsonTemplate::List(items) })
            }
            Kind::Table(entries) => self.json_object(entries, node, names, diagnostics),
            _ => Some(JsonTemplate::Literal(node.to_json())),
        }
    }

    fn json_object(
        &self,
        entries: &Entries,
        node: &Node,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<JsonTemplate> {
        let mut out = Vec::new();
        let mut good = true;
        for (key, value) in entries {
            good &= super::values::no_template(&key.value, key.span, "a key", diagnostics);
            match self.json_template(value, names, diagnostics) {
                Some(template) => out.push((key.value.clone(), template)),
                None => good = false,
            }
        }
        if !good {
            return None;
        }
        let literal = out.iter().all(|(_, template)| matches!(template, JsonTemplate::Literal(_)));
        Some(if literal { JsonTemplate::Literal(node.to_json()) } else { JsonTemplate::Object(out) })
    }
}
