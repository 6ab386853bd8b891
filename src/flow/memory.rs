//! What a call recalls of its conversation, and what it remembers for later calls.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::lang::template::Scope;
use crate::plan::Route;
use crate::plan::state::Remember;
use crate::state::{Changes, Conversation, Payload, Remembered, StateError};

use super::{CallEnv, Record};

/// The longest wait for the store. A call without memory is better than a late one.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What a call recalled and remembered.
#[derive(Debug, Clone, Default)]
pub struct MemoryRecord {
    /// What earlier calls of the conversation remembered, an object; `None` if nothing was recalled.
    pub recalled: Option<Arc<Value>>,
    /// Whether some of it is sensitive.
    pub is_sensitive: bool,
    /// The names that the call remembers, each with its value; null forgets the name.
    pub remembered: Vec<(String, Value)>,
    /// Why memory could not be read or written.
    pub error: Option<MemoryError>,
}

/// A [`MemoryRecord`] that is allocated only if the call uses memory, so that other records stay small.
#[derive(Debug, Clone, Default)]
pub struct RecordedMemory(Option<Box<MemoryRecord>>);

impl Deref for RecordedMemory {
    type Target = MemoryRecord;

    fn deref(&self) -> &MemoryRecord {
        static NOTHING: MemoryRecord =
            MemoryRecord { recalled: None, is_sensitive: false, remembered: Vec::new(), error: None };
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for RecordedMemory {
    fn deref_mut(&mut self) -> &mut MemoryRecord {
        self.0.get_or_insert_default()
    }
}

/// Why memory could not be read or written. The call continues without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The store could not read or write it.
    #[error(transparent)]
    Store(#[from] StateError),
    /// The platform names no conversation.
    #[error("nothing was remembered: the platform names no conversation")]
    NoConversation,
}

impl Record {
    /// The conversation whose memory the call uses.
    fn conversation(&self) -> Option<Conversation> {
        let context = &self.call.context;
        let id = context.conversation.clone()?;
        Some(Conversation { platform: context.platform.to_owned(), id })
    }
}

/// The time that the store may take.
fn wait(env: &CallEnv<'_>) -> Duration {
    env.deadline.saturating_duration_since(Instant::now()).min(LONGEST_WAIT)
}

/// Reads what the route's templates recall. If that fails, the values are missing.
pub(super) async fn recall(route: &Route, env: &CallEnv<'_>, record: &mut Record) {
    if !route.state.recalls() || record.memory.recalled.is_some() {
        return;
    }
    let (Some(state), Some(conversation)) = (env.state, record.conversation()) else { return };
    let limit = wait(env);
    match state.store.within(limit).recall(&conversation, state.memory_ttl).await {
        Ok(memory) => take(route, memory, record),
        Err(error) => {
            record.memory.error = Some(error.into());
            record.state_limit = Some(limit);
        }
    }
}

/// Keeps the values that the route's templates use. A value that decides what is allowed must come from a trusted
/// route, even if it was stored under an earlier table.
fn take(route: &Route, memory: Vec<(String, Remembered)>, record: &mut Record) {
    let mut recalled = Map::new();
    for (name, remembered) in memory {
        let used = route.state.recalled.iter().find(|(known, _)| *known == name);
        let is_usable = used.is_some_and(|(_, trusted)| !trusted || remembered.is_trusted);
        if let (true, Ok(value)) = (is_usable, serde_json::from_slice(&remembered.value)) {
            record.memory.is_sensitive |= remembered.is_sensitive;
            recalled.insert(name, value);
        }
    }
    record.memory.recalled = Some(Arc::new(Value::Object(recalled)));
}

/// Stores what the call remembers, once its outcome is known. If memory could not be read, nothing is stored: the values
/// were rendered without what is remembered, and would replace it.
pub(super) async fn remember(route: &Route, env: &CallEnv<'_>, record: &mut Record) {
    if record.memory.error.is_some() {
        return;
    }
    let remembered = remembered(route, env, record);
    if remembered.is_empty() {
        return;
    }
    let Some(conversation) = record.conversation() else {
        record.memory.error = Some(MemoryError::NoConversation);
        record.memory.remembered = remembered;
        return;
    };
    let is_sensitive = route.state.sensitive || record.memory.is_sensitive;
    let change = |(name, value): &(String, Value)| {
        let bytes = value.to_string().into_bytes();
        let value =
            (!value.is_null()).then(|| Remembered::new(Payload { bytes, is_sensitive }, route.state.trusted));
        (name.clone(), value)
    };
    let changes: Changes = remembered.iter().map(change).collect();
    record.memory.remembered = remembered;
    let Some(state) = env.state else { return };
    // The deadline leaves a margin for sending the reply, so a short wait is possible even at the deadline.
    let limit = wait(env).max(LONGEST_WAIT / 4);
    let store = state.store.within(limit);
    if let Err(error) = store.remember(&conversation, changes, state.memory_ttl).await {
        record.memory.error = Some(error.into());
        record.state_limit = Some(limit);
    }
}

/// The names to remember, each with its value: of the steps that succeeded, of the route if the call did, and of the
/// reply case. The last value of a name counts.
fn remembered(route: &Route, env: &CallEnv<'_>, record: &mut Record) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = Vec::new();
    let mut problems = Vec::new();
    {
        let scope = record.scope(env.now);
        let mut render = |remember: &Remember, scope: &Scope<'_>| match remember.render(scope) {
            Ok(value) => {
                all.retain(|(name, _)| *name != remember.name);
                all.push((remember.name.clone(), value));
            }
            Err(error) => problems.push(format!("`{}` is not remembered: {error}", remember.name)),
        };
        for (index, (step, ran)) in route.steps.iter().zip(&record.steps).enumerate() {
            if ran.error.is_none() && !ran.skipped {
                let scope = Scope { steps: &record.outputs[..=index], ..scope };
                step.remember.iter().for_each(|remember| render(remember, &scope));
            }
        }
        // The requests of an accepted call have not been sent yet.
        if record.error.is_none() && !record.is_accepted() {
            route.state.remember.iter().for_each(|remember| render(remember, &scope));
        }
        let case = record.case.and_then(|case| route.replies.cases.get(case));
        case.into_iter().flat_map(|case| &case.remember).for_each(|remember| render(remember, &scope));
    }
    record.dropped.extend(problems);
    all
}
