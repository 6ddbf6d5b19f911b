//! The trace that a request belongs to, as its client says: W3C `traceparent`, or what Sentry's
//! SDKs send.

use http::HeaderMap;

/// A trace and the span in it that called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: Box<str>,
    span: Box<str>,
    sampled: Option<bool>,
}

impl TraceContext {
    /// Reads `traceparent` (`00-<trace>-<span>-<flags>`), or `sentry-trace`
    /// (`<trace>-<span>[-<sampled>]`); `None` when neither can be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let w3c = text("traceparent").and_then(|text| text.strip_prefix("00-")).and_then(w3c);
        w3c.or_else(|| text("sentry-trace").and_then(sentry))
    }

    /// The trace: 32 hex digits.
    pub fn trace(&self) -> &str {
        &self.trace
    }

    /// The span: 16 hex digits.
    pub fn span(&self) -> &str {
        &self.span
    }

    /// Whether the client has its own spans kept; `None` when it leaves that to others.
    pub const fn sampled(&self) -> Option<bool> {
        self.sampled
    }
}

fn w3c(text: &str) -> Option<TraceContext> {
    let (context, flags) = ids(text)?;
    // Version 00 has exactly two digits (W3C Trace Context, section 3.2.2).
    let hex = flags.len() == 2 && flags.bytes().all(|byte| byte.is_ascii_hexdigit());
    let flags = hex.then(|| u8::from_str_radix(flags, 16).ok())??;
    Some(TraceContext { sampled: Some(flags & 1 == 1), ..context })
}

fn sentry(text: &str) -> Option<TraceContext> {
    let (context, flag) = ids(text)?;
    let sampled = match flag {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    };
    Some(TraceContext { sampled, ..context })
}

/// The two ids, and what comes after them.
fn ids(text: &str) -> Option<(TraceContext, &str)> {
    let mut parts = text.splitn(3, '-');
    let (trace, span) = (id(parts.next()?, 32)?, id(parts.next()?, 16)?);
    Some((TraceContext { trace, span, sampled: None }, parts.next().unwrap_or_default()))
}

fn id(text: &str, len: usize) -> Option<Box<str>> {
    let hex = text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex && text.bytes().any(|byte| byte != b'0')).then(|| text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_what_both_headers_say_it_is() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let w3c = format!("00-{trace}-{span}-01");
        let sentry = format!("{trace}-{span}-1");
        let rows: &[(&str, &str, Option<Option<bool>>)] = &[
            ("traceparent", &w3c, Some(Some(true))),
            ("traceparent", &format!("00-{trace}-{span}-00"), Some(Some(false))),
            ("traceparent", &format!("00-{trace}-{span}-fe"), Some(Some(false))),
            ("sentry-trace", &sentry, Some(Some(true))),
            ("sentry-trace", &format!("{trace}-{span}-0"), Some(Some(false))),
            ("sentry-trace", &format!("{trace}-{span}"), Some(None)),
            ("sentry-trace", &sentry.to_ascii_uppercase(), Some(Some(true))),
            ("traceparent", &sentry, None),
            ("traceparent", &format!("00-{trace}-{span}"), None),
            ("traceparent", &format!("00-{trace}-{span}-+1"), None),
            ("traceparent", &format!("00-{trace}-{span}-01-x"), None),
            ("traceparent", &format!("ff-{trace}-{span}-01"), None),
            ("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
            ("sentry-trace", &format!("{trace}x-{span}"), None),
            ("sentry-trace", trace, None),
            ("sentry-trace", "", None),
        ];
        for (name, value, read) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(*name, value.parse().unwrap());
            let wanted = read.map(|sampled| TraceContext {
                trace: trace.into(),
                span: span.into(),
                sampled,
            });
            assert_eq!(TraceContext::of(&headers), wanted, "{name}: {value}");
        }
    }
}
