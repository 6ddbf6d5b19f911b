//! Portcullis.
#![forbid(unsafe_code)]
pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod forward;
pub mod gateway;
pub mod policy;
pub mod proxy;
pub mod readiness;
pub mod rewrite;
pub mod server;
pub mod store;
pub mod telemetry;
