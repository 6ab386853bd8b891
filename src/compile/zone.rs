//! `defaults.tz`: the time zone of the table.

use jiff::tz::TimeZone;

use crate::diagnostic::{Code, Diagnostic};
use crate::lang::template::Names;
use crate::plan::Zone;

use crate::compile::cx::Cx;

/// The zone of the table. The templates that are compiled from now on are told in it.
pub(super) fn compile(cx: &mut Cx<'_>, names: &Names<'_>) -> Zone {
    let table = cx.table;
    let Some(text) = table.defaults.tz.get() else { return Zone::default() };
    let Some(template) = cx.template(text, names) else { return Zone::default() };
    let zone = match template.as_literal() {
        Some(name) => TimeZone::get(name).ok().map(Zone::Fixed),
        None => template.is_sole().then(|| Zone::PerCall(template.clone())),
    };
    match zone {
        Some(zone) => {
            cx.set_zone(&template);
            zone
        }
        None => {
            let message = match template.as_literal() {
                Some(name) => format!("unknown time zone `{name}`"),
                None => "`tz` must be a single expression".to_owned(),
            };
            cx.report(Diagnostic::new(Code::UnknownValue, text.span, message).help(
                "write a name such as `Europe/Oslo` or `UTC`, or `{{default call.metadata.tz \"UTC\"}}`",
            ));
            Zone::default()
        }
    }
}
