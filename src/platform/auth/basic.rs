//! A user name and password in `Authorization: Basic …` (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;

use super::{
    BadLogin, InboundAuth, Login, Scheme, SchemeFault, SchemeKey, SchemeValues, any_matches, credentials,
};
use crate::secret::Secret;

pub(super) static SCHEME: Scheme<dyn InboundAuth> = Scheme {
    name: "basic",
    about: "HTTP Basic.",
    keys: &[SchemeKey::text("username"), SchemeKey::rotating_secret("password")],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn InboundAuth>, SchemeFault> {
    let username = values.text("username");
    if username.contains(':') {
        return Err(SchemeFault::new(
            "username",
            "a user name cannot contain a colon",
            "remove the colon: in HTTP Basic, everything after the first colon is the password",
        ));
    }
    Ok(Box::new(Basic { username: Secret::new(username), passwords: values.secrets("password") }))
}

#[derive(Debug)]
struct Basic {
    username: Secret,
    passwords: Vec<Secret>,
}

impl InboundAuth for Basic {
    fn verify(&self, login: &Login<'_>) -> Result<(), BadLogin> {
        let encoded = credentials(login.headers, "basic")?;
        let decoded = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
        let decoded = decoded.ok_or(BadLogin::Malformed(AUTHORIZATION))?;
        let colon =
            decoded.iter().position(|byte| *byte == b':').ok_or(BadLogin::Malformed(AUTHORIZATION))?;
        // Always compare both, so that the timing does not reveal whether the name alone is right.
        let name_matches = self.username.matches(&decoded[..colon]);
        let password_matches = any_matches(&self.passwords, &decoded[colon + 1..]);
        if name_matches & password_matches { Ok(()) } else { Err(BadLogin::Wrong) }
    }

    fn challenge(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static("Basic realm=\"jackfield\", charset=\"UTF-8\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::auth::tests::{build, verdict};

    #[test]
    fn the_user_name_and_any_listed_password_are_accepted() {
        let auth =
            build(&SCHEME, &[("username", &["signalwire"]), ("password", &["new:pass", "ålesund"])]).unwrap();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (header, expected) in [
            (basic("signalwire:new:pass"), Ok(())),
            (basic("signalwire:ålesund"), Ok(())),
            (basic("signalwire:new:pass").replace("Basic", "bASIC"), Ok(())),
            (basic("signalwire:new:pasS"), Err(BadLogin::Wrong)),
            (basic("signalwire:new"), Err(BadLogin::Wrong)),
            (basic("signalwire:"), Err(BadLogin::Wrong)),
            (basic(":new:pass"), Err(BadLogin::Wrong)),
            (basic("Signalwire:new:pass"), Err(BadLogin::Wrong)),
            (basic("signalwire"), Err(BadLogin::Malformed(AUTHORIZATION))),
            ("Basic".into(), Err(BadLogin::Malformed(AUTHORIZATION))),
            ("Basic %%%".into(), Err(BadLogin::Malformed(AUTHORIZATION))),
            ("Basic signalwire:new:pass".into(), Err(BadLogin::Malformed(AUTHORIZATION))),
            (
                basic("signalwire:new:pass").replace("Basic", "Bearer"),
                Err(BadLogin::Malformed(AUTHORIZATION)),
            ),
        ] {
            assert_eq!(verdict(&*auth, "authorization", Some(&header)), expected, "{header:?}");
        }
        assert_eq!(verdict(&*auth, "authorization", None), Err(BadLogin::Missing(AUTHORIZATION)));
        assert!(auth.challenge().unwrap().to_str().unwrap().starts_with("Basic realm="));
        assert!(!format!("{auth:?}").contains("pass\""), "{auth:?}");
    }

    #[test]
    fn a_user_name_with_a_colon_is_rejected() {
        let fault = build(&SCHEME, &[("username", &["a:b"]), ("password", &["p"])]).unwrap_err();
        assert_eq!(fault.key, "username");
    }
}
