//! How many files, and with them connections, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open besides connections of clients: those to upstreams and stores, files, listeners.
const OTHERS: u64 = 1024;

/// Takes as many as the system lets the process have. By default it is given far fewer, for programs
/// that use `select`, which can't tell more apart.
pub(super) fn raise(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let taken = if current != maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        maximum
    } else {
        current
    };
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if let Some(limit) = taken.filter(|limit| *limit < needed) {
        let help =
            "raise the limit (`LimitNOFILE`, `ulimit -Hn`), or lower `server.max_connections`";
        tracing::warn!(limit, needed, help, "fewer files may be open than connections are allowed");
    }
}
