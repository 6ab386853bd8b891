//! The admin listener: health, reload status, metrics and the last calls. None of this is served on the listener for
//! platforms.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Extension, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, Uri, header};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tower_service::Service as _;

use crate::deliveries::shown;
use crate::http1::request::BadHead;
use crate::platform::auth::Login;
use crate::reload::restart_needed;
use crate::upstream::delivery::breaker::BreakerState;
use crate::upstream::delivery::{Delivery, Snapshot};
use crate::upstream::resources::Resources;

use super::client::{Peer, client};
use super::connection::Incoming;
use super::connections::Endpoint;
use super::origin::{is_clear, is_for_here, is_foreign};
use super::refusal::UNCLEAR;
use super::{App, deliveries, records, scrape};

/// The admin API, as a router.
#[derive(Debug, Clone)]
pub(super) struct Admin(Router);

impl Admin {
    pub(super) fn new(app: App) -> Self {
        Self(router(app))
    }
}

impl Endpoint for Admin {
    type Body = axum::body::Body;

    async fn answer(mut self, peer: Peer, mut request: http::Request<Incoming>) -> Response {
        request.extensions_mut().insert(peer);
        let Ok(response) = self.0.call(request.map(axum::body::Body::new)).await;
        response
    }

    fn note_bad_head(&self, peer: Peer, head: &BadHead) {
        tracing::debug!(client = %peer.0.ip(), "rejected at the admin listener: {head}");
    }
}

/// The routes of the admin listener. All but the two health probes require the login.
fn router(app: App) -> Router {
    let last_calls = Router::new()
        .route("/records", get(records::list))
        .route("/records/stream", get(records::live))
        .route("/records/{id}", get(records::one));
    let stored = Router::new()
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::one).delete(deliveries::delete))
        .route("/deliveries/{id}/retry", post(deliveries::retry));
    let guarded = Router::new()
        .merge(last_calls)
        .merge(stored)
        .route("/status", get(status))
        .route("/metrics", get(scrape::metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"error": "nothing is served here"}))) })
        .layer(middleware::from_fn(run_beside))
        .layer(middleware::from_fn_with_state(app.clone(), log_in))
        .layer(middleware::from_fn_with_state(app.clone(), reject_web_pages));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .layer(middleware::from_fn(reject_unclear))
        .with_state(app)
}

/// Rejects requests that a web page may have caused, if there is no login. Such a listener is open only to this machine,
/// but any page can make a browser here send a request.
async fn reject_web_pages(State(app): State<App>, request: Request, next: Next) -> Response {
    let plan = app.dispatcher.live.plan();
    let is_open = plan.server.admin_auth.is_none();
    if is_open && (is_foreign(request.headers()) || !is_for_here(request.headers(), None)) {
        let text =
            "without `server.admin_auth`, this listener is for this machine only: set it to use another host";
        return (StatusCode::FORBIDDEN, Json(json!({"error": text}))).into_response();
    }
    next.run(request).await
}

/// Answers on another thread. What is asked for may be large, and health probes must not wait for it.
async fn run_beside(request: Request, next: Next) -> Response {
    let runtime = Handle::current();
    let answer = spawn_blocking(move || runtime.block_on(next.run(request))).await;
    answer.unwrap_or_else(|_| {
        (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "internal error"}))).into_response()
    })
}

