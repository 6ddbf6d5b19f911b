//! Where the gateway's own errors are reported.

use super::*;

const KEY: &str = "a94a8fe5ccb19ba61c4c0873d391e987";

fn source(dsn: &str) -> Fake {
    let mut fake = fake();
    fake.files.insert("dsn".into(), dsn.to_owned());
    fake
}

fn with(more: &str) -> String {
    format!("{MINIMAL}\n[errors]\ndsn = {{ file = \"dsn\" }}\n{more}\n")
}

#[test]
fn a_project_is_a_dsn_in_a_file() {
    let source = |host: &str| source(&format!("https://{KEY}@{host}/3\n"));
    let config = parse(&with(""), &source("relay.internal:3000")).unwrap();
    assert!(config.notes.is_empty(), "{:?}", config.notes);
    let errors = config.errors.unwrap();
    assert_eq!(&*errors.environment, "production");
    assert!(!format!("{errors:?}").contains(KEY), "{errors:?}");
    let errors = parse(&with("environment = \"eu\""), &source("relay")).unwrap().errors.unwrap();
    assert_eq!(errors.environment, "eu");
    assert!(parse(MINIMAL, &fake()).unwrap().errors.is_none());
    // Relay, under the name of the gateway; and through the gateway itself.
    let config = parse(&with(""), &source("sentry.example.com:3000")).unwrap();
    assert!(config.notes.is_empty(), "{:?}", config.notes);
    let config = parse(&with(""), &source("Sentry.Example.com")).unwrap();
    assert_eq!(config.notes[0].at, "errors.dsn");
    assert!(config.notes[0].what.contains("the gateway itself"), "{:?}", config.notes);
}

#[test]
fn what_is_no_dsn_is_refused_and_not_repeated() {
    let rows = [
        "relay:3000".to_owned(),
        format!("https://{KEY}@sentry.example.com/"),
        "https://sentry.example.com/3".to_owned(),
        format!("ftp://{KEY}@sentry.example.com/3"),
        KEY.to_owned(),
    ];
    for dsn in rows {
        let problem = problem(&with(""), &source(&dsn));
        assert_eq!((&*problem.at, &*problem.what), ("errors.dsn", "is no DSN"), "{dsn}");
        assert!(!format!("{problem:?}").contains(KEY), "{problem:?}");
    }
    let written = with("").replace("{ file = \"dsn\" }", &format!("\"https://{KEY}@relay/3\""));
    let error = parse(&written, &fake()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("never itself"), "{error}");
    assert!(!error.to_string().contains(KEY), "{error}");
    let problem = problem(&with(""), &fake());
    assert_eq!(problem.at, "errors.dsn");
}
