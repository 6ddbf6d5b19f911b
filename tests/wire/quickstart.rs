//! The quickstart: every curl line that it prints, run as it stands.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[test]
fn every_curl_line_gets_the_answer_above_it() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut wanted = String::new();
    let mut answers = Vec::new();
    let mut pages = 0;
    // The last line asks for the metrics.
    while !wanted.contains("metrics") || answers.last().is_none_or(|(w, _)| *w != wanted) {
        let line = lines.next().unwrap().unwrap();
        if let Some(answer) = line.strip_prefix("# ") {
            wanted = answer.to_owned();
        } else if line.starts_with("curl ") {
            let command =
                format!("{line} --max-time 20 --retry 20 --retry-connrefused --retry-delay 1");
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
            if let Some(link) = text.lines().find(|line| line.to_lowercase().starts_with("link:")) {
                assert!(
                    link.contains("<http://127.0.0.1:") && !link.contains("internal"),
                    "{link}"
                );
                pages += 1;
            }
            answers.push((wanted.clone(), status));
        }
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert_eq!(answers.len(), 13);
    assert!(pages >= 2, "{pages} paginated answers");
    for (wanted, status) in answers {
        assert!(wanted.starts_with(&status) && !status.is_empty(), "{wanted}: got {status}");
    }
}
