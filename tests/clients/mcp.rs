//! `@sentry/mcp-server` over its standard input and output.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::client::{Client, PATIENCE, wait};
use crate::stage::Stage;

/// Runs one session of these calls of tools, and gives what each said and whether that is an error.
pub fn session(stage: &Stage, token: &str, calls: &[(&str, Value)]) -> Vec<(bool, String)> {
    let host = format!("--host={}", stage.url.strip_prefix("http://").unwrap());
    let token = format!("--access-token={token}");
    let home = stage.home();
    let mut command =
        home.command(Client::Mcp, &[&host, &token, "--insecure-http", "--sentry-dsn="]);
    command.env_remove("SENTRY_URL");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(home.work().join("err")).unwrap())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, messages) = mpsc::channel::<Value>();
    std::thread::spawn(move || {
        for line in output.lines() {
            let message = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            // Nobody listens any more when the test has failed.
            let Some(()) = message.and_then(|message| sender.send(message).ok()) else { return };
        }
    });
    let mut ask = |id: usize, method: &str, params: Value| {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        writeln!(input, "{request}").unwrap();
        loop {
            let message = messages.recv_timeout(PATIENCE).expect("an answer of the server");
            if message["id"] == id {
                return message;
            }
        }
    };
    let client = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "a test", "version": "1" },
    });
    let welcome = ask(0, "initialize", client);
    assert!(welcome["result"]["serverInfo"]["name"].is_string(), "{welcome}");
    let answers = calls.iter().enumerate().map(|(at, (name, arguments))| {
        let answer = ask(at + 1, "tools/call", json!({ "name": name, "arguments": arguments }));
        let text = answer["result"]["content"][0]["text"].as_str().expect("a text").to_owned();
        (answer["result"]["isError"] == true, text)
    });
    let answers = answers.collect();
    // The end of its input is its end.
    drop(input);
    assert_eq!(wait(&mut child), Some(0));
    answers
}

/// The text of an answer that is no error.
fn fine((error, text): (bool, String)) -> String {
    assert!(!error, "{text}");
    text
}

#[test]
fn an_agent_finds_its_way_to_an_issue() {
    let stage = Stage::start();
    let token = stage.token("org:read event:write");
    let search = json!({ "organizationSlug": "acme", "query": "is:unresolved" });
    let issue = json!({
        "resourceType": "issue", "organizationSlug": "acme", "resourceId": "WEB-1",
    });
    let resolve = json!({ "organizationSlug": "acme", "issueId": "WEB-1", "status": "resolved" });
    let calls = [
        ("find_organizations", json!({})),
        ("find_projects", json!({ "organizationSlug": "acme" })),
        ("search_issues", search),
        ("get_sentry_resource", issue),
        ("update_issue", resolve),
    ];
    let answers = session(&stage, &token, &calls).into_iter().map(fine);
    let [organizations, projects, issues, issue, resolved] =
        answers.collect::<Vec<_>>().try_into().unwrap();
    // A model is told to pass this on, and what it passes on must be the gateway.
    assert!(organizations.contains(&format!("**Region URL:** {}\n", stage.url)), "{organizations}");
    assert!(!organizations.contains(&stage.canonical.url()), "{organizations}");
    assert!(projects.contains("**web**"), "{projects}");
    assert!(issues.contains("[WEB-1]") && issues.contains("TypeError: boom 0"), "{issues}");
    assert!(issue.contains("TypeError: boom 0") && issue.contains("main.js:3:7"), "{issue}");
    assert!(resolved.contains("resolved"), "{resolved}");
    assert_eq!(stage.sentry.state.lock().unwrap().statuses[&0], "resolved");

    // Some are sent at the same time.
    let mut lines = stage.lines();
    lines.sort();
    let organization = "/api/0/organizations/acme";
    let mut wanted = vec![
        "GET /api/0/organizations/".to_owned(),
        format!("GET {organization}/projects/"),
        format!("GET {organization}/issues/"),
        format!("GET {organization}/issues/WEB-1/"),
        format!("GET {organization}/issues/WEB-1/events/latest/"),
        format!("GET {organization}/issues/WEB-1/external-issues/"),
        format!("GET {organization}/issues/WEB-1/autofix/"),
        format!("GET {organization}/replay-count/"),
        // Before it is resolved it is looked at.
        format!("GET {organization}/issues/WEB-1/"),
        format!("PUT {organization}/issues/WEB-1/"),
    ];
    wanted.sort();
    assert_eq!(lines, wanted);
}
