//! What a check came to, and how it is told.

use std::fmt;

use serde::Serialize;

/// What is thought of what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Wrong, and there is something to do.
    Problem,
    /// Could not be told.
    Skipped,
}

impl Verdict {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Problem => "problem",
            Verdict::Skipped => "skipped",
        }
    }
}

/// One question, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// By what `--skip` and scripts know it.
    pub check: String,
    /// What is thought of the answer.
    pub verdict: Verdict,
    /// What was tried; empty when nothing was.
    pub tried: String,
    /// What came back, or why nothing was tried.
    pub seen: String,
    /// What to do: about a problem, or to see for oneself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn new(check: impl Into<String>, verdict: Verdict, tried: &str, seen: String) -> Self {
        Self { check: check.into(), verdict, tried: tried.to_owned(), seen, fix: None }
    }

    /// All is well.
    pub fn ok(check: impl Into<String>, tried: &str, seen: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, tried, seen.into())
    }

    /// Something is wrong; `fix` is what to do.
    pub fn problem(
        check: impl Into<String>,
        tried: &str,
        seen: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let fix = Some(fix.into());
        Self { fix, ..Self::new(check, Verdict::Problem, tried, seen.into()) }
    }

    /// It could not be told, and why.
    pub fn skipped(check: impl Into<String>, tried: &str, why: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, tried, why.into())
    }

    /// With what to do to see for oneself.
    #[must_use]
    pub fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// Every check, in the order in which they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether there is nothing to do.
    pub fn is_fine(&self) -> bool {
        self.count(Verdict::Problem) == 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }

    /// One JSON object a line.
    ///
    /// # Errors
    /// None that a check could cause.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let lines = self.checks.iter().map(|check| Ok(serde_json::to_string(check)? + "\n"));
        lines.collect()
    }
}

/// As a table: verdict, name and what was seen, with what was tried and what to do below.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
        for Check { check, verdict, tried, seen, fix } in &self.checks {
            writeln!(f, "{:7}  {check:width$}  {seen}", verdict.as_str())?;
            let mut below = |name: &str, text: &str| writeln!(f, "{:9}{name:>width$}  {text}", "");
            if !tried.is_empty() {
                below("tried", tried)?;
            }
            if let Some(fix) = fix {
                below("fix", fix)?;
            }
        }
        let [ok, problems, skipped] =
            [Verdict::Ok, Verdict::Problem, Verdict::Skipped].map(|verdict| self.count(verdict));
        let s = if problems == 1 { "" } else { "s" };
        writeln!(f, "{ok} ok, {problems} problem{s}, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            checks: vec![
                Check::ok("upstream.web", "GET http://web:9000/_health/", "200, healthy"),
                Check::problem("link", "", "names `http://x`", "write `canonical_url`"),
                Check::skipped("grants", "", "no store"),
            ],
        }
    }

    #[test]
    fn a_report_is_a_table() {
        assert_eq!(
            report().to_string(),
            "ok       upstream.web  200, healthy\n\
             \u{20}               tried  GET http://web:9000/_health/\n\
             problem  link          names `http://x`\n\
             \u{20}                 fix  write `canonical_url`\n\
             skipped  grants        no store\n\
             1 ok, 1 problem, 1 skipped\n"
        );
        assert!(!report().is_fine());
        assert!(Report::default().is_fine());
    }

    #[test]
    fn or_one_object_a_line() {
        let json = report().to_json().unwrap();
        let lines: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (&lines[0]["check"], &lines[0]["verdict"]),
            (&"upstream.web".into(), &"ok".into())
        );
        assert_eq!(
            (&lines[1]["fix"], lines[0].get("fix")),
            (&"write `canonical_url`".into(), None)
        );
    }
}