/// Rejects requests that do not say clearly which host they are for.
async fn reject_unclear(request: Request, next: Next) -> Response {
    if is_clear(request.version(), request.headers()) {
        return next.run(request).await;
    }
    let mut response = (StatusCode::BAD_REQUEST, Json(json!({"error": UNCLEAR}))).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn log_in(
    State(app): State<App>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let plan = app.dispatcher.live.plan();
    let Some(auth) = &plan.server.admin_auth else { return next.run(request).await };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let received_at = i64::try_from(since).unwrap_or(0);
    match auth.verify(&Login {
        method: request.method(),
        headers: request.headers(),
        target: request.uri().path(),
        body: &[],
        received_at,
    }) {
        Ok(()) => next.run(request).await,
        Err(bad) => {
            let client = client(peer.ip(), request.headers(), &plan.server.trusted_proxies);
            tracing::warn!(%client, "failed login at the admin listener: {bad}");
            let mut response =
                (StatusCode::UNAUTHORIZED, Json(json!({"error": "the login is missing or wrong"})))
                    .into_response();
            if let Some(challenge) = auth.challenge() {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// How long the store may take to say that it works.
const STATE_TIMEOUT: Duration = Duration::from_secs(2);

/// A plan is always running: the listeners open only with one, and a rejected reload keeps it. So the proxy is ready
/// until it shuts down. With `?state`, the store must work too.
async fn ready(State(app): State<App>, uri: Uri) -> Response {
    if app.is_shutting_down() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    if uri.query() == Some("state") {
        let state = &app.dispatcher.state;
        if let Some(store) = state.store()
            && let Err(error) = store.within(STATE_TIMEOUT).check().await
        {
            tracing::debug!("not ready: {error}");
            return (StatusCode::SERVICE_UNAVAILABLE, "the state store is unavailable\n").into_response();
        }
        if state.fault().is_some() {
            let text =
                "the state store is unavailable or holds values that were encrypted with another key\n";
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        }
    }
    "ok\n".into_response()
}

async fn status(State(app): State<App>) -> Json<Value> {
    let state = app.dispatcher.live.state();
    let plan = &state.running.plan;
    let mut routes: Vec<&str> = plan.routes.keys().map(String::as_str).collect();
    routes.sort_unstable();
    let rejected = state
        .rejected
        .as_ref()
        .map(|rejection| json!({"at": rejection.at.to_string(), "diagnostics": rejection.diagnostics}));
    let limits = plan.routes.iter().filter_map(|(name, route)| {
        Some((
            name.clone(),
            json!({"in_flight": state.running.resources.limiter(route.limit.as_ref()?.slot)?.in_flight()}),
        ))
    });
    let rejected_requests =
        app.rejected_requests().map(|(reason, count)| (reason.to_owned(), Value::from(count)));
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": app.started_at.to_string(),
        "shutting_down": app.is_shutting_down(),
        "plan": {
            "revision": plan.revision,
            "loaded_at": state.running.loaded_at.to_string(),
            "files": plan.files,
            "routes": routes,
        },
        "rejected": rejected,
        "last_good": state.last_good.map(|saved_at| json!({"saved_at": saved_at.to_string()})),
        "unlinked_files": state.unlinked[..],
        "tls": plan.server.tls.as_ref().map(|tls| json!({"not_after": tls.not_after.map(|at| at.to_string())})),
        "state": state_store(&app),
        "restart_needed": restart_needed(&app.opened, plan),
        "upstreams": plan.deliveries.iter().map(|delivery| upstream(delivery, &state.running.resources)).collect::<Map<_, _>>(),
        "limits": limits.collect::<BTreeMap<_, _>>(),
        "load": {
            "calls": app.dispatcher.calls.held(),
            "max_calls": plan.server.max_calls,
            "connections": app.connections.held(),
            "max_connections": app.most_connections(),
        },
        "rejected_requests": rejected_requests.collect::<Map<_, _>>(),
        "lost_log_lines": app.process.lost_lines.load(Ordering::Relaxed),
    }))
}

/// The store, why it is away if it is, and how many deliveries there are; null if no table needed it so far.
fn state_store(app: &App) -> Value {
    let Some(store) = app.dispatcher.state.store() else { return Value::Null };
    json!({
        "url": store.place(),
        "error": app.dispatcher.state.fault().map(|error| error.to_string()),
        "deliveries": shown::counts(&app.dispatcher.state.counts()),
    })
}

/// The name of an upstream and its current state.
fn upstream(delivery: &Delivery, resources: &Resources) -> (String, Value) {
    let Snapshot { breaker, in_flight, p95 } = resources.upstream(delivery).state.snapshot();
    let open_for = match breaker {
        Some(BreakerState::Open(left)) => Some(left),
        _ => None,
    };
    let status = json!({
        "breaker": breaker.map(BreakerState::slug),
        "open_for_ms": open_for.map(in_ms),
        "in_flight": in_flight,
        "p95_ms": p95.map(in_ms),
    });
    (delivery.target.name.clone(), status)
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
