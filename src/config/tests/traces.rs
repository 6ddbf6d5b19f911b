//! Where spans go.

use super::*;

fn with(traces: &str) -> String {
    format!("{MINIMAL}\n[traces]\n{traces}\n")
}

#[test]
fn a_collector_is_a_url_and_a_share() {
    let url = "endpoint = \"http://otel:4318/v1/traces\"";
    let traces = parse(&with(url), &fake()).unwrap().traces.unwrap();
    assert_eq!((&*traces.service, traces.share), ("portcullis", 1.0));
    assert!(parse(MINIMAL, &fake()).unwrap().traces.is_none());
    let headers = "headers = { authorization = { file = \"sentry-token\" }, x-scope = \"prod\" }";
    let config = parse(&with(&format!("{url}\n{headers}\nsample = 0.05")), &fake()).unwrap();
    let traces = config.traces.unwrap();
    let printed = format!("{traces:?}");
    assert!(!printed.contains("sntryu_") && !printed.contains("prod"), "{printed}");
    assert_eq!((traces.headers.len(), traces.share), (2, 0.05));
    let rows = [
        ("sample = 1.5", "traces.sample", "`1.5` is no share"),
        ("sample = -0.1", "traces.sample", "`-0.1` is no share"),
        ("sample = nan", "traces.sample", "`NaN` is no share"),
        ("headers = { \"a b\" = \"x\" }", "traces.headers.a b", "is not the name of a header"),
        ("headers = { a = \"x\\ny\" }", "traces.headers.a", "holds what can't be sent"),
        ("headers = { a = { file = \"gone\" } }", "traces.headers.a", "can't be read"),
    ];
    let rows = rows.map(|(line, at, what)| (format!("{url}\n{line}"), at, what));
    let urls = ["otel:4318", "http://u:p@otel/v1/traces", "http://otel/?key=u:p@"];
    let urls = urls.map(|url| {
        (format!("endpoint = \"{url}\""), "traces.endpoint", "is not the URL of a collector")
    });
    for (text, at, what) in rows.into_iter().chain(urls) {
        let problem = problem(&with(&text), &fake());
        assert_eq!(problem.at, at, "{text}");
        assert!(problem.what.contains(what), "{text}: {problem:?}");
        assert!(!format!("{problem:?}").contains("u:p@"), "{problem:?}");
    }
}
