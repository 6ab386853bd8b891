//! The last calls on the admin listener: the list, a single record, and a live stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::timeout;

use crate::observe::history::HistoryEntry;

use super::App;

const EVENT_STREAM: &str = "text/event-stream";

/// The default `limit` of a list.
const DEFAULT_LIMIT: usize = 50;

/// The maximum number of streams at the same time.
const MAX_STREAMS: usize = 16;

/// How often an idle stream sends a comment, so that the client and proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The query of a request: the calls to return.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordQuery {
    route: Option<String>,
    platform: Option<String>,
    outcome: Option<String>,
    conversation: Option<String>,
    limit: Option<usize>,
}

impl RecordQuery {
    /// Whether the filters of the query match a call. Ignores `limit`.
    fn matches(&self, entry: &HistoryEntry) -> bool {
        let context = &entry.record.call.context;
        let is = |filter: &Option<String>, value: Option<&str>| {
            filter.as_deref().is_none_or(|filter| Some(filter) == value)
        };
        is(&self.route, entry.route())
            && is(&self.platform, Some(context.platform))
            && is(&self.outcome, Some(entry.record.outcome_slug()))
            && is(&self.conversation, context.conversation.as_deref())
    }
}

/// `GET /records`: the newest first, or a live stream if the client accepts `text/event-stream`.
pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<RecordQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_query() };
    if headers.get(header::ACCEPT).is_some_and(|accept| accept == EVENT_STREAM) {
        return follow(&app, query);
    }
    let newest = app.dispatcher.observers.history.newest(app.dispatcher.live.plan().server.records);
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let records = newest.iter().filter(|entry| query.matches(entry)).take(limit);
    Json(json!({"records": records.map(|entry| entry.summary()).collect::<Value>()})).into_response()
}

/// `GET /records/{id}`: one call with all its steps.
pub(super) async fn one(State(app): State<App>, Path(id): Path<String>) -> Response {
    let newest = app.dispatcher.observers.history.newest(app.dispatcher.live.plan().server.records);
    match newest.iter().find(|entry| entry.id.to_string() == id) {
        Some(entry) => Json(entry.view()).into_response(),
        None => refuse(
            StatusCode::NOT_FOUND,
            "there is no record of this call: it has been dropped, or was never kept",
        ),
    }
}

/// `GET /records/stream`: a live stream of calls as they end.
pub(super) async fn live(
    State(app): State<App>,
    query: Result<Query<RecordQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_query() };
    follow(&app, query)
}

fn follow(app: &App, query: RecordQuery) -> Response {
    // A stream holds its connection for ever, and the probes need one, too.
    let Some(permit) = app.streams.enter(MAX_STREAMS) else {
        let text = format!("{MAX_STREAMS} streams are open already: close one of them");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &text);
    };
    let Some(listener) = app.dispatcher.observers.history.subscribe() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the proxy is shutting down");
    };
    // Send a comment at once, so that the client sees that the stream is open.
    let begin = (listener, Some(": calls, as they end\n\n".to_owned()), (query, permit));
    let events = stream::unfold(begin, |(mut listener, first, request)| async move {
        let event = match first {
            Some(first) => first,
            None => next(&mut listener, &request.0).await?,
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), (listener, None, request)))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The next event; `None` when the proxy shuts down.
async fn next(listener: &mut Receiver<Arc<HistoryEntry>>, query: &RecordQuery) -> Option<String> {
    loop {
        match timeout(KEEP_ALIVE, listener.recv()).await {
            Ok(Ok(entry)) if query.matches(&entry) => {
                return Some(format!("event: record\nid: {}\ndata: {}\n\n", entry.id, entry.summary()));
            }
            Ok(Ok(_)) => {}
            Ok(Err(RecvError::Lagged(missed))) => {
                return Some(format!("event: missed\ndata: {{\"records\":{missed}}}\n\n"));
            }
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => return Some(": no new calls\n\n".to_owned()),
        }
    }
}

fn bad_query() -> Response {
    let known = "`route`, `platform`, `outcome`, `conversation` and `limit`, a number";
    refuse(StatusCode::BAD_REQUEST, &format!("invalid query: records can be filtered by {known}"))
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({"error": why}))).into_response()
}
