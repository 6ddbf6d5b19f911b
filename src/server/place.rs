//! The place of a connection among the others: what a stop learns of it, and how patient the gateway is
//! with it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::crowd::{Crowd, One};
use crate::proxy::Requests;

/// How long a client of HTTP/2 may take to read what it was sent last, and how many bytes of what it
/// still sends are read meanwhile: a socket with unread bytes, once closed, takes back what it sent.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 1 << 20;

/// The place of a connection.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    requests: Arc<Requests>,
    /// That it speaks HTTP/2.
    http2: Option<One>,
    /// That it has more to write than there is room for.
    blocked: Option<One>,
    /// Whether something came that is not answered yet.
    heard: bool,
    /// When it is enough.
    time: Option<Pin<Box<Sleep>>>,
    /// When a client of HTTP/2 must have made its first request.
    first: Option<Pin<Box<Sleep>>>,
    lingered: usize,
}

impl Place {
    /// That of a connection that speaks HTTP/1.1.
    pub(super) fn of_http1(crowd: &Arc<Crowd>, requests: Arc<Requests>) -> Self {
        let crowd = Arc::clone(crowd);
        Self {
            crowd,
            requests,
            http2: None,
            blocked: None,
            heard: false,
            time: None,
            first: None,
            lingered: 0,
        }
    }

    /// That of one that speaks HTTP/2.
    pub(super) fn of_http2(crowd: &Arc<Crowd>, requests: Arc<Requests>) -> Self {
        Self { http2: Some(crowd.http2()), ..Self::of_http1(crowd, requests) }
    }

    /// It was read from. A head that takes too long is the end.
    pub(super) fn read(
        &mut self,
        read: Poll<io::Result<()>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.http2.is_some() {
            if read.is_ready() {
                self.crowd.moved();
                return read;
            }
            if self.requests.has_begun() {
                self.first = None;
                return read;
            }
            // Pingora waits for the beginning of HTTP/2 without limit.
            return over(&mut self.first, self.crowd.head, cx);
        }
        if read.is_ready() {
            self.heard = true;
            return read;
        }
        if !self.heard || self.requests.is_running() {
            return read;
        }
        over(&mut self.time, self.crowd.head, cx)
    }

    /// It was written to, if there was room.
    pub(super) fn wrote<T>(&mut self, wrote: Poll<T>) -> Poll<T> {
        if self.http2.is_none() {
            // Whatever came before is being answered.
            self.requests.begun();
            (self.heard, self.time) = (false, None);
            return wrote;
        }
        if wrote.is_ready() {
            self.crowd.moved();
            self.blocked = None;
        } else if self.blocked.is_none() {
            self.blocked = Some(self.crowd.blocked());
        }
        wrote
    }

    /// Waits until the client of HTTP/2, which was told that this is the end, has ended too.
    pub(super) fn linger(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.blocked = None;
        if self.http2.is_none() {
            return Poll::Ready(());
        }
        let time = self.time.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut late = [0; 4 << 10];
        loop {
            let mut buf = ReadBuf::new(&mut late);
            match Pin::new(&mut *io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.crowd.moved();
                    self.lingered = self.lingered.saturating_add(buf.filled().len());
                    if self.lingered > LINGER_BYTES {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return time.as_mut().poll(cx),
            }
        }
    }
}

/// An error once so much time is over since this was asked first.
fn over(
    time: &mut Option<Pin<Box<Sleep>>>,
    after: Duration,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let time = time.get_or_insert_with(|| Box::pin(sleep(after)));
    time.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::connection::{Connection, Ends, Socket, buffered};
    use super::*;

    /// A connection, and its client.
    async fn connection(crowd: &Arc<Crowd>) -> (Connection<Socket>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        (Connection::plain(buffered(socket), Ends { peer, local: None }, crowd), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_http2_has_its_time_until_its_first_request() {
        let crowd = Arc::new(Crowd::with_heads_within(Duration::from_secs(60)));
        for begins in [false, true] {
            let requests = Requests::none_yet(crowd.waiting());
            let mut place = Place::of_http2(&crowd, Arc::clone(&requests));
            let mut read = async || {
                std::future::poll_fn(|cx| Poll::Ready(place.read(Poll::Pending, cx))).await
            };
            assert!(read().await.is_pending());
            tokio::time::advance(Duration::from_secs(59)).await;
            assert!(read().await.is_pending());
            if begins {
                requests.begun();
            }
            tokio::time::advance(Duration::from_secs(2)).await;
            let ended = matches!(read().await, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut);
            assert_eq!(ended, !begins);
        }
    }

    #[tokio::test]
    async fn a_head_has_its_time_from_its_first_byte_on() {
        let head = Duration::from_millis(50);
        let crowd = Arc::new(Crowd::with_heads_within(head));
        let (mut own, mut client) = connection(&crowd).await;
        // Nothing came, so nothing is late.
        let silent = tokio::time::timeout(4 * head, own.read_u8()).await;
        assert!(silent.is_err());
        client.write_all(b"GET").await.unwrap();
        let mut bytes = [0; 3];
        own.read_exact(&mut bytes).await.unwrap();
        // It is answered, so what is waited for now is another one.
        own.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        let silent = tokio::time::timeout(4 * head, own.read_u8()).await;
        assert!(silent.is_err());
        client.write_all(b"GET").await.unwrap();
        own.read_exact(&mut bytes).await.unwrap();
        let error = own.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_waits_for_its_first_request_until_it_is_answered() {
        let crowd = Arc::new(Crowd::default());
        let (mut own, _client) = connection(&crowd).await;
        let waiting = || crowd.waiting().load(std::sync::atomic::Ordering::Acquire);
        assert_eq!(waiting(), 1);
        own.write_all(b"HTTP/1.1 400 Bad Request").await.unwrap();
        assert_eq!(waiting(), 0);
    }
}
