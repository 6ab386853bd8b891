//! `auth.basic = { username, password }`: HTTP Basic, RFC 7617.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{FixedHeader, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues};
use crate::secret::Secret;

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "basic",
    about: "HTTP Basic.",
    keys: &[SchemeKey::text("username"), SchemeKey::rotating_credential("password")],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    let (username, passwords) = (values.text("username"), values.secrets("password"));
    if username.contains(':') {
        return Err(SchemeFault::new(
            "username",
            "a username cannot hold a colon",
            "use another username: RFC 7617 splits the login at its first colon",
        ));
    }
    let pair = |password: &Secret| STANDARD.encode(format!("{username}:{}", password.reveal()));
    let values = passwords.iter().map(|password| format!("Basic {}", pair(password)));
    match FixedHeader::new(http::header::AUTHORIZATION, values) {
        Some(header) => Ok(Box::new(header)),
        None => {
            Err(SchemeFault::new("password", "the login cannot be sent", "give a username and a password"))
        }
    }
}
