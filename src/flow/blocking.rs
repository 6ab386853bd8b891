//! Work that may hold a thread for long.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Bodies of more bytes than this may keep a thread busy for milliseconds.
const LARGE: usize = 256 * 1024;

/// Runs work over so many bytes of bodies. If there are many, the thread's other tasks move to another thread first.
pub fn run_blocking_if_large<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let threads =
        || Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > LARGE && threads() { tokio::task::block_in_place(work) } else { work() }
}
