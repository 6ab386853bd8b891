//! The last calls, for the admin listener: their records as they ended, shown only when somebody asks.
//!
//! What is kept is bounded in number and in bytes. Nothing is rendered here while calls run.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::flow::Record;
use crate::plan::Route;
use crate::secret::Masks;

/// The most that is kept, in bytes.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The most that one record may take, in bytes. Of a larger one only what its line in the log says is kept.
const MAX_RECORD: usize = 256 * 1024;

/// How many calls a listener may be behind before it misses some.
const MAX_BEHIND: usize = 256;

/// One call that has ended.
#[derive(Debug)]
pub struct HistoryEntry {
    /// Its number, counted from 1 since the start.
    pub id: u64,
    /// When it ended.
    pub at: Timestamp,
    /// The address of who called.
    pub client: IpAddr,
    /// What every step saw.
    pub record: Record,
    /// What answered it, if there was such a route or event.
    pub route: Option<Arc<Route>>,
    /// The secrets of its table.
    pub secrets: Masks,
    bytes: usize,
}

/// The last calls.
#[derive(Debug)]
pub struct History {
    last_id: AtomicU64,
    state: Mutex<HistoryState>,
}

#[derive(Debug)]
struct HistoryState {
    /// The oldest first.
    entries: VecDeque<Arc<HistoryEntry>>,
    bytes: usize,
    /// `None` as soon as the proxy closes.
    live: Option<broadcast::Sender<Arc<HistoryEntry>>>,
}

impl Default for History {
    fn default() -> Self {
        let live = Some(broadcast::Sender::new(MAX_BEHIND));
        let state = Mutex::new(HistoryState { entries: VecDeque::new(), bytes: 0, live });
        Self { last_id: AtomicU64::new(0), state }
    }
}

impl History {
    /// The number of the next call, which its line in the log says before it is kept.
    pub fn number(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Keeps a call, and as many before it as may be kept.
    pub fn keep(&self, entry: HistoryEntry, most: usize) {
        let entry = Arc::new(entry);
        let mut state = self.state();
        state.bytes += entry.bytes;
        state.entries.push_back(Arc::clone(&entry));
        let gone = state.trim(most);
        let live = state.live.clone().filter(|live| live.receiver_count() > 0);
        drop(state);
        // To free a large record takes a while.
        drop(gone);
        if let Some(live) = live {
            // Whoever listened may have gone.
            let _ = live.send(entry);
        }
    }

    /// The calls that are kept, the newest first, and no more than `most`.
    pub fn newest(&self, most: usize) -> Vec<Arc<HistoryEntry>> {
        let mut state = self.state();
        let gone = state.trim(most);
        let newest = state.entries.iter().rev().cloned().collect();
        drop(state);
        drop(gone);
        newest
    }

    /// Hears of every call from now on; `None` when the proxy closes.
    pub fn listen(&self) -> Option<broadcast::Receiver<Arc<HistoryEntry>>> {
        self.state().live.as_ref().map(broadcast::Sender::subscribe)
    }

    /// Lets those that listen go.
    pub fn close(&self) {
        self.state().live = None;
    }

    fn state(&self) -> MutexGuard<'_, HistoryState> {
        self.state.lock()
    }
}

impl HistoryState {
    /// Takes out what is too much.
    fn trim(&mut self, most: usize) -> Vec<Arc<HistoryEntry>> {
        let mut gone = Vec::new();
        while self.entries.len() > most || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes;
            gone.push(oldest);
        }
        gone
    }
}

impl HistoryEntry {
    /// The entry of a call that has just ended, under its number; what is not shown of the call is dropped.
    pub fn new(
        id: u64,
        mut record: Record,
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
        Self { id, at: Timestamp::now(), client, record, route, secrets, bytes }
    }

    /// The name of what answered it.
    pub fn route(&self) -> Option<&str> {
        self.route.as_ref().map(|route| route.name.as_str())
    }

    /// The call in short.
    pub fn summary(&self) -> Value {
        self.shown(self.record.summary(&self.secrets, self.route.as_deref()))
    }

