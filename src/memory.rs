//! Memory for large bodies. All large bodies in flight share two budgets, so that a few hostile upstreams or callers
//! cannot take the memory of the whole process. A body that finds no memory waits for its turn.
//!
//! Bodies of at most [`SMALL`] bytes take no part in this.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

/// The largest body that needs no turn, in bytes.
pub const SMALL: usize = 64 * 1024;

/// The size of the budgets for large bodies while they are received, in KiB: one for responses, and one for requests, so
/// that callers who send slowly do not hold up responses.
const RECEIVED_KIB: u32 = 128 * 1024;

/// The size of the budget for large bodies and what is made of them, in KiB.
const HELD_KIB: u32 = 256 * 1024;

static RESPONSES: Semaphore = Semaphore::const_new(RECEIVED_KIB as usize);
static REQUESTS: Semaphore = Semaphore::const_new(RECEIVED_KIB as usize);
static HELD: Semaphore = Semaphore::const_new(HELD_KIB as usize);

/// About what each value of a body takes when it is indexed, in bytes.
const INDEXED: usize = 24;

/// About what each value of a body takes when it is converted into a tree, in bytes.
const CONVERTED: usize = 128;

/// One value for so many bytes of a body is ordinary: it is not expected that all of it is converted.
const ORDINARY: usize = 12;

/// About what an element of XML takes, in bytes.
const ELEMENT: usize = 256;

/// The memory did not become free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a large body became free in time")]
pub struct NoRoom;

/// Memory for a large body while it is received.
#[derive(Debug)]
pub struct Receiving {
    _permit: SemaphorePermit<'static>,
}

impl Receiving {
    /// Waits for memory for a response with a body of at most `bytes`, until `deadline`.
    ///
    /// # Errors
    /// None became free in time.
    pub async fn response(bytes: usize, deadline: Option<Instant>) -> Result<Self, NoRoom> {
        turn(&RESPONSES, bytes, RECEIVED_KIB, deadline).await.map(|_permit| Self { _permit })
    }

    /// Waits for memory for a request with a body of at most `bytes`, until `deadline`.
    ///
    /// # Errors
    /// None became free in time.
    pub async fn request(bytes: usize, deadline: Option<Instant>) -> Result<Self, NoRoom> {
        turn(&REQUESTS, bytes, RECEIVED_KIB, deadline).await.map(|_permit| Self { _permit })
    }

    /// Waits for memory for what will be made of the body, until `deadline`. It is free again when the last part of the
    /// returned body is dropped.
    ///
    /// # Errors
    /// None became free in time.
    pub async fn hold(self, body: Bytes, use_of: Use, deadline: Option<Instant>) -> Result<Bytes, NoRoom> {
        let held = turn(&HELD, use_of.cost(&body), HELD_KIB, deadline).await?;
        Ok(Bytes::from_owner(Held { body, _permit: held }))
    }
}

/// What a body is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is indexed, and parts of it may be taken out.
    Indexed,
    /// Much of it may be converted: the arguments of a call.
    Converted,
}

impl Use {
    /// About what the body and what is made of it take, in bytes.
    fn cost(self, body: &[u8]) -> usize {
        let (values, elements) = shape(body);
        let dense = values.saturating_sub(body.len() / ORDINARY);
        let converted = match self {
            Self::Indexed => 0,
            Self::Converted => dense * CONVERTED,
        };
        body.len() + values * INDEXED + converted + elements * ELEMENT
    }
}

/// The most values that a body can have if it is JSON, and the most elements if it is XML: each begins behind one of a
/// few characters.
fn shape(body: &[u8]) -> (usize, usize) {
    let is_xml = body.trim_ascii_start().starts_with(b"<") || body.starts_with(b"\xef\xbb\xbf<");
    if is_xml {
        return (0, body.iter().filter(|byte| **byte == b'<').count());
    }
    (body.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count() + 1, 0)
}

/// A body and its memory.
struct Held {
    body: Bytes,
    _permit: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Waits for memory of a budget. What is larger than the whole budget gets all of it.
async fn turn(
    budget: &'static Semaphore,
    bytes: usize,
    all: u32,
    deadline: Option<Instant>,
) -> Result<SemaphorePermit<'static>, NoRoom> {
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(all);
    let permit = budget.acquire_many(kib);
    let permit = match deadline {
        Some(deadline) => timeout_at(deadline.into(), permit).await.map_err(|_| NoRoom)?,
        None => permit.await,
    };
    permit.map_err(|_| NoRoom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dense_bodies_cost_more_than_ordinary_ones() {
        let ordinary = br#"{"role": "assistant", "content": "How can I help you today?"},"#.repeat(10_000);
        let (indexed, converted) = (Use::Indexed.cost(&ordinary), Use::Converted.cost(&ordinary));
        assert!(indexed < ordinary.len() * 4 && converted < ordinary.len() * 4, "{indexed} {converted}");
        let dense = b"[0],".repeat(100_000);
        assert!(Use::Indexed.cost(&dense) > dense.len() * 8);
        assert!(Use::Converted.cost(&dense) > dense.len() * 50);
        assert!(Use::Indexed.cost(&b"<a/>".repeat(1000)) > 4000 * 50);
    }

    #[tokio::test]
    async fn memory_is_free_again_when_the_last_part_of_a_body_is_dropped() {
        static BUDGET: Semaphore = Semaphore::const_new(4);
        let soon = || Some(Instant::now() + Duration::from_millis(1));
        let all = turn(&BUDGET, usize::MAX, 4, None).await.unwrap();
        assert_eq!(turn(&BUDGET, 1, 4, soon()).await.unwrap_err(), NoRoom);
        let body = Bytes::from_owner(Held { body: Bytes::from_static(b"abc"), _permit: all });
        let part = body.slice(1..);
        drop(body);
        assert_eq!(BUDGET.available_permits(), 0);
        assert_eq!(part, b"bc"[..]);
        drop(part);
        assert_eq!(BUDGET.available_permits(), 4);
    }
}
