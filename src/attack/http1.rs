//! Reading the answers of a connection that may end, or go on, in any way.

/// An answer, as far as it tells something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The head, as text; of HTTP/2 nothing.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// Whether what was asked for was given, or another protocol begun.
    pub(super) const fn is_success(&self) -> bool {
        self.status == 101 || self.status >= 200 && self.status < 300
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// The answers in what was read, the first to `HEAD` if `head`. One that is not whole counts only when no more
/// comes (`ended`).
pub(super) fn replies(bytes: &[u8], head: bool, ended: bool) -> Vec<Reply> {
    let mut replies: Vec<Reply> = Vec::new();
    let mut rest = bytes;
    while let Some(end) = find(rest, b"\r\n\r\n") {
        let text = String::from_utf8_lossy(&rest[..end]).into_owned();
        let status = text.strip_prefix("HTTP/").and_then(|line| line.split(' ').nth(1));
        let Some(status) = status.and_then(|status| status.parse().ok()) else { break };
        rest = &rest[end + 4..];
        let mut reply = Reply { status, head: text, body: Vec::new() };
        if status == 101 {
            replies.push(reply);
            break;
        }
        if status < 200 {
            continue;
        }
        let bodiless = head && replies.is_empty() || matches!(status, 204 | 304);
        match body(&reply, rest, bodiless, ended) {
            Some((body, behind)) => {
                reply.body = body;
                replies.push(reply);
                rest = behind;
            }
            None => break,
        }
    }
    replies
}

/// The body of an answer and what comes behind it; `None` when it is not whole yet.
fn body<'a>(
    reply: &Reply,
    rest: &'a [u8],
    bodiless: bool,
    ended: bool,
) -> Option<(Vec<u8>, &'a [u8])> {
    if bodiless {
        return Some((Vec::new(), rest));
    }
    if reply.value("transfer-encoding").is_some() {
        return chunks(rest).or_else(|| ended.then(|| (rest.to_vec(), &rest[rest.len()..])));
    }
    let length = match reply.value("content-length") {
        Some(length) => length.parse().ok()?,
        None if ended => rest.len(),
        None => return None,
    };
    match rest.split_at_checked(length) {
        Some((body, behind)) => Some((body.to_vec(), behind)),
        None if ended => Some((rest.to_vec(), &rest[rest.len()..])),
        None => None,
    }
}

fn chunks(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            // Trailers, if any, end with an empty line.
            let end = if rest.starts_with(b"\r\n") { 0 } else { find(rest, b"\r\n\r\n")? + 2 };
            return Some((body, rest.get(end + 2..)?));
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let rows: &[(&[u8], bool, bool, &[(u16, &str)])] = &[
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", false, false, &[(200, "ab")]),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false, false, &[]),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false, true, &[(200, "ab")]),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, false, &[(200, "")]),
            (b"HTTP/1.0 404 No\r\n\r\nab", false, true, &[(404, "ab")]),
            (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 No\r\n\r\n", false, false, &[(204, "")]),
            (
                b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n",
                false,
                false,
                &[(400, ""), (200, "ab")],
            ),
            (b"HTTP/1.1 101 Switching\r\n\r\nanything", false, false, &[(101, "")]),
            (b"nonsense\r\n\r\n", false, true, &[]),
            (b"", false, true, &[]),
        ];
        for (bytes, head, ended, wanted) in rows {
            let found = replies(bytes, *head, *ended);
            let found: Vec<_> = found
                .iter()
                .map(|reply| (reply.status, std::str::from_utf8(&reply.body).unwrap()))
                .collect();
            assert_eq!(found, *wanted, "{}", bytes.escape_ascii());
        }
    }
}
