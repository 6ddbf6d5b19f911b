//! Portcullis: an authenticating gateway in front of the Web API of a self-hosted Sentry.
//!
//! # The way of a request
//!
//! 1. [`proxy`] takes the head from pingora and hands it to [`gateway`].
//! 2. [`policy`] reads frame, host, path, route and credential, and either decides or names the
//!    credential to look up.
//! 3. [`store`] answers who that is: from its cache, or from a token store.
//! 4. [`policy`] judges scopes, bindings, expiry and origin. A refusal is a value with one reason
//!    of a closed set; a permit can be made only there, and nothing is forwarded without one.
//!    What is let through counts against the [`limit`]s that it meets, which refuse what is too much.
//! 5. [`forward`] plans the upstream request's headers: remove first, then set. [`assertion`] signs, where
//!    the config asks for it, that this request was let through.
//! 6. [`rewrite`] makes the upstream's URLs in the answer name the address that was called.
//! 7. [`telemetry`] audits the decision before anything is forwarded or answered, and records the
//!    request when it has ended, from the same decision.
//!
//! # Layers
//!
//! From the bottom up; nothing imports upward, and a test reads every file for it: `clock`, `budget`, `tls`, `client`, `server_tls`, `proxy_protocol`, `readiness`;
//! `policy`, `rewrite`, `forward`, `peek`, `limit` (pure); `assertion`; `telemetry`, `spool`, `shared_counts`, `store`, `directory`; `config`, `routes`, `history`, `gateway`,
//! `explain`; `proxy`, `reload`; `stores`, `doctor`, `attack`, `admin`, `server`, `demo`, `cli`. Pingora is seen by `proxy`, `server`, `admin` and `demo`.
#![forbid(unsafe_code)]

pub mod admin;
pub mod assertion;
pub mod attack;
pub mod budget;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod demo;
pub mod directory;
pub mod doctor;
pub mod explain;
pub mod forward;
pub mod gateway;
pub mod history;
pub mod limit;
pub mod peek;
pub mod policy;
pub mod proxy;
pub mod proxy_protocol;
pub mod readiness;
pub mod reload;
pub mod rewrite;
pub mod routes;
pub mod seats;
pub mod server;
pub mod server_tls;
pub mod shared_counts;
pub mod spool;
pub mod store;
pub mod stores;
pub mod telemetry;
pub mod tls;
