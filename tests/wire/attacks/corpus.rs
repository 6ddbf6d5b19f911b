//! Every case of the corpus, sent to the gateway: what it answers, and what the upstream receives.

use std::sync::Arc;

use portcullis::attack::{Attack, Case, Credential, Plan, Verdict, Version};
use portcullis::clock::SystemClock;
use portcullis::policy::site::BaseUrl;
use portcullis::tls::Certificates;

use super::only_the_gateway_speaks;
use crate::client::Connection;
use crate::gate::{Gate, HOST, Options};
use crate::tls::authority::Authority;
use crate::tls::client::run;
use crate::tls::files;
use crate::upstream::{Seen, Upstream};

pub const ALLOWED: &str = "/api/0/organizations/acme/issues/";
pub const REFUSED: &str = "/api/0/organizations/acme/members/";

/// A gateway that is about to be attacked, with a token that reads issues and no members.
fn attack(gate: &Gate, scheme: &str, authorities: Option<Certificates>) -> Attack {
    let plan = Plan {
        target: BaseUrl::parse(&format!("{scheme}://{HOST}")).unwrap(),
        connect: Some(gate.address.to_string()),
        authorities,
        credential: Credential::parse(&gate.token("event:read")).unwrap(),
        allowed: ALLOWED.to_owned(),
        refused: REFUSED.to_owned(),
        public: "/_health/".to_owned(),
        marker: None,
        changes: true,
    };
    let attack = run(Attack::begin(plan, Arc::new(SystemClock))).unwrap();
    // What was asked for to see that it answers.
    assert_eq!(gate.upstream.take().len(), 1);
    attack
}

/// Nothing but what the case says, and that in the very bytes, from nobody but the gateway.
fn check_forwarded(case: &Case, seen: &[Seen]) {
    let before = case.before.iter().filter(|target| *target == "{allowed}");
    let expected: Vec<_> = before.chain(&case.forwarded).map(|target| written(target)).collect();
    let targets: Vec<_> = seen.iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(targets, expected, "{} {}: {seen:#?}", case.id, case.name);
    for seen in seen {
        assert_eq!((seen.method.as_str(), seen.body.len()), ("GET", 0), "{}", case.id);
        assert_eq!(seen.path(), ALLOWED, "{}", case.id);
        only_the_gateway_speaks(seen);
    }
}

fn written(target: &str) -> String {
    target
        .replace("{allowed:encoded}", &ALLOWED.replace("/api", "/%61pi"))
        .replace("{allowed}", ALLOWED)
}

fn line(case: &Case, version: &str, verdict: &str, status: &str, seen: usize) {
    println!("{:7}  {version:8}  {verdict:8}  {status:6}  {seen} upstream  {}", case.id, case.name);
}

#[test]
fn every_case_over_http1_is_answered_as_it_says_and_nothing_else_is_forwarded() {
    let gate = Gate::start();
    let attack = attack(&gate, "http", None);
    let mut sent = 0;
    for case in &attack.corpus().cases {
        if !attack.versions(case).contains(&Version::Http1) {
            continue;
        }
        for target in &case.before {
            let bytes = attack.bytes(&Case::plainly(target));
            crate::client::send(gate.address, &bytes).expect("an answer");
        }
        let bytes = attack.bytes(case);
        let method = if bytes.starts_with(b"HEAD") { "HEAD" } else { "GET" };
        let mut connection = Connection::open(gate.address);
        connection.write(&bytes);
        let reply = connection.read_reply(method);
        let seen = gate.upstream.take();
        let status = reply.as_ref().map(|reply| reply.status);
        let shown = status.map_or("closed".to_owned(), |status| status.to_string());
        line(case, "HTTP/1.1", "", &shown, seen.len());
        match &reply {
            Some(reply) => assert!(case.answers.contains(&reply.status), "{}: {reply:?}", case.id),
            // Where more is sent than is read, an answer may not arrive.
            None => assert_eq!(case.class, "limit", "{}: no answer", case.id),
        }
        check_forwarded(case, &seen);
        if status == Some(400) {
            assert!(connection.is_closed(), "{}: the connection stays open", case.id);
        }
        // What came behind it is no request of anybody who may.
        while let Some(reply) = case.second.and_then(|_| connection.read_reply("GET")) {
            assert!(reply.status >= 400, "{}: {reply:?}", case.id);
        }
        assert!(gate.upstream.take().is_empty(), "{}: what followed was forwarded", case.id);
        sent += 1;
    }
    assert!(sent > 100, "{sent}");
    let output = gate.output();
    assert!(!output.contains("portcullis_t_"), "{output}");
}

#[test]
fn every_case_is_held_over_tls_in_both_versions() {
    let authority = Authority::new("ours");
    let (tls, files) = files(&[&authority.certificate(&format!("DNS:{HOST}"))]);
    let options = Options { listen: format!("tls = {{ {tls} }}"), files, ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let root = Certificates::from_pem(&authority.root()).unwrap();
    let attack = attack(&gate, "https", Some(root));
    run(async {
        let mut sent = 0;
        for case in &attack.corpus().cases {
            for version in attack.versions(case) {
                let row = attack.send(case, version).await;
                let seen = gate.upstream.take();
                let verdict = row.verdict.as_str();
                line(case, version.as_str(), verdict, &row.seen, seen.len());
                assert_eq!(row.verdict, Verdict::Held, "{row:?}");
                match row.statuses.first() {
                    Some(status) => assert!(case.answers.contains(status), "{row:?}"),
                    None if case.class == "limit" => {}
                    // A stream that ends is how HTTP/2 refuses what is malformed.
                    None => {
                        assert_eq!(version, Version::Http2, "{row:?}");
                        assert!(case.answers.contains(&400), "{row:?}");
                    }
                }
                check_forwarded(case, &seen);
                sent += usize::from(version == Version::Http2);
            }
        }
        assert!(sent > 80, "{sent}");
    });
    assert!(gate.upstream.take().is_empty());
    let output = gate.output();
    assert!(!output.contains("portcullis_t_"), "{output}");
}
