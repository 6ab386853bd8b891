//! The binary: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

// A call makes hundreds of small allocations, and a burst of them makes glibc's heap grow and shrink all the time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    jackfield::cli::main()
}
