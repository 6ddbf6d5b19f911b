//! Real clients, as they are published, through a running gateway in front of a stand-in for Sentry
//! that answers as Sentry does. Sentry's canonical host is a listener of its own, and whatever
//! reaches it went behind the gateway's back: nothing may.
//!
//! The README beside this file says which clients, and how to take newer ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by panicking, and its helpers are for every test"
)]

mod answers;
mod bound;
mod client;
mod control;
mod http;
mod ingestion;
mod installed;
mod issues;
#[path = "../wire/jwt/key.rs"]
mod key;
mod lists;
mod mcp;
#[path = "../wire/process.rs"]
mod process;
mod refused;
mod releases;
mod runbooks;
mod sentry;
mod silent;
mod stage;
mod uploads;
