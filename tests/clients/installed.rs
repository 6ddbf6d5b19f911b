//! What a script below `.ci` has installed into `target/` for tests, by digest.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Where it is: `target/name`, made of these lock files, in this order. `what` begins the words for where it is not.
pub fn installed(name: &str, what: &str, locks: &[&[u8]]) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(name);
    let digest = Sha256::digest(locks.concat());
    let wanted: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let found = std::fs::read_to_string(home.join("installed")).unwrap_or_default();
    assert_eq!(
        found.trim_end(),
        wanted,
        "{what} not installed in {}, or not in these versions; run `make setup`",
        home.display()
    );
    home
}
