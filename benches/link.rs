//! Rewriting the `Link` header of one page of a list, as Sentry writes it.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::policy::site::BaseUrl;
use portcullis::rewrite::{UrlRewriter, link};

fn page(host: &str) -> Vec<u8> {
    let url = format!("https://{host}/api/0/organizations/acme/issues/?query=is%3Aunresolved");
    format!(
        "<{url}&cursor=1700000000000:0:1>; rel=\"previous\"; results=\"false\"; \
         cursor=\"1700000000000:0:1\", \
         <{url}&cursor=1700000000000:100:0>; rel=\"next\"; results=\"true\"; \
         cursor=\"1700000000000:100:0\""
    )
    .into_bytes()
}

fn links(criterion: &mut Criterion) {
    let canonical = BaseUrl::parse("https://sentry.internal").unwrap();
    let address = BaseUrl::parse("http://web:9000").unwrap();
    let public = BaseUrl::parse("https://sentry.example.com").unwrap();
    let rewriter = UrlRewriter::new(canonical, [address]);
    let mut group = criterion.benchmark_group("link");
    for (name, host, rewritten) in [
        ("a page of the upstream's", "sentry.internal", true),
        ("a page of another host", "elsewhere.example.com", false),
    ] {
        let value = page(host);
        let seen = link::rewrite(&value, &rewriter, &public).unwrap();
        assert_eq!(seen.is_some(), rewritten);
        group.bench_function(name, |bench| {
            bench.iter(|| link::rewrite(black_box(&value), &rewriter, &public));
        });
    }
    group.finish();
}

criterion_group!(benches, links);
criterion_main!(benches);
