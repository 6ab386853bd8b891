//! `reply` and `when`: replies and their conditions.

use crate::table::document::{Kind, Located, Node};
use crate::table::reader::{FromNode, Key, Named, Reader, wrong_type};
use crate::table::shape::{Described, KeyForm, Rest};

use super::toml_table::toml_table;

/// `reply`: one case, or a list of cases.
#[derive(Debug, Clone)]
pub(crate) struct RawReplies(pub(crate) Vec<Located<RawReply>>);

impl Key<RawReplies> {
    /// The cases, or none.
    pub(crate) fn cases(&self) -> &[Located<RawReply>] {
        self.get().map(|replies| replies.value.0.as_slice()).unwrap_or_default()
    }
}

impl Described for RawReplies {
    fn form() -> KeyForm {
        KeyForm::Either(&[RawReply::form, <Vec<Located<RawReply>> as Described>::form])
    }
}

impl FromNode for RawReplies {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Kind::List(_) => FromNode::from_node(node, reader).map(Self),
            Kind::Table(_) => {
                let value = RawReply::from_node(node, reader)?;
                Some(Self(vec![Located { value, span: node.span }]))
            }
            _ => wrong_type(node, "a table or a list of tables", reader.diagnostics),
        }
    }
}

toml_table! {
    /// One case of `reply`.
    RawReply {
        /// The conditions for this case. Default: always.
        when: RawWhen,
        /// The text for the model.
        text: String,
        /// The JSON for the model.
        data: Kind,
        /// A template file for the text.
        text_file: String,
        /// A template file for the JSON.
        data_file: String,
        /// The maximum number of characters of the text, which is cut at a word.
        max_chars: u64,
        /// The kind of failure that the call ends with if this case is picked.
        failure: String as KeyForm::Failure,
        /// The values to remember if this case is picked, by name. An empty value forgets the name.
        remember: Named<Kind>,
    }
    rest own as Rest::ReplyKeys
}

toml_table! {
    /// `when` of a reply case or a step; all conditions must hold.
    RawWhen {
        /// A status, a class such as `"4xx"`, or a list of them.
        status: Kind as KeyForm::Statuses,
        /// A JSONPath that must match.
        found: String,
        /// A JSONPath that must not match.
        missing: String,
        /// A JSONPath that must match a value that `{{#if}}` treats as true.
        truthy: String,
        /// Names, each with its expected value or a list of accepted values.
        equals: Kind as KeyForm::Equals,
        /// Names, each with a regular expression that must match somewhere in its value.
        matches: Kind as KeyForm::Matches,
        /// A kind of failure, a list of kinds, or `"any"`. Only in a reply case.
        failure: Kind as KeyForm::Failures,
        /// The name of a step that must have failed. Only in a step.
        failed: String,
    }
}
