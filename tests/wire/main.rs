//! The gateway over real sockets: what a client gets, and above all what the upstream received.

mod admin;
mod attacks;
mod bodies;
mod cache;
mod client;
mod commands;
mod credentials;
mod failures;
mod gate;
mod headers;
mod pagination;
mod paths;
mod upstream;
