//! The rules that come with the gateway.

use std::path::Path;

use portcullis::config::{Config, Machine};
use portcullis::policy::Policy;

/// As a config loads them.
pub(crate) fn shipped() -> Policy {
    let text = r#"
        public_url = "https://sentry.example.com"
        listen = [{ address = "127.0.0.1:8080" }]
        store = [{ kind = "portcullis", url = "sqlite:///tokens.db" }]
        upstream.web = { urls = ["http://web:9000"], credential = { env = "PATH" } }
    "#;
    Config::parse(Path::new("bench.toml"), text, &Machine).unwrap().policy
}
