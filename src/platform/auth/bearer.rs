//! A token in `Authorization: Bearer …` (RFC 6750).

use http::HeaderValue;
use http::header::AUTHORIZATION;

use super::{BadLogin, InboundAuth, Login, Scheme, SchemeKey, any_matches, credentials};
use crate::secret::Secret;

pub(super) static SCHEME: Scheme<dyn InboundAuth> = Scheme {
    name: "bearer",
    about: "A bearer token in the `Authorization` header.",
    keys: &[SchemeKey::rotating_secret("token")],
    build: |values| Ok(Box::new(Bearer { tokens: values.secrets("token") })),
};

#[derive(Debug)]
struct Bearer {
    tokens: Vec<Secret>,
}

impl InboundAuth for Bearer {
    fn verify(&self, login: &Login<'_>) -> Result<(), BadLogin> {
        let token = credentials(login.headers, "bearer")?.ok_or(BadLogin::Malformed(AUTHORIZATION))?;
        if any_matches(&self.tokens, token) { Ok(()) } else { Err(BadLogin::Wrong) }
    }

    fn challenge(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static("Bearer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::auth::tests::{build, verdict};

    #[test]
    fn any_listed_token_is_accepted() {
        let auth = build(&SCHEME, &[("token", &["new-token", "old-token"])]).unwrap();
        for (header, expected) in [
            (Some("Bearer new-token"), Ok(())),
            (Some("bearer old-token"), Ok(())),
            (Some("BEARER  old-token "), Ok(())),
            (Some("Bearer new-tokem"), Err(BadLogin::Wrong)),
            (Some("Bearer New-token"), Err(BadLogin::Wrong)),
            (Some("Bearer new-token,old-token"), Err(BadLogin::Wrong)),
            (Some("Bearer "), Err(BadLogin::Wrong)),
            (Some("Bearer"), Err(BadLogin::Malformed(AUTHORIZATION))),
            (Some("new-token"), Err(BadLogin::Malformed(AUTHORIZATION))),
            (Some("Basic new-token"), Err(BadLogin::Malformed(AUTHORIZATION))),
            (Some(""), Err(BadLogin::Malformed(AUTHORIZATION))),
            (None, Err(BadLogin::Missing(AUTHORIZATION))),
        ] {
            assert_eq!(verdict(&*auth, "authorization", header), expected, "{header:?}");
        }
        assert_eq!(auth.challenge().unwrap(), "Bearer");
        assert!(!auth.needs_body());
        assert!(!format!("{auth:?}").contains("token\""), "{auth:?}");
    }
}
