//! The binary: everything is in the library.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

// A call makes hundreds of small allocations: these cost less here than in glibc, and the memory that bursts and huge
// replies took is given back, so that what a long-lived process takes stays flat.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    jackfield::cli::main()
}
