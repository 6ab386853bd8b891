//! The texts of `[server]` that say where the listeners are: from the table, the environment, or the command line.

use std::net::SocketAddr;

use crate::diagnostic::Span;
use crate::table::document::Located;
use crate::table::reader::Key;

use crate::compile::cx::{Cx, ListenerTexts};

/// Resolves the texts, each once, so that a variable that is not set is one error.
pub(in crate::compile) fn resolve(cx: &mut Cx<'_>) -> ListenerTexts {
    let (table, options) = (cx.table, cx.environment.options);
    let raw = &table.server;
    ListenerTexts {
        listen: address(cx, &raw.listen, options.listen),
        admin: address(cx, &raw.admin, options.admin),
        public_url: raw.public_url.get().and_then(|text| cx.resolve_setting(text)),
    }
}

/// An address of the table, unless the command line gives another.
fn address(cx: &mut Cx<'_>, raw: &Key<String>, option: Option<SocketAddr>) -> Option<Located<String>> {
    match option {
        Some(address) => {
            let span = raw.span().unwrap_or(Span::start_of(cx.table.main));
            Some(Located { value: address.to_string(), span })
        }
        None => raw.get().and_then(|text| cx.resolve_setting(text)),
    }
}
