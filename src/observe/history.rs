//! The records of the last calls, for the admin API.
//!
//! Number and memory are limited. Records are rendered only when somebody requests them, never during a call.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::call::Context;
use crate::flow::Record;
use crate::plan::Route;
use crate::secret::Masks;

use super::packed::PackedRecord;
use super::record_id::{RecordId, RecordIds};
use super::ring::{FailureRings, Removed, Ring};
use super::view::ANSWERED;

/// The size limit of the history, in bytes: half of it for answered calls, half for failed ones.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The largest record that is kept completely, in bytes. Of a larger one, only the summary is kept.
const MAX_RECORD: usize = 256 * 1024;

/// How many calls a subscriber may lag behind before it misses some.
const MAX_BEHIND: usize = 256;

/// A call that has ended.
#[derive(Debug)]
pub struct HistoryEntry {
    /// Its id.
    pub id: RecordId,
    /// When it ended.
    pub at: Timestamp,
    /// The address of the client.
    pub client: IpAddr,
    record: PackedRecord,
    /// The route or event entry that answered it, if there was one.
    pub route: Option<Arc<Route>>,
    /// The secrets of the table, to mask.
    pub secrets: Masks,
    pub(super) bytes: usize,
}

/// The last calls.
#[derive(Debug)]
pub struct History {
    ids: RecordIds,
    state: Mutex<HistoryState>,
}

#[derive(Debug)]
struct HistoryState {
    answered: Ring,
    failed: FailureRings,
    /// `None` during shutdown.
    live: Option<broadcast::Sender<Arc<HistoryEntry>>>,
}

impl Default for History {
    fn default() -> Self {
        let live = Some(broadcast::Sender::new(MAX_BEHIND));
        let (answered, failed) = (Ring::default(), FailureRings::default());
        Self { ids: RecordIds::default(), state: Mutex::new(HistoryState { answered, failed, live }) }
    }
}

impl History {
    /// Takes the id of the next call, which the log line needs before the call is added.
    pub fn next_id(&self) -> RecordId {
        self.ids.next()
    }

    /// Adds a call, and drops the oldest ones beyond `most` or the size limit. The limits of answered and of failed
    /// calls are separate.
    pub fn keep(&self, entry: HistoryEntry, most: usize) {
        let is_answered = entry.outcome() == ANSWERED;
        let entry = Arc::new(entry);
        let mut state = self.state();
        let live = state.live.as_ref().filter(|live| live.receiver_count() > 0);
        let sent = live.map(|live| (live.clone(), Arc::clone(&entry)));
        if is_answered {
            state.answered.push(entry);
        } else {
            state.failed.push(entry);
        }
        let removed = state.trim(most);
        drop(state);
        // Freeing a large record takes time, so do it after the lock is released.
        drop(removed);
        if let Some((live, entry)) = sent {
            // The subscriber may have gone.
            let _ = live.send(entry);
        }
    }

    /// The last calls, newest first: at most `most` answered ones and as many failed ones.
    pub fn newest(&self, most: usize) -> Vec<Arc<HistoryEntry>> {
        let mut state = self.state();
        let removed = state.trim(most);
        let mut newest: Vec<_> = state.answered.iter().chain(state.failed.iter()).cloned().collect();
        drop(state);
        drop(removed);
        newest.sort_by_key(|entry| std::cmp::Reverse((entry.at, entry.id)));
        newest
    }

    /// Subscribes to calls that end from now on; `None` during shutdown.
    pub fn subscribe(&self) -> Option<broadcast::Receiver<Arc<HistoryEntry>>> {
        self.state().live.as_ref().map(broadcast::Sender::subscribe)
    }

    /// Ends all subscriptions, for shutdown.
    pub fn close(&self) {
        self.state().live = None;
    }

    fn state(&self) -> MutexGuard<'_, HistoryState> {
        self.state.lock()
    }
}

impl HistoryState {
    /// Removes and returns the oldest entries beyond the limits.
    fn trim(&mut self, most: usize) -> Removed {
        let mut removed = Removed::new();
        self.answered.trim(most, MAX_BYTES / 2, &mut removed);
        self.failed.trim(most, MAX_BYTES / 2, &mut removed);
        removed
    }
}

