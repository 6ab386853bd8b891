//! `auth.oauth2 = { token_url, client_id, client_secret, scope }`: client credentials, RFC 6749, section 4.4.
//!
//! The scheme defines how a token is requested. The token itself is one of the upstream's resources. If the upstream
//! refuses it (401), Jackfield drops the token and sends the request once more with a new one. If the upstream refuses
//! that one too, it is kept for a while, so that such calls do not request a token each.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use url::{Url, form_urlencoded};

use super::token::{TokenCell, TokenRequest};
use super::{
    CredentialEnv, CredentialError, OutboundAuth, PendingToken, Scheme, SchemeFault, SchemeKey, SchemeValues,
    sensitive,
};
use crate::diagnostic::Code;
use crate::secret::Secret;
use crate::upstream::{Request, Response, Target};

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "oauth2",
    about: "An OAuth 2 token (client credentials), shared by all calls and renewed before it expires.",
    keys: &[
        SchemeKey::text("token_url"),
        SchemeKey::text("client_id"),
        SchemeKey::secret("client_secret"),
        SchemeKey::text("scope").optional(),
    ],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    oauth2(values).map(|oauth2| Box::new(oauth2) as _)
}

fn oauth2(values: &SchemeValues) -> Result<OAuth2, SchemeFault> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let login = format!("{}:{}", encode(values.text("client_id")), encode(values.text("client_secret")));
    let login = sensitive(&format!("Basic {}", STANDARD.encode(login))).ok_or(SchemeFault::new(
        "client_secret",
        "the login cannot be sent",
        "give `client_id` and `client_secret`",
    ))?;
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.append_pair("grant_type", "client_credentials");
    if let Some(scope) = values.get("scope") {
        body.append_pair("scope", scope);
    }
    let body = body.finish();
    let mut with_login = form_urlencoded::Serializer::new(body.clone());
    with_login.append_pair("client_id", values.text("client_id"));
    with_login.append_pair("client_secret", values.text("client_secret"));
    Ok(OAuth2(TokenRequest {
        token_url: token_url(values.text("token_url"))?,
        login,
        body: Bytes::from(body),
        body_with_login: Secret::new(with_login.finish()),
    }))
}

fn token_url(text: &str) -> Result<Url, SchemeFault> {
    let fault = |message, help| Err(SchemeFault::new("token_url", message, help).code(Code::InvalidUrl));
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            fault("only http and https can be called", "write \"https://login.example.com/oauth2/token\"")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            fault("`token_url` cannot contain a login", "use `client_id` and `client_secret`")
        }
        Ok(url) if url.fragment().is_some() => {
            fault("`token_url` cannot contain `#`", "remove `#` and everything after it")
        }
        Ok(url) => Ok(url),
        Err(_) => fault(
            "this is not a web address",
            "write scheme, host and path: \"https://login.example.com/oauth2/token\"",
        ),
    }
}

#[derive(Debug)]
struct OAuth2(TokenRequest);

