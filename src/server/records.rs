//! The last calls on the admin listener: the list, a single record, and a live stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::timeout;

use crate::observe::history::HistoryEntry;

use super::App;
use super::body::as_stream;
use super::record_filter::{RecordFilter, RecordQuery};

const EVENT_STREAM: &str = "text/event-stream";

/// The maximum number of streams at the same time.
const MAX_STREAMS: usize = 16;

/// How often an idle stream sends a comment, so that the client and proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /records`: the newest first, or a live stream if the client accepts `text/event-stream`.
pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<RecordQuery>, QueryRejection>,
) -> Response {
    let newest = newest(&app);
    let filter = match RecordFilter::of(query, &app.dispatcher.live.plan(), &newest) {
        Ok(filter) => filter,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
    };
    if headers.get(header::ACCEPT).is_some_and(|accept| accept == EVENT_STREAM) {
        return follow(&app, filter);
    }
    let records = newest.iter().filter(|entry| filter.matches(entry)).take(filter.limit());
    Json(json!({"records": records.map(|entry| entry.summary()).collect::<Value>()})).into_response()
}

/// `GET /records/{id}`: one call with all its steps.
pub(super) async fn one(State(app): State<App>, Path(id): Path<String>) -> Response {
    match newest(&app).iter().find(|entry| entry.id.to_string() == id) {
        Some(entry) => Json(entry.view()).into_response(),
        None => refuse(
            StatusCode::NOT_FOUND,
            "there is no record of this call: it has been dropped, was never kept, or belongs to another process",
        ),
    }
}

/// `GET /records/stream`: a live stream of calls as they end.
pub(super) async fn live(
    State(app): State<App>,
    query: Result<Query<RecordQuery>, QueryRejection>,
) -> Response {
    match RecordFilter::of(query, &app.dispatcher.live.plan(), &newest(&app)) {
        Ok(filter) => follow(&app, filter),
        Err(why) => refuse(StatusCode::BAD_REQUEST, &why),
    }
}

/// The calls that are kept, newest first.
fn newest(app: &App) -> Vec<Arc<HistoryEntry>> {
    app.dispatcher.observers.history.newest(app.dispatcher.live.plan().server.records)
}

fn follow(app: &App, filter: RecordFilter) -> Response {
    // A stream holds its connection for ever, and the probes need one, too.
    let Some(permit) = app.streams.enter(MAX_STREAMS) else {
        let text = format!("{MAX_STREAMS} streams are open already: close one of them");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &text);
    };
    let Some(listener) = app.dispatcher.observers.history.subscribe() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the proxy is shutting down");
    };
    // Send a comment at once, so that the client sees that the stream is open.
    let begin = (listener, Some(": calls, as they end\n\n".to_owned()), (filter, permit));
    let events = stream::unfold(begin, |(mut listener, first, request)| async move {
        let event = match first {
            Some(first) => first,
            None => next(&mut listener, &request.0).await?,
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), (listener, None, request)))
    });
    as_stream(Response::new(Body::from_stream(events)), EVENT_STREAM)
}

/// The next event; `None` when the proxy shuts down.
async fn next(listener: &mut Receiver<Arc<HistoryEntry>>, filter: &RecordFilter) -> Option<String> {
    loop {
        match timeout(KEEP_ALIVE, listener.recv()).await {
            Ok(Ok(entry)) if filter.matches(&entry) => {
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

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({"error": why}))).into_response()
}
