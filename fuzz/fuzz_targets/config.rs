//! Configs and rules: read, or refused with a message; never a panic.
#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portcullis::clock::Timestamp;
use portcullis::config::{Config, Source};

/// Every file is the rules that the fuzzer made up, or a secret.
struct Files<'a>(&'a str);

impl Source for Files<'_> {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        Ok(if path.ends_with("rules.toml") { self.0.to_owned() } else { "sntryu_0".to_owned() })
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

/// A config that asks for the rules of the file, in front of what the fuzzer made up.
const PRELUDE: &str = r#"
public_url = "https://sentry.example.com"
listen = [{ address = "127.0.0.1:8080" }]
store = [{ kind = "portcullis", url = "sqlite:///tokens.db" }]
upstream.web = { urls = ["http://web:9000"], credential = { file = "token" } }
rules = { sentry = false, files = ["rules.toml"] }
"#;

fuzz_target!(|text: &str| {
    for config in [text, PRELUDE] {
        if let Err(error) = Config::parse(Path::new("gw/portcullis.toml"), config, &Files(text)) {
            assert!(!error.to_string().is_empty());
        }
    }
});
