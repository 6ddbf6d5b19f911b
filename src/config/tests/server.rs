//! How the process runs: what it may not be told.

use super::*;

#[test]
fn what_is_wrong_with_the_process_is_said() {
    for (line, at, what) in [
        ("max_head = \"2MiB\"", "max_head", "1 MiB"),
        ("max_headers = 300", "max_headers", "is 300"),
        ("max_connections = 15", "max_connections", "is below 16"),
        ("max_connections_per_client = 0", "max_connections_per_client", "lets nobody connect"),
    ] {
        let seen = problem(&format!("{MINIMAL}\n[server]\n{line}\n"), &fake());
        assert_eq!(seen.at, format!("server.{at}"), "{line}: {seen:?}");
        assert!(seen.what.contains(what), "{line}: {seen:?}");
        assert!(!seen.help.is_empty());
    }
}
