//! The TLS handshake with a client.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use rustls::{Error, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{Socket, speaks_http2};
use crate::policy::certificate::CertificateName;
use crate::proxy::ClientCertificate;
use crate::server_tls::ClientNames;
use crate::telemetry::metrics::HandshakeFailure;

/// How long a handshake may take, and what HTTP/2 begins with.
const TIME: Duration = Duration::from_secs(10);
/// How long a client is given to take the reason why it failed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What a client sends first on HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Agrees on TLS. What was read beyond that comes with it: on HTTP/2 its preface, for which pingora
/// would wait without an end.
pub(super) async fn handshake(
    socket: Socket,
    config: Arc<ServerConfig>,
) -> Result<(TlsStream<Socket>, Bytes), HandshakeFailure> {
    tokio::time::timeout(TIME, agree(socket, config))
        .await
        .unwrap_or(Err(HandshakeFailure::Timeout))
}

async fn agree(
    socket: Socket,
    config: Arc<ServerConfig>,
) -> Result<(TlsStream<Socket>, Bytes), HandshakeFailure> {
    let mut stream = match TlsAcceptor::from(config).accept(socket).into_fallible().await {
        Ok(stream) => stream,
        Err((error, mut socket)) => {
            // The alert that says why is in its buffer. Whoever has gone does without.
            let told = tokio::time::timeout(LAST_WORDS, socket.shutdown()).await;
            told.unwrap_or(Ok(())).unwrap_or_default();
            return Err(failure(&error));
        }
    };
    if !speaks_http2(&stream) {
        return Ok((stream, Bytes::new()));
    }
    let mut first = [0; PREFACE.len()];
    stream.read_exact(&mut first).await.map_err(|error| failure(&error))?;
    if first != *PREFACE {
        return Err(HandshakeFailure::NotHttp2);
    }
    Ok((stream, Bytes::from_static(PREFACE)))
}

/// Who a client is by the certificate that was verified, if it has one.
/// It counts for as long as `believed` is true.
pub(super) fn client(
    stream: &TlsStream<Socket>,
    believed: Arc<AtomicBool>,
) -> Option<ClientCertificate> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let ClientNames { names, not_after } = ClientNames::of(certificate)?;
    let names = names.iter().filter_map(|name| CertificateName::parse(name).ok());
    Some(ClientCertificate::new(names, not_after, believed))
}

fn failure(error: &io::Error) -> HandshakeFailure {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match tls {
        // Neither list is our own, and both may grow.
        Some(
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::PeerSentOversizedRecord,
        ) => HandshakeFailure::NotTls,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => {
            HandshakeFailure::Incompatible
        }
        Some(Error::AlertReceived(_)) => HandshakeFailure::Refused,
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
            HandshakeFailure::ClientCertificate
        }
        Some(_) => HandshakeFailure::Other,
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => HandshakeFailure::Closed,
            _ => HandshakeFailure::Other,
        },
    }
}
