//! `auth.<scheme>`: reads the table of any scheme, inbound or outbound, from the scheme's description.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::scheme::{Scheme, SchemeDefaults, SchemeValueKind, SchemeValues};
use crate::secret::Secret;
use crate::table::document::{Kind, Located, Node};
use crate::table::misplaced_keys::{reader, unknown_key};
use crate::table::raw::Strings;
use crate::table::reader::{Choice, FromNode as _, missing_key};

use crate::compile::cx::Cx;
use crate::compile::values;

/// Builds the scheme that the table selects from `schemes`. Also returns the values that it was built from. `None`
/// after errors.
pub(super) fn compile<A: ?Sized>(
    cx: &mut Cx<'_>,
    choice: &Choice,
    schemes: &[&Scheme<A>],
    defaults: SchemeDefaults,
) -> Option<(Box<A>, SchemeValues)> {
    let Some(scheme) = schemes.iter().find(|scheme| scheme.name == choice.name.value) else {
        let known: Vec<&str> = schemes.iter().map(|scheme| scheme.name).collect();
        unknown(&choice.name, &known, cx.diagnostics);
        return None;
    };
    let Kind::Table(entries) = &choice.node.value else {
        let found = format!("expected a table, found {}", choice.node.type_name());
        let example = example(scheme);
        cx.report(
            Diagnostic::new(Code::WrongType, choice.node.span, found)
                .label("expected a table")
                .help(format!("write `{example}`")),
        );
        return None;
    };
    let node = |name: &str| entries.iter().find(|(key, _)| key.value == name).map(|(_, node)| node);
    let keys: Vec<&str> = scheme.keys.iter().map(|key| key.name).collect();
    let before = cx.diagnostics.len();
    for (key, _) in entries.iter().filter(|(key, _)| !keys.contains(&key.value.as_str())) {
        unknown_key(key, &keys, cx.diagnostics);
    }
    let mut values = SchemeValues::default();
    let mut placeholder = false;
    for key in scheme.keys {
        match node(key.name) {
            Some(node) => {
                values.add(key.name, scheme_value(cx, key.kind, node, &mut placeholder));
            }
            None if key.required => cx.report(missing_key(
                choice.name.span,
                format!("`auth.{}` needs `{}`", scheme.name, key.name),
                format!("write `{}`", example(scheme)),
            )),
            None => {}
        }
    }
    if cx.diagnostics.len() > before {
        return None;
    }
    values.add_defaults(defaults);
    match (scheme.build)(&values) {
        Ok(auth) => Some((auth, values)),
        // An error about the form of a placeholder says nothing about the real value.
        Err(_) if placeholder => None,
        Err(problem) => {
            let node = node(problem.key);
            let item = node.and_then(|node| match &node.value {
                Kind::List(items) => items.get(problem.item?),
                _ => None,
            });
            let span = item.or(node).map_or(choice.name.span, |node| node.span);
            cx.report(Diagnostic::new(problem.code, span, problem.message).help(problem.help));
            None
        }
    }
}

/// The value of a key for a scheme: its texts with secrets resolved, or the content of its file.
pub(super) fn scheme_value(
    cx: &mut Cx<'_>,
    kind: SchemeValueKind,
    node: &Node,
    placeholder: &mut bool,
) -> Vec<Secret> {
    use SchemeValueKind::{File, RotatingSecret, Secret as OneSecret, SigningKey};
    let mut out = Vec::new();
    for text in scheme_texts(kind, node, cx.diagnostics) {
        if kind == File {
            out.extend(cx.file(&text, placeholder));
            continue;
        }
        if !values::no_template(&text.value, text.span, "a credential", cx.diagnostics) {
            continue;
        }
        let Some(resolved) = cx.resolve(&text.value, text.span) else {
            continue;
        };
        *placeholder |= resolved.placeholder;
        if matches!(kind, OneSecret | SigningKey | RotatingSecret) {
            cx.secrets.masks.add(&resolved.text);
            cx.advise_on_literal(&resolved, text.span);
        }
        if kind == RotatingSecret && resolved.text.is_empty() {
            cx.report(
                Diagnostic::new(Code::SecretUnset, text.span, "this secret is empty")
                    .help("set a value: an empty secret would let anyone in"),
            );
        }
        out.push(resolved.text);
    }
    out.into_iter().map(Secret::new).collect()
}

/// The strings of a key, before secrets are resolved.
fn scheme_texts(kind: SchemeValueKind, node: &Node, diagnostics: &mut Diagnostics) -> Strings {
    let one = |diagnostics: &mut Diagnostics| reader(diagnostics).read::<String>(node).get().cloned();
    match (kind, &node.value) {
        (SchemeValueKind::Seconds, Kind::String(_)) => {
            let window = one(diagnostics).and_then(|text| values::duration(&text, diagnostics));
            let seconds = window.map(|window| window.as_secs().to_string());
            seconds.map(|value| Located { value, span: node.span }).into_iter().collect()
        }
        (SchemeValueKind::RotatingSecret, Kind::List(items)) if !(1..=2).contains(&items.len()) => {
            diagnostics.push(
                Diagnostic::new(
                    Code::WrongType,
                    node.span,
                    "a secret must be a string, or a list of two strings",
                )
                .help("list the new and the old secret while you rotate it"),
            );
            Vec::new()
        }
        (SchemeValueKind::RotatingSecret, Kind::List(_)) | (SchemeValueKind::List, _) => {
            Strings::from_node(node, &mut reader(diagnostics)).unwrap_or_default()
        }
        _ => one(diagnostics).into_iter().collect(),
    }
}

/// An example of a scheme with its required keys.
fn example<A: ?Sized>(scheme: &Scheme<A>) -> String {
    let required = scheme.keys.iter().filter(|key| key.required);
    let keys: Vec<_> = required.map(|key| format!("{} = \"…\"", key.name)).collect();
    format!("auth.{} = {{ {} }}", scheme.name, keys.join(", "))
}

pub(super) fn unknown(name: &Located<String>, known: &[&str], diagnostics: &mut Diagnostics) {
    diagnostics.push(
        Diagnostic::new(Code::UnknownAuth, name.span, format!("unknown scheme `{}`", name.value))
            .maybe_help(suggest(&name.value, known.iter().copied())),
    );
}
