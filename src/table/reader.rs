//! Reading typed values out of the tree, with a diagnostic for everything that does not fit.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, list, suggest};

use super::document::{Entries, Kind, Located, Node};
use super::misplaced_keys;

/// A key of a table: absent, there but unusable (which has been said), or read.
#[derive(Debug, Clone, Default)]
pub(crate) enum Key<T> {
    #[default]
    Absent,
    Faulty,
    Is(Located<T>),
}

impl<T> Key<T> {
    /// The value, if it was read.
    pub(crate) fn get(&self) -> Option<&Located<T>> {
        match self {
            Self::Is(located) => Some(located),
            _ => None,
        }
    }

    /// Whether nothing was written at all: a faulty key is not absent, and its lack must not be said again.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether something was written that cannot be used.
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

/// A value that can be read out of a TOML value.
pub(crate) trait FromNode: Sized {
    /// The value, or `None` after a diagnostic has been pushed.
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self>;
}

/// A table whose keys are names that the user chose.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub(crate) Vec<(Located<String>, Key<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// An entry together with what it says, without places: two entries that say the same are the same.
#[derive(Debug, Clone)]
pub(crate) struct WithJson<T> {
    pub(crate) entry: T,
    pub(crate) json: String,
}

impl<T: FromNode> FromNode for WithJson<T> {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut json = node.to_json();
        // How a route is tested, and which warnings it is spared, change nothing about how it behaves.
        if let Some(entries) = json.as_object_mut() {
            entries.shift_remove("tests");
            entries.shift_remove("allow");
        }
        T::from_node(node, diagnostics).map(|entry| Self { entry, json: json.to_string() })
    }
}

/// A choice: a table with exactly one key that names it.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) name: Located<String>,
    pub(crate) node: Node,
}

pub(crate) fn read<T: FromNode>(node: &Node, diagnostics: &mut Diagnostics) -> Key<T> {
    match T::from_node(node, diagnostics) {
        Some(value) => Key::Is(Located { value, span: node.span }),
        None => Key::Faulty,
    }
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
                Some("put it in quotes; a time or a size has a unit (\"3s\", \"1MiB\"), an address a host (\"127.0.0.1:8080\")".to_owned())
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

/// The entries of a table that has these keys.
pub(super) fn table_of<'a>(
    node: &'a Node,
    keys: &[&str],
    diagnostics: &mut Diagnostics,
) -> Option<&'a Entries> {
    let Kind::Table(entries) = &node.value else {
        diagnostics.push(
            Diagnostic::new(
                Code::WrongType,
                node.span,
                format!("expected a table, found {}", node.type_name()),
            )
            .label("expected a table")
            .help(format!("write `{{ key = … }}`; valid keys: {}", list(keys))),
        );
        return None;
    };
    Some(entries)
}

pub(crate) fn unknown_key(key: &Located<String>, known: &[&str], diagnostics: &mut Diagnostics) {
    diagnostics.push(
        Diagnostic::new(Code::UnknownKey, key.span, format!("unknown key `{}`", key.value))
            .label("unknown key")
            .maybe_help(
                misplaced_keys::help(&key.value).or_else(|| suggest(&key.value, known.iter().copied())),
            ),
    );
}

pub(crate) fn not_yet(key: &Located<String>, diagnostics: &mut Diagnostics) {
    diagnostics.push(
        Diagnostic::new(Code::NotYet, key.span, format!("`{}` is not supported in this version", key.value))
            .label("not yet")
            .help("remove it: it would have no effect"),
    );
}

/// The help for a key that must be there.
pub(crate) fn missing_key(span: Span, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::MissingKey, span, message).help(help)
}

impl FromNode for Kind {
    fn from_node(node: &Node, _: &mut Diagnostics) -> Option<Self> {
        Some(node.value.clone())
    }
}

impl FromNode for String {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Kind::String(text) => Some(text.clone()),
            _ => wrong_type(node, "a string", diagnostics),
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.value {
            Kind::Boolean(truth) => Some(truth),
            _ => wrong_type(node, "true or false", diagnostics),
        }
    }
}

impl FromNode for u64 {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.value {
            Kind::Integer(number) if number >= 0 => Some(number.unsigned_abs()),
            Kind::Integer(number) => {
                diagnostics.push(
                    Diagnostic::new(
                        Code::WrongType,
                        node.span,
                        format!("must not be negative, but is {number}"),
                    )
                    .help("write a whole number, 0 or more"),
                );
                None
            }
            _ => wrong_type(node, "a whole number, 0 or more", diagnostics),
        }
    }
}

