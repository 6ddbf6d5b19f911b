//! The gateway over real sockets: what a client gets, and above all what the upstream received.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by panicking, and its helpers are for every test"
)]

mod addresses;
mod answers;
mod assertion;
mod attacks;
mod audit;
mod bound;
mod chunked;
mod client;
mod clients;
mod connections;
mod container;
mod credential;
mod doctor;
mod errors;
mod exchange;
mod explain;
mod gate;
mod history;
mod introspection;
mod jwt;
mod limits;
mod machine;
mod outage;
mod pool;
mod process;
mod prometheus;
mod queue;
mod quickstart;
mod ready;
mod reload;
mod replica;
mod resilience;
mod rewritten;
mod routes;
mod samples;
mod shadow;
mod status;
mod stores;
mod strangers;
mod tls;
mod tokens;
mod traces;
mod upgrade;
mod upstream;
mod upstream_tls;
mod volume;
mod websocket;
