//! The binary: everything is in the library.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

// A call makes hundreds of small allocations. They cost less with mimalloc than with glibc. It also returns the memory
// of bursts and huge responses to the system, so that the memory of a long-running process stays flat.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    jackfield::cli::main()
}
