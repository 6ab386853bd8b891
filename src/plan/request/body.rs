//! The body of a request, and its content type.

use bytes::Bytes;
use http::HeaderValue;
use url::form_urlencoded;

use super::{Parameter, RequestError, in_part, in_part_named};
use crate::guard::ExpansionFilter;
use crate::lang::template::json::JsonTemplate;
use crate::lang::template::{JsonSink, MAX_RENDERED_BYTES, RenderError, Scope, Template, XmlSink};

/// The template of a body.
#[derive(Debug)]
pub(crate) enum BodyTemplate {
    None,
    Json(JsonTemplate),
    Form(Vec<(String, Parameter)>),
    /// A template file for JSON.
    JsonFile {
        template: Template,
        content_type: HeaderValue,
    },
    /// A template file for XML.
    XmlFile {
        template: Template,
        content_type: HeaderValue,
    },
    /// A template file for any other text.
    TextFile {
        template: Template,
        content_type: HeaderValue,
    },
}

impl BodyTemplate {
    pub(super) fn render(
        &self,
        scope: &Scope<'_>,
    ) -> Result<(Option<HeaderValue>, Option<Bytes>), RequestError> {
        match self {
            Self::None => Ok((None, None)),
            Self::Json(template) => {
                let mut body = String::with_capacity(256);
                if !template.write(&mut body, scope).map_err(in_part("body"))? {
                    body.push_str("null");
                }
                Ok((Some(HeaderValue::from_static("application/json")), Some(body.into())))
            }
            Self::Form(fields) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                let mut left = MAX_RENDERED_BYTES;
                for (name, parameter) in fields {
                    let add = &mut |below: &str, value: &str| {
                        left = left.checked_sub(below.len() + value.len()).ok_or(RenderError::TooLarge)?;
                        match below {
                            "" => form.append_pair(name, value),
                            below => form.append_pair(&format!("{name}{below}"), value),
                        };
                        Ok(())
                    };
                    parameter.each_value(scope, add).map_err(in_part_named("form", name))?;
                }
                let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                Ok((Some(content_type), Some(form.finish().into())))
            }
            Self::JsonFile { template, content_type } => {
                let mut sink = JsonSink::new(ExpansionFilter::default());
                template.render(scope, &mut sink).map_err(in_part("body_file"))?;
                let body = sink.into_json().map_err(in_part("body_file"))?.into_string();
                Ok((Some(content_type.clone()), Some(body.into())))
            }
            Self::XmlFile { template, content_type } => {
                let mut sink = XmlSink::default();
                template.render(scope, &mut sink).map_err(in_part("body_file"))?;
                let body = sink.into_xml().map_err(in_part("body_file"))?;
                Ok((Some(content_type.clone()), Some(body.into())))
            }
            Self::TextFile { template, content_type } => {
                let body = template.text(scope).map_err(in_part("body_file"))?;
                Ok((Some(content_type.clone()), Some(body.into())))
            }
        }
    }
}
