//! A gateway with something to show, and a browser that looks at it.

use crate::authority::Authority;
use crate::browser::{Browser, Look};
use crate::gate::{ADMIN, Gate, Options};
use crate::upstream::{Upstream, ok, reply};

/// What is called, how often, and whether with a token.
const CALLS: &[(&str, usize, bool)] = &[
    ("GET /api/0/organizations/acme/issues/", 24, true),
    ("GET /api/0/organizations/acme/projects/", 9, true),
    ("GET /api/0/projects/acme/web/events/0123456789abcdef0123456789abcdef/", 6, true),
    ("GET /api/0/organizations/acme/releases/", 5, true),
    ("GET /api/0/projects/acme/web/", 2, true),
    ("DELETE /api/0/organizations/acme/issues/", 4, true),
    ("PUT /api/0/projects/acme/web/", 2, true),
    ("GET /api/0/organizations/acme/issues/", 3, false),
    ("GET /api/0/organizations/acme/new-thing/", 3, true),
    ("GET /api/0/organizations/globex/", 1, true),
    ("GET /api/0/api-tokens/", 1, true),
    ("GET /wp-login.php", 2, false),
];

/// A gateway of an operator, with a certificate, and traffic behind it.
pub fn gate() -> Gate {
    let made =
        Authority::new("Portcullis test").make("gw.example", "subjectAltName = DNS:gw.example", 90);
    let upstream = Upstream::answering(|seen, stream| match seen.path().as_str() {
        "/api/0/organizations/globex/" => reply(stream, "404 Not Found", &[], b"{}"),
        _ => ok(stream, &[], b"[]"),
    });
    let certificates = "certificates = [{ certificate = \"tls.crt\", key = \"tls.key\" }]";
    let options = Options {
        admin: "credential = { file = \"admin-credential\" }".to_owned(),
        files: vec![("tls.crt".to_owned(), made.certificate), ("tls.key".to_owned(), made.key)],
        tables: format!("[[listen]]\naddress = \"127.0.0.1:0\"\n[listen.tls]\n{certificates}\n"),
        ..Options::default()
    };
    let gate = Gate::with(upstream, &options);
    let token = gate.token("read");
    for (line, times, with_token) in CALLS {
        for _ in 0..*times {
            if *with_token {
                gate.bearer(line, &token)
            } else {
                gate.send(line, &[])
            };
        }
    }
    gate
}

/// Where its admin listener is.
pub fn origin(gate: &Gate) -> String {
    format!("http://{}", gate.admin)
}

/// A browser that has the page open, its password given.
pub fn browser(gate: &Gate, look: Look) -> Browser {
    let browser = Browser::open(look);
    browser.go(&format!("http://operator:{ADMIN}@{}/", gate.admin));
    // From here on it sends the password by itself, as after a prompt.
    browser.go(&format!("{}/", origin(gate)));
    browser
}
