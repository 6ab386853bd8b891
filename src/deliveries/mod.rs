//! The delivery of accepted calls: a worker that leases them from the store, runs them, and stores the outcome of each.
//!
//! A call that was accepted runs at least once. If an instance dies, another one runs its calls when their leases end.

mod attempt;
mod running;
pub mod shown;
mod verdict;
mod worker;

pub use shown::DeliveryQuery;
pub use worker::Worker;
