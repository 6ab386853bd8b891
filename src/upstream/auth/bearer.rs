//! `auth.bearer = { token }`: a bearer token, RFC 6750.

use super::{FixedHeader, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues};

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "bearer",
    about: "A bearer token, in the header `authorization`.",
    keys: &[SchemeKey::rotating_credential("token")],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    let tokens = values.secrets("token");
    let values = tokens.iter().map(|token| format!("Bearer {}", token.reveal()));
    match FixedHeader::new(http::header::AUTHORIZATION, values) {
        Some(header) => Ok(Box::new(header)),
        None => Err(SchemeFault::new(
            "token",
            "the token holds characters that no header can carry",
            "look for a line break or another control character in it",
        )),
    }
}
