//! A client's connection, as pingora takes it: plain, or inside TLS.
//!
//! Pingora's own has buffers that only its own accept loop can set, and tells of a failed handshake in
//! words alone.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::crowd::Crowd;
use super::place::Place;
use crate::proxy::{Client, ClientCertificate, Requests};

/// The buffers of a socket, in bytes. Pingora reads a body in pieces that go past the first, so it is
/// for heads, and there is one for each connection, idle or not. The second is as pingora has it.
const READ: usize = 8 << 10;
const WRITE: usize = 1460;

/// How long a client may take nothing of what is written to it, whatever it is.
const STALL: Duration = Duration::from_secs(60);

/// A socket with its buffers.
pub(super) type Socket = BufStream<TcpStream>;

/// Puts buffers before a socket.
pub(super) fn buffered(socket: TcpStream) -> Socket {
    BufStream::with_capacity(READ, WRITE, socket)
}

/// The ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Who is told to have called.
    pub(super) peer: SocketAddr,
    /// Which of the gateway's addresses was called, if that is known.
    pub(super) local: Option<SocketAddr>,
}

/// A connection.
pub(super) struct Connection<S: AsyncWrite + Unpin> {
    io: S,
    /// What was read from it already, and is read first.
    read: Bytes,
    fd: RawFd,
    ends: Arc<SocketDigest>,
    /// While nothing can be written: until when.
    stalled: Option<Pin<Box<Sleep>>>,
    tls: Option<Agreed>,
    /// By which pingora hands on what it does not know itself.
    client: Option<Arc<ProxyDigest>>,
    place: Place,
}

/// What a TLS handshake came to.
struct Agreed {
    digest: Arc<SslDigest>,
    protocol: ALPN,
}

impl Connection<Socket> {
    /// A plain one.
    pub(super) fn plain(io: Socket, ends: Ends, crowd: &Arc<Crowd>) -> Self {
        let fd = io.get_ref().as_raw_fd();
        let requests = Requests::none_yet(crowd.waiting());
        let (client, place) = (told(None, &requests), Place::of_http1(crowd, requests));
        let (read, ends) = (Bytes::new(), digest(fd, ends));
        Self { io, read, fd, ends, stalled: None, tls: None, client, place }
    }
}

impl Connection<TlsStream<Socket>> {
    /// One inside TLS, from which `read` was read already.
    pub(super) fn tls(
        io: TlsStream<Socket>,
        ends: Ends,
        read: Bytes,
        client: Option<ClientCertificate>,
        crowd: &Arc<Crowd>,
    ) -> Self {
        let (socket, session) = io.get_ref();
        let fd = socket.get_ref().as_raw_fd();
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let version = session.protocol_version().and_then(|version| version.as_str());
        let (cipher, version) = (cipher.unwrap_or_default(), version.unwrap_or_default());
        let protocol = if speaks_http2(&io) { ALPN::H2 } else { ALPN::H1 };
        let requests = Requests::none_yet(crowd.waiting());
        let client = told(client, &requests);
        let place = match speaks_http2(&io) {
            true => Place::of_http2(crowd, requests),
            false => Place::of_http1(crowd, requests),
        };
        let digest_of_tls = Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()));
        let tls = Some(Agreed { digest: digest_of_tls, protocol });
        Self { io, read, fd, ends: digest(fd, ends), stalled: None, tls, client, place }
    }
}

/// What requests are told of their connection. Pingora's has a head of its own because it is meant for
/// the answer of a proxy.
fn told(
    certificate: Option<ClientCertificate>,
    requests: &Arc<Requests>,
) -> Option<Arc<ProxyDigest>> {
    let client = Client { certificate, requests: Arc::clone(requests) };
    let head = ResponseHeader::build(StatusCode::OK, Some(0)).ok()?;
    Some(Arc::new(ProxyDigest::new(Box::new(head), Some(Box::new(client)))))
}

/// Whether HTTP/2 was agreed on (RFC 9113, 3.2).
pub(super) fn speaks_http2(io: &TlsStream<Socket>) -> bool {
    io.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Both ends are told now: later the number of the socket may be that of another.
fn digest(fd: RawFd, ends: Ends) -> Arc<SocketDigest> {
    let digest = SocketDigest::from_raw_fd(fd);
    // It is new, so there is nothing in it.
    digest.peer_addr.set(Some(Address::Inet(ends.peer))).unwrap_or_default();
    digest.local_addr.set(ends.local.map(Address::Inet)).unwrap_or_default();
    Arc::new(digest)
}

impl<S: AsyncWrite + Unpin> Connection<S> {
    /// What came of writing; an error when nothing has come of it for long.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read.is_empty() {
            let read = Pin::new(&mut this.io).poll_read(cx, buf);
            return this.place.read(read, cx);
        }
        let length = this.read.len().min(buf.remaining());
        buf.put_slice(&this.read[..length]);
        this.read.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        let written = this.place.wrote(written);
        this.written(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        let flushed = this.place.wrote(flushed);
        this.written(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.io).poll_shutdown(cx);
        let shut = ready!(this.written(cx, shut));
        ready!(this.place.linger(&mut this.io, cx));
        Poll::Ready(shut)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, parts);
        let written = this.place.wrote(written);
        this.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Shutdown for Connection<S> {
    async fn shutdown(&mut self) {
        // Whoever has gone, or reads nothing, need not be told.
        let shut = tokio::time::timeout(STALL, self.io.shutdown()).await;
        shut.map(Result::unwrap_or_default).unwrap_or_default();
    }
}

impl<S: AsyncWrite + Unpin> UniqueID for Connection<S> {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl<S: AsyncWrite + Unpin> Ssl for Connection<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.digest))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.tls.as_ref().map(|tls| tls.protocol.clone())
    }
}

impl<S: AsyncWrite + Unpin> GetTimingDigest for Connection<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S: AsyncWrite + Unpin> GetProxyDigest for Connection<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.client.clone()
    }
}

impl<S: AsyncWrite + Unpin> GetSocketDigest for Connection<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.ends))
    }
}

impl<S: AsyncWrite + Unpin> Peek for Connection<S> {}

impl<S: AsyncWrite + Unpin> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl<S: AsyncWrite + Unpin> Drop for Connection<S> {
    /// Sends what is left in the buffer, if there is room for it, as pingora's own does.
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.io).poll_flush(&mut cx);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_let_go_and_who_takes_little_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let (ends, crowd) = (Ends { peer, local: None }, Arc::new(Crowd::default()));
        let mut connection = Connection::plain(buffered(socket), ends, &crowd);
        let mut piece = vec![0; 1 << 20];
        for _ in 0..100 {
            let sent = connection.write_all(&piece);
            let read = async {
                tokio::time::sleep(STALL / 2).await;
                client.read_exact(&mut piece.clone()).await.unwrap();
            };
            let (sent, ()) = tokio::join!(sent, read);
            sent.unwrap();
        }
        piece.resize(100 << 20, 0);
        let error = connection.write_all(&piece).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
