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
        /// What the function does, for the model.
        description: String,
        /// Which upstream the request goes to.
        upstream: String,
        /// Who may call it; every served platform unless given.
        platforms: Strings as KeyForm::PlatformNames,
        /// The arguments, by name.
        args: Named<RawArgument>,
        /// A JSON Schema file in place of `args`.
        args_schema: String,
        /// What is sent.
        request: RawRequest,
        /// How the reply is read.
        response: RawResponse,
        /// What is taken out of the reply, by name.
        extract: Named<RawExtract>,
        /// Several requests, in order, in place of `request`.
        steps: Vec<Located<RawStep>>,
        /// What is answered: one case or a list of them.
        reply: RawReplies,
        /// What is said on each kind of failure.
        failure: Named<String> as KeyForm::FailureTexts,
        /// The longest this call may take; it can only shorten the platform's deadline.
        timeout: String as KeyForm::Duration,
        /// How often it may be called.
        limit: RawLimit,
        /// The header by which its upstreams can tell that two requests which change something are the same.
        idempotency_key: String,
        /// How long the same call in the same conversation counts as a repeat, where the platform gives no id.
        repeat_window: String as KeyForm::Duration,
        /// How long the reply to a request that changes nothing stands for a new one.
        cache: String as KeyForm::Duration,
        /// For how much longer it does when the upstream fails.
        stale_if_error: String as KeyForm::Duration,
        /// Whether the answer is a stream, for platforms that take one.
        streaming: bool,
        /// What is declared to one platform alone, by platform.
        declare: Named<Kind> as KeyForm::Declare,
        /// Calls that are made up, and what must come of them; for `jackfield test`.
        tests: Vec<Located<RawTest>>,
        /// The warnings about this route that are known and meant so.
        allow: Strings as KeyForm::Warnings,
    }
    later ["delivery", "remember"]
    rest own as Rest::RouteSeries
}

toml_table! {
    /// `[forms.<name>]`
    RawForm {
        /// What the form is for, for the model.
        description: String,
        /// The one thing that it asks for, by name.
        args: Named<RawArgument>,
    }
}

toml_table! {
    /// `[routes.x.args.<name>]`
    RawArgument {
        /// `string`, `integer`, `number`, `boolean`, `array` or `object`.
        type_name: String as KeyForm::ArgumentType,
        /// What it means, for the model.
        description: String,
        /// Whether a call without it is refused.
        required: bool,
        /// What it is when it is not given.
        default: Kind,
        /// The only values it may have.
        enumeration: Vec<Located<Kind>>,
        /// The least number.
        min: Kind as KeyForm::Number,
        /// The greatest number.
        max: Kind as KeyForm::Number,
        /// The fewest characters or items.
        min_length: u64,
        /// The most characters or items.
        max_length: u64,
        /// A regular expression that must be found in it.
        pattern: String,
        /// A named form such as `date` or `email`.
        format: String as KeyForm::ArgumentFormat,
        /// What each item of an array is.
        items: Box<RawArgument>,
        /// What each key of an object is.
        properties: Named<RawArgument>,
        /// Whether its value is hidden wherever calls are shown.
        sensitive: bool,
        /// One expression that gives the list of the only values it may have, supplied by the platform.
        allowed: Kind as KeyForm::Text,
    }
}

toml_table! {
    /// `[routes.x.request]`
    RawRequest {
        /// The method.
        method: String as KeyForm::Method,
        /// What is appended to the upstream's `base_url`.
        path: String,
        /// The query, by parameter.
        query: Named<Kind> as KeyForm::Parameters,
        /// Headers of this request.
        headers: Named<String>,
        /// A JSON body.
        body: Kind,
        /// A form body, by field.
        form: Named<Kind> as KeyForm::Parameters,
        /// A template file that makes the body.
        body_file: String,
        /// The content type of a `body_file`.
        content_type: String,
    }
}

toml_table! {
    /// One of `[[routes.x.steps]]`.
    RawStep {
        /// The name, by which later steps and replies see what it brings.
        name: String,
        /// Steps side by side with the same group are asked at the same time.
        group: String,
        /// When it is asked; always unless given.
        when: RawWhen,
        /// Which upstream the request goes to; the route's unless given.
        upstream: String,
        /// What is sent.
        request: RawRequest,
        /// How the reply is read.
        response: RawResponse,
        /// What is taken out of the reply, by name.
        extract: Named<RawExtract>,
    }
}

toml_table! {
    /// `[routes.x.response]`
    RawResponse {
        /// `json`, `text` or `xml`, whatever the upstream's content type says.
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
}

toml_table! {
    /// The long form of an extract.
    RawExtractTable {
        /// The JSONPath.
        path: String,
        /// Whether every match is taken, as a list.
        all: bool,
        /// What it is when nothing matches.
        default: Kind,
        /// Whether a reply without it is `bad_response`.
        required: bool,
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
                let RawExtractTable { path, all, default, required } = FromNode::from_node(node, reader)?;
                Some(Self { path, all, default, required })
            }
            _ => wrong_type(node, "a JSONPath or a table with `path`", reader.diagnostics),
        }
    }
}
