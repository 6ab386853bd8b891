//! Work that can block a thread for milliseconds.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Processing a body larger than this can occupy a thread for milliseconds. In bytes.
const LARGE_BYTES: usize = 256 * 1024;

/// Runs `work`, which processes `bytes` bytes of bodies. If that is a lot, the other tasks of this thread move to
/// another thread first.
pub fn run_blocking_if_large<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let is_multi_threaded =
        || Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > LARGE_BYTES && is_multi_threaded() { tokio::task::block_in_place(work) } else { work() }
}
