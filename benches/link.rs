//! Rewriting the `Link` header of one page of a list, as Sentry writes it.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::policy::pointer::JsonPointer;
use portcullis::policy::site::BaseUrl;
use portcullis::rewrite::{UrlRewriter, json, link};

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
    let rewriter = UrlRewriter::new([canonical, address]);
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

/// The list of a hundred organizations, of which two fields each are rewritten, against parsing it.
fn bodies(criterion: &mut Criterion) {
    let base = |url| BaseUrl::parse(url).unwrap();
    let rewriter = UrlRewriter::new([base("https://sentry.internal"), base("http://web:9000")]);
    let public = base("https://sentry.example.com");
    let fields: Vec<JsonPointer> = ["/*/links/organizationUrl", "/*/links/regionUrl"]
        .iter()
        .map(|field| field.parse().unwrap())
        .collect();
    let organization = |id: usize| {
        let host = "https://sentry.internal";
        serde_json::json!({
            "id": id.to_string(), "slug": format!("organization-{id}"), "status": {"id": "active"},
            "dateCreated": "2026-01-01T00:00:00.000000Z", "features": vec!["a-feature"; 40],
            "links": {"organizationUrl": host, "regionUrl": host},
        })
    };
    let list: Vec<_> = (0..100).map(organization).collect();
    let body = serde_json::to_vec(&list).unwrap();
    let mut group = criterion.benchmark_group("json");
    group.bench_function("a list of organizations", |bench| {
        bench.iter(|| json::rewrite(black_box(&body), &fields, &rewriter, &public).unwrap());
    });
    group.bench_function("the same parsed and printed", |bench| {
        bench.iter(|| {
            let value: serde_json::Value = serde_json::from_slice(black_box(&body)).unwrap();
            serde_json::to_vec(&value).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, links, bodies);
criterion_main!(benches);
