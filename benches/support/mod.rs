//! What the benchmarks of the running binary share: the binary itself, callers, upstreams that do as they are told,
//! and figures.
//!
//! Callers and upstreams speak HTTP over plain sockets: they share the machine with what is measured, and must cost
//! little beside it.

pub(crate) mod client;
pub(crate) mod figures;
pub(crate) mod proxy;
pub(crate) mod upstream;

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

/// Runs something on a thread and a runtime of its own, so that one part of a benchmark does not wait for another.
pub(crate) fn on_a_thread<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(thread::spawn(move || runtime.block_on(work)))
}

/// The value of `--name VALUE` on the command line; an error says what does not fit.
pub(crate) fn option<T: std::str::FromStr>(name: &str, otherwise: T) -> Result<T, String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    match (std::env::args().any(|argument| argument == name), arguments.next()) {
        (false, _) => Ok(otherwise),
        (true, Some(value)) => value.parse().map_err(|_| format!("`{name} {value}` makes no sense")),
        (true, None) => Err(format!("`{name}` needs a value")),
    }
}

/// Whether this benchmark is meant: `cargo test` starts benchmarks too, and `cargo bench -- NAME` all of them.
pub(crate) fn is_meant(name: &str) -> bool {
    let mut arguments = std::env::args().skip(1).peekable();
    let (mut bench, mut filter) = (false, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => bench = true,
            option if option.starts_with("--") => {
                arguments.next_if(|value| !value.starts_with("--"));
            }
            _ => filter = Some(argument),
        }
    }
    bench && filter.is_none_or(|filter| name.contains(&filter))
}
