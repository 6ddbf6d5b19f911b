//! Request targets: what is read is what is forwarded, and no reader can be led elsewhere by it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::policy::path::{CanonicalPath, Target};

fuzz_target!(|target: &[u8]| {
    let Ok(parsed) = Target::parse(target) else { return };
    let path = parsed.path();
    let query = parsed.query().map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(format!("{}{query}", path.raw()).as_bytes(), target);
    let again = CanonicalPath::parse(path.raw().as_bytes()).expect("read once, read twice");
    assert!(path.segments().eq(again.segments()));
    let last = path.segments().count() - 1;
    for (index, segment) in path.segments().enumerate() {
        assert!(!matches!(segment, "." | ".."));
        assert!(!segment.contains(['/', '\\', '\0']));
        assert!(!segment.is_empty() || index == last);
    }
});
