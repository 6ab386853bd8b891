//! `[routes]` and `[forms]`: how functions are answered.

use crate::table::document::{Kind, Located, Node};
use crate::table::reader::{FromNode, Key, Named, Reader, Strings, wrong_type};
use crate::table::shape::{Described, KeyForm, Rest};

use super::reply::{RawReplies, RawWhen};
use super::testing::RawTest;
use super::toml_table::toml_table;
use super::upstream::RawLimit;

toml_table! {
    /// `[routes.<function>]`
    RawRoute {
        /// A description of the function, for the model.
        description: String,
        /// The upstream that receives the request.
        upstream: String,
        /// The platforms that may call it. Default: every served platform.
        platforms: Strings as KeyForm::PlatformNames,
        /// The arguments, by name.
        args: Named<RawArgument>,
        /// A JSON Schema file, instead of `args`.
        args_schema: String,
        /// The request.
        request: RawRequest,
        /// How the response is read.
        response: RawResponse,
        /// The values to extract from the response, by name.
        extract: Named<RawExtract>,
        /// Several requests, in order, instead of `request`.
        steps: Vec<Located<RawStep>>,
        /// The reply: one case or a list of cases.
        reply: RawReplies,
        /// The text for each kind of failure.
        failure: Named<String> as KeyForm::FailureTexts,
        /// The timeout of a call. It can only shorten the platform's deadline.
        timeout: String as KeyForm::Duration,
        /// The rate limit and the concurrency limit of calls.
        limit: RawLimit,
        /// The header that carries an idempotency key, so that upstreams recognize a retried write.
        idempotency_key: String,
        /// How long an identical call in the same conversation counts as a retry, even if its call id differs.
        repeat_window: String as KeyForm::Duration,
        /// How long the response to a safe request is cached.
        cache: String as KeyForm::Duration,
        /// How much longer a cached response is used if the upstream fails.
        stale_if_error: String as KeyForm::Duration,
        /// Whether the reply is streamed, on platforms that support it.
        streaming: bool,
        /// Extra keys for the declaration of the function, by platform.
        declare: Named<Kind> as KeyForm::Declare,
        /// Tests for `jackfield test`: simulated calls and the expected results.
        tests: Vec<Located<RawTest>>,
        /// The codes of warnings about this route to suppress.
        allow: Strings as KeyForm::Warnings,
    }
    later ["delivery", "remember"]
    rest own as Rest::RouteKeys
}

toml_table! {
    /// `[forms.<name>]`
    RawForm {
        /// A description of the form, for the model.
        description: String,
        /// The one field of the form, by name.
        args: Named<RawArgument>,
    }
}

toml_table! {
    /// `[routes.x.args.<name>]`
    RawArgument {
        /// `string`, `integer`, `number`, `boolean`, `array` or `object`.
        type_name: String as KeyForm::ArgumentType,
        /// A description of the argument, for the model.
        description: String,
        /// Whether a call without it is rejected.
        required: bool,
        /// The default value.
        default: Kind,
        /// The allowed values.
        enumeration: Vec<Located<Kind>>,
        /// The smallest number.
        min: Kind as KeyForm::Number,
        /// The largest number.
        max: Kind as KeyForm::Number,
        /// The minimum number of characters or items.
        min_length: u64,
        /// The maximum number of characters or items.
        max_length: u64,
        /// A regular expression that must match somewhere in the value.
        pattern: String,
        /// A named format such as `date` or `email`.
        format: String as KeyForm::ArgumentFormat,
        /// The items of an array.
        items: Box<RawArgument>,
        /// The keys of an object.
        properties: Named<RawArgument>,
        /// Whether its value is masked wherever calls are shown.
        sensitive: bool,
        /// An expression that yields the list of allowed values. The list must come from the platform.
        allowed: Kind as KeyForm::Text,
    }
}

toml_table! {
    /// `[routes.x.request]`
    RawRequest {
        /// The HTTP method.
        method: String as KeyForm::Method,
        /// Whether the request changes nothing at the upstream. Default: whether its method says so.
        safe: bool,
        /// The path, appended to the upstream's `base_url`.
        path: String,
        /// The query parameters, by name.
        query: Named<Kind> as KeyForm::Parameters,
        /// Headers for this request.
        headers: Named<String>,
        /// A JSON body.
        body: Kind,
        /// A form body, by field name.
        form: Named<Kind> as KeyForm::Parameters,
        /// A template file for the body.
        body_file: String,
        /// The content type of a `body_file`.
        content_type: String,
    }
}

toml_table! {
    /// One of `[[routes.x.steps]]`.
    RawStep {
        /// The name, by which later steps and replies refer to its results.
        name: String,
        /// Adjacent steps with the same group run concurrently.
        group: String,
        /// The conditions under which it runs. Default: always.
        when: RawWhen,
        /// The upstream that receives the request. Default: the route's upstream.
        upstream: String,
        /// The request.
        request: RawRequest,
        /// How the response is read.
        response: RawResponse,
        /// The values to extract from the response, by name.
        extract: Named<RawExtract>,
    }
}

toml_table! {
    /// `[routes.x.response]`
    RawResponse {
        /// `json`, `text` or `xml`, regardless of the response's content type.
        format: String as KeyForm::ResponseFormat,
    }
}

/// `[routes.x.extract]`: a JSONPath, or a table with one and how to read it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawExtract {
    pub(crate) path: Key<String>,
    pub(crate) all: Key<bool>,
    pub(crate) default: Key<Kind>,
    pub(crate) required: Key<bool>,
    pub(crate) sensitive: Key<bool>,
}

toml_table! {
    /// An extract as a table.
    RawExtractTable {
        /// The JSONPath.
        path: String,
        /// Whether to take every match, as a list.
        all: bool,
        /// The value if nothing matches.
        default: Kind,
        /// Whether a response without it is a failure, `bad_response`.
        required: bool,
        /// Whether its value is masked wherever calls are shown.
        sensitive: bool,
    }
}

impl Described for RawExtract {
    fn form() -> KeyForm {
        KeyForm::Either(&[<String as Described>::form, RawExtractTable::form])
    }
}

impl FromNode for RawExtract {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Kind::String(_) => Some(Self { path: reader.read(node), ..Self::default() }),
            Kind::Table(_) => {
                let RawExtractTable { path, all, default, required, sensitive } =
                    FromNode::from_node(node, reader)?;
                Some(Self { path, all, default, required, sensitive })
            }
            _ => wrong_type(node, "a JSONPath or a table with `path`", reader.diagnostics),
        }
    }
}
