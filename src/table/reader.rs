//! Reads typed values from the tree, and reports every value of the wrong type.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, list, suggest};

use super::document::{Entries, Kind, Located, Node};

/// A list of strings with their places.
pub(crate) type Strings = Vec<Located<String>>;

/// A key of a table: absent, faulty (which has been reported), or read.
#[derive(Debug, Clone, Default)]
pub(crate) enum Key<T> {
    #[default]
    Absent,
    Faulty,
    /// Boxed, because most keys of most tables are absent.
    Is(Box<Located<T>>),
}

impl<T> Key<T> {
    /// The value, if it was read.
    pub(crate) fn get(&self) -> Option<&Located<T>> {
        match self {
            Self::Is(located) => Some(located),
            _ => None,
        }
    }

    /// Whether the key is not written at all. A faulty key is not absent, and must not be reported as missing.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether the key is written, but its value cannot be used.
    pub(crate) fn is_faulty(&self) -> bool {
        matches!(self, Self::Faulty)
    }

    /// The place of the value, if it was read.
    pub(crate) fn span(&self) -> Option<Span> {
        self.get().map(|located| located.span)
    }
}

impl<T> Key<Vec<T>> {
    /// The items of the list, or none.
    pub(crate) fn items(&self) -> &[T] {
        self.get().map(|list| list.value.as_slice()).unwrap_or_default()
    }
}

impl<T> Key<Named<T>> {
    /// The entries of the table, or none.
    pub(crate) fn entries(&self) -> &[(Located<String>, Key<T>)] {
        self.get().map(|named| named.value.0.as_slice()).unwrap_or_default()
    }
}

/// Reads typed values from the tree, and reports unknown keys and values of the wrong type.
pub(crate) struct Reader<'a> {
    pub(crate) diagnostics: &'a mut Diagnostics,
    /// Returns the help for a key that belongs in another table.
    misplaced: fn(&str) -> Option<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(diagnostics: &'a mut Diagnostics, misplaced: fn(&str) -> Option<String>) -> Self {
        Self { diagnostics, misplaced }
    }

    pub(crate) fn read<T: FromNode>(&mut self, node: &Node) -> Key<T> {
        match T::from_node(node, self) {
            Some(value) => Key::Is(Box::new(Located { value, span: node.span })),
            None => Key::Faulty,
        }
    }

    /// The entries of a table that has these keys.
    pub(super) fn table_of<'n>(&mut self, node: &'n Node, keys: &[&str]) -> Option<&'n Entries> {
        if let Kind::Table(entries) = &node.value {
            return Some(entries);
        }
        let message = format!("expected a table, found {}", node.type_name());
        let help = match &node.value {
            Kind::String(text) if keys.contains(&"method") && keys.contains(&"path") => as_request(text),
            _ => format!("write `{{ key = … }}`; valid keys: {}", list(keys)),
        };
        self.diagnostics
            .push(Diagnostic::new(Code::WrongType, node.span, message).label("expected a table").help(help));
        None
    }

    pub(super) fn unknown_key(&mut self, key: &Located<String>, known: &[&str]) {
        if self.diagnostics.is_full() {
            return self.diagnostics.count_more(1);
        }
        let help = (self.misplaced)(&key.value).or_else(|| suggest(&key.value, known.iter().copied()));
        self.diagnostics.push(
            Diagnostic::new(Code::UnknownKey, key.span, format!("unknown key `{}`", key.value))
                .label("unknown key")
                .maybe_help(help),
        );
    }
}

/// The help for a request that is written as a line: `GET /orders`.
fn as_request(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [path] if path.starts_with('/') => format!("write `{{ path = \"{path}\" }}`"),
        [method, path] if path.starts_with('/') => {
            format!("write `{{ method = \"{}\", path = \"{path}\" }}`", method.to_uppercase())
        }
        _ => "write `{ method = \"GET\", path = \"/…\" }`".to_owned(),
    }
}

/// A value that can be read from a TOML value.
pub(crate) trait FromNode: Sized {
    /// The value, or `None` after an error has been reported.
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// A table whose keys are chosen by the author.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub(crate) Vec<(Located<String>, Key<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// An entry together with its content as JSON without places. The JSON is compared to detect changes.
#[derive(Debug, Clone)]
pub(crate) struct WithJson<T> {
    pub(crate) entry: T,
    pub(crate) json: String,
}

impl<T: FromNode> FromNode for WithJson<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut json = node.to_json();
        // Tests and suppressed warnings do not change how a route behaves.
        if let Some(entries) = json.as_object_mut() {
            entries.shift_remove("tests");
            entries.shift_remove("allow");
        }
        T::from_node(node, reader).map(|entry| Self { entry, json: json.to_string() })
    }
}

/// A choice: a table with exactly one key, the selected option.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) name: Located<String>,
    pub(crate) node: Node,
}

