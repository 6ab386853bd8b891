//! `auth.oauth2 = { token_url, client_id, client_secret, scope }`: client credentials, RFC 6749, section 4.4.
//!
//! One token serves all calls. The first call that needs one asks for it, within its own deadline; calls that come
//! meanwhile wait for the same answer. Shortly before a token ends one call asks for the next, while the others go
//! on with the old one. A token that an upstream refuses (401) is forgotten, and the call tries once more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout_at;
use url::{Url, form_urlencoded};

use super::{
    Applying, CredentialError, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues, sensitive,
};
use crate::diagnostic::Code;
use crate::upstream::{Request, Response, Target, Times, Transport};

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "oauth2",
    about: "A token by OAuth 2, client credentials: one for all calls, replaced before it ends.",
    keys: &[
        SchemeKey::text("token_url"),
        SchemeKey::text("client_id"),
        SchemeKey::secret("client_secret"),
        SchemeKey::text("scope").optional(),
    ],
    build,
};

/// How long a token is kept whose end is not told, and the longest that any is kept.
const LIFETIME_UNKNOWN: Duration = Duration::from_secs(60 * 60);
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its end a token is replaced: a tenth of its lifetime, within these bounds.
const MARGIN_MIN: Duration = Duration::from_secs(5);
const MARGIN_MAX: Duration = Duration::from_secs(60);
/// How long a token that still holds is used on, after the attempt to replace it failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of a token endpoint's answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// What a token endpoint may say that we repeat, RFC 6749, section 5.2; anything else could hold a secret.
const REASONS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

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
    Ok(OAuth2 {
        token_url: token_url(values.text("token_url"))?,
        login,
        body: Bytes::from(body.finish()),
        token: ArcSwapOption::empty(),
        last: Mutex::default(),
    })
}

fn token_url(text: &str) -> Result<Url, SchemeFault> {
    let fault = |message, help| Err(SchemeFault::new("token_url", message, help).code(Code::InvalidUrl));
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            fault("only http and https can be called", "write \"https://login.example.com/oauth2/token\"")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => fault(
            "a login does not belong into `token_url`",
            "it is given by `client_id` and `client_secret`",
        ),
        Ok(url) if url.fragment().is_some() => {
            fault("`token_url` ends before any `#`", "take out what comes after it")
        }
        Ok(url) => Ok(url),
        Err(_) => fault(
            "this is not a web address",
            "write scheme, host and path: \"https://login.example.com/oauth2/token\"",
        ),
    }
}

#[derive(Debug)]
struct OAuth2 {
    token_url: Url,
    /// The client's id and secret, as the token endpoint wants them.
    login: HeaderValue,
    body: Bytes,
    token: ArcSwapOption<Token>,
    /// How the last request for a token ended. Held while one is under way.
    last: Mutex<Option<Fetched>>,
}

#[derive(Debug)]
struct Token {
    /// `Bearer` and the token.
    authorization: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
}

#[derive(Debug)]
struct Fetched {
    at: Instant,
    outcome: Result<Arc<Token>, CredentialError>,
}

impl OutboundAuth for OAuth2 {
    fn apply<'a>(
        &'a self,
        request: &'a mut Request,
        transport: &'a dyn Transport,
        deadline: Instant,
    ) -> Applying<'a> {
        Box::pin(async move {
            let token = self.token(&request.target, transport, deadline).await?;
            request.headers.insert(AUTHORIZATION, token.authorization.clone());
            Ok(())
        })
    }

    fn renews(&self, sent: &Request, response: &Response) -> bool {
        let refused = response.status == StatusCode::UNAUTHORIZED;
        let held = self.token.load();
        // Another call may have the next token already.
        if refused
            && held.as_ref().is_some_and(|held| sent.headers.get(AUTHORIZATION) == Some(&held.authorization))
        {
            self.token.compare_and_swap(&*held, None);
        }
        refused
    }
}

