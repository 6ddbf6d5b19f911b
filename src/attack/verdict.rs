//! What is thought of an answer.

use serde::Serialize;

use super::corpus::{Case, Second, Success};
use super::http1::Reply;
use super::send::Came;

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was refused, or did no harm.
    Held,
    /// It got through.
    Through,
    /// Something took it that should not have; what came of that can't be seen from outside.
    Noted,
    /// It was not sent, or no answer told anything.
    Unjudged,
}

impl Verdict {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Through => "through",
            Verdict::Noted => "noted",
            Verdict::Unjudged => "unjudged",
        }
    }
}

/// A verdict, and what was seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) verdict: Verdict,
    /// What is remarkable about the answer.
    pub(super) note: &'static str,
}

impl Found {
    const fn plainly(verdict: Verdict) -> Self {
        Self { verdict, note: "" }
    }
}

/// What the target says where nothing is attacked.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    /// What it says of what is not there, if that is a success.
    page: Option<Vec<u8>>,
    /// Whether it is a gateway such as this one that refuses what is refused.
    gateway: bool,
}

impl Baseline {
    pub(super) fn new(refused: &[Reply], nothing: &[Reply]) -> Self {
        let page = nothing.first().filter(|reply| reply.is_success());
        Self {
            page: page.map(|reply| reply.body.clone()),
            gateway: refused.first().is_some_and(|reply| speaks(reply) == Some(Speaker::Gateway)),
        }
    }

    /// Whether a success is only the page that any path gets, such as that of a web application.
    fn is_page(&self, reply: &Reply) -> bool {
        self.page.as_ref().is_some_and(|page| {
            let is_html = |body: &[u8]| body.trim_ascii_start().starts_with(b"<");
            *page == reply.body || is_html(page) && is_html(&reply.body)
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    Gateway,
    Sentry,
}

/// Who refused: the gateway gives a `code` and the number of the request, Sentry only `detail`.
fn speaks(reply: &Reply) -> Option<Speaker> {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).ok()?;
    let refusal = body.get("detail").is_some() && reply.status >= 400;
    let own = body.get("code").is_some() && body.get("request_id").is_some();
    refusal.then_some(if own { Speaker::Gateway } else { Speaker::Sentry })
}

/// Judges what came back.
pub(super) fn judge(case: &Case, came: &Came, baseline: &Baseline, marker: Option<&str>) -> Found {
    let [first, behind @ ..] = came.replies() else {
        return match came {
            // Not to answer is to refuse.
            Came::Closed | Came::Replies(_) => Found::plainly(Verdict::Held),
            Came::Silent | Came::Failed(_) => Found::plainly(Verdict::Unjudged),
        };
    };
    if let Some(words) = case.words.as_deref()
        && came.replies().iter().any(|reply| says(reply, words))
    {
        return Found { verdict: Verdict::Through, note: "with words that only a hole lets in" };
    }
    let second = match case.second {
        Some(Second::Any) => !behind.is_empty(),
        Some(Second::Success) => behind.iter().any(Reply::is_success),
        None => false,
    };
    if second {
        let note = "what followed was answered as a request of its own";
        return Found { verdict: Verdict::Through, note };
    }
    if matches!(first.status, 429 | 502 | 503 | 504) {
        return Found { verdict: Verdict::Unjudged, note: "that says nothing of the case" };
    }
    let is_marked = |marker: &str| says(first, marker);
    match (first.is_success(), case.success) {
        (false, Success::Through) if baseline.gateway && speaks(first) == Some(Speaker::Sentry) => {
            let note = "not the gateway refused it, but what stands behind it";
            Found { verdict: Verdict::Noted, note }
        }
        (false, _) | (true, Success::Expected) => Found::plainly(Verdict::Held),
        (true, _) if first.status != 101 && baseline.is_page(first) => {
            Found { verdict: Verdict::Noted, note: "the page that any path gets" }
        }
        (true, Success::Through) if marker.is_none_or(is_marked) => {
            Found::plainly(Verdict::Through)
        }
        (true, Success::Through) => {
            Found { verdict: Verdict::Noted, note: "a success, without the words of `--marker`" }
        }
        (true, Success::Noted) => {
            let note = "something took it: harmless if it was written anew before the decision";
            Found { verdict: Verdict::Noted, note }
        }
    }
}

fn says(reply: &Reply, words: &str) -> bool {
    let body = String::from_utf8_lossy(&reply.body);
    reply.head.contains(words) || body.contains(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, head: format!("HTTP/1.1 {status} x"), body: body.as_bytes().to_vec() }
    }

    fn case(success: Success) -> Case {
        Case { success, ..Case::default() }
    }

    #[test]
    fn an_answer_is_judged_by_what_it_gives() {
        use Success::{Expected, Noted, Through};
        let own = r#"{"detail": "no", "code": "missing_scope", "request_id": "1"}"#;
        let (data, sentrys, page) = ("[1]", r#"{"detail": "no"}"#, "<html>");
        let baseline = Baseline::new(&[reply(403, own)], &[reply(200, page)]);
        let rows = [
            (case(Through), vec![reply(200, data)], Verdict::Through),
            (case(Through), vec![reply(101, "")], Verdict::Through),
            (case(Through), vec![reply(403, own)], Verdict::Held),
            (case(Through), vec![reply(400, "")], Verdict::Held),
            (case(Through), vec![reply(302, "")], Verdict::Held),
            (case(Through), vec![reply(429, own)], Verdict::Unjudged),
            (case(Through), vec![reply(503, own)], Verdict::Unjudged),
            (case(Through), vec![reply(403, sentrys)], Verdict::Noted),
            (case(Through), vec![reply(200, "<html>another")], Verdict::Noted),
            (case(Noted), vec![reply(200, data)], Verdict::Noted),
            (case(Noted), vec![reply(400, "")], Verdict::Held),
            (case(Expected), vec![reply(200, data)], Verdict::Held),
            (case(Through), vec![], Verdict::Held),
            (
                Case { second: Some(Second::Success), ..case(Expected) },
                vec![reply(200, data), reply(401, own)],
                Verdict::Held,
            ),
            (
                Case { second: Some(Second::Success), ..case(Noted) },
                vec![reply(400, ""), reply(200, data)],
                Verdict::Through,
            ),
            (
                Case { second: Some(Second::Any), ..case(Through) },
                vec![reply(401, own), reply(404, own)],
                Verdict::Through,
            ),
            (
                Case { words: Some("evil".into()), ..case(Expected) },
                vec![reply(404, "<evil>")],
                Verdict::Through,
            ),
        ];
        for (case, replies, verdict) in rows {
            let came = if replies.is_empty() { Came::Closed } else { Came::Replies(replies) };
            let found = judge(&case, &came, &baseline, None);
            assert_eq!(found.verdict, verdict, "{case:?} {came:?}");
        }
        let silent = judge(&case(Through), &Came::Silent, &baseline, None);
        assert_eq!(silent.verdict, Verdict::Unjudged);
    }

    #[test]
    fn words_of_the_answer_can_be_asked_for() {
        let came = Came::Replies(vec![reply(200, "[1]")]);
        for (marker, verdict) in [("[1]", Verdict::Through), ("[2]", Verdict::Noted)] {
            let found = judge(&case(Success::Through), &came, &Baseline::default(), Some(marker));
            assert_eq!(found.verdict, verdict);
        }
    }
}
