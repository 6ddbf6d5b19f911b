//! Names in visible ASCII.

use std::fmt::Write as _;

use super::credential::Digest;

/// What comes before the digest of a name that is too long. No byte is escaped like this.
const DIGEST: &str = "%sha256:";

/// A name in visible ASCII: each other byte, and `%`, as `%` and two hex digits, so that no two names read
/// the same.
pub fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            escaped.push(byte.into());
        } else {
            // Writing to a string does not fail.
            write!(escaped, "%{byte:02X}").unwrap_or_default();
        }
    }
    escaped
}

/// The same in at most so many bytes, 72 or more: of a longer one the start, and the digest of the whole,
/// since the start of a name is another name.
pub fn escaped_within(name: &str, most: usize) -> String {
    let mut escaped = escaped(name);
    if escaped.len() > most {
        let digest = Digest::of(name).hex();
        escaped.truncate(most.saturating_sub(DIGEST.len() + digest.len()));
        escaped.push_str(DIGEST);
        escaped.push_str(&digest);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_names_read_the_same() {
        let long = |last: char| format!("{}{last}", "x".repeat(127));
        let longer = |last: char| format!("{}{last}", "x".repeat(128));
        let names = [
            "main",
            "m ain",
            "main ",
            " main",
            "ma\u{200b}in",
            "main\n",
            "main\r",
            "main\0",
            "m\u{e4}in",
            "ma\u{308}in",
            "main%20",
            "main%2520",
            "%",
            "%%",
            "\u{e9}",
            " ",
            "\u{200b}",
            "",
        ];
        let mut all: Vec<_> = names.map(str::to_owned).into();
        for last in ['A', 'B', ' ', '\u{e9}'] {
            all.extend([long(last), longer(last)]);
        }
        // What the digest of another would look like.
        all.push(escaped_within(&longer('A'), 128));
        let shown: BTreeSet<_> = all.iter().map(|name| escaped_within(name, 128)).collect();
        assert_eq!(shown.len(), all.len(), "{shown:?}");
        for (name, shown) in all.iter().map(|name| (name, escaped_within(name, 128))) {
            assert!(
                shown.len() <= 128 && shown.bytes().all(|byte| byte.is_ascii_graphic()),
                "{shown}"
            );
            assert_eq!(shown.is_empty(), name.is_empty());
        }
        assert_eq!(escaped("m\u{e4}in 1%"), "m%C3%A4in%201%25");
        assert_eq!(escaped_within(&long('A'), 128), long('A'));
    }
}