pub(crate) fn wrong_type<T>(node: &Node, expected: &str, diagnostics: &mut Diagnostics) -> Option<T> {
    diagnostics.push(
        Diagnostic::new(
            Code::WrongType,
            node.span,
            format!("expected {expected}, found {}", node.type_name()),
        )
        .label(format!("expected {expected}"))
        .maybe_help(match (&node.value, expected) {
            (Kind::Integer(_) | Kind::Float(_), "a string") => {
                Some("put it in quotes; times and sizes need a unit (\"3s\", \"1MiB\"), addresses need a host (\"127.0.0.1:8080\")".to_owned())
            }
            (Kind::Boolean(_), "a string") => Some("put it in quotes".to_owned()),
            (_, "true or false") => Some("write `true` or `false`, without quotes".to_owned()),
            (Kind::String(_), "a number" | "a whole number, 0 or more") => {
                Some("write it without quotes".to_owned())
            }
            (Kind::String(_), "a list") => Some("put it into brackets: `[\"…\"]`".to_owned()),
            (Kind::String(_), "a table or a list of tables") => Some("write `{ text = \"…\" }`".to_owned()),
            (_, "a table") => Some("write `{ key = … }`, with the keys that belong here".to_owned()),
            _ => None,
        }),
    );
    None
}

pub(crate) fn table<'a>(node: &'a Node, diagnostics: &mut Diagnostics) -> Option<&'a Entries> {
    match &node.value {
        Kind::Table(entries) => Some(entries),
        _ => wrong_type(node, "a table", diagnostics),
    }
}

/// The error about a missing required key.
pub(crate) fn missing_key(span: Span, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::MissingKey, span, message).help(help)
}

impl FromNode for Kind {
    fn from_node(node: &Node, _: &mut Reader<'_>) -> Option<Self> {
        Some(node.value.clone())
    }
}

impl FromNode for String {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Kind::String(text) => Some(text.clone()),
            _ => wrong_type(node, "a string", reader.diagnostics),
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Kind::Boolean(truth) => Some(truth),
            _ => wrong_type(node, "true or false", reader.diagnostics),
        }
    }
}

impl FromNode for u64 {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Kind::Integer(number) if number >= 0 => Some(number.unsigned_abs()),
            Kind::Integer(number) => {
                reader.diagnostics.push(
                    Diagnostic::new(
                        Code::WrongType,
                        node.span,
                        format!("the value must not be negative, but is {number}"),
                    )
                    .help("write a whole number, 0 or more"),
                );
                None
            }
            _ => wrong_type(node, "a whole number, 0 or more", reader.diagnostics),
        }
    }
}

impl<T: FromNode> FromNode for Vec<Located<T>> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::List(items) = &node.value else { return wrong_type(node, "a list", reader.diagnostics) };
        // Read every item, so that one bad item does not hide another.
        let read: Vec<Option<Located<T>>> = items
            .iter()
            .map(|item| T::from_node(item, reader).map(|value| Located { value, span: item.span }))
            .collect();
        read.into_iter().collect()
    }
}

impl<T: FromNode> FromNode for Box<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::from_node(node, reader).map(Self::new)
    }
}

impl<T: FromNode> FromNode for Named<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = table(node, reader.diagnostics)?;
        let read = |(key, node): &(Located<String>, Node)| {
            let read = if is_include(key, node) {
                reader.diagnostics.push(
                    Diagnostic::new(Code::MisplacedKey, key.span, "this `include` includes nothing")
                        .label("it belongs to the table above it")
                        .help("move it to the top of the file, above the first `[table]`"),
                );
                Key::Faulty
            } else {
                reader.read(node)
            };
            (key.clone(), read)
        };
        Some(Self(entries.iter().map(read).collect()))
    }
}

/// Whether an entry is an `include` that slipped under a heading.
fn is_include(key: &Located<String>, node: &Node) -> bool {
    let is_file = |node: &Node| node.as_str().is_some_and(|name| name.ends_with(".toml"));
    key.value == "include"
        && matches!(&node.value, Kind::List(items) if !items.is_empty() && items.iter().all(is_file))
}

impl FromNode for Choice {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Table(entries) = &node.value else {
            reader.diagnostics.push(
                Diagnostic::new(
                    Code::WrongType,
                    node.span,
                    format!("expected a table, found {}", node.type_name()),
                )
                .label("expected a scheme")
                .help("write the scheme as a key, such as `auth.bearer = { token = \"${TOKEN}\" }`"),
            );
            return None;
        };
        match entries.as_slice() {
            [(name, node)] => Some(Self { name: name.clone(), node: node.clone() }),
            [] => {
                reader.diagnostics.push(missing_key(
                    node.span,
                    "no scheme is selected",
                    "add the scheme as a key, such as `auth.bearer = { token = \"${TOKEN}\" }`",
                ));
                None
            }
            [_, (second, _), ..] => {
                reader.diagnostics.push(
                    Diagnostic::new(Code::ConflictingKeys, second.span, "more than one scheme")
                        .label("the second one")
                        .help("remove one of them"),
                );
                None
            }
        }
    }
}
