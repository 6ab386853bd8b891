//! `auth.header = { name, value }`: an API key in a header of any name.

use super::{FixedHeader, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues, credential_header};

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "header",
    about: "A key in a header.",
    keys: &[SchemeKey::text("name"), SchemeKey::rotating_credential("value")],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    let header = credential_header(values, "name")?.and_then(|name| {
        FixedHeader::new(name, values.secrets("value").iter().map(|value| value.reveal().to_owned()))
    });
    match header {
        Some(header) => Ok(Box::new(header)),
        None => Err(SchemeFault::new(
            "value",
            "the value holds characters that no header can carry",
            "look for a line break or another control character in it",
        )),
    }
}
