//! The status page in a real browser: Chromium, driven by its WebDriver. What a screen reader and a
//! keyboard meet is checked too, and the screenshots in `deploy/status` are made here:
//! `UPDATE_SCREENSHOTS=1 cargo test --test browser`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by panicking, and its helpers are for every test"
)]

mod accessible;
#[path = "../wire/tls/authority.rs"]
mod authority;
mod browser;
#[path = "../wire/client.rs"]
mod client;
#[path = "../wire/gate.rs"]
mod gate;
mod page;
#[path = "../wire/process.rs"]
mod process;
mod stage;
#[path = "../wire/upstream.rs"]
mod upstream;
