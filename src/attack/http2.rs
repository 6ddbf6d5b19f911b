//! Frames of HTTP/2 (RFC 9113), so that what no client sends can be sent.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::hpack;
use super::http1::Reply;

/// The preface, and settings of no change.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The largest frame that everybody takes, in bytes.
const MAX_FRAME: usize = 16 << 10;
/// As much of a body as is looked at, in bytes.
const MAX_BODY: usize = 64 << 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Sends a request as stream 1, and reads its answer; `None` when the stream or the connection ends without
/// one.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    fields: &[(Vec<u8>, Vec<u8>)],
    body: &str,
) -> io::Result<Option<Reply>> {
    let block = hpack::block(fields);
    let mut bytes = BEGIN.to_vec();
    let mut pieces = block.chunks(MAX_FRAME).peekable();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let ends = if kind == HEADERS && body.is_empty() { END_STREAM } else { 0 };
        bytes.extend(frame(kind, last | ends, 1, piece));
        kind = CONTINUATION;
    }
    if !body.is_empty() {
        bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    read(stream).await
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<Option<Reply>> {
    let mut reply: Option<Reply> = None;
    let mut block = Vec::new();
    loop {
        let mut head = [0; 9];
        match stream.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if is_end(&error) => return Ok(reply),
            Err(error) => return Err(error),
        }
        let [a, b, c, kind, flags, _, _, _, number] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; usize::try_from(length).unwrap_or(MAX_FRAME)];
        stream.read_exact(&mut payload).await?;
        match (kind, number) {
            (SETTINGS, 0) if flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, b"")).await?;
                stream.flush().await?;
            }
            (HEADERS | CONTINUATION, 1) => {
                block.extend_from_slice(if kind == HEADERS {
                    fragment(&payload, flags)
                } else {
                    &payload
                });
                if flags & END_HEADERS != 0 {
                    let status = hpack::status(&block).filter(|status| *status >= 200);
                    if let (None, Some(status)) = (&reply, status) {
                        reply = Some(Reply { status, ..Reply::default() });
                    }
                    block.clear();
                }
                if kind == HEADERS && flags & END_STREAM != 0 {
                    return Ok(reply);
                }
            }
            (DATA, 1) => {
                if let Some(reply) = &mut reply {
                    reply.body.extend_from_slice(fragment(&payload, flags & !PRIORITY));
                }
                let enough = reply.as_ref().is_none_or(|reply| reply.body.len() >= MAX_BODY / 2);
                if flags & END_STREAM != 0 || enough {
                    return Ok(reply);
                }
            }
            (RST_STREAM, 1) | (GOAWAY, _) => return Ok(reply),
            _ => {}
        }
    }
}

/// What is in a frame besides padding and priority.
fn fragment(payload: &[u8], flags: u8) -> &[u8] {
    let (padding, rest) = match payload {
        [padding, rest @ ..] if flags & PADDED != 0 => (usize::from(*padding), rest),
        rest => (0, rest),
    };
    let rest = rest.get(..rest.len().saturating_sub(padding)).unwrap_or_default();
    if flags & PRIORITY != 0 { rest.get(5..).unwrap_or_default() } else { rest }
}

/// Whether the other side is gone. Who is refused may be cut off without a word of TLS.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
