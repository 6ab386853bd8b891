//! The platforms' door: login, read, decode, and encode what the calls came to.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::call::Call;
use crate::plan::{FunctionsFor, Plan, Served, budget};
use crate::platform::auth::{BadLogin, Login};
use crate::platform::{Answer, Decoded, Inbound};

use super::App;
use super::answering::{Task, Tell, shown_name, stream};
use super::client::{Peer, client};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes beyond the cap that are read and thrown away before a body is refused.
const MAX_DRAINED: usize = 4 * 1024 * 1024;

/// Every door of every platform; which of them are open, the running plan says.
pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/{platform}", any(door))
        .route("/{platform}/", any(door))
        .route("/{platform}/{function}", any(door))
        .fallback(|| async { Refusal::NotServed })
        .with_state(app)
}

/// Why a request was turned away before any platform looked at it. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the table serves no platform at this path")]
    NotServed,
    #[error("this door takes POST only")]
    WrongMethod,
    #[error("failed login: {bad}")]
    BadLogin { bad: BadLogin, challenge: Option<HeaderValue> },
    #[error("the body has more than the {0} bytes of `server.max_body`")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("the body did not arrive whole")]
    BodyLost,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotServed => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadLogin { .. } => StatusCode::UNAUTHORIZED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyLost => StatusCode::BAD_REQUEST,
        };
        let text = match &self {
            // A caller is told what it did, not how the table is written or what would have let it in.
            Self::NotServed => "nothing is served here".to_owned(),
            Self::BadLogin { .. } => "the login is missing or wrong".to_owned(),
            Self::TooLarge(most) => format!("a body may have {most} bytes"),
            other => other.to_string(),
        };
        let mut response = response(Answer::json_with(status, &json!({"error": text})));
        match self {
            Self::WrongMethod => {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Self::BadLogin { challenge: Some(challenge), .. } => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            // What was not read of the body stands between this request and the next one.
            Self::TooLarge(_) | Self::BodyTimeout => {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// How many requests were turned away since the start, by the reason.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    not_served: AtomicU64,
    wrong_method: AtomicU64,
    failed_login: AtomicU64,
    too_large: AtomicU64,
    body_timeout: AtomicU64,
    body_lost: AtomicU64,
}

impl TurnedAway {
    fn count(&self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::NotServed => &self.not_served,
            Refusal::WrongMethod => &self.wrong_method,
            Refusal::BadLogin { .. } => &self.failed_login,
            Refusal::TooLarge(_) => &self.too_large,
            Refusal::BodyTimeout => &self.body_timeout,
            Refusal::BodyLost => &self.body_lost,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts, by name.
    pub(super) fn to_json(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "not_served": count(&self.not_served),
            "wrong_method": count(&self.wrong_method),
            "failed_login": count(&self.failed_login),
            "too_large": count(&self.too_large),
            "body_timeout": count(&self.body_timeout),
            "body_lost": count(&self.body_lost),
        })
    }
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

async fn door(State(app): State<App>, Extension(Peer(peer)): Extension<Peer>, request: Request) -> Response {
    // Decoded here and not by the router, which would answer by itself, and not as the platform asks, what is not
    // UTF-8. Such a name is a function that no route answers.
    let mut segments = request
        .uri()
        .path()
        .split('/')
        .skip(1)
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned());
    let name = segments.next().unwrap_or_default();
    let function = segments.next().filter(|function| !function.is_empty());
    let method = request.method().clone();
    let plan = app.live.plan();
    let client = client(peer.ip(), request.headers(), &plan.server.trusted_proxies);
    let turned_away = Arc::clone(&app.turned_away);
    match turn(app, plan, client, &name, function, request).await {
        Ok(response) => response,
        Err(refusal) => {
            turned_away.count(&refusal);
            tracing::warn!(platform = %shown_name(&name), %method, %client, "turned away: {refusal}");
            refusal.into_response()
        }
    }
}

/// One request from its head to its answer.
async fn turn(
    app: App,
    plan: Arc<Plan>,
    client: IpAddr,
    name: &str,
    function: Option<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let arrived = Instant::now();
    let served = plan.served(name).ok_or(Refusal::NotServed)?;
    if !served.platform.any_method() && request.method() != Method::POST {
        return Err(Refusal::WrongMethod);
    }
    let received_at = seconds(SystemTime::now());
    let (head, body) = request.into_parts();
    // A login that needs no body is checked before one is read.
    if served.auth.as_ref().is_none_or(|auth| !auth.needs_body()) {
        log_in(served, &head, &[], received_at)?;
    }
    let body = read(body, &head.headers, plan.server.max_body).await?;
    if served.auth.as_ref().is_some_and(|auth| auth.needs_body()) {
        log_in(served, &head, &body, received_at)?;
    }
    let query = head.uri.query().unwrap_or_default();
    let inbound = Inbound {
        method: head.method,
        function,
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: head.headers,
        body,
        received_at,
    };
    let platform = served.platform;
    let functions = FunctionsFor::new(&plan, platform.name());
    let task = |mut call: Call, budget: Duration| {
        call.context.headers = shown_headers(served, &inbound.headers);
        Task { app: app.clone(), plan: Arc::clone(&plan), platform, client, call, deadline: arrived + budget }
    };
    match platform.decode(&inbound, &served.settings, &functions) {
        Ok(Decoded::Calls(calls, encoder)) => {
            let outcomes = calls.into_iter().map(|call| task(call, served.budget).answer(Tell::Nobody));
            let outcomes = join_all(outcomes).await;
            Ok(response(encoder.encode(outcomes)))
        }
        Ok(Decoded::Stream(call, encoder)) => Ok(stream(task(*call, served.budget), encoder)),
        Ok(Decoded::Event(event)) => {
            let budget =
                event.kind.deadline.map_or(served.budget, |deadline| served.budget.min(budget(deadline)));
            let answer = task(event.call, budget).answer_event(event.kind.name).await;
            Ok(response(answer.unwrap_or(event.neutral)))
        }
        Ok(Decoded::Answer(answer)) => Ok(response(answer)),
        Ok(Decoded::Denied(bad)) => Err(Refusal::BadLogin { bad, challenge: None }),
        Err(bad) => {
            tracing::warn!(platform = name, %client, "unreadable request: {bad}");
            Ok(response(platform.refuse(&bad)))
        }
    }
}

fn log_in(served: &Served, head: &Parts, body: &[u8], received_at: i64) -> Result<(), Refusal> {
    let Some(auth) = &served.auth else { return Ok(()) };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    auth.verify(&Login { headers: &head.headers, target, body, received_at })
        .map_err(|bad| Refusal::BadLogin { bad, challenge: auth.challenge() })
}

/// Reads a body up to its cap, in the time that a body may take.
async fn read(mut body: Body, headers: &HeaderMap, most: usize) -> Result<Bytes, Refusal> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let read = if announced.is_some_and(|length| length > most) {
        Err(Refusal::TooLarge(most))
    } else {
        tokio::time::timeout(BODY_TIMEOUT, collect(&mut body, most))
            .await
            .unwrap_or(Err(Refusal::BodyTimeout))
    };
    if matches!(read, Err(Refusal::TooLarge(_))) {
        tokio::spawn(tokio::time::timeout(BODY_TIMEOUT, drain(body)));
    }
    read
}

async fn collect(body: &mut Body, most: usize) -> Result<Bytes, Refusal> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BodyLost)?.into_data() else { continue };
        if kept.len() + data.len() > most {
            return Err(Refusal::TooLarge(most));
        }
        kept.extend_from_slice(&data);
    }
    Ok(kept.freeze())
}

/// Reads on for a while after a refusal and throws away what comes: many a client reads the answer only when it has
/// sent its whole body, and would else see a broken connection.
async fn drain(mut body: Body) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > MAX_DRAINED {
            return;
        }
    }
}

/// The inbound headers that the platform's table names, by lower-case name.
fn shown_headers(served: &Served, headers: &HeaderMap) -> Value {
    let shown: Map<String, Value> = served
        .headers
        .iter()
        .filter_map(|name| {
            let value = headers.get(name)?;
            Some((name.clone(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        })
        .collect();
    if shown.is_empty() { Value::Null } else { Value::Object(shown) }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}
