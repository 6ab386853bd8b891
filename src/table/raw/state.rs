//! `[state]` and `delivery`: what outlives a call, and where it is stored.

use crate::table::document::{Kind, Located, Node};
use crate::table::reader::{FromNode, Key, Reader, Strings, wrong_type};
use crate::table::shape::{Described, KeyForm};

use super::toml_table::toml_table;

toml_table! {
    /// `[state]`
    RawState {
        /// Where it is stored: `"sqlite:jackfield.db"` (default), or `"postgres://user@host/database"`.
        url: String,
        /// The key that encrypts sensitive values: 32 bytes in Base64. A list of two while the key is replaced.
        encryption_key: RawKeys,
        /// How long memory is kept after the last call of its conversation. Default: `"2h"`.
        memory_ttl: String as KeyForm::Duration,
        /// The most connections to PostgreSQL. Default: 8.
        pool: u64,
        /// How long deliveries are kept after they were delivered. Default: `"1d"`.
        keep: String as KeyForm::Duration,
    }
}

toml_table! {
    /// `delivery` as a table.
    RawDeliveryTable {
        /// `"async"`: the requests are sent after the reply. `"sync"`: while the platform waits.
        mode: String as KeyForm::DeliveryMode,
        /// How long failed requests are retried. Default: `"24h"`.
        retry_for: String as KeyForm::Duration,
        /// Whether the deliveries of a conversation run one after the other. Default: `false`.
        ordered: bool,
        /// The level of the log line when a delivery is given up: `"error"`, `"warn"` (default) or `"info"`.
        on_dead: String as KeyForm::OnDead,
    }
}

/// `delivery`: the mode, or a table with it and how to deliver.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawDelivery {
    pub(crate) mode: Key<String>,
    pub(crate) retry_for: Key<String>,
    pub(crate) ordered: Key<bool>,
    pub(crate) on_dead: Key<String>,
}

impl Described for RawDelivery {
    fn form() -> KeyForm {
        KeyForm::Either(&[|| KeyForm::DeliveryMode, RawDeliveryTable::form])
    }
}

impl FromNode for RawDelivery {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Kind::String(_) => Some(Self { mode: reader.read(node), ..Self::default() }),
            Kind::Table(_) => {
                let RawDeliveryTable { mode, retry_for, ordered, on_dead } =
                    FromNode::from_node(node, reader)?;
                Some(Self { mode, retry_for, ordered, on_dead })
            }
            _ => wrong_type(node, "`\"async\"` or a table with `mode`", reader.diagnostics),
        }
    }
}

/// One key, or a list of two.
#[derive(Debug, Clone)]
pub(crate) struct RawKeys(pub(crate) Strings);

impl Described for RawKeys {
    fn form() -> KeyForm {
        KeyForm::Either(&[<String as Described>::form, <Strings as Described>::form])
    }
}

impl FromNode for RawKeys {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Kind::List(_) => FromNode::from_node(node, reader).map(Self),
            _ => String::from_node(node, reader).map(|value| Self(vec![Located { value, span: node.span }])),
        }
    }
}
