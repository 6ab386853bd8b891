//! `reply` and `when`: what is answered, and under which conditions.

use crate::table::document::{Kind, Located, Node};
use crate::table::reader::{FromNode, Key, Reader, wrong_type};
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
        /// When this case holds; always unless given.
        when: RawWhen,
        /// Text for the model.
        text: String,
        /// JSON for the model.
        data: Kind,
        /// A template file that makes the text.
        text_file: String,
        /// A template file that makes the JSON.
        data_file: String,
        /// The most characters of the text; the rest is cut at a word.
        max_chars: u64,
    }
    rest own as Rest::OfReply
}

toml_table! {
    /// `when` of a reply case; its conditions must all hold.
    RawWhen {
        /// A status, a class such as `"4xx"`, or a list of them.
        status: Kind as KeyForm::Statuses,
        /// A JSONPath that must match something.
        found: String,
        /// A JSONPath that must match nothing.
        missing: String,
        /// Names and the value, or list of values, that each must have.
        equals: Kind as KeyForm::Equals,
        /// Names and the regular expression that must be found in each.
        matches: Kind as KeyForm::Matches,
        /// A kind of failure, a list of kinds, or `"any"`; in a reply case only.
        failure: Kind as KeyForm::Failures,
        /// The name of a step that must have failed; in a step only.
        failed: String,
    }
}
