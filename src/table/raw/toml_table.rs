//! The macro that declares a table of `routes.toml`.

/// Declares a table of `routes.toml`: a struct with a field per key, and how it is read.
///
/// `as` sets the form of a key if its type does not determine it. `rest` keeps every other key unread, for tables whose
/// keys depend on the platforms.
macro_rules! toml_table {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $($(#[doc = $doc:literal])* $field:ident: $kind:ty $(as $form:expr)?,)*
        }
        $(rest $rest:ident as $what:expr)?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name {
            $($(#[doc = $doc])* pub(crate) $field: $crate::table::reader::Key<$kind>,)*
            $(
                /// The keys that only a platform can check.
                pub(crate) $rest: $crate::table::document::Entries,
            )?
        }

        impl $name {
            /// The keys of this table.
            pub(crate) const KEYS: &[&str] = &[$(toml_table!(@key $field)),*];

            /// The shape of this table.
            pub(crate) const SHAPE: &$crate::table::shape::Shape = &$crate::table::shape::Shape {
                name: stringify!($name),
                doc: &[$($about),*],
                keys: &[$($crate::table::shape::KeyShape {
                    name: toml_table!(@key $field),
                    doc: &[$($doc),*],
                    form: toml_table!(@form $kind $(as $form)?),
                }),*],
                rest: toml_table!(@rest $($what)?),
            };
        }

        impl $crate::table::shape::Described for $name {
            fn form() -> $crate::table::shape::KeyForm {
                $crate::table::shape::KeyForm::Table(Self::SHAPE)
            }
        }

        impl $crate::table::reader::FromNode for $name {
            fn from_node(
                node: &$crate::table::document::Node,
                reader: &mut $crate::table::reader::Reader<'_>,
            ) -> Option<Self> {
                let entries = reader.table_of(node, Self::KEYS)?;
                let mut this = Self::default();
                for (key, value) in entries {
                    $(if key.value == toml_table!(@key $field) {
                        this.$field = reader.read(value);
                        continue;
                    })*
                    $(
                        this.$rest.push((key.clone(), value.clone()));
                        continue;
                    )?
                    #[allow(unreachable_code, reason = "tables with a rest accept every key")]
                    reader.unknown_key(key, Self::KEYS);
                }
                Some(this)
            }
        }
    };
    (@key type_name) => { "type" };
    (@key enumeration) => { "enum" };
    (@key as_platform) => { "as" };
    (@key $field:ident) => { stringify!($field) };
    (@form $kind:ty) => { <$kind as $crate::table::shape::Described>::form };
    (@form $kind:ty as $form:expr) => { || $form };
    (@rest) => { None };
    (@rest $what:expr) => { Some($what) };
}
pub(super) use toml_table;
