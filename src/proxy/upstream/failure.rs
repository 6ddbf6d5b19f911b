//! What an error on the way to the upstream means.

use std::borrow::Cow;
use std::io;

use pingora::prelude::{Error, ErrorSource, ErrorType};

use super::super::held::is_obstacle;
use crate::policy::reason::{Busy, UpstreamFailure};

/// A longer cause is cut: a certificate may have any number of names.
const MAX_CAUSE: usize = 300;

/// The error of a request that there is no room for; [`busy`] knows it again.
pub(in crate::proxy) const fn no_room(busy: Busy) -> ErrorType {
    ErrorType::Custom(match busy {
        Busy::QueueFull => "UpstreamQueueFull",
        Busy::WaitOver => "UpstreamWaitOver",
        Busy::Stopping => "UpstreamStopping",
        Busy::Held => "AnswersHeld",
    })
}

/// Why there was no room, if that is what an error says.
pub(in crate::proxy) fn busy(error: &Error) -> Option<Busy> {
    Busy::ALL.iter().copied().find(|busy| no_room(*busy) == *error.etype())
}

/// What an error on the way to the upstream means.
pub(in crate::proxy) fn failure(error: &Error) -> UpstreamFailure {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => UpstreamFailure::Timeout,
        _ if busy(error).is_some() => UpstreamFailure::Busy,
        obstacle if is_obstacle(obstacle) => UpstreamFailure::RewriteFailed,
        // Not our own list: whatever pingora adds is a failure to reach it.
        _ => UpstreamFailure::Unreachable,
    }
}

/// Whether the frame of a body can't be read, so that nothing on the connection can.
pub(in crate::proxy) fn is_bad_frame(error: &Error) -> bool {
    // The second is pingora's own, of the bytes around chunks, and has no name outside of it.
    *error.etype() == ErrorType::InvalidHTTPHeader || error.etype().as_str() == "InvalidChunk"
}

/// Whether the client is to blame, or just went away.
pub(in crate::proxy) fn is_downstream(error: &Error) -> bool {
    *error.esource() == ErrorSource::Downstream
}

/// Whether the upstream said that it has done nothing about the request, so that any may be sent again:
/// it refused the stream, it was about to end the connection, or it asks for HTTP/1.1 (RFC 9113, 8.7
/// and 7).
pub(in crate::proxy) fn is_untouched(error: &Error) -> bool {
    let refused = |error: &h2::Error| {
        let reason = error.reason();
        let stream = error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM);
        let connection = error.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (stream || connection)
    };
    is_downgrade(error) || error.root_cause().downcast_ref().is_some_and(refused)
}

/// Whether TLS was cut off without a word, as some end a connection that they have kept long enough.
/// Pingora takes that for an attack, which could do no more.
pub(in crate::proxy) fn is_cut(error: &Error) -> bool {
    let cause = error.root_cause();
    let io = cause.downcast_ref::<io::Error>();
    let io = io.or_else(|| cause.downcast_ref::<h2::Error>().and_then(h2::Error::get_io));
    io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof)
}

/// The upstream asks for HTTP/1.1 in place of HTTP/2.
pub(in crate::proxy) fn is_downgrade(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Downgrade
}

/// What an operator is told of an error: pingora's name for it, and what is wrong with
/// TLS where that is it. Nothing of a request.
pub(in crate::proxy) fn cause(error: &Error) -> Cow<'static, str> {
    let name = error.etype().as_str();
    let told = match error.etype() {
        ErrorType::TLSHandshakeFailure => handshake(error),
        // Not our own list: after the handshake the upstream may still refuse the gateway's certificate.
        _ => alert(error),
    };
    let Some(mut told) = told else { return name.to_owned().into() };
    told.truncate(told.floor_char_boundary(MAX_CAUSE));
    format!("{name}: {told}").into()
}

/// The words of rustls, which pingora has put into its own.
fn handshake(error: &Error) -> Option<String> {
    let context = error.context.as_ref()?.as_str();
    let (words, _) = context.rsplit_once(", SNI:").unwrap_or((context, ""));
    let (_, words) = words.rsplit_once("cause: ").unwrap_or(("", words));
    Some(words.to_owned())
}

fn alert(error: &Error) -> Option<String> {
    let io = error.root_cause().downcast_ref::<io::Error>()?;
    io.get_ref()?.downcast_ref::<rustls::Error>().map(ToString::to_string)
}
