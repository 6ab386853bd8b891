//! No authentication, for deployments where a proxy in front authenticates callers.

use super::{BadLogin, InboundAuth, Login, Scheme};

pub(super) static SCHEME: Scheme<dyn InboundAuth> = Scheme {
    name: "none",
    about: "No authentication: anyone who reaches the listener may call.",
    keys: &[],
    build: |_| Ok(Box::new(None)),
};

#[derive(Debug)]
struct None;

impl InboundAuth for None {
    fn verify(&self, _: &Login<'_>) -> Result<(), BadLogin> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::auth::tests::login;
    use crate::scheme::SchemeValues;

    #[test]
    fn every_request_is_accepted() {
        let auth = (SCHEME.build)(&SchemeValues::default()).unwrap();
        assert_eq!(auth.verify(&login(&http::HeaderMap::new())), Ok(()));
        assert_eq!(auth.challenge(), Option::None);
    }
}
