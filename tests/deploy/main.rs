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

#[path = "../wire/client.rs"]
mod client;
mod compose;
#[path = "../sentry/database.rs"]
mod database;
#[path = "../wire/gate.rs"]
mod gate;
mod image;
#[path = "../clients/installed.rs"]
mod installed;
mod kubernetes;
mod layouts;
mod nginx;
#[path = "../wire/process.rs"]
mod process;
mod release;
mod tool;
mod unit;
#[path = "../wire/upstream.rs"]
mod upstream;
