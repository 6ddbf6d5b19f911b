//! What the tests over sockets have: a gateway as a process of its own, its upstream and its clients.

#[path = "../../tests/wire/client.rs"]
pub mod client;
#[path = "../../tests/wire/gate.rs"]
pub mod gate;
#[path = "../../tests/wire/process.rs"]
pub mod process;
#[path = "../../tests/wire/upstream.rs"]
pub mod upstream;
