//! What the page shows, with and without a script, and that it keeps itself current.

use crate::browser::{ENTER, Look, SPACE, TAB};
use crate::gate::eventually;
use crate::stage::{browser, gate, origin};

/// The parts that show figures which only requests change.
const FIGURES: [&str; 3] = ["traffic", "routes", "unmatched"];

#[test]
fn without_a_script_it_shows_the_same() {
    let gate = gate();
    let with = browser(&gate, Look::DESKTOP);
    let without = browser(&gate, Look::DESKTOP.without_scripts());
    for id in FIGURES {
        let text = with.text(id);
        assert!(text.lines().count() > 4, "{id}: {text}");
        assert_eq!(without.text(id), text, "{id}");
    }
    let hidden = "return document.getElementById('live').closest('label').hidden";
    assert_eq!([with.run(hidden), without.run(hidden)], [false, true]);
    // It is asked again by a link, and the form works.
    let before = without.text("traffic");
    without.run("document.querySelector('.bar a').focus()");
    gate.send("GET /api/0/", &[]);
    without.press([ENTER]);
    eventually("another figure", || without.text("traffic") != before);
    without.go(&format!("{}/?method=GET&path=/api/0/nothing/#explain", origin(&gate)));
    assert!(without.text("answer").contains("404 no_such_route"));
}

#[test]
fn with_a_script_the_figures_follow_and_whoever_writes_is_left_alone() {
    let mut gate = gate();
    let browser = browser(&gate, Look::DESKTOP);
    browser.run("window.same = true; document.getElementById('path').focus()");
    browser.press("/api/0/org".chars());
    let before = browser.text("traffic");
    gate.send("GET /api/0/", &[]);
    eventually("the figures", || browser.text("traffic") != before);
    assert_eq!(
        browser.run("return [window.same, path.value]"),
        serde_json::json!([true, "/api/0/org"])
    );
    assert_eq!(browser.focused(), "path");
    assert_eq!(browser.text("note"), "", "nothing that a screen reader should tell");
    // Switched off it rests.
    browser.run("document.getElementById('live').focus()");
    browser.press([SPACE]);
    assert_eq!(browser.run("return live.checked"), false);
    browser.press([SPACE]);
    gate.stop();
    eventually("that nobody answers", || browser.text("note").contains("does not answer"));
    assert!(browser.text("traffic").contains("Requests"));
}

#[test]
fn it_can_be_used_by_keyboard_alone() {
    let gate = gate();
    let browser = browser(&gate, Look::DESKTOP);
    let mut stops = Vec::new();
    while stops.last().is_none_or(|last| last != "Explain" || stops.len() < 12) {
        assert!(stops.len() < 40, "{stops:?}");
        browser.press([TAB]);
        stops.push(browser.focused());
        let shown = browser.run(
            "const at = document.activeElement, box = at.getBoundingClientRect(); return \
             getComputedStyle(at).outlineStyle !== 'none' && box.width > 0 && box.left >= 0",
        );
        assert_eq!(shown, true, "the focus is seen at {stops:?}");
    }
    assert_eq!(
        stops,
        [
            "Skip to the figures",
            "Reload",
            "live",
            "What is up",
            "Config",
            "Traffic",
            "Cache",
            "No rule",
            "Tokens",
            "Routes",
            "Explain",
            "method",
            "path",
            "scope",
            "organization",
            "Explain",
        ]
    );
    // The first stop leads past the head.
    browser.go(&format!("{}/", origin(&gate)));
    browser.press([TAB, ENTER]);
    assert_eq!(browser.focused(), "main");
    // Filled in and sent off.
    browser.run("document.getElementById('method').focus()");
    browser.press("DELETE".chars());
    browser.press([TAB]);
    browser.press("/api/0/organizations/acme/issues/".chars());
    browser.press([TAB]);
    browser.press("event:read".chars());
    browser.press([ENTER]);
    eventually("an answer", || browser.text("answer").contains("Refused"));
    let answer = browser.text("answer");
    for words in ["DELETE /api/0/organizations/acme/issues/", "event:admin", "403 missing_scope"] {
        assert!(answer.contains(words), "{words} in {answer}");
    }
    assert!(browser.url().ends_with("#explain"), "{}", browser.url());
    assert_eq!(browser.run("return document.title"), "Refused – Portcullis");
    // It stays when the figures follow.
    let before = browser.text("as-of");
    eventually("the time", || browser.text("as-of") != before);
    assert_eq!(browser.text("answer"), answer);
    assert_eq!(browser.run("return document.title"), "Refused – Portcullis");
}