impl OAuth2 {
    /// A token that holds: the one at hand, else a new one.
    async fn token(
        &self,
        target: &Target,
        transport: &dyn Transport,
        deadline: Instant,
    ) -> Result<Arc<Token>, CredentialError> {
        let asked = Instant::now();
        match self.token.load_full() {
            Some(token) if asked < token.renew_at => return Ok(token),
            Some(token) if asked < token.ends_at => {
                let Ok(last) = self.last.try_lock() else { return Ok(token) };
                if last.as_ref().is_some_and(|last| last.outcome.is_err() && asked < last.at + PATIENCE) {
                    return Ok(token);
                }
                // What is left has to do for the call itself, with the old token if need be.
                let half = asked + deadline.saturating_duration_since(asked) / 2;
                return Ok(self.renew(last, target, transport, half).await.unwrap_or(token));
            }
            _ => {}
        }
        let waiting = timeout_at(deadline.into(), self.last.lock()).await;
        let last = waiting.map_err(|_| {
            CredentialError::TooLate("another call waits for the token endpoint's answer".to_owned())
        })?;
        match &*last {
            // A call that ran out of time says nothing about those that have some left.
            Some(last) if last.at > asked && !matches!(last.outcome, Err(CredentialError::TooLate(_))) => {
                last.outcome.clone()
            }
            _ => self.renew(last, target, transport, deadline).await,
        }
    }

    async fn renew(
        &self,
        mut last: MutexGuard<'_, Option<Fetched>>,
        target: &Target,
        transport: &dyn Transport,
        deadline: Instant,
    ) -> Result<Arc<Token>, CredentialError> {
        let outcome = self.fetch(target, transport, deadline).await.map(Arc::new);
        if let Ok(token) = &outcome {
            self.token.store(Some(Arc::clone(token)));
        }
        *last = Some(Fetched { at: Instant::now(), outcome: outcome.clone() });
        outcome
    }

    async fn fetch(
        &self,
        target: &Target,
        transport: &dyn Transport,
        deadline: Instant,
    ) -> Result<Token, CredentialError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.login.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let request = Request {
            // The upstream's own, so that its timeout and its certificates hold here too.
            target: Arc::new(Target { max_body: MAX_ANSWER, ..target.clone() }),
            step: None,
            method: Method::POST,
            url: self.token_url.clone(),
            headers,
            body: Some(self.body.clone()),
        };
        let asked = Instant::now();
        let times = Times::by(request.target.ends(deadline));
        let response = transport.send(request, times).await.map_err(at_endpoint)?;
        Token::read(&response, asked)
    }
}

impl Token {
    /// The token of an endpoint's answer. Its lifetime counts from the question: the answer was on its way a while.
    fn read(response: &Response, asked: Instant) -> Result<Self, CredentialError> {
        let fault = |problem: &str| Err(CredentialError::Failed(format!("the token endpoint {problem}")));
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if !response.status.is_success() {
            let reason = answer["error"].as_str().filter(|reason| REASONS.contains(reason));
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            return fault(&format!("answered with status {}{reason}", response.status.as_u16()));
        }
        if !answer.is_object() {
            return fault("did not answer with a JSON object");
        }
        let Some(token) = answer["access_token"].as_str().filter(|token| !token.is_empty()) else {
            return fault("gave no `access_token`");
        };
        if answer["token_type"].as_str().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return fault("gave a token of another type than `Bearer`");
        }
        let Some(authorization) = sensitive(&format!("Bearer {token}")) else {
            return fault("gave a token that no header can carry");
        };
        let lifetime = lifetime(&answer["expires_in"]);
        let margin = (lifetime / 10).clamp(MARGIN_MIN, MARGIN_MAX);
        Ok(Self {
            authorization,
            renew_at: asked + lifetime.saturating_sub(margin),
            ends_at: asked + lifetime,
        })
    }
}

