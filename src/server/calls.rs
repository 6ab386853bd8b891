//! The listener for platforms: a request is authenticated, read and decoded, and dispatch runs its calls.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::dispatch::{Batch, Dispatcher, Handled, handle};
use crate::live::Running;
use crate::observe::call_log::shown_name;
use crate::plan::{FunctionsFor, Served};
use crate::platform::Inbound;
use crate::platform::auth::Login;
use crate::traceparent::TraceParent;

use super::client::{Peer, client};
use super::origin::is_foreign;
use super::refusal::{Refusal, response};
use super::{App, stream};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes beyond the cap that are read and thrown away before a body is refused.
const MAX_DRAINED: usize = 4 * 1024 * 1024;

/// The endpoints of all platforms; the running plan says which of them are served.
pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/{platform}", any(endpoint))
        .route("/{platform}/", any(endpoint))
        .route("/{platform}/{function}", any(endpoint))
        .fallback(|| async { Refusal::NotServed })
        .with_state(app)
}

async fn endpoint(
    State(app): State<App>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    // Decoded here and not by the router, which would answer a name that is not UTF-8 by itself, and not as the platform
    // expects. Such a name is a function that no route answers.
    let mut segments = request
        .uri()
        .path()
        .split('/')
        .skip(1)
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned());
    let name = segments.next().unwrap_or_default();
    let function = segments.next().filter(|function| !function.is_empty());
    let method = request.method().clone();
    let running = app.dispatcher.live.running();
    let client = client(peer.ip(), request.headers(), &running.plan.server.trusted_proxies);
    let received =
        Received { dispatcher: &app.dispatcher, running: &running, client, arrived: Instant::now() };
    // A panic over one request would otherwise leave its connection without an answer; calls have tasks of their own.
    let answered = AssertUnwindSafe(received.answer(&name, function, request)).catch_unwind().await;
    match answered.unwrap_or(Err(Refusal::Fault)) {
        Ok(response) => response,
        Err(refusal) => {
            app.rejected.count(&refusal);
            tracing::warn!(platform = %shown_name(&name), %method, %client, "rejected: {refusal}");
            refusal.into_response()
        }
    }
}

/// A request that has been received, and what it is answered with.
struct Received<'a> {
    dispatcher: &'a Arc<Dispatcher>,
    running: &'a Arc<Running>,
    client: IpAddr,
    arrived: Instant,
}

impl Received<'_> {
    /// One request from its head to its answer.
    async fn answer(
        &self,
        name: &str,
        function: Option<String>,
        request: Request,
    ) -> Result<Response, Refusal> {
        let served = self.running.plan.served(name).ok_or(Refusal::NotServed)?;
        let inbound = self.authenticated(served, function, request).await?;
        let functions = FunctionsFor::new(&self.running.plan, served.platform.name());
        let decoded = match served.platform.decode(&inbound, &served.settings, &functions) {
            Ok(decoded) => decoded,
            Err(bad) => {
                tracing::warn!(platform = name, client = %self.client, "unreadable request: {bad}");
                return Ok(response(served.platform.refuse(&bad)));
            }
        };
        let batch = Batch {
            dispatcher: self.dispatcher,
            running: self.running,
            served,
            client: self.client,
            headers: served.shown_headers(&inbound.headers),
            parent: TraceParent::read(&inbound.headers),
            arrived: self.arrived,
        };
        match handle(decoded, &batch).await {
            Ok(Handled::Answer(answer)) => Ok(response(answer)),
            Ok(Handled::Stream(content_type, streamed)) => Ok(stream::response(content_type, streamed)),
            Err(bad) => Err(Refusal::BadLogin { bad, challenge: None }),
        }
    }

    /// Reads the request of a platform that proves who it is.
    async fn authenticated(
        &self,
        served: &Served,
        function: Option<String>,
        request: Request,
    ) -> Result<Inbound, Refusal> {
        if !served.platform.any_method() && request.method() != Method::POST {
            return Err(Refusal::WrongMethod);
        }
        if served.auth.is_none() && is_foreign(request.headers()) {
            return Err(Refusal::CrossSite);
        }
        let received_at = seconds(SystemTime::now());
        let (head, body) = request.into_parts();
        // A login that needs no body is checked before one is read.
        if served.auth.as_ref().is_none_or(|auth| !auth.needs_body()) {
            log_in(served, &head, &[], received_at)?;
        }
        let body = read(body, &head.headers, self.running.plan.server.max_body).await?;
        if served.auth.as_ref().is_some_and(|auth| auth.needs_body()) {
            log_in(served, &head, &body, received_at)?;
        }
        let query = head.uri.query().unwrap_or_default();
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Inbound { method: head.method, function, query, headers: head.headers, body, received_at })
    }
}

fn log_in(served: &Served, head: &Parts, body: &[u8], received_at: i64) -> Result<(), Refusal> {
    let Some(auth) = &served.auth else { return Ok(()) };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    auth.verify(&Login { method: &head.method, headers: &head.headers, target, body, received_at })
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

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::task::tests::Panicking;
    use futures_util::{StreamExt as _, stream};
    use http::StatusCode;
    use std::convert::Infallible;
    use tower_service::Service as _;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_refused_in_time() {
        let app = App::over("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n");
        // Every byte comes soon after the one before it.
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
        });
        let body = Body::from_stream(drops.take(1000));
        let mut request = Request::post("/http/say").body(body).unwrap();
        request.extensions_mut().insert(Peer(([127, 0, 0, 1], 1).into()));
        let started = tokio::time::Instant::now();
        let Ok(answer) = router(app.clone()).call(request).await;
        assert_eq!(started.elapsed(), BODY_TIMEOUT);
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"error\":\"the body did not arrive in time\"}");
        assert!(app.rejected.by_reason().contains(&("body_timeout", 1)));
    }
    #[tokio::test]
    async fn a_panic_over_a_request_is_answered() {
        let app = App::over_changed("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n", |plan| {
            plan.platforms[0].platform = &Panicking;
        });
        let mut request = Request::post("/http/say").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(([127, 0, 0, 1], 1).into()));
        let Ok(answer) = router(app.clone()).call(request).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"error\":\"internal error\"}");
        assert!(app.rejected.by_reason().contains(&("internal_error", 1)));
    }
}
