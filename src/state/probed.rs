//! What a look at a store finds.

/// A store that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// It has no schema yet. `serve` makes it.
    New,
    /// It has this version of the schema.
    Schema(i64),
}
