//! Portcullis.
#![forbid(unsafe_code)]
pub mod clock;
pub mod policy;
pub mod rewrite;
