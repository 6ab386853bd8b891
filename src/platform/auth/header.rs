//! A secret in a header that the table names.

use http::HeaderName;

use super::{BadLogin, InboundAuth, Login, Scheme, SchemeFault, SchemeKey, SchemeValues, any_matches};
use crate::secret::Secret;

pub(super) static SCHEME: Scheme<dyn InboundAuth> = Scheme {
    name: "header",
    about: "A fixed value in a header.",
    keys: &[SchemeKey::text("name"), SchemeKey::rotating_secret("value")],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn InboundAuth>, SchemeFault> {
    let name = values.header("name")?.ok_or_else(|| {
        SchemeFault::new("name", "the header name is missing", "write a header name such as `x-api-key`")
    })?;
    Ok(Box::new(Header { name, values: values.secrets("value") }))
}

#[derive(Debug)]
struct Header {
    name: HeaderName,
    values: Vec<Secret>,
}

impl InboundAuth for Header {
    fn secret_header(&self) -> Option<&HeaderName> {
        Some(&self.name)
    }

    fn verify(&self, login: &Login<'_>) -> Result<(), BadLogin> {
        let value = login.headers.get(&self.name).ok_or_else(|| BadLogin::Missing(self.name.clone()))?;
        if any_matches(&self.values, value.as_bytes()) { Ok(()) } else { Err(BadLogin::Wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::auth::tests::{build, verdict};

    #[test]
    fn any_listed_value_is_accepted() {
        let auth = build(&SCHEME, &[("name", &["X-Api-Key"]), ("value", &["new", "old"])]).unwrap();
        for (header, expected) in [
            (Some("new"), Ok(())),
            (Some("old"), Ok(())),
            (Some("New"), Err(BadLogin::Wrong)),
            (Some(""), Err(BadLogin::Wrong)),
            (None, Err(BadLogin::Missing(HeaderName::from_static("x-api-key")))),
        ] {
            assert_eq!(verdict(&*auth, "x-api-key", header), expected, "{header:?}");
        }
        assert_eq!(auth.challenge(), None);
    }

    #[test]
    fn invalid_header_names_are_rejected() {
        for name in ["", "x key", "x:key", "kéy"] {
            let fault = build(&SCHEME, &[("name", &[name]), ("value", &["v"])]).unwrap_err();
            assert_eq!(fault.key, "name", "{name}");
        }
    }
}