    /// The whole call.
    pub fn view(&self) -> Value {
        self.shown(self.record.view(&self.secrets, self.route.as_deref()))
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
    use crate::json::{Document, SharedValue};
    use crate::lang::template::{StepOutput, UpstreamReply};
    use crate::observe::history::*;
    use http::HeaderMap;
    use serde_json::json;
    use std::time::Duration;

    fn record(function: &str, args: Value) -> Record {
        let context = Context { function: function.to_owned(), ..Context::default() };
        Record::panicked(Call { args: args.into(), context }, Duration::ZERO, None)
    }

    fn keep(history: &History, most: usize, record: Record) {
        let client = [127, 0, 0, 1].into();
        let entry = HistoryEntry::new(history.number(), record, None, Masks::default(), client);
        history.keep(entry, most);
    }

    fn functions(history: &History, most: usize) -> Vec<String> {
        let newest = history.newest(most);
        newest.iter().map(|entry| format!("{} {}", entry.id, entry.record.call.context.function)).collect()
    }

    #[test]
    fn the_last_are_kept() {
        let history = History::default();
        for function in ["a", "b", "c"] {
            keep(&history, 2, record(function, Value::Null));
        }
        assert_eq!(functions(&history, 2), ["3 c", "2 b"]);
        assert_eq!(functions(&history, 1), ["3 c"]);
        // A reload may turn it off.
        assert!(functions(&history, 0).is_empty());
        assert_eq!(history.state().bytes, 0);
    }

    #[test]
    fn memory_is_bounded_by_bytes_too() {
        let history = History::default();
        for _ in 0..1000 {
            keep(&history, 100_000, record("a", json!("x".repeat(MAX_RECORD / 2))));
        }
        let state = history.state();
        assert!(state.bytes <= MAX_BYTES && state.bytes > MAX_BYTES / 2, "{}", state.bytes);
        assert_eq!(state.bytes, state.entries.iter().map(|entry| entry.bytes).sum::<usize>());
        drop(state);
        // What is too large by itself leaves its name behind, and what a caller names it is cut.
        keep(&history, 100_000, record(&"n".repeat(100_000), json!("x".repeat(MAX_RECORD * 2))));
        let newest = &history.newest(100_000)[0];
        assert!(newest.bytes < 10_000, "{}", newest.bytes);
        assert_eq!(newest.record.call.args, GivenArguments::from(Value::Null));
    }

    #[test]
    fn a_record_keeps_no_body_for_the_sake_of_a_part_of_it() {
        let document = |text: Value| Arc::new(Document::parse(text.to_string().into()).unwrap());
        let part =
            |document: &Arc<Document>| SharedValue::part(document, document.root().get("part").unwrap());
        let large = json!({"part": {"a": 1}, "rest": "x".repeat(MAX_RECORD)});
        let (body, reply) = (document(large.clone()), document(large));
        let mut record = record("a", Value::Null);
        record.call.args = GivenArguments::Json(part(&body));
        let reading = UpstreamReply::new(200, HeaderMap::new(), SharedValue::whole(Arc::clone(&reply)));
        record.steps.push(StepRecord { reply_bytes: MAX_RECORD, ..StepRecord::default() });
        record.outputs.push(StepOutput { reading: Some(reading), values: vec![Some(part(&reply))] });
        let (held_body, held_reply) = (Arc::downgrade(&body), Arc::downgrade(&reply));
        drop((body, reply));

        let history = History::default();
        keep(&history, 2, record);
        let entry = &history.newest(2)[0];
        assert!(held_body.upgrade().is_none() && held_reply.upgrade().is_none());
        assert_eq!(entry.record.call.args, GivenArguments::from(json!({"a": 1})));
        assert_eq!(entry.record.outputs[0].values, [Some(json!({"a": 1}).into())]);

        // What a kept part does keep is counted, and once.
        let small = document(json!({"part": {"a": 1}, "rest": "x".repeat(1000)}));
        let both = [Some(part(&small)), Some(part(&small))];
        let mut record = self::record("b", Value::Null);
        let before = record.bytes();
        let reading = UpstreamReply::new(200, HeaderMap::new(), SharedValue::whole(Arc::clone(&small)));
        record.outputs.push(StepOutput { reading: Some(reading), values: both.to_vec() });
        let added = record.bytes() - before;
        let once = SharedValue::whole(small).bytes();
        assert_eq!(added, once);
    }

    #[test]
    fn listeners_hear_of_new_calls_and_of_the_end() {
        let history = History::default();
        keep(&history, 2, record("a", Value::Null));
        let mut listener = history.listen().unwrap();
        keep(&history, 2, record("b", Value::Null));
        assert_eq!(listener.try_recv().unwrap().record.call.context.function, "b");
        history.close();
        assert!(matches!(listener.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
        assert!(history.listen().is_none());
    }
}
