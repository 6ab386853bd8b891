//! Where an upstream's credential is written, for the operator who must fix it.

use std::sync::Arc;

use crate::table::document::{Kind, Located, Node};
use crate::table::raw::RawUpstream;

/// Names the keys that make up the credential of an upstream, and the secrets that they use; `None` without a
/// credential.
pub(super) fn source(upstream: &Located<String>, raw: &RawUpstream) -> Option<Arc<str>> {
    let (mut keys, mut secrets) = (Vec::new(), Vec::new());
    if let Some(choice) = raw.auth.get() {
        keys.push(format!("`auth.{}`", choice.value.name.value));
        secrets_in(&choice.value.node, &mut secrets);
    }
    let headers = raw.headers.entries().iter().filter_map(|(name, text)| Some((name, text.get()?)));
    for (name, text) in headers {
        let before = secrets.len();
        secrets.extend(references(&text.value));
        if secrets.len() > before {
            keys.push(format!("the header `{}`", name.value));
        }
    }
    if let Some(url) = raw.base_url.get() {
        let before = secrets.len();
        secrets.extend(references(&url.value));
        if secrets.len() > before {
            keys.push("`base_url`".to_owned());
        }
    }
    if keys.is_empty() {
        return None;
    }
    let used = if secrets.is_empty() { String::new() } else { format!(" ({})", secrets.join(", ")) };
    Some(format!("{} of `[upstreams.{}]`{used}", keys.join(" and "), upstream.value).into())
}

fn secrets_in(node: &Node, secrets: &mut Vec<String>) {
    match &node.value {
        Kind::String(text) => secrets.extend(references(text)),
        Kind::List(items) => items.iter().for_each(|item| secrets_in(item, secrets)),
        Kind::Table(entries) => entries.iter().for_each(|(_, node)| secrets_in(node, secrets)),
        _ => {}
    }
}

/// The references to secrets in a text, without their defaults.
fn references(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split("${").zip(text.split("${").skip(1));
    parts.filter(|(before, _)| !before.ends_with('$')).filter_map(|(_, after)| {
        let reference = after.split_once('}')?.0;
        let name = reference.split_once(":-").map_or(reference, |(name, _)| name);
        Some(format!("`${{{name}}}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_without_their_defaults() {
        for (text, found) in [
            ("abc", &[][..]),
            ("${A}", &["`${A}`"]),
            ("x ${A:-open} ${file:keys/crm}", &["`${A}`", "`${file:keys/crm}`"]),
            ("$${A} ${B", &[]),
        ] {
            assert_eq!(references(text).collect::<Vec<_>>(), found, "{text}");
        }
    }
}
