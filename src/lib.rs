//! Portcullis.
#![forbid(unsafe_code)]
pub mod clock;
pub mod config;
pub mod forward;
pub mod gateway;
pub mod policy;
pub mod proxy;
pub mod readiness;
pub mod rewrite;
pub mod store;
pub mod telemetry;
pub mod server;
pub mod admin;
pub mod demo;
pub mod cli;
