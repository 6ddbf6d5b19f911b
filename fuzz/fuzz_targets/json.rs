//! JSON bodies: what is rewritten is JSON still, and the same but for the URLs of the named fields.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::policy::pointer::JsonPointer;
use portcullis::policy::site::BaseUrl;
use portcullis::rewrite::{UrlRewriter, json};

static PUBLIC: LazyLock<BaseUrl> = LazyLock::new(|| base("https://gate.example.com/gate"));
static REWRITER: LazyLock<UrlRewriter> =
    LazyLock::new(|| UrlRewriter::new([base("https://a.b/c"), base("http://w:9000")]));
static FIELDS: LazyLock<Vec<JsonPointer>> = LazyLock::new(|| {
    ["/u", "/*/u", "/*/*", "/0"].iter().map(|field| field.parse().expect("a pointer")).collect()
});

fn base(url: &str) -> BaseUrl {
    BaseUrl::parse(url).expect("a URL of ours")
}

fuzz_target!(|body: &[u8]| {
    let read = serde_json::from_slice::<serde_json::Value>(body);
    let Ok(rewritten) = json::rewrite(body, &FIELDS, &REWRITER, &PUBLIC) else {
        return;
    };
    // Numbers that no `f64` holds are JSON too, and deeper nesting than a value may have.
    let (Ok(before), Ok(after)) = (read, serde_json::from_slice(&rewritten)) else { return };
    same(&before, &after);
    // What is rewritten once is rewritten.
    let again = json::rewrite(&rewritten, &FIELDS, &REWRITER, &PUBLIC).expect("what we write, we read");
    assert_eq!(again, rewritten);
});

/// The same shape, and texts that differ only as a rewritten URL does.
fn same(before: &serde_json::Value, after: &serde_json::Value) {
    use serde_json::Value;
    match (before, after) {
        (Value::String(before), Value::String(after)) => {
            let url = REWRITER.rewrite_absolute(before.as_bytes(), &PUBLIC);
            assert!(before == after || url == after.as_bytes());
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len());
            before.iter().zip(after).for_each(|(before, after)| same(before, after));
        }
        (Value::Object(before), Value::Object(after)) => {
            assert!(before.keys().eq(after.keys()));
            before.values().zip(after.values()).for_each(|(before, after)| same(before, after));
        }
        (before, after) => assert_eq!(before, after),
    }
}