impl<T: FromNode> FromNode for Vec<Located<T>> {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Kind::List(items) = &node.value else { return wrong_type(node, "a list", diagnostics) };
        // Every item is looked at, so that one bad item hides no other.
        let read: Vec<Option<Located<T>>> = items
            .iter()
            .map(|item| T::from_node(item, diagnostics).map(|value| Located { value, span: item.span }))
            .collect();
        read.into_iter().collect()
    }
}

impl<T: FromNode> FromNode for Box<T> {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        T::from_node(node, diagnostics).map(Self::new)
    }
}

impl<T: FromNode> FromNode for Named<T> {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let entries = table(node, diagnostics)?;
        Some(Self(entries.iter().map(|(key, node)| (key.clone(), read(node, diagnostics))).collect()))
    }
}

impl FromNode for Choice {
    fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let entries = table(node, diagnostics)?;
        match entries.as_slice() {
            [(name, node)] => Some(Self { name: name.clone(), node: node.clone() }),
            [] => {
                diagnostics.push(missing_key(
                    node.span,
                    "no scheme is named",
                    "add one key that names it, such as `auth.bearer = { token = \"${TOKEN}\" }`",
                ));
                None
            }
            [_, (second, _), ..] => {
                diagnostics.push(
                    Diagnostic::new(Code::ConflictingKeys, second.span, "more than one scheme")
                        .label("the second one")
                        .help("remove one of them"),
                );
                None
            }
        }
    }
}

/// Declares a table of `routes.toml`: a struct with a field per key, and how it is read.
///
/// `as` says more of how a key is written than its type does. `later` names the keys of the design that are not built
/// yet. `rest` takes every other key as it is, for tables whose keys depend on what the platforms declare.
macro_rules! toml_table {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $($(#[doc = $doc:literal])* $field:ident: $kind:ty $(as $form:expr)?,)*
        }
        $(later [$($later:literal),* $(,)?])?
        $(rest $rest:ident as $what:expr)?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name {
            $($(#[doc = $doc])* pub(crate) $field: Key<$kind>,)*
            $(
                #[doc = concat!("Whether a key is given that is not built yet:" $(, " ", $later)*)]
                pub(crate) later: bool,
            )?
            $(
                /// The keys that only a platform can judge.
                pub(crate) $rest: Entries,
            )?
        }

        impl $name {
            /// The keys of this table.
            pub(crate) const KEYS: &[&str] = &[$(toml_table!(@key $field)),*];

            /// How this table is written.
            pub(crate) const SHAPE: &Shape = &Shape {
                name: stringify!($name),
                doc: &[$($about),*],
                keys: &[$(KeyShape {
                    name: toml_table!(@key $field),
                    doc: &[$($doc),*],
                    form: toml_table!(@form $kind $(as $form)?),
                }),*],
                rest: toml_table!(@rest $($what)?),
            };
        }

        impl Described for $name {
            fn form() -> KeyForm {
                KeyForm::Table(Self::SHAPE)
            }
        }

        impl FromNode for $name {
            fn from_node(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
                let entries = table_of(node, Self::KEYS, diagnostics)?;
                let mut this = Self::default();
                for (key, value) in entries {
                    $(if key.value == toml_table!(@key $field) {
                        this.$field = read(value, diagnostics);
                        continue;
                    })*
                    $($(if key.value == $later {
                        this.later = true;
                        not_yet(key, diagnostics);
                        continue;
                    })*)?
                    $(
                        this.$rest.push((key.clone(), value.clone()));
                        continue;
                    )?
                    #[allow(unreachable_code, reason = "tables with a rest take every key")]
                    unknown_key(key, Self::KEYS, diagnostics);
                }
                Some(this)
            }
        }
    };
    (@key type_name) => { "type" };
    (@key enumeration) => { "enum" };
    (@key as_platform) => { "as" };
    (@key $field:ident) => { stringify!($field) };
    (@form $kind:ty) => { <$kind as Described>::form };
    (@form $kind:ty as $form:expr) => { || $form };
    (@rest) => { None };
    (@rest $what:expr) => { Some($what) };
}
pub(crate) use toml_table;
