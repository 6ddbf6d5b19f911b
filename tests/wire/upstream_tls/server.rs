//! An upstream behind TLS that remembers what it received, over HTTP/1.1 or HTTP/2.
#![expect(clippy::disallowed_methods, reason = "its tasks end with the process of the test")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{Request, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::authority::{Authority, Leaf};

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The number of its connection.
    pub connection: usize,
    /// `h2` or `http/1.1`.
    pub protocol: &'static str,
    /// The name that TLS was asked for.
    pub server_name: Option<String>,
    /// Whether the gateway presented a certificate.
    pub certified: bool,
    pub method: String,
    pub target: String,
    /// `:authority`, or `Host`.
    pub authority: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "{name}: {values:?}");
        values.first().copied()
    }
}

/// What becomes of a request.
pub enum Act {
    /// 200 with this body.
    Answer(Bytes),
    /// 200 with all that was sent in its fields, and after its body too.
    Echo,
    /// The same, and then nothing new on this connection.
    AnswerAndGoAway(Bytes),
    /// The first, once this is true.
    When(watch::Receiver<bool>, Bytes),
    /// The stream is refused before its body is read.
    Reset(Reason),
    /// Half an answer, and the stream is reset.
    BreakOff,
    /// The connection ends.
    End,
    /// Nothing, ever.
    Silence,
}

/// How TLS is.
#[derive(Clone, Debug)]
pub struct Setup {
    pub leaf: Leaf,
    /// What is offered, the first preferred.
    pub alpn: &'static [&'static str],
    /// Who makes the certificates that clients have to present.
    pub clients: Option<std::path::PathBuf>,
    /// How many requests a connection takes at the same time.
    pub streams: u32,
}

impl Setup {
    pub fn new(leaf: Leaf) -> Self {
        Self { leaf, alpn: &["h2", "http/1.1"], clients: None, streams: 200 }
    }

    pub fn http1(leaf: Leaf) -> Self {
        Self { alpn: &[], ..Self::new(leaf) }
    }

    pub fn for_clients_of(self, authority: &Authority) -> Self {
        Self { clients: Some(authority.root()), ..self }
    }

    fn config(&self) -> ServerConfig {
        let chain = CertificateDer::pem_file_iter(&self.leaf.certificate).unwrap();
        let chain: Vec<_> = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&self.leaf.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = match &self.clients {
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

type Behaviour = dyn Fn(&Seen) -> Act + Send + Sync;

/// What all connections share.
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    behaviour: Box<Behaviour>,
    /// Requests whose answer has not begun, and the most there were.
    open: AtomicUsize,
    most: AtomicUsize,
    streams: u32,
}

/// A listener. Its thread ends with the test process.
pub struct Secure {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Secure {
    /// Answers every request with 200 and a little JSON.
    pub fn start(setup: &Setup) -> Self {
        Self::acting(setup, |_| Act::Answer("{\"ok\":true}".into()))
    }

    pub fn acting(setup: &Setup, act: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            behaviour: Box::new(act),
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            streams: setup.streams,
        });
        let acceptor = TlsAcceptor::from(Arc::new(setup.config()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (acceptor, shared) = (acceptor.clone(), Arc::clone(&theirs));
                    tokio::spawn(serve(stream, acceptor, shared));
                }
            });
        });
        Self { address, shared }
    }

    /// What it has received since it was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    pub fn take_one(&self) -> Seen {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0)
    }

    /// How many connections came so far, whatever became of them.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The most requests that were there at the same time.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// How many are there now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    stream.set_nodelay(true).unwrap();
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let tls = stream.get_ref().1;
    let http2 = tls.alpn_protocol() == Some(b"h2");
    let seen = Seen {
        connection,
        protocol: if http2 { "h2" } else { "http/1.1" },
        server_name: tls.server_name().map(str::to_owned),
        certified: tls.peer_certificates().is_some_and(|chain| !chain.is_empty()),
        ..Seen::default()
    };
    if http2 {
        let (inner, outer) = tokio::io::duplex(1 << 20);
        let carried = tokio::spawn(carry(stream, outer));
        if serve_http2(inner, seen, shared).await {
            // Without a word.
            carried.abort();
        }
    } else {
        serve_http1(stream, seen, shared).await;
    }
}

/// Carries bytes both ways. Ends as a server should, and takes what still comes: or the last words are
/// lost with what was not read (RFC 9112, 9.6).
async fn carry(tls: TlsStream<TcpStream>, inner: DuplexStream) {
    let (mut tls_reader, mut tls_writer) = tokio::io::split(tls);
    let (mut reader, mut writer) = tokio::io::split(inner);
    let out = async {
        let _ = tokio::io::copy(&mut reader, &mut tls_writer).await;
        let _ = tls_writer.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut tls_reader, &mut writer).await;
        let _ = writer.shutdown().await;
        let _ = tokio::io::copy(&mut tls_reader, &mut tokio::io::sink()).await;
    };
    tokio::join!(out, back);
}

