//! A shim around the library.

use std::process::ExitCode;

/// Many small allocations from several threads are what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis::cli::main()
}
