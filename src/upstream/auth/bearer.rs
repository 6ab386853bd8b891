//! `auth.bearer = { token }`: a bearer token, RFC 6750.

use super::{FixedHeader, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues};

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "bearer",
    about: "A bearer token, in the header `authorization`.",
    keys: &[SchemeKey::secret("token")],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    let token = values.text("token");
    match FixedHeader::new(http::header::AUTHORIZATION, &format!("Bearer {token}")) {
        Some(header) => Ok(Box::new(header)),
        None => Err(SchemeFault::new(
            "token",
            "the token holds characters that no header can carry",
            "look for a line break or another control character in it",
        )),
    }
}