impl HistoryEntry {
    /// Creates the entry of a call that has just ended. Parts that are not shown are dropped.
    pub fn new(
        id: RecordId,
        mut record: Box<Record>,
        route: Option<Arc<Route>>,
        secrets: Masks,
        client: IpAddr,
    ) -> Self {
        record.forget_envelope();
        let mut bytes = record.bytes();
        if bytes > MAX_RECORD {
            record.forget_content();
            bytes = record.bytes();
        }
        // A packed record takes less than that.
        let record = PackedRecord::new(record, route.as_ref(), bytes);
        Self { id, at: Timestamp::now(), client, record, route, secrets, bytes }
    }

    /// The name of the route or event entry that answered it.
    pub fn route(&self) -> Option<&str> {
        self.route.as_ref().map(|route| route.name.as_str())
    }

    /// What the caller was told: `answered`, or the kind of failure.
    pub fn outcome(&self) -> &'static str {
        self.record.facts(Record::outcome_slug)
    }

    /// Whether `is_wanted` holds for the envelope of the call, which has only what is shown.
    pub fn is_from(&self, is_wanted: impl FnOnce(&Context) -> bool) -> bool {
        self.record.facts(|record| is_wanted(&record.call.context))
    }

    /// The summary of the call, as JSON.
    pub fn summary(&self) -> Value {
        let route = self.route.as_deref();
        self.shown(self.record.whole(|record| record.summary(&self.secrets, route)))
    }

    /// The whole call, as JSON.
    pub fn view(&self) -> Value {
        let route = self.route.as_deref();
        self.shown(self.record.whole(|record| record.view(&self.secrets, route)))
    }

    fn shown(&self, rest: Map<String, Value>) -> Value {
        let mut shown = Map::new();
        shown.insert("id".to_owned(), self.id.to_string().into());
        shown.insert("at".to_owned(), format!("{:.3}", self.at).into());
        shown.insert("client".to_owned(), self.client.to_string().into());
        shown.insert("route".to_owned(), self.route().into());
        shown.extend(rest);
        Value::Object(shown)
    }
}

#[cfg(test)]
mod tests {
    use crate::call::{Call, Context, GivenArguments};
    use crate::flow::StepRecord;
    use crate::http1::response_headers::ResponseHeaders;
    use crate::json::{Document, SharedValue};
    use crate::lang::template::{ParsedResponse, StepOutput};
    use crate::observe::history::*;
    use crate::plan::arguments::Arguments;
    use serde_json::json;
    use std::time::Duration;

    fn record(function: &str, args: Value) -> Box<Record> {
        let mut record = failed(function, args);
        (record.error, record.outcome.failure) = (None, None);
        record
    }

    fn failed(function: &str, args: Value) -> Box<Record> {
        let context = Context { function: function.to_owned(), ..Context::default() };
        Record::panicked(Call { args: args.into(), context: Box::new(context) }, Duration::ZERO, None)
    }

    fn keep(history: &History, most: usize, record: Box<Record>) {
        let client = [127, 0, 0, 1].into();
        let entry = HistoryEntry::new(history.next_id(), record, None, Masks::default(), client);
        history.keep(entry, most);
    }

    fn functions(history: &History, most: usize) -> Vec<String> {
        let newest = history.newest(most);
        newest
            .iter()
            .map(|entry| {
                let id = entry.id.to_string();
                let number = id.split('-').next_back().unwrap();
                let function = entry.record.facts(|record| record.call.context.function.clone());
                format!("{number} {function}")
            })
            .collect()
    }

    #[test]
    fn the_last_calls_are_kept() {
        let history = History::default();
        for function in ["a", "b", "c"] {
            keep(&history, 2, record(function, Value::Null));
        }
        assert_eq!(functions(&history, 2), ["3 c", "2 b"]);
        assert_eq!(functions(&history, 1), ["3 c"]);
        // A reload may turn the history off.
        assert!(functions(&history, 0).is_empty());
        assert_eq!(history.state().answered.iter().count(), 0);
    }

