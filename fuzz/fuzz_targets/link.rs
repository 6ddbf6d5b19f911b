//! `Link` values: read and written back byte for byte, and only the upstream's URLs change.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::policy::site::BaseUrl;
use portcullis::rewrite::{UrlRewriter, link};

static PUBLIC: LazyLock<BaseUrl> = LazyLock::new(|| base("https://gate.example.com/s"));
static REWRITER: LazyLock<UrlRewriter> =
    LazyLock::new(|| UrlRewriter::new([base("https://a.b"), base("http://w:9000")]));

fn base(url: &str) -> BaseUrl {
    BaseUrl::parse(url).expect("a URL of ours")
}

fuzz_target!(|value: &[u8]| {
    let Ok(links) = link::parse(value) else {
        assert!(link::rewrite(value, &REWRITER, &PUBLIC).is_err());
        return;
    };
    assert!(value.starts_with(&link::print(&links)));
    // A value that hides a link of the upstream's in a parameter is refused.
    let Ok(Some(rewritten)) = link::rewrite(value, &REWRITER, &PUBLIC) else { return };
    let after = link::parse(&rewritten).expect("what we write, we read");
    assert_eq!(links.len(), after.len());
    for (before, after) in links.iter().zip(&after) {
        assert_eq!(before.parameters(), after.parameters());
        assert_eq!(&*REWRITER.rewrite(before.target(), &PUBLIC), after.target());
    }
});
