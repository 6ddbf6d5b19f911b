//! There is something to read for whoever an alert wakes, and for whoever is shown a `code`.

use std::collections::BTreeSet;

use portcullis::policy::reason::{Reason, UpstreamFailure};

use super::{alerts, shipped};

/// The sections of the runbooks, by what GitHub and others make of their headings.
fn sections() -> BTreeSet<String> {
    let text = shipped("runbooks.md");
    let titles = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    titles.map(|title| title.trim_matches('`').to_lowercase()).collect()
}

/// What an alert refers to must be there.
#[test]
fn every_alert_has_a_runbook_and_names_it() {
    let (sections, text) = (sections(), shipped("portcullis.alerts.yml"));
    let blocks: Vec<_> = text.split("- alert: ").skip(1).collect();
    assert_eq!(blocks.len(), alerts().len());
    for block in blocks {
        let name = block.lines().next().unwrap();
        let anchor = name.to_lowercase();
        assert!(sections.contains(&anchor), "runbooks.md has no section `{name}`");
        for line in [
            &*format!("runbook_url: runbooks.md#{anchor}\n"),
            "severity: ",
            "summary: ",
            "description: ",
        ] {
            assert!(block.contains(line), "`{name}` lacks `{line}`");
        }
    }
}

#[test]
fn every_code_has_a_runbook() {
    let sections = sections();
    let codes = Reason::ALL.iter().map(|reason| reason.code());
    for code in codes.chain(UpstreamFailure::ALL.iter().map(|failure| failure.code())) {
        assert!(sections.contains(code), "runbooks.md has no section `{code}`");
    }
}

/// A section is of an alert or of a code that there is.
#[test]
fn no_runbook_is_of_something_that_is_gone() {
    let text = shipped("runbooks.md");
    let known: BTreeSet<_> = alerts()
        .into_iter()
        .chain(Reason::ALL.iter().map(|reason| reason.code().to_owned()))
        .chain(UpstreamFailure::ALL.iter().map(|failure| failure.code().to_owned()))
        .collect();
    for title in text.lines().filter_map(|line| line.strip_prefix("### ")) {
        let name = title.trim_matches('`');
        assert!(known.contains(name), "`{name}` is neither an alert nor a code");
    }
}
