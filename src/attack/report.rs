//! What became of every case, and how it is told.

use std::fmt;

use serde::Serialize;

use super::corpus::{Case, Corpus};
use super::send::{Came, Version};
use super::verdict::{Found, Verdict};

/// A case that was sent, or was not.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The number that it is known by.
    pub id: String,
    /// What it is.
    pub name: String,
    /// The version of HTTP that it is for, if it is for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// What became of it.
    pub verdict: Verdict,
    /// What was sent, without the credential; empty when nothing was.
    pub sent: String,
    /// What came back, or why nothing was sent.
    pub seen: String,
    /// The statuses that came back.
    pub statuses: Vec<u16>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Where it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Row {
    pub(super) fn judged(
        case: &Case,
        corpus: &Corpus,
        version: Version,
        sent: String,
        found: Found,
        came: &Came,
    ) -> Self {
        let mut seen = came.outline();
        if !found.note.is_empty() {
            seen = format!("{seen}: {}", found.note);
        }
        let fix = match found.verdict {
            Verdict::Held | Verdict::Unjudged => None,
            Verdict::Through | Verdict::Noted => Some(corpus.fix(case).to_owned()),
        };
        Self {
            id: case.id.clone(),
            name: case.name.clone(),
            version: Some(version),
            verdict: found.verdict,
            sent,
            seen,
            statuses: came.replies().iter().map(|reply| reply.status).collect(),
            fix,
            source: Some(case.source.clone()).filter(|source| !source.is_empty()),
        }
    }

    pub(super) fn unsent(id: &str, name: &str, version: Option<Version>, why: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            version,
            verdict: Verdict::Unjudged,
            sent: String::new(),
            seen: why.to_owned(),
            statuses: Vec::new(),
            fix: None,
            source: None,
        }
    }
}

/// Every case, in the order of the corpus.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The cases.
    pub rows: Vec<Row>,
    /// What came back when what is allowed was asked for once more, where that was no success any more: then
    /// it is not known what the refusals before were for.
    pub shut_out: Option<String>,
}

impl Report {
    /// Whether nothing got through.
    pub fn held(&self) -> bool {
        self.count(Verdict::Through) == 0
    }

    /// Whether anything was judged at all.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.verdict == Verdict::Unjudged)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// One JSON object a line.
    ///
    /// # Errors
    /// None that a case could cause.
    pub fn to_json(&self) -> serde_json::Result<String> {
        self.rows.iter().map(|row| Ok(serde_json::to_string(row)? + "\n")).collect()
    }
}

/// As a table: verdict, number, version, name and what came back; below, what was sent, and what to do.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let Row { id, name, version, verdict, sent, seen, fix, .. } = row;
            let version = version.map_or("", Version::as_str);
            let verdict = verdict.as_str();
            writeln!(f, "{verdict:8}  {id:7}  {version:8}  {name}: {seen}")?;
            if !sent.is_empty() {
                writeln!(f, "{:23}sent  {sent}", "")?;
            }
            if let Some(fix) = fix {
                writeln!(f, "{:24}fix  {fix}", "")?;
            }
        }
        let [held, through, noted, unjudged] =
            [Verdict::Held, Verdict::Through, Verdict::Noted, Verdict::Unjudged]
                .map(|verdict| self.count(verdict));
        writeln!(f, "{held} held, {through} got through, {noted} noted, {unjudged} not judged")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_or_an_object_a_line() {
        let corpus = Corpus::read().unwrap();
        let case = &corpus.cases[0];
        let found = Found { verdict: Verdict::Through, note: "words" };
        let came = Came::Closed;
        let row = Row::judged(case, &corpus, Version::Http1, "GET /".to_owned(), found, &came);
        let report = Report {
            rows: vec![row, Row::unsent("AC-058", "floods", None, "harm")],
            shut_out: None,
        };
        let table = report.to_string();
        assert!(table.contains("through   PC-001   HTTP/1.1  nobody asks"), "{table}");
        assert!(table.contains("unjudged  AC-058             floods: harm\n"), "{table}");
        assert!(table.ends_with("0 held, 1 got through, 0 noted, 1 not judged\n"), "{table}");
        assert!(!report.held());
        let json = report.to_json().unwrap();
        let lines: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["version"], "HTTP/1.1");
        assert_eq!((&lines[1]["verdict"], lines[1].get("fix")), (&"unjudged".into(), None));
    }
}
