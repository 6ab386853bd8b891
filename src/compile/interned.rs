//! Interned parts: equal patterns, paths and schemas of a table are compiled once and shared.
//!
//! The compiled value of each depends only on its text.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::lang::jsonpath::{BadPath, JsonPath, Placeholder};
use crate::lang::pattern::{BadPattern, Pattern};
use crate::plan::arguments::Arguments;

/// A path, and the places of its templates.
type InternedPath = (Arc<JsonPath>, Arc<[Placeholder]>);

/// The compiled parts of one compilation, by their text. A text that cannot be used is compiled again each time.
#[derive(Debug, Default)]
pub(super) struct Interned {
    paths: HashMap<String, InternedPath>,
    patterns: HashMap<String, Pattern>,
    /// Keyed by the schema as JSON, which keeps the order of the arguments.
    arguments: HashMap<String, Arguments>,
}

impl Interned {
    /// The JSONPath with this text.
    pub(super) fn path(&mut self, text: &str) -> Result<InternedPath, BadPath> {
        shared(&mut self.paths, text, || {
            let (path, placeholders) = JsonPath::parse(text)?;
            Ok((Arc::new(path), placeholders.into()))
        })
    }

    /// The pattern with this text.
    pub(super) fn pattern(&mut self, text: &str) -> Result<Pattern, BadPattern> {
        shared(&mut self.patterns, text, || Pattern::parse(text))
    }

    /// The arguments with this schema.
    pub(super) fn arguments(&mut self, schema: Value, sensitive: Vec<String>) -> Result<Arguments, String> {
        let text = schema.to_string();
        let arguments = shared(&mut self.arguments, &text, || Arguments::compile(schema, Vec::new()))?;
        Ok(arguments.hiding(sensitive))
    }
}

fn shared<T: Clone, E>(
    known: &mut HashMap<String, T>,
    text: &str,
    compile: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    if let Some(known) = known.get(text) {
        return Ok(known.clone());
    }
    let new = compile()?;
    known.insert(text.to_owned(), new.clone());
    Ok(new)
}