/// `expires_in`, which some endpoints write as a string.
fn lifetime(expires_in: &Value) -> Duration {
    let seconds = match expires_in {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    match seconds {
        Some(seconds) => {
            Duration::try_from_secs_f64(seconds.clamp(0.0, LIFETIME_MAX.as_secs_f64())).unwrap_or_default()
        }
        None => LIFETIME_UNKNOWN,
    }
}

fn at_endpoint(error: crate::upstream::TransportError) -> CredentialError {
    match CredentialError::from(error) {
        CredentialError::Failed(text) => CredentialError::Failed(format!("token endpoint: {text}")),
        CredentialError::TooLate(text) => CredentialError::TooLate(format!("token endpoint: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, fault, request, target};
    use super::*;
    use crate::secret::Secret;
    use crate::upstream::TransportError;
    use crate::upstream::stub::StubTransport;
    use serde_json::json;

    const GIVEN: [(&str, &[&str]); 4] = [
        ("token_url", &["https://login.example.com/token?tenant=7"]),
        ("client_id", &["me:you"]),
        ("client_secret", &["p@ss/w+rd"]),
        ("scope", &["read write"]),
    ];

    fn answer(status: u16, body: &str) -> Result<Response, TransportError> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Response { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    fn token(token: &str, expires_in: Value) -> Result<Response, TransportError> {
        let answer_ = json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in});
        answer(200, &answer_.to_string())
    }

    fn unanswered() -> Result<Response, TransportError> {
        Err(TransportError::Timeout { after_ms: 7, phase: "connecting" })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// What `Authorization` is after the credential has been applied.
    async fn applied(auth: &dyn OutboundAuth, transport: &StubTransport) -> Result<String, CredentialError> {
        let mut request = request("https://api/");
        auth.apply(&mut request, transport, soon()).await?;
        let value = &request.headers[AUTHORIZATION];
        assert!(value.is_sensitive());
        Ok(value.to_str().unwrap().to_owned())
    }

    fn unauthorized() -> Response {
        answer(401, "").unwrap()
    }

    #[tokio::test]
    async fn a_token_is_asked_for_as_the_rfc_says_and_kept() {
        let auth = build(&SCHEME, &GIVEN).unwrap();
        let endpoint = StubTransport::queued([token("t1", json!(3600))]);

        assert_eq!(applied(auth.as_ref(), &endpoint).await.unwrap(), "Bearer t1");
        assert_eq!(applied(auth.as_ref(), &endpoint).await.unwrap(), "Bearer t1");

        let [asked] = &endpoint.requests()[..] else { panic!() };
        assert_eq!(asked.method, Method::POST);
        assert_eq!(asked.url.as_str(), "https://login.example.com/token?tenant=7");
        assert_eq!(asked.body.as_deref(), Some(&b"grant_type=client_credentials&scope=read+write"[..]));
        assert_eq!(asked.headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
        let login = STANDARD.encode("me%3Ayou:p%40ss%2Fw%2Brd");
        assert_eq!(asked.headers[AUTHORIZATION], format!("Basic {login}"));
        assert!(asked.headers[AUTHORIZATION].is_sensitive());
        assert_eq!(*asked.target, Target { max_body: MAX_ANSWER, ..target() });
        let shown = format!("{auth:?}");
        assert!(!shown.contains("t1") && !shown.contains("p%40ss") && !shown.contains(&login), "{shown}");
    }

    #[tokio::test]
    async fn how_long_a_token_is_kept_is_the_endpoints_to_say() {
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
            let auth = build(&SCHEME, &GIVEN).unwrap();
            let endpoint = StubTransport::queued([token("t1", expires_in.clone()), token("t2", json!(60))]);

            assert_eq!(applied(auth.as_ref(), &endpoint).await.unwrap(), "Bearer t1", "{expires_in}");
            let second = if kept { "Bearer t1" } else { "Bearer t2" };
            assert_eq!(applied(auth.as_ref(), &endpoint).await.unwrap(), second, "{expires_in}");
        }
    }

    #[tokio::test]
    async fn a_token_near_its_end_is_better_than_none() {
        let hour = Duration::from_secs(3600);
        for failure in [answer(503, ""), unanswered()] {
            let mut values = SchemeValues::default();
            for (key, texts) in GIVEN {
                values.add(key, vec![Secret::new(texts[0])]);
            }
            let auth = oauth2(&values).unwrap();
            let now = Instant::now();
            let authorization = HeaderValue::from_static("Bearer old");
            auth.token.store(Some(Arc::new(Token { authorization, renew_at: now, ends_at: now + hour })));
            let endpoint = StubTransport::queued([failure, token("new", json!(3600))]);

            assert_eq!(auth.token(&target(), &endpoint, soon()).await.unwrap().authorization, "Bearer old");
            assert_eq!(endpoint.requests().len(), 1);
            // The failure is not tried again at once, nor is what another call sees to already.
            auth.last.lock().await.as_mut().unwrap().at = now + hour;
            assert_eq!(auth.token(&target(), &endpoint, soon()).await.unwrap().authorization, "Bearer old");
            let busy = auth.last.lock().await;
            assert_eq!(auth.token(&target(), &endpoint, soon()).await.unwrap().authorization, "Bearer old");
            drop(busy);
            assert_eq!(endpoint.requests().len(), 1);
            auth.last.lock().await.take();
            assert_eq!(auth.token(&target(), &endpoint, soon()).await.unwrap().authorization, "Bearer new");
        }
    }

    #[tokio::test]
    async fn a_token_that_was_refused_is_asked_for_anew_once() {
        let auth = build(&SCHEME, &GIVEN).unwrap();
        let endpoint = StubTransport::queued([token("t1", json!(3600)), token("t2", json!(3600))]);
        let mut sent = request("https://api/");
        auth.apply(&mut sent, &endpoint, soon()).await.unwrap();

        assert!(!auth.renews(&sent, &answer(403, "").unwrap()));
        assert_eq!(applied(auth.as_ref(), &endpoint).await.unwrap(), "Bearer t1");
        assert!(auth.renews(&sent, &unauthorized()));
        assert_eq!(applied(auth.as_ref(), &endpoint).await.unwrap(), "Bearer t2");
        // Another call that was sent with the first token learns of it later.
        assert!(auth.renews(&sent, &unauthorized()));
        assert_eq!(applied(auth.as_ref(), &endpoint).await.unwrap(), "Bearer t2");
        assert_eq!(endpoint.requests().len(), 2);
    }

    #[tokio::test]
    async fn what_is_no_token_is_told_without_secrets() {
        let hostile = r#"{"error": "p@ss/w+rd", "error_description": "p@ss/w+rd"}"#;
        let other = r#"{"access_token": "p@ss/w+rd", "token_type": "mac"}"#;
        for (answer, expected) in [
            (answer(500, "p@ss/w+rd"), "token endpoint answered with status 500"),
            (answer(302, ""), "token endpoint answered with status 302"),
            (answer(401, hostile), "token endpoint answered with status 401"),
            (
                answer(401, r#"{"error": "invalid_client"}"#),
                "token endpoint answered with status 401 (invalid_client)",
            ),
            (answer(200, ""), "token endpoint did not answer with a JSON object"),
            (answer(200, "access_token=x"), "token endpoint did not answer with a JSON object"),
            (answer(200, "[]"), "token endpoint did not answer with a JSON object"),
            (answer(200, "{}"), "token endpoint gave no `access_token`"),
            (answer(200, r#"{"access_token": ""}"#), "token endpoint gave no `access_token`"),
            (answer(200, r#"{"access_token": 7}"#), "token endpoint gave no `access_token`"),
            (answer(200, other), "token endpoint gave a token of another type than `Bearer`"),
            (
                answer(200, r#"{"access_token": "p@ss/w+rd\r\nx: y"}"#),
                "token endpoint gave a token that no header can carry",
            ),
            (
                Err(TransportError::Connect { detail: "refused".into() }),
                "token endpoint: cannot connect: refused",
            ),
        ] {
            let auth = build(&SCHEME, &GIVEN).unwrap();
            let endpoint = StubTransport::queued([answer, token("t1", json!(60))]);

            let error = applied(auth.as_ref(), &endpoint).await.unwrap_err();

            assert!(matches!(error, CredentialError::Failed(_)), "{error}");
            assert!(error.to_string().ends_with(expected), "{error}");
            assert!(!error.to_string().contains("p@ss"), "{error}");
            // A later call tries again.
            assert_eq!(applied(auth.as_ref(), &endpoint).await.unwrap(), "Bearer t1");
        }
    }

    #[tokio::test]
    async fn a_slow_endpoint_is_a_timeout() {
        let auth = build(&SCHEME, &GIVEN).unwrap();
        let endpoint = StubTransport::queued([unanswered()]);
        let error = applied(auth.as_ref(), &endpoint).await.unwrap_err();
        assert!(matches!(error, CredentialError::TooLate(_)), "{error}");
    }

    #[test]
    fn a_token_url_is_a_web_address() {
        for bad in ["", "login", "/token", "ftp://a/b", "https://me:pw@a/", "https://a/#x", "https://"] {
            let mut given = GIVEN;
            let url = [bad];
            given[0].1 = &url;
            let fault = fault(&SCHEME, &given);
            assert_eq!((fault.key, fault.code), ("token_url", Code::InvalidUrl), "{bad}");
        }
    }
}