    #[test]
    fn a_flood_pushes_out_no_other_failures() {
        let history = History::default();
        let route = |name: &str| {
            Some(Arc::new(Route::new(
                name.to_owned(),
                Arguments::compile(json!({}), Vec::new()).unwrap(),
                [0; 32],
            )))
        };
        let keep = |record: Box<Record>, route: Option<Arc<Route>>| {
            let client = [127, 0, 0, 1].into();
            let entry = HistoryEntry::new(history.next_id(), record, route, Masks::default(), client);
            history.keep(entry, 6);
        };
        (0..2).for_each(|_| keep(failed("rare", Value::Null), route("rare")));
        for _ in 0..100 {
            keep(failed("frequent", Value::Null), route("frequent"));
            keep(record("fine", Value::Null), None);
        }
        let newest = history.newest(6);
        let count = |function: &str| {
            newest.iter().filter(|entry| entry.is_from(|context| context.function == function)).count()
        };
        assert_eq!((count("rare"), count("frequent"), count("fine")), (2, 4, 6));
        assert!(newest.is_sorted_by_key(|entry| std::cmp::Reverse((entry.at, entry.id))));
        assert!(history.newest(0).is_empty());
    }

    #[test]
    fn memory_is_limited() {
        let history = History::default();
        for _ in 0..500 {
            keep(&history, 100_000, record("a", json!("x".repeat(MAX_RECORD / 2))));
            keep(&history, 100_000, failed("a", json!("x".repeat(MAX_RECORD / 2))));
        }
        let bytes: usize = history.newest(100_000).iter().map(|entry| entry.bytes).sum();
        assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES * 3 / 4, "{bytes}");
        // A record that is too large keeps only its summary, and names chosen by the caller are shortened.
        keep(&history, 100_000, record(&"n".repeat(100_000), json!("x".repeat(MAX_RECORD * 2))));
        let newest = &history.newest(100_000)[0];
        assert!(newest.bytes < 10_000, "{}", newest.bytes);
        assert_eq!(newest.record.facts(|record| record.call.args.clone()), GivenArguments::from(Value::Null));
    }

    #[test]
    fn a_record_does_not_keep_a_whole_body_for_a_part_of_it() {
        let document = |text: Value| Arc::new(Document::parse(text.to_string().into()).unwrap());
        let part =
            |document: &Arc<Document>| SharedValue::part(document, document.root().get("part").unwrap());
        let large = json!({"part": {"a": 1}, "rest": "x".repeat(MAX_RECORD)});
        let (body, reply) = (document(large.clone()), document(large));
        let mut record = record("a", Value::Null);
        record.call.args = GivenArguments::Json(part(&body));
        let response =
            ParsedResponse::new(200, ResponseHeaders::default(), SharedValue::whole(Arc::clone(&reply)));
        record.steps.push(StepRecord { response_bytes: MAX_RECORD, ..StepRecord::default() });
        record.outputs.push(StepOutput { response: Some(response), values: vec![Some(part(&reply))] });
        let (held_body, held_reply) = (Arc::downgrade(&body), Arc::downgrade(&reply));
        drop((body, reply));

        let history = History::default();
        keep(&history, 2, record);
        let entry = &history.newest(2)[0];
        assert!(held_body.upgrade().is_none() && held_reply.upgrade().is_none());
        assert_eq!(
            entry.record.facts(|record| record.call.args.clone()),
            GivenArguments::from(json!({"a": 1}))
        );
        assert_eq!(
            entry.record.facts(|record| record.outputs[0].values.clone()),
            [Some(json!({"a": 1}).into())]
        );

        // A document that is kept alive counts once.
        let small = document(json!({"part": {"a": 1}, "rest": "x".repeat(1000)}));
        let both = [Some(part(&small)), Some(part(&small))];
        let mut record = self::record("b", Value::Null);
        let before = record.bytes();
        let response =
            ParsedResponse::new(200, ResponseHeaders::default(), SharedValue::whole(Arc::clone(&small)));
        record.outputs.push(StepOutput { response: Some(response), values: both.to_vec() });
        let added = record.bytes() - before;
        let once = SharedValue::whole(small).bytes();
        assert_eq!(added, once);
    }

    #[test]
    fn subscribers_get_new_calls_and_the_shutdown() {
        let history = History::default();
        keep(&history, 2, record("a", Value::Null));
        let mut subscriber = history.subscribe().unwrap();
        keep(&history, 2, record("b", Value::Null));
        assert_eq!(
            subscriber.try_recv().unwrap().record.facts(|record| record.call.context.function.clone()),
            "b"
        );
        history.close();
        assert!(matches!(subscriber.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
        assert!(history.subscribe().is_none());
    }
}
