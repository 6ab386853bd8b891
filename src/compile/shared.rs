//! The compiled parts that routes, forms and events refer to.

use std::collections::BTreeSet;

use crate::diagnostic::FileId;
use crate::plan::Served;

use crate::compile::names::Globals;
use crate::compile::upstreams::Upstreams;

/// The compiled parts that routes, forms and events refer to.
pub(super) struct SharedParts<'a> {
    pub(super) platforms: Vec<Served>,
    pub(super) upstreams: Upstreams<'a>,
    pub(super) globals: Globals,
    /// The template files that `[defaults]` and `[upstreams]` use. Every route depends on them.
    pub(super) files: BTreeSet<FileId>,
}
