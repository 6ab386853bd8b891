//! `call --memory`: what earlier calls of the conversation are said to have remembered.

use std::collections::BTreeSet;

use anyhow::{anyhow, bail};
use serde_json::{Map, Value};

use crate::call::Context;
use crate::diagnostic;
use crate::plan::Plan;

/// The conversation of a call with given memory, if its request names none.
const CONVERSATION: &str = "test";

/// Reads the given values. A value is JSON, or a text that is not.
pub(super) fn read(given: &[String], plan: &Plan) -> anyhow::Result<Map<String, Value>> {
    let mut memory = Map::new();
    for text in given {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| anyhow!("write `--memory NAME=VALUE`, such as --memory order_id=A-7"))?;
        let recalled = plan.entries().flat_map(|entry| &entry.state.recalled);
        let known: BTreeSet<&str> = recalled.map(|(known, _)| known.as_str()).collect();
        if !known.contains(name) {
            let help = diagnostic::suggest(name, known)
                .unwrap_or_else(|| "no template uses `memory.*`, so leave `--memory` out".to_owned());
            bail!("nothing in this table recalls `memory.{name}`: {help}");
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        memory.insert(name.to_owned(), value);
    }
    Ok(memory)
}

/// Makes sure that a call with given memory has a conversation.
pub(super) fn name_conversation(memory: &Map<String, Value>, context: &mut Context) {
    if !memory.is_empty() && context.conversation.is_none() {
        context.conversation = Some(CONVERSATION.to_owned());
    }
}
