//! What is seen of calls: metrics, spans, the last records, the log, and what must be hidden in all of them.

pub mod history;
mod lines;
pub mod log;
pub mod masking;
pub mod metrics;
pub mod spans;
mod view;
