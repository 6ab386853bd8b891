//! `auth.query = { name, value }`: an API key as a parameter of the URL's query.
//!
//! The value is a secret of the table, so records mask it in the URL too.

use http::HeaderValue;
use url::form_urlencoded;

use super::{CredentialError, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues};
use crate::percent;
use crate::secret::Secret;
use crate::upstream::{Request, RequestUrl};

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "query",
    about: "A key in the query. It replaces any parameter of the same name.",
    keys: &[SchemeKey::text("name"), SchemeKey::secret("value")],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    let name = values.text("name");
    if name.is_empty() {
        return Err(SchemeFault::new(
            "name",
            "the parameter has no name",
            "write the name that the upstream expects, as in `api_key`",
        ));
    }
    let pair = Secret::new(format!("{}={}", percent::encode(name), percent::encode(values.text("value"))));
    Ok(Box::new(Query { name: name.to_owned(), pair }))
}

#[derive(Debug)]
struct Query {
    name: String,
    /// Name and value, percent-encoded.
    pair: Secret,
}

impl Query {
    /// Removes all parameters of this name, and appends the credential. The other parameters stay unchanged.
    fn set(&self, url: &mut RequestUrl) {
        let others = url.query().unwrap_or_default().split('&').filter(|pair| {
            let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
            !pair.is_empty() && name.is_none_or(|name| name != self.name.as_str())
        });
        let pairs: Vec<&str> = others.chain([self.pair.reveal()]).collect();
        let query = pairs.join("&");
        url.set_query(&query);
    }
}

impl OutboundAuth for Query {
    fn apply(&self, request: &mut Request, _: Option<HeaderValue>) -> Result<(), CredentialError> {
        self.set(&mut request.url);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, fault};
    use super::*;

    #[test]
    fn the_parameter_is_last_and_unique() {
        for (before, after) in [
            ("http://api/", "http://api/?api_key=k-1%20%26%3D%2F"),
            ("http://api/x?", "http://api/x?api_key=k-1%20%26%3D%2F"),
            ("http://api/?a=1&b=%20+", "http://api/?a=1&b=%20+&api_key=k-1%20%26%3D%2F"),
            (
                "http://api/?api_key=theirs&a=1&api%5Fkey=theirs&api_key",
                "http://api/?a=1&api_key=k-1%20%26%3D%2F",
            ),
            ("http://api/?api_keys=1&b=api_key", "http://api/?api_keys=1&b=api_key&api_key=k-1%20%26%3D%2F"),
        ] {
            let auth = build(&SCHEME, &[("name", &["api_key"]), ("value", &["k-1 &=/"])]).unwrap();
            let mut request = super::super::tests::request(before);
            super::super::tests::apply(auth.as_ref(), &mut request).unwrap();
            assert_eq!(request.url.as_str(), after, "{before}");
            assert!(!format!("{auth:?}").contains("k-1"));
        }
    }

    #[test]
    fn a_parameter_needs_a_name() {
        assert_eq!(fault(&SCHEME, &[("name", &[""]), ("value", &["k"])]).key, "name");
    }
}
