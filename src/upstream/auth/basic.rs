//! `auth.basic = { username, password }`: HTTP Basic, RFC 7617.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{FixedHeader, Scheme, SchemeFault};

pub(super) static SCHEME: Scheme = Scheme {
    name: "basic",
    keys: &["username", "password"],
    build: |values| {
        let [username, password] = values else { return Err(fault()) };
        if username.reveal().contains(':') {
            return Err(SchemeFault {
                key: "username",
                message: "a username cannot hold a colon",
                help: "RFC 7617 parts username and password at the first colon",
            });
        }
        let pair = STANDARD.encode(format!("{}:{}", username.reveal(), password.reveal()));
        let header = FixedHeader::new(http::header::AUTHORIZATION, &format!("Basic {pair}"));
        header.map(|header| Box::new(header) as _).ok_or_else(fault)
    },
};

fn fault() -> SchemeFault {
    SchemeFault {
        key: "password",
        message: "the login cannot be sent",
        help: "give a username and a password",
    }
}
