//! The trace that a request belongs to, as its client says: W3C `traceparent`, or what Sentry's
//! SDKs send.

use http::HeaderMap;

/// A trace and the span in it that called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: Box<str>,
    span: Box<str>,
}

impl TraceContext {
    /// Reads `traceparent` (`00-<trace>-<span>-<flags>`), or `sentry-trace`
    /// (`<trace>-<span>[-<sampled>]`); `None` when neither can be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let w3c = text("traceparent").and_then(|text| text.strip_prefix("00-")).and_then(ids);
        w3c.or_else(|| text("sentry-trace").and_then(ids))
    }

    /// The trace: 32 hex digits.
    pub fn trace(&self) -> &str {
        &self.trace
    }

    /// The span: 16 hex digits.
    pub fn span(&self) -> &str {
        &self.span
    }
}

fn ids(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let (trace, span) = (id(parts.next()?, 32)?, id(parts.next()?, 16)?);
    Some(TraceContext { trace, span })
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
        let rows: &[(&str, &str, bool)] = &[
            ("traceparent", &w3c, true),
            ("sentry-trace", &sentry, true),
            ("sentry-trace", &format!("{trace}-{span}"), true),
            ("sentry-trace", &sentry.to_ascii_uppercase(), true),
            ("traceparent", &sentry, false),
            ("traceparent", &format!("ff-{trace}-{span}-01"), false),
            ("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("sentry-trace", &format!("{trace}x-{span}"), false),
            ("sentry-trace", trace, false),
            ("sentry-trace", "", false),
        ];
        for (name, value, read) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(*name, value.parse().unwrap());
            let wanted = read.then(|| TraceContext { trace: trace.into(), span: span.into() });
            assert_eq!(TraceContext::of(&headers), wanted, "{name}: {value}");
        }
    }
}
