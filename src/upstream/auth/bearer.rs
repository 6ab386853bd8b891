//! `auth.bearer = { token }`: a bearer token, RFC 6750.

use super::{FixedHeader, Scheme, SchemeFault};

pub(super) static SCHEME: Scheme = Scheme {
    name: "bearer",
    keys: &["token"],
    build: |values| {
        let token = values.first().map_or("", |token| token.reveal());
        let header = FixedHeader::new(http::header::AUTHORIZATION, &format!("Bearer {token}"));
        header.map(|header| Box::new(header) as _).ok_or(SchemeFault {
            key: "token",
            message: "the token holds characters that no header can carry",
            help: "look for a line break or another control character in it",
        })
    },
};