/// Says whether the connection was cut off.
async fn serve_http2(stream: DuplexStream, of: Seen, shared: Arc<Shared>) -> bool {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(shared.streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return false;
    };
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    loop {
        tokio::select! {
            request = connection.accept() => match request {
                Some(Ok((request, respond))) => {
                    let (of, shared, ended) = (of.clone(), Arc::clone(&shared), ended.clone());
                    tokio::spawn(async move {
                        answer_http2(request, respond, of, shared, ended).await;
                    });
                }
                _ => return false,
            },
            abrupt = ends.recv() => match abrupt {
                Some(false) => connection.graceful_shutdown(),
                _ => return true,
            },
        }
    }
}

/// Tells `ended` when the connection is to end, and whether at once.
async fn answer_http2(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    of: Seen,
    shared: Arc<Shared>,
    ended: UnboundedSender<bool>,
) {
    let (head, mut stream) = request.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut seen = Seen {
        method: head.method.to_string(),
        target: head.uri.path_and_query().unwrap().to_string(),
        authority: head.uri.authority().map(ToString::to_string),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        ..of
    };
    shared.most.fetch_max(shared.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    let act = (shared.behaviour)(&seen);
    if !matches!(act, Act::Reset(_)) {
        while let Some(Ok(piece)) = stream.data().await {
            let _ = stream.flow_control().release_capacity(piece.len());
            seen.body.extend_from_slice(&piece);
        }
    }
    shared.seen.lock().unwrap().push(seen.clone());
    let head = || Response::builder().header("content-type", "application/json");
    match act {
        Act::When(mut word, body) => {
            word.wait_for(|word| *word).await.unwrap();
            send_http2(&mut respond, head().body(()).unwrap(), body).await;
        }
        Act::Answer(body) => {
            send_http2(&mut respond, head().body(()).unwrap(), body).await;
        }
        Act::Echo => {
            let mut fields = http::HeaderMap::new();
            for (name, value) in &seen.headers {
                let name = format!("x-echo-{name}");
                let name = http::HeaderName::try_from(name).unwrap();
                fields.insert(name, value.parse().unwrap());
            }
            let mut response = head().body(()).unwrap();
            response.headers_mut().extend(fields.clone());
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data("{}".into(), false).unwrap();
            body.send_trailers(fields).unwrap();
        }
        Act::AnswerAndGoAway(body) => {
            send_http2(&mut respond, head().body(()).unwrap(), body).await;
            let _ = ended.send(false);
        }
        Act::Reset(reason) => respond.send_reset(reason),
        Act::BreakOff => {
            let mut body = respond.send_response(head().body(()).unwrap(), false).unwrap();
            body.send_data("[1, 2".into(), false).unwrap();
            // What was sent is on its way before the reset, or the reset takes its place.
            tokio::time::sleep(Duration::from_millis(200)).await;
            body.send_reset(Reason::INTERNAL_ERROR);
        }
        Act::End => {
            let _ = ended.send(true);
            // The stream is not reset before.
            std::future::pending().await
        }
        Act::Silence => std::future::pending().await,
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

async fn send_http2(
    respond: &mut SendResponse<Bytes>,
    head: Response<()>,
    body: Bytes,
) -> Option<bool> {
    let mut stream = respond.send_response(head, body.is_empty()).ok()?;
    let mut rest = body;
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len().min(1 << 20));
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await?.ok()?;
        let piece = rest.split_to(room.min(rest.len()));
        stream.send_data(piece, rest.is_empty()).ok()?;
    }
    None
}

async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    of: Seen,
    shared: Arc<Shared>,
) {
    let mut read = Vec::new();
    while let Some(seen) = read_http1(&mut stream, &mut read, &of).await {
        let act = (shared.behaviour)(&seen);
        let upgrade = seen.value("upgrade").is_some();
        shared.seen.lock().unwrap().push(seen);
        match act {
            Act::Answer(_) if upgrade => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                return;
            }
            Act::Answer(body) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
                    return;
                }
            }
            Act::Silence => std::future::pending().await,
            _ => return,
        }
    }
}

async fn read_http1<S: AsyncRead + Unpin>(
    stream: &mut S,
    read: &mut Vec<u8>,
    of: &Seen,
) -> Option<Seen> {
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let mut seen = of.clone();
    (seen.method, seen.target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let fields = lines.filter_map(|line| line.split_once(':'));
    seen.headers = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    seen.authority = seen.value("host").map(str::to_owned);
    let length = seen.value("content-length").map_or(0, |length| length.parse().unwrap());
    while read.len() < length {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = read.drain(..length).collect();
    Some(seen)
}
