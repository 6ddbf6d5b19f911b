//! The corpus is whole, and is what it says that it is.

use std::collections::BTreeSet;

use super::*;
use crate::policy::site::BaseUrl;

/// Every attack that this project answers for, by its number. One is a case of the corpus, or it says why
/// it is none and has tests of its own.
const NUMBERS: &[u16] = &[
    1, 2, 3, 4, 5, 6, 10, 11, 14, 15, 17, 18, 19, 20, 22, 24, 25, 26, 28, 29, 30, 32, 34, 35, 37,
    38, 39, 41, 42, 43, 44, 45, 46, 47, 49, 51, 52, 53, 55, 56, 58, 59, 60, 63, 66, 67, 68, 69, 71,
    72, 73, 75, 77, 78, 79, 80, 82, 84, 85, 87, 90, 91, 92, 93, 94, 96, 98, 99, 101, 104, 105, 107,
    108, 110, 111, 113, 114, 115, 116, 118, 119, 120, 122, 123, 124, 125, 127, 130, 133, 134,
];

#[test]
fn every_attack_is_a_case_or_says_why_it_is_none() {
    let corpus = Corpus::read().unwrap();
    let cases = corpus.cases.iter().map(|case| &case.id);
    let ids: Vec<_> = cases.chain(corpus.elsewhere.iter().map(|other| &other.id)).collect();
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "a number is there twice");
    let wanted: BTreeSet<String> = NUMBERS.iter().map(|n| format!("AC-{n:03}")).collect();
    let found = ids.iter().filter(|id| id.starts_with("AC-") && id.len() == 6);
    assert_eq!(found.map(|id| (*id).clone()).collect::<BTreeSet<_>>(), wanted);
    // Another spelling follows what it is one of.
    for id in &ids {
        let known = id.starts_with("PC-") || wanted.contains(&id[..6]);
        assert!(known && id.len() <= 7, "{id}");
    }
}

#[test]
fn a_case_is_one_request_and_has_words_for_whom_it_concerns() {
    let corpus = Corpus::read().unwrap();
    let target = BaseUrl::parse("https://gw.example").unwrap();
    let credential = Some("Bearer x");
    let words =
        Words { target: &target, credential, allowed: "/a/b/", refused: "/c/d/", public: "/e/" };
    for case in &corpus.cases {
        let Case { id, name, class, .. } = case;
        let parts = case.target.is_some() || case.method.is_some() || !case.headers.is_empty();
        let parts = parts || case.body.is_some();
        let forms = [parts, case.bytes.is_some(), case.fields.is_some()];
        assert!(forms.iter().filter(|form| **form).count() <= 1, "{id}: {forms:?}");
        assert!(!name.is_empty() && !corpus.fix(case).is_empty(), "{id}");
        assert!(corpus.fix.contains_key(class), "{id}: no class `{class}`");
        assert!(!case.answers.is_empty(), "{id}");
        for version in [Version::Http1, Version::Http2] {
            if !case.speaks(version) {
                continue;
            }
            let shown = words.without_credential().show(case, version);
            assert!(!shown.is_empty() && !shown.contains("Bearer x"), "{id}: {shown}");
        }
        let filled = words.fill(&case.http1());
        let left = String::from_utf8_lossy(&filled).into_owned();
        let word = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase());
        assert!(!left.split('{').skip(1).any(word), "{id}: {left}");
    }
}

#[test]
fn what_would_change_something_is_marked() {
    for case in Corpus::read().unwrap().cases {
        let text = case.http1();
        let method = text.trim_start().split([' ', '\t']).next().unwrap();
        let harmless =
            ["GET", "get", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "PROPFIND", "PRI"];
        assert!(case.changes || harmless.contains(&method), "{}: {method}", case.id);
    }
}
