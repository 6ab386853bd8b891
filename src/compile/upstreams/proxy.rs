//! `upstreams.x.proxy`: the HTTP proxy that requests go through.

use crate::compile::cx::Cx;
use crate::compile::values;
use crate::diagnostic::{Code, Diagnostic};
use crate::table::raw::RawUpstream;
use crate::upstream::EgressPolicy;
use crate::upstream::proxy::Proxy;

pub(super) fn compile(cx: &mut Cx<'_>, raw: &RawUpstream, network: EgressPolicy) -> Option<Proxy> {
    let text = raw.proxy.get()?;
    if !values::no_template(&text.value, text.span, "`proxy`", cx.diagnostics) {
        return None;
    }
    let resolved = cx.resolve(&text.value, text.span)?;
    if network == EgressPolicy::Public {
        let related = raw.network.span().unwrap_or(text.span);
        cx.report(
            Diagnostic::new(
                Code::ConflictingKeys,
                text.span,
                "a proxy resolves the host itself, so Jackfield cannot check that it is public",
            )
            .related(related, "allows only public addresses")
            .help("remove `proxy`, or set `network = \"any\"`"),
        );
    }
    let proxy = Proxy::parse(&resolved.text);
    if proxy.is_none() && !resolved.placeholder {
        cx.report(
            // The message must not quote the text, because it may contain a secret.
            Diagnostic::new(Code::InvalidUrl, text.span, "this is not the address of an HTTP proxy")
                .help("write \"http://proxy.internal:3128\", with a login as in \"http://${PROXY_LOGIN}@proxy.internal:3128\""),
        );
    }
    proxy
}
