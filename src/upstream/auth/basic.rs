//! `auth.basic = { username, password }`: HTTP Basic, RFC 7617.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{FixedHeader, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues};

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "basic",
    about: "HTTP Basic.",
    keys: &[SchemeKey::text("username"), SchemeKey::secret("password")],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    let (username, password) = (values.text("username"), values.text("password"));
    if username.contains(':') {
        return Err(SchemeFault::new(
            "username",
            "a username cannot hold a colon",
            "use another username: RFC 7617 splits the login at its first colon",
        ));
    }
    let pair = STANDARD.encode(format!("{username}:{password}"));
    match FixedHeader::new(http::header::AUTHORIZATION, &format!("Basic {pair}")) {
        Some(header) => Ok(Box::new(header)),
        None => {
            Err(SchemeFault::new("password", "the login cannot be sent", "give a username and a password"))
        }
    }
}
