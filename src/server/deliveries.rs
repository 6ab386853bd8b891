//! Deliveries on the admin listener: list, show, retry and delete them.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::deliveries::{DeliveryQuery, shown};
use crate::state::{DeliveryFilter, JobId, Page, Selection, StateError, Store};

use super::App;

/// The default and the largest `limit` of a list.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1000;

/// The query as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListQuery {
    route: Option<String>,
    status: Option<String>,
    since: Option<String>,
    conversation: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /deliveries`: the newest first.
pub(super) async fn list(
    State(app): State<App>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let (filter, page) = read(query)?;
    let store = store(&app)?;
    let found = store.deliveries(&filter, page).await.map_err(Refused::Store)?;
    let plan = app.dispatcher.live.plan();
    let deliveries: Value =
        found.iter().map(|delivery| Value::Object(shown::summary(delivery, &plan.masks))).collect();
    Ok(Json(json!({"deliveries": deliveries})).into_response())
}

/// `GET /deliveries/{id}`: one delivery, and the call that it holds.
pub(super) async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Refused> {
    let found = store(&app)?.delivery(id_of(&id)?).await.map_err(Refused::Store)?;
    let (delivery, payload) = found.ok_or(Refused::Unknown)?;
    let plan = app.dispatcher.live.plan();
    Ok(Json(shown::whole(&delivery, &payload, &plan)).into_response())
}

/// `POST /deliveries/{id}/retry`: due at once, with the full time for retries.
pub(super) async fn retry(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Refused> {
    let selection = Selection::Ids(vec![id_of(&id)?]);
    let count = store(&app)?.retry(&selection).await.map_err(Refused::Store)?;
    acted(count)
}

/// `DELETE /deliveries/{id}`
pub(super) async fn delete(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Refused> {
    let selection = Selection::Ids(vec![id_of(&id)?]);
    let count = store(&app)?.drop_jobs(&selection).await.map_err(Refused::Store)?;
    acted(count)
}

fn acted(count: u64) -> Result<Response, Refused> {
    if count == 0 { Err(Refused::Unknown) } else { Ok(Json(json!({"deliveries": count})).into_response()) }
}

/// Why a request about deliveries is refused.
pub(super) enum Refused {
    /// The table has no state.
    NoState,
    /// There is no such delivery, or it is running.
    Unknown,
    /// The query or the id cannot be read.
    Invalid(String),
    /// The store is away.
    Store(StateError),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NoState => (
                StatusCode::NOT_FOUND,
                "nothing is delivered later: no route has `delivery = \"async\"`".to_owned(),
            ),
            Self::Unknown => {
                (StatusCode::NOT_FOUND, "there is no such delivery, or it is running right now".to_owned())
            }
            Self::Invalid(why) => (StatusCode::BAD_REQUEST, why),
            Self::Store(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        };
        (status, Json(json!({"error": text}))).into_response()
    }
}

fn store(app: &App) -> Result<&Store, Refused> {
    app.dispatcher.state.store().ok_or(Refused::NoState)
}

fn id_of(text: &str) -> Result<JobId, Refused> {
    text.parse().map_err(|error: crate::state::NotAJobId| Refused::Invalid(error.to_string()))
}

fn read(query: Result<Query<ListQuery>, QueryRejection>) -> Result<(DeliveryFilter, Page), Refused> {
    let Ok(Query(ListQuery { route, status, since, conversation, limit, after })) = query else {
        let known = "`route`, `status`, `since`, `conversation`, `limit`, a number, and `after`, an id";
        return Err(Refused::Invalid(format!("invalid query: deliveries can be filtered by {known}")));
    };
    let filter = DeliveryQuery { route, status, since, conversation }.read().map_err(Refused::Invalid)?;
    let after = after.as_deref().map(id_of).transpose()?;
    Ok((filter, Page { after, limit: limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT) }))
}
