//! That the page can be read: on a phone and a desktop, in light and dark, by axe's rules. And that it
//! loads nothing from anywhere. Pictures of it are taken on the way.

use std::path::Path;

use serde_json::{Value, json};

use crate::browser::{Browser, Look};
use crate::stage::{browser, gate, origin};

const EXPLAINED: &str =
    "/?method=DELETE&path=%2Fapi%2F0%2Forganizations%2Facme%2Fissues%2F&scope=event%3Aread#explain";

const LOOKS: [(&str, Look); 4] = [
    ("phone-light", Look::PHONE),
    ("phone-dark", Look::PHONE.dark()),
    ("desktop-light", Look::DESKTOP),
    ("desktop-dark", Look::DESKTOP.dark()),
];

/// axe-core, which `.ci/clients` installs, at the version in `tests/clients/versions`.
fn axe() -> String {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
    let path = home.join("node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(path).expect("axe-core; run `make setup`")
}

/// What axe finds: its rule, and where.
fn violations(browser: &Browser, axe: &str) -> Value {
    browser.run_async(&format!(
        "{axe}; const done = arguments[arguments.length - 1];\
         axe.run(document, {{ resultTypes: ['violations'] }}).then(\
             (found) => done(found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)])),\
             (error) => done(String(error)))"
    ))
}

#[test]
fn everybody_can_read_it_and_it_loads_nothing() {
    let gate = gate();
    let (axe, browser) = (axe(), browser(&gate, Look::PHONE));
    // What a browser loads of its own when it starts.
    browser.requests();
    // The rules are there, and find what is wrong.
    browser.run("document.documentElement.removeAttribute('lang')");
    assert_eq!(violations(&browser, &axe)[0][0], "html-has-lang");
    #[expect(clippy::disallowed_methods, reason = "whoever runs the test asks for it")]
    let update = std::env::var_os("UPDATE_SCREENSHOTS").is_some();
    for (name, look) in LOOKS {
        browser.look(look);
        for path in ["/", EXPLAINED] {
            browser.go("about:blank");
            browser.go(&format!("{}{path}", origin(&gate)));
            assert_eq!(violations(&browser, &axe), json!([]), "{name} {path}");
            let dark = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches");
            assert_eq!(dark, look.dark);
        }
        if update {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/status");
            let whole = Path::new(env!("CARGO_TARGET_TMPDIR"));
            std::fs::write(whole.join(format!("{name}.png")), browser.picture(u32::MAX)).unwrap();
            browser.go(&format!("{}/", origin(&gate)));
            let picture = browser.picture(if look.width < 600 { 1500 } else { 1120 });
            assert!(picture.len() < 180_000, "{name} has {} bytes", picture.len());
            std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        }
    }
    let asked = browser.requests();
    assert!(asked.len() >= 8, "{asked:?}");
    let foreign: Vec<_> = asked.iter().filter(|url| !url.starts_with(&origin(&gate))).collect();
    assert!(
        foreign.iter().all(|url| url.starts_with("data:") || *url == "about:blank"),
        "{foreign:?}"
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The rest of WCAG's reflow: nothing is cut off, and nobody scrolls in two directions.
#[test]
fn it_fits_a_small_phone() {
    let gate = gate();
    let browser = browser(&gate, Look::PHONE);
    for width in [320, 360, 600, 800, 1280, 1920] {
        browser.look(Look { width, ..Look::PHONE });
        browser.go(&format!("{}{EXPLAINED}", origin(&gate)));
        let over = browser.run(
            "const out = [...document.querySelectorAll('main *')].filter((one) => \
             one.getBoundingClientRect().right > innerWidth + 1);\
             return [document.documentElement.scrollWidth > innerWidth, out.map((one) => one.outerHTML)]",
        );
        assert_eq!(over, json!([false, []]), "at {width}");
    }
}
