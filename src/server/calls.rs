//! The platforms' door: login, read, decode, answer, encode.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::call::{Call, Outcome};
use crate::flow::{self, Means, Record};
use crate::plan::{FunctionsFor, Plan, Served};
use crate::platform::auth::Login;
use crate::platform::{Answer, Decoded, Inbound};

use super::App;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The most characters of a text in the log.
const MAX_SHOWN: usize = 500;

/// Every door of every platform; which of them are open, the running plan says.
pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/{platform}", any(door))
        .route("/{platform}/", any(door))
        .route("/{platform}/{function}", any(door))
        .fallback(|| async { Refusal::NotServed })
        .with_state(app)
}

/// Why a request was turned away before any platform looked at it.
#[derive(Debug)]
enum Refusal {
    NotServed,
    WrongMethod,
    BadLogin(Option<HeaderValue>),
    TooLarge(usize),
    BodyTimeout,
    BodyLost,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match &self {
            Self::NotServed => (StatusCode::NOT_FOUND, "nothing is served here".to_owned()),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "this door takes POST only".to_owned()),
            Self::BadLogin(_) => (StatusCode::UNAUTHORIZED, "the login is missing or wrong".to_owned()),
            Self::TooLarge(most) => (StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {most} bytes")),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned()),
            Self::BodyLost => (StatusCode::BAD_REQUEST, "the body did not arrive whole".to_owned()),
        };
        let mut response = response(Answer::json_with(status, &json!({"error": text})));
        match self {
            Self::WrongMethod => {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Self::BadLogin(Some(challenge)) => {
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

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

async fn door(State(app): State<App>, request: Request) -> Response {
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
    match turn(app, &name, function, request).await {
        Ok(answer) => response(answer),
        Err(refusal) => {
            tracing::warn!(platform = %name.escape_debug(), %method, "turned away: {refusal:?}");
            refusal.into_response()
        }
    }
}

/// One request from its head to its answer.
async fn turn(app: App, name: &str, function: Option<String>, request: Request) -> Result<Answer, Refusal> {
    let arrived = Instant::now();
    let plan = app.live.plan();
    let served = plan.served(name).ok_or(Refusal::NotServed)?;
    if !served.platform.any_method() && request.method() != Method::POST {
        return Err(Refusal::WrongMethod);
    }
    let received_at = seconds(SystemTime::now());
    let (head, body) = request.into_parts();
    // A login that needs no body is checked before one is read.
    if served.auth.as_ref().is_none_or(|auth| !auth.needs_body()) {
        log_in(served, &head.headers, &[], received_at)?;
    }
    let body = read(body, &head.headers, plan.server.max_body).await?;
    if served.auth.as_ref().is_some_and(|auth| auth.needs_body()) {
        log_in(served, &head.headers, &body, received_at)?;
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
    let functions = FunctionsFor { plan: &plan, platform: served.platform.name() };
    match served.platform.decode(&inbound, &served.settings, &functions) {
        Ok(Decoded::Calls(calls, encoder)) => {
            let deadline = arrived + served.budget;
            let headers = shown_headers(served, &inbound.headers);
            let outcomes = join_all(calls.into_iter().map(|mut call| {
                call.context.headers = headers.clone();
                answer(app.clone(), Arc::clone(&plan), name, call, deadline)
            }))
            .await;
            Ok(encoder.encode(outcomes))
        }
        Ok(Decoded::Answer(answer)) => Ok(answer),
        Err(bad) => {
            tracing::warn!(platform = name, "unreadable request: {bad}");
            Ok(served.platform.refuse(&bad))
        }
    }
}

fn log_in(served: &Served, headers: &HeaderMap, body: &[u8], received_at: i64) -> Result<(), Refusal> {
    let Some(auth) = &served.auth else { return Ok(()) };
    auth.verify(&Login { headers, body, received_at }).map_err(|bad| {
        tracing::warn!(platform = served.platform.name(), "failed login: {bad}");
        Refusal::BadLogin(auth.challenge())
    })
}

/// Reads a body up to its cap, in the time that a body may take.
async fn read(body: Body, headers: &HeaderMap, most: usize) -> Result<Bytes, Refusal> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(Refusal::TooLarge(most));
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(most)),
        Ok(Err(_)) => Err(Refusal::BodyLost),
        Err(_) => Err(Refusal::BodyTimeout),
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

/// Answers one call on a task of its own: a caller that hangs up does not stop a write half-way, and a panic ends
/// this call only.
async fn answer(app: App, plan: Arc<Plan>, platform: &str, call: Call, deadline: Instant) -> Outcome {
    let Some(platform) = plan.served(platform).map(|served| served.platform) else {
        return finish(Record::panicked(call), platform);
    };
    let task = tokio::spawn({
        let call = call.clone();
        async move {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let transport = &*app.transport;
            let means = Means { plan: &plan, platform, transport, deadline, now: &now };
            let outcome = finish(flow::answer(call, means).await, platform.name());
            drop(app.in_flight);
            outcome
        }
    });
    match task.await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!("a call panicked: {error}");
            finish(Record::panicked(call), platform.name())
        }
    }
}

/// Logs a call, once, and gives its outcome.
fn finish(record: Record, platform: &str) -> Outcome {
    let function = record.call.context.function.escape_debug();
    let conversation = record.call.context.conversation.as_deref().unwrap_or_default().escape_debug();
    let ms = record.time.as_millis();
    let upstream_ms = record.upstream_time.map(|time| time.as_millis());
    let case = record.case.map(|case| case + 1);
    match &record.error {
        None => tracing::info!(
            %platform, %function, %conversation, case, ms, upstream_ms, outcome = %"answered",
            "{function}: answered in {ms} ms"
        ),
        Some(error) => {
            let outcome = error.kind();
            tracing::warn!(
                %platform, %function, %conversation, case, ms, upstream_ms, %outcome,
                "{function}: {outcome} after {ms} ms: {}", shown(&error.to_string())
            );
        }
    }
    if let Some(error) = &record.failure_error {
        tracing::warn!(%platform, %function, "{function}: the case for this failure could not be rendered: {}", shown(&error.to_string()));
    }
    for dropped in &record.dropped {
        tracing::warn!(%platform, %function, "{function}: {}", shown(dropped));
    }
    record.outcome
}

/// A text for the log: one line, and not a long one, for it may hold what others wrote.
fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}