impl OutboundAuth for OAuth2 {
    fn token<'a>(&'a self, target: &'a Arc<Target>, env: CredentialEnv<'a>) -> Option<PendingToken<'a>> {
        Some(Box::pin(env.token.authorization(&self.0, target, env)))
    }

    fn apply(&self, request: &mut Request, token: Option<HeaderValue>) -> Result<(), CredentialError> {
        if let Some(token) = token {
            request.headers.insert(AUTHORIZATION, token);
        }
        Ok(())
    }

    fn token_request(&self) -> Option<&TokenRequest> {
        Some(&self.0)
    }

    fn renews(&self, token: &TokenCell, sent: &Request, response: &Response) -> bool {
        if response.status == StatusCode::UNAUTHORIZED {
            return sent.headers.get(AUTHORIZATION).is_some_and(|refused| token.renews(refused));
        }
        if response.status.is_success() {
            token.accepted();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, fault, request, target};
    use super::super::token::{MAX_RESPONSE, Token};
    use super::super::{CredentialError, authorize};
    use super::*;
    use crate::http1::response_headers::ResponseHeaders;
    use crate::upstream::stub::StubTransport;
    use crate::upstream::{Target, TransportError};
    use http::header::CONTENT_TYPE;
    use http::{HeaderValue, Method};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const GIVEN: [(&str, &[&str]); 4] = [
        ("token_url", &["https://login.example.com/token?tenant=7"]),
        ("client_id", &["me:you"]),
        ("client_secret", &["p@ss/w+rd"]),
        ("scope", &["read write"]),
    ];

    fn response(status: u16, body: &str) -> Result<Response, TransportError> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Response {
            status,
            headers: ResponseHeaders::default(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        })
    }

    fn token(token: &str, expires_in: Value) -> Result<Response, TransportError> {
        let body = json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in});
        response(200, &body.to_string())
    }

    fn timeout() -> Result<Response, TransportError> {
        Err(TransportError::Timeout { after_ms: 7, phase: "connecting" })
    }

    fn env<'a>(token: &'a TokenCell, transport: &'a StubTransport) -> CredentialEnv<'a> {
        CredentialEnv { token, transport, deadline: Instant::now() + Duration::from_secs(10) }
    }

    /// The header `authorization` after the credential has been applied.
    async fn applied(
        auth: &dyn OutboundAuth,
        token: &TokenCell,
        transport: &StubTransport,
    ) -> Result<String, CredentialError> {
        let mut request = request("https://api/");
        authorize(auth, &mut request, env(token, transport)).await?;
        let value = &request.headers[AUTHORIZATION];
        assert!(value.is_sensitive());
        Ok(value.to_str().unwrap().to_owned())
    }

    fn unauthorized() -> Response {
        response(401, "").unwrap()
    }

    #[tokio::test]
    async fn a_token_is_requested_as_the_rfc_requires_and_reused() {
        let (auth, cell) = (build(&SCHEME, &GIVEN).unwrap(), TokenCell::default());
        let endpoint = StubTransport::queued([token("t1", json!(3600))]);

        assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t1");
        assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t1");

        let [sent] = &endpoint.requests()[..] else { panic!() };
        assert_eq!(sent.method, Method::POST);
        assert_eq!(sent.url.as_str(), "https://login.example.com/token?tenant=7");
        assert_eq!(sent.body.as_deref(), Some(&b"grant_type=client_credentials&scope=read+write"[..]));
        assert_eq!(sent.headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
        let login = STANDARD.encode("me%3Ayou:p%40ss%2Fw%2Brd");
        assert_eq!(sent.headers[AUTHORIZATION], format!("Basic {login}"));
        assert!(sent.headers[AUTHORIZATION].is_sensitive());
        assert_eq!(*sent.target, Target { max_body: MAX_RESPONSE, ..target() });
        let shown = format!("{auth:?} {cell:?}");
        assert!(!shown.contains("t1") && !shown.contains("p%40ss") && !shown.contains(&login), "{shown}");
    }

    #[tokio::test]
    async fn expires_in_sets_how_long_a_token_is_reused() {
        for (expires_in, kept) in [
            (json!(3600), true),
            (json!("3600"), true),
            (json!(3600.5), true),
            (json!(30), true),
            (json!(1e300), true),
            (Value::Null, true),
            (json!("soon"), true),
            (json!(1), false),
            (json!("1"), false),
            (json!(0), false),
            (json!(-5), false),
        ] {
            let (auth, cell) = (build(&SCHEME, &GIVEN).unwrap(), TokenCell::default());
            let endpoint = StubTransport::queued([token("t1", expires_in.clone()), token("t2", json!(60))]);

            assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t1", "{expires_in}");
            let second = if kept { "Bearer t1" } else { "Bearer t2" };
            assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), second, "{expires_in}");
        }
    }

    #[tokio::test]
    async fn a_failed_renewal_keeps_the_current_token() {
        let hour = Duration::from_secs(3600);
        for failure in [response(503, ""), timeout()] {
            let mut values = SchemeValues::default();
            for (key, texts) in GIVEN {
                values.add(key, vec![Secret::new(texts[0])]);
            }
            let (request, cell) = (oauth2(&values).unwrap().0, TokenCell::default());
            let now = Instant::now();
            let authorization = HeaderValue::from_static("Bearer old");
            cell.token.store(Some(Arc::new(Token { authorization, renew_at: now, ends_at: now + hour })));
            let endpoint = StubTransport::queued([failure, token("new", json!(3600))]);

            assert_eq!(
                cell.token(&request, &target(), env(&cell, &endpoint)).await.unwrap().authorization,
                "Bearer old"
            );
            assert_eq!(endpoint.requests().len(), 1);
            // A call does not renew the token right after a failure, or while another call is renewing it.
            cell.last.lock().await.as_mut().unwrap().at = now + hour;
            assert_eq!(
                cell.token(&request, &target(), env(&cell, &endpoint)).await.unwrap().authorization,
                "Bearer old"
            );
            let busy = cell.last.lock().await;
            assert_eq!(
                cell.token(&request, &target(), env(&cell, &endpoint)).await.unwrap().authorization,
                "Bearer old"
            );
            drop(busy);
            assert_eq!(endpoint.requests().len(), 1);
            cell.last.lock().await.take();
            assert_eq!(
                cell.token(&request, &target(), env(&cell, &endpoint)).await.unwrap().authorization,
                "Bearer new"
            );
        }
    }

    #[tokio::test]
    async fn a_refused_token_is_renewed_once() {
        let (auth, cell) = (build(&SCHEME, &GIVEN).unwrap(), TokenCell::default());
        let endpoint = StubTransport::queued([token("t1", json!(3600)), token("t2", json!(3600))]);
        let mut sent = request("https://api/");
        authorize(&*auth, &mut sent, env(&cell, &endpoint)).await.unwrap();

        assert!(!auth.renews(&cell, &sent, &response(403, "").unwrap()));
        assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t1");
        assert!(auth.renews(&cell, &sent, &unauthorized()));
        assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t2");
        // Another call that used the first token receives its 401 later.
        assert!(auth.renews(&cell, &sent, &unauthorized()));
        assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t2");
        assert_eq!(endpoint.requests().len(), 2);
    }

    #[tokio::test]
    async fn the_login_is_sent_in_the_body_if_the_header_is_rejected() {
        for rejection in [response(401, ""), response(400, r#"{"error": "invalid_client"}"#)] {
            let (auth, cell) = (build(&SCHEME, &GIVEN).unwrap(), TokenCell::default());
            let endpoint = StubTransport::queued([rejection, token("t1", json!(0)), token("t2", json!(0))]);
            assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t1");
            // What worked is tried first the next time.
            assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t2");
            let bodies: Vec<_> = endpoint.requests().iter().map(|sent| sent.body.clone().unwrap()).collect();
            let with_login = "grant_type=client_credentials&scope=read+write&client_id=me%3Ayou&client_secret=p%40ss%2Fw%2Brd";
            assert_eq!(bodies, ["grant_type=client_credentials&scope=read+write", with_login, with_login]);
            let headers: Vec<_> =
                endpoint.requests().iter().map(|sent| sent.headers.contains_key(AUTHORIZATION)).collect();
            assert_eq!(headers, [true, false, false]);
        }
        // Another rejection is not about the login.
        let (auth, cell) = (build(&SCHEME, &GIVEN).unwrap(), TokenCell::default());
        let endpoint = StubTransport::queued([response(400, r#"{"error": "invalid_scope"}"#)]);
        assert!(applied(auth.as_ref(), &cell, &endpoint).await.is_err());
        assert!(!format!("{auth:?}").contains("p%40ss") && !format!("{auth:?}").contains("p@ss"));
    }

    #[tokio::test]
    async fn a_new_token_that_is_refused_too_is_kept_for_a_while() {
        let (auth, cell) = (build(&SCHEME, &GIVEN).unwrap(), TokenCell::default());
        let tokens = ["t1", "t2", "t3"].map(|name| token(name, json!(3600)));
        let endpoint = StubTransport::queued(tokens);
        let send = async || {
            let mut sent = request("https://api/");
            authorize(&*auth, &mut sent, env(&cell, &endpoint)).await.unwrap();
            sent
        };
        let first = send().await;
        assert!(auth.renews(&cell, &first, &unauthorized()));
        let second = send().await;
        for _ in 0..3 {
            assert!(!auth.renews(&cell, &second, &unauthorized()));
            assert_eq!(send().await.headers[AUTHORIZATION], "Bearer t2");
        }
        assert_eq!(endpoint.requests().len(), 2);
        // Once a token is accepted, the next refusal renews it at once.
        assert!(!auth.renews(&cell, &second, &response(200, "").unwrap()));
        assert!(auth.renews(&cell, &second, &unauthorized()));
        assert_eq!(send().await.headers[AUTHORIZATION], "Bearer t3");
    }

    #[tokio::test]
    async fn errors_of_the_token_endpoint_contain_no_secrets() {
        let hostile = r#"{"error": "p@ss/w+rd", "error_description": "p@ss/w+rd"}"#;
        let other = r#"{"access_token": "p@ss/w+rd", "token_type": "mac"}"#;
        for (result, expected) in [
            (response(500, "p@ss/w+rd"), "token endpoint answered with status 500"),
            (response(302, ""), "token endpoint answered with status 302"),
            (response(401, hostile), "token endpoint answered with status 401"),
            (
                response(401, r#"{"error": "invalid_client"}"#),
                "token endpoint answered with status 401 (invalid_client)",
            ),
            (response(200, ""), "token endpoint did not return a JSON object"),
            (response(200, "access_token=x"), "token endpoint did not return a JSON object"),
            (response(200, "[]"), "token endpoint did not return a JSON object"),
            (response(200, "{}"), "token endpoint returned no `access_token`"),
            (response(200, r#"{"access_token": ""}"#), "token endpoint returned no `access_token`"),
            (response(200, r#"{"access_token": 7}"#), "token endpoint returned no `access_token`"),
            (response(200, other), "token endpoint returned a token whose type is not `Bearer`"),
            (
                response(200, r#"{"access_token": "p@ss/w+rd\r\nx: y"}"#),
                "token endpoint returned a token that no header can carry",
            ),
            (
                Err(TransportError::Connect { detail: "refused".into() }),
                "token endpoint: cannot connect: refused",
            ),
        ] {
            let (auth, cell) = (build(&SCHEME, &GIVEN).unwrap(), TokenCell::default());
            let is_rejected = expected.contains("401");
            // A rejected login is sent in the body as well.
            let again = is_rejected.then(|| response(401, ""));
            let answers: Vec<_> =
                [Some(result), again, Some(token("t1", json!(60)))].into_iter().flatten().collect();
            let endpoint = StubTransport::queued(answers);

            let error = applied(auth.as_ref(), &cell, &endpoint).await.unwrap_err();

            assert_eq!(matches!(error, CredentialError::Rejected(_)), is_rejected, "{error}");
            assert!(error.to_string().ends_with(expected), "{error}");
            assert!(!error.to_string().contains("p@ss"), "{error}");
            // The failure is remembered for a while. Then a call tries again.
            let remembered = applied(auth.as_ref(), &cell, &endpoint).await.unwrap_err().to_string();
            assert!(
                remembered.ends_with("; no token is requested for another 1 s")
                    || remembered.ends_with("2 s")
            );
            assert_eq!(endpoint.requests().len(), 1 + usize::from(is_rejected));
            cell.last.lock().await.as_mut().unwrap().backoff = None;
            assert_eq!(applied(auth.as_ref(), &cell, &endpoint).await.unwrap(), "Bearer t1");
        }
    }

    #[tokio::test]
    async fn a_slow_endpoint_is_a_timeout() {
        let (auth, cell) = (build(&SCHEME, &GIVEN).unwrap(), TokenCell::default());
        let endpoint = StubTransport::queued([timeout()]);
        let error = applied(auth.as_ref(), &cell, &endpoint).await.unwrap_err();
        assert!(matches!(error, CredentialError::TooLate(_)), "{error}");
    }

    #[test]
    fn an_invalid_token_url_is_rejected() {
        for bad in ["", "login", "/token", "ftp://a/b", "https://me:pw@a/", "https://a/#x", "https://"] {
            let mut given = GIVEN;
            let url = [bad];
            given[0].1 = &url;
            let fault = fault(&SCHEME, &given);
            assert_eq!((fault.key, fault.code), ("token_url", Code::InvalidUrl), "{bad}");
        }
    }
}
