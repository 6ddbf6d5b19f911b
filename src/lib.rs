//! Portcullis.
#![forbid(unsafe_code)]
pub mod clock;
pub mod config;
pub mod forward;
pub mod policy;
pub mod rewrite;
pub mod telemetry;
