//! The response cache: a recent response to the same request is reused instead of sending it again.

use crate::single_flight::SingleFlight;
use crate::upstream::Response;
use crate::upstream::delivery::DeliveryError;

/// Responses by request. Only usable ones are stored; a failure is passed only to the calls that wait for it.
pub type Cache = SingleFlight<Result<Response, DeliveryError>>;

/// The size limit of the cache, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// About what an entry takes besides its response, in bytes: its key, its place in the order, and the unused capacity of
/// both tables.
const OVERHEAD: usize = 288;

/// About what a response takes in the cache, in bytes.
pub fn bytes(response: &Response) -> usize {
    OVERHEAD + response.compact_bytes()
}

/// How the cache was used for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// A fresh response was cached.
    Hit,
    /// The response came from another call's identical request, which was in flight.
    Shared,
    /// The upstream failed, and a stale response was used.
    Stale,
    /// The request was sent to the upstream.
    Miss,
}

impl CacheUse {
    /// The name in the log.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Shared => "shared",
            Self::Stale => "stale",
            Self::Miss => "miss",
        }
    }
}
