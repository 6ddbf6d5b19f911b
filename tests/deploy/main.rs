//! What is shipped to deploy the gateway with: read, rendered, built and started as far as one machine can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by panicking, and its helpers are for every test"
)]

mod kubernetes;
#[path = "../wire/process.rs"]
mod process;
