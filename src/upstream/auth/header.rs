//! `auth.header = { name, value }`: an API key in a header of any name.

use super::{FixedHeader, Scheme, SchemeFault};

pub(super) static SCHEME: Scheme = Scheme {
    name: "header",
    keys: &["name", "value"],
    build: |values| {
        let [name, value] = values else {
            return Err(SchemeFault {
                key: "name",
                message: "no header is named",
                help: "give `name` and `value`",
            });
        };
        let name = http::HeaderName::from_bytes(name.reveal().as_bytes()).map_err(|_| SchemeFault {
            key: "name",
            message: "this is not the name of a header",
            help: "header names have letters, digits and hyphens, as in `x-api-key`",
        })?;
        if crate::upstream::OWN_HEADERS.contains(&name.as_str()) {
            return Err(SchemeFault {
                key: "name",
                message: "this header is set by the proxy itself",
                help: "name the header in which the upstream expects its key, as in `x-api-key`",
            });
        }
        FixedHeader::new(name, value.reveal()).map(|header| Box::new(header) as _).ok_or(SchemeFault {
            key: "value",
            message: "the value holds characters that no header can carry",
            help: "look for a line break or another control character in it",
        })
    },
};
