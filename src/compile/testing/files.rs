//! The files that tests refer to.

use bytes::Bytes;

use crate::compile::cx::Cx;
use crate::diagnostic::{Code, Diagnostic};
use crate::table::document::Located;

/// The content of a file that a test refers to.
pub(super) fn read_file(cx: &mut Cx<'_>, name: &Located<String>) -> Option<Bytes> {
    match (cx.environment.file)(&cx.table.folder.join(&name.value)) {
        Ok(text) => Some(Bytes::from(text)),
        Err(error) => {
            cx.report(
                Diagnostic::new(
                    Code::UnreadableFile,
                    name.span,
                    format!("`{}` cannot be read: {error}", name.value),
                )
                .help("check the path: it is relative to the main file's folder"),
            );
            None
        }
    }
}
