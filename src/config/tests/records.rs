//! What is recorded, and how much of clients.

use super::*;
use crate::telemetry::audit::{Selection, WhenFull};
use crate::telemetry::privacy::Detail;

fn audit(lines: &str) -> Option<AuditSettings> {
    parse(&format!("{MINIMAL}[audit]\n{lines}\n"), &fake()).unwrap().audit
}

#[test]
fn an_audit_takes_refusals_and_writes_where_nothing_is_said() {
    let usual = Selection { refuse: true, write: true, ..Selection::default() };
    let rows = [
        ("output = \"stdout\"", Output::Stdout, usual, WhenFull::Count),
        (
            "output = \"a.log\"\ndecisions = []\nwhen_full = \"wait\"",
            Output::File("gw/a.log".into()),
            Selection::default(),
            WhenFull::Wait(Duration::from_secs(5)),
        ),
        (
            "output = \"/a.log\"\ndecisions = [\"read\", \"ingest\"]\nmax_wait = \"1s\"",
            Output::File("/a.log".into()),
            Selection { read: true, ingest: true, ..Selection::default() },
            WhenFull::Count,
        ),
        (
            "output = \"/a\"\nwhen_full = \"wait\"\nmax_wait = \"1s\"",
            Output::File("/a".into()),
            usual,
            WhenFull::Wait(Duration::from_secs(1)),
        ),
    ];
    for (lines, output, decisions, when_full) in rows {
        assert_eq!(audit(lines), Some(AuditSettings { output, decisions, when_full }), "{lines}");
    }
    assert_eq!(parse(MINIMAL, &fake()).unwrap().audit, None);
}

#[test]
fn how_much_of_clients_is_recorded() {
    let usual = Privacy { client_address: Detail::Full, user_agent: Detail::Shortened };
    let rows = [
        ("", usual),
        ("client_address = \"shortened\"", Privacy { client_address: Detail::Shortened, ..usual }),
        (
            "client_address = \"off\"\nuser_agent = \"full\"",
            Privacy { client_address: Detail::Off, user_agent: Detail::Full },
        ),
        ("user_agent = \"off\"", Privacy { user_agent: Detail::Off, ..usual }),
    ];
    for (lines, privacy) in rows {
        let config = parse(&format!("{MINIMAL}[privacy]\n{lines}\n"), &fake()).unwrap();
        assert_eq!(config.privacy, privacy, "{lines}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let rows = [
        ("[audit]\n", "line 8", "missing field `output`"),
        ("[audit]\noutput = \"\"\n", "audit.output", "is empty"),
        (
            "[audit]\noutput = \"stdout\"\nwhen_full = \"wait\"\nmax_wait = \"0s\"\n",
            "audit.max_wait",
            "is zero",
        ),
        ("[audit]\noutput = \"a\"\ndecisions = [\"all\"]\n", "line 10", "unknown variant `all`"),
        ("[audit]\noutput = \"a\"\nwhen_full = \"drop\"\n", "line 10", "unknown variant `drop`"),
        ("[privacy]\nclient_address = \"none\"\n", "line 9", "unknown variant `none`"),
    ];
    for (lines, at, what) in rows {
        let seen = problem(&format!("{MINIMAL}{lines}"), &fake());
        assert_eq!(seen.at, at, "{lines}: {seen:?}");
        assert!(seen.what.contains(what), "{lines}: {seen:?}");
    }
}
