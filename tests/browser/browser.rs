//! Chromium, by its WebDriver: JSON over HTTP (<https://www.w3.org/TR/webdriver2/>).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// How long the browser may take for one thing; no test depends on it being short.
const PATIENCE: Duration = Duration::from_secs(180);

pub const TAB: char = '\u{e004}';
pub const ENTER: char = '\u{e007}';
pub const SPACE: char = ' ';

/// How a page is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub dark: bool,
    pub scripts: bool,
}

impl Look {
    pub const PHONE: Look = Look { width: 360, dark: false, scripts: true };
    pub const DESKTOP: Look = Look { width: 1280, dark: false, scripts: true };

    pub const fn dark(self) -> Self {
        Self { dark: true, ..self }
    }

    pub const fn without_scripts(self) -> Self {
        Self { scripts: false, ..self }
    }
}

/// A browser with one window and an empty profile. It ends with this value.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn open(look: Look) -> Self {
        // The port that it finds free may be taken when it takes it.
        let (driver, port) = (0..10).find_map(|_| start()).expect("chromedriver starts");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, port, session: String::new(), _profile: profile };
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--force-device-scale-factor=1",
            "--hide-scrollbars",
            &format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let answer = browser.ask(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": {
                "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
                "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            } } }),
        );
        browser.session = answer["sessionId"].as_str().unwrap().to_owned();
        browser.look(look);
        browser
    }

    pub fn look(&self, look: Look) {
        let scheme = if look.dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": look.width, "height": 800, "deviceScaleFactor": 1, "mobile": look.width < 600 }),
        );
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": !look.scripts }));
    }

    pub fn go(&self, url: &str) {
        self.command("POST", "url", &json!({ "url": url }));
    }

    pub fn url(&self) -> String {
        self.command("GET", "url", &Value::Null).as_str().unwrap().to_owned()
    }

    /// Runs a function's body in the page, and gives what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The same for a body that calls its last argument when it is done.
    pub fn run_async(&self, script: &str) -> Value {
        let timeout = PATIENCE.as_millis() as u64;
        self.command("POST", "timeouts", &json!({ "script": timeout }));
        self.command("POST", "execute/async", &json!({ "script": script, "args": [] }))
    }

    /// What is read of an element.
    pub fn text(&self, id: &str) -> String {
        let script = format!("return document.getElementById('{id}')?.innerText ?? ''");
        self.run(&script).as_str().unwrap().to_owned()
    }

    /// The id of the element that has the focus, or else its name.
    pub fn focused(&self) -> String {
        let script = "const at = document.activeElement; return at.id || at.textContent.trim() || \
                      at.getAttribute('aria-labelledby') || at.nodeName";
        self.run(script).as_str().unwrap().to_owned()
    }

    /// Presses these keys, one after the other.
    pub fn press(&self, keys: impl IntoIterator<Item = char>) {
        let both = |key: char| {
            ["keyDown", "keyUp"].map(|what| json!({ "type": what, "value": key.to_string() }))
        };
        let actions: Vec<_> = keys.into_iter().flat_map(both).collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.command("POST", "actions", &json!({ "actions": [keyboard] }));
    }

    /// The page down to a height as a PNG.
    pub fn picture(&self, height: u32) -> Vec<u8> {
        let size = format!(
            "return [innerWidth, Math.min({height}, document.documentElement.scrollHeight)]"
        );
        let size = self.run(&size);
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let parameters = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.devtools("Page.captureScreenshot", &parameters);
        BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// What the page has complained about.
    pub fn complaints(&self) -> Vec<String> {
        let lines = self.command("POST", "se/log", &json!({ "type": "browser" }));
        lines.as_array().unwrap().iter().map(|line| line["message"].to_string()).collect()
    }

    /// Every URL that was asked for since the last time.
    pub fn requests(&self) -> Vec<String> {
        let lines = self.command("POST", "se/log", &json!({ "type": "performance" }));
        let event = |line: &Value| {
            let line: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            let event = &line["message"];
            let sent = event["method"] == "Network.requestWillBeSent";
            sent.then(|| event["params"]["request"]["url"].as_str().unwrap().to_owned())
        };
        lines.as_array().unwrap().iter().filter_map(event).collect()
    }

    /// A command of the DevTools protocol.
    fn devtools(&self, name: &str, parameters: &Value) -> Value {
        self.command("POST", "goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("/session/{}/{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_ask(method, path, body).unwrap();
        let value = answer["value"].clone();
        assert!(value.get("error").is_none(), "{method} {path}: {value:#}");
        value
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            self.port
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }
}

/// Starts the driver, and gives its port; nothing when it ended at once.
fn start() -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .args(["--port=0", "--log-level=SEVERE"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver; `make setup` installs it");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    // Nobody else reads what it says.
    std::thread::spawn(move || lines.for_each(drop));
    if port.is_none() {
        driver.wait().unwrap();
    }
    Some((driver, port?))
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver alone would leave it behind.
        let _ = self.try_ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
