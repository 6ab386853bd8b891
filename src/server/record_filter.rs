//! The filters of the records on the admin listener. A value that matches nothing by mistake is an error that lists the
//! known ones: an empty list would read as "no failures".

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use jiff::Timestamp;
use serde::Deserialize;

use crate::call::FailureKind;
use crate::observe::ANSWERED;
use crate::observe::history::HistoryEntry;
use crate::plan::Plan;
use crate::platform::PLATFORMS;

/// The default `limit` of a list.
const DEFAULT_LIMIT: usize = 50;

/// The value of `outcome` for all failures.
const FAILED: &str = "failed";

/// The most names that an error lists.
const MAX_LISTED: usize = 50;

/// The query as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordQuery {
    route: Option<String>,
    platform: Option<String>,
    outcome: Option<String>,
    conversation: Option<String>,
    since: Option<String>,
    limit: Option<usize>,
}

/// The calls to return.
#[derive(Debug)]
pub(super) struct RecordFilter {
    query: RecordQuery,
    since: Option<Timestamp>,
}

impl RecordFilter {
    /// Reads a query. `entries` are the calls that are kept; their routes may be gone from the plan.
    ///
    /// # Errors
    /// Why the query is invalid, with the known values.
    pub(super) fn of(
        query: Result<Query<RecordQuery>, QueryRejection>,
        plan: &Plan,
        entries: &[Arc<HistoryEntry>],
    ) -> Result<Self, String> {
        let Ok(Query(query)) = query else {
            let known = "`route`, `platform`, `outcome`, `conversation`, `since` and `limit`, a number";
            return Err(format!("invalid query: records can be filtered by {known}"));
        };
        let outcomes = FailureKind::NAMED.into_iter().chain([FailureKind::UnknownFunction]);
        let outcomes = [ANSWERED, FAILED].into_iter().chain(outcomes.map(FailureKind::slug));
        one_of("outcome", query.outcome.as_deref(), outcomes)?;
        one_of("platform", query.platform.as_deref(), PLATFORMS.iter().map(|platform| platform.name()))?;
        let routes: BTreeSet<&str> = plan
            .routes
            .keys()
            .map(String::as_str)
            .chain(plan.events.iter().map(|(_, _, entry)| entry.name.as_str()))
            .chain(entries.iter().filter_map(|entry| entry.route()))
            .collect();
        one_of("route", query.route.as_deref(), routes.iter().copied())?;
        let since = query.since.as_deref().map(since).transpose()?;
        Ok(Self { query, since })
    }

    /// The most calls to return.
    pub(super) fn limit(&self) -> usize {
        self.query.limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// Whether the filters match a call. Ignores `limit`.
    pub(super) fn matches(&self, entry: &HistoryEntry) -> bool {
        let (query, outcome) = (&self.query, entry.outcome());
        let is = |filter: &Option<String>, value: Option<&str>| {
            filter.as_deref().is_none_or(|filter| Some(filter) == value)
        };
        is(&query.route, entry.route())
            && entry.is_from(|context| {
                is(&query.platform, Some(context.platform))
                    && is(&query.conversation, context.conversation.as_deref())
            })
            && match query.outcome.as_deref() {
                Some(FAILED) => outcome != ANSWERED,
                _ => is(&query.outcome, Some(outcome)),
            }
            && self.since.is_none_or(|since| entry.at >= since)
    }
}

fn one_of<'k>(
    key: &str,
    value: Option<&str>,
    mut known: impl Iterator<Item = &'k str> + Clone,
) -> Result<(), String> {
    let Some(value) = value.filter(|value| !known.clone().any(|known| known == *value)) else {
        return Ok(());
    };
    let mut listed: Vec<String> = known.by_ref().take(MAX_LISTED).map(|known| format!("`{known}`")).collect();
    let more = known.count();
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    let shown: String = value.chars().take(100).collect();
    let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
    Err(format!("unknown {key} `{shown}`: use one of {listed}"))
}

/// A time, or how long ago it was.
fn since(text: &str) -> Result<Timestamp, String> {
    let ago = |ago: Duration| Timestamp::now().checked_sub(ago).ok();
    let time = text.parse().ok().or_else(|| ago(humantime::parse_duration(text).ok()?));
    time.ok_or_else(|| {
        "invalid `since`: write a time such as `2026-06-19T03:00:00Z`, or an age such as `15m` or `8h`"
            .to_owned()
    })
}
