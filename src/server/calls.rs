//! The platforms' door: login, read, decode, and encode what the calls came to.

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
use futures_util::future::join_all;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::call::Call;
use crate::flow::Traced;
use crate::plan::{FunctionsFor, Plan, Served, budget};
use crate::platform::auth::Login;
use crate::platform::{Decoded, Inbound};
use crate::traceparent::{Link, TraceParent};

use super::App;
use super::answering::{Task, Tell, shown_name, stream};
use super::client::{Peer, client};
use super::origin::is_foreign;
use super::refusal::{Refusal, response};

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
    // A panic over one request would else leave its connection without an answer; calls have tasks of their own.
    let turned = AssertUnwindSafe(turn(app, plan, client, &name, function, request)).catch_unwind().await;
    match turned.unwrap_or(Err(Refusal::Fault)) {
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
    if served.auth.is_none() && is_foreign(request.headers()) {
        return Err(Refusal::CrossSite);
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
    let caller = TraceParent::read(&inbound.headers);
    let share = plan.traces.as_ref().map(|traces| traces.sample);
    let functions = FunctionsFor::new(&plan, platform.name());
    let task = |mut call: Call, budget: Duration| {
        call.context.headers = served.shown_headers(&inbound.headers);
        let link = Link::of(caller.clone(), share);
        let traced = link.map(|link| Traced::decoded(link, arrived));
        let (app, plan) = (app.clone(), Arc::clone(&plan));
        Task { app, plan, platform, client, call, deadline: arrived + budget, traced }
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
    use super::super::answering::tests::Panicking;
    use super::*;
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
        assert!(app.turned_away.by_reason().contains(&("body_timeout", 1)));
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
        assert_eq!(body, "{\"error\":\"a fault of the proxy itself\"}");
        assert!(app.turned_away.by_reason().contains(&("fault", 1)));
    }
}
