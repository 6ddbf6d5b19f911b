//! A client on TLS, which speaks HTTP/1.1 byte by byte, or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::Made;
use crate::client::{PATIENCE, Reply};

/// Runs a test to its end, within [`PATIENCE`] for each thing that it waits for.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test)
}

/// What must come before long.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Believes everybody: what is shown is looked at by the test.
#[derive(Debug)]
struct Believing;

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::ring::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

/// How a client speaks TLS.
#[derive(Clone)]
pub struct Speaks(ClientConfig);

impl Speaks {
    /// With these protocols above it, such as `h2`.
    pub fn new(protocols: &[&str]) -> Self {
        Self::versions(protocols, rustls::ALL_VERSIONS, None)
    }

    /// With a certificate of its own.
    pub fn as_client(protocols: &[&str], own: &Made) -> Self {
        Self::versions(protocols, rustls::ALL_VERSIONS, Some(own))
    }

    pub fn versions(
        protocols: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
        own: Option<&Made>,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believing));
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self(config)
    }

    /// Calls a gateway by this name.
    pub async fn connect(
        &self,
        to: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        self.over(stream, name).await
    }

    /// The same over a connection that there is.
    pub async fn over(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(self.0.clone()));
        soon("a handshake", connector.connect(name, stream)).await
    }
}

/// The certificate that the other side has shown, in DER.
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// A certificate as it is shown.
pub fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// Sends bytes and reads all that comes, up to the end of the connection.
pub async fn exchange(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut all = Vec::new();
    // Whoever is refused may be cut off without a `close_notify`.
    let _ = soon("an answer", stream.read_to_end(&mut all)).await;
    all
}

/// A connection that speaks HTTP/2.
#[derive(Clone)]
pub struct Http2 {
    send: h2::client::SendRequest<Bytes>,
    pub ended: Arc<tokio::sync::Mutex<Option<tokio::task::JoinHandle<Result<(), h2::Error>>>>>,
}

/// A request in its parts.
#[derive(Clone, Debug, Default)]
pub struct Sent<'a> {
    pub method: &'a str,
    pub authority: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

impl Http2 {
    pub async fn open(to: SocketAddr, name: &str) -> Self {
        let stream = Speaks::new(&["h2"]).connect(to, name).await.unwrap();
        Self::on(stream).await
    }

    pub async fn on(stream: TlsStream<TcpStream>) -> Self {
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let ended = tokio::runtime::Handle::current().spawn(connection);
        Self { send, ended: Arc::new(tokio::sync::Mutex::new(Some(ended))) }
    }

    /// Begins a request; its body follows.
    pub async fn begin(
        &mut self,
        sent: &Sent<'_>,
        end: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
        let mut request = Request::builder()
            .method(sent.method)
            .uri(format!("https://{}{}", sent.authority, sent.path))
            .version(http::Version::HTTP_2)
            .body(())
            .unwrap();
        for (name, value) in sent.headers {
            let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(name, value);
        }
        let mut ready = soon("room for a request", self.send.clone().ready()).await?;
        ready.send_request(request, end)
    }

    /// Sends a request and reads its whole answer; an error is that of the stream.
    pub async fn send(&mut self, sent: &Sent<'_>) -> Result<Reply, h2::Error> {
        let empty = sent.body.is_empty();
        let (response, mut stream) = self.begin(sent, empty).await?;
        if !empty {
            // Whoever is refused need not take the body.
            let _ = push(&mut stream, sent.body, true).await;
        }
        read(response).await
    }

    /// Waits until the other side has ended the connection, for no error.
    pub async fn end(&self) {
        let ended = self.ended.lock().await.take().unwrap();
        match soon("the end of a connection", ended).await.unwrap() {
            Ok(()) => {}
            // It had closed before this side said good-bye.
            Err(error) => assert!(error.is_io(), "{error}"),
        }
    }
}

/// What begins a connection of HTTP/2: the preface, and no settings.
pub const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame: its kind, its flags and what is in it; `None` at the end of the connection.
pub async fn frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    soon("a frame", stream.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    soon("a frame", stream.read_exact(&mut payload)).await.ok()?;
    Some((head[3], head[4], payload))
}

/// Sends a piece of a body, as there is room for it.
pub async fn push(
    stream: &mut h2::SendStream<Bytes>,
    mut piece: &[u8],
    end: bool,
) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let room = soon("room for a body", std::future::poll_fn(|cx| stream.poll_capacity(cx)));
        let room = room.await.transpose()?.unwrap_or_default().min(piece.len());
        let (now, later) = piece.split_at(room);
        stream.send_data(Bytes::copy_from_slice(now), end && later.is_empty())?;
        piece = later;
    }
    Ok(())
}

/// Reads a whole answer.
pub async fn read(response: h2::client::ResponseFuture) -> Result<Reply, h2::Error> {
    let (head, mut stream) = soon("an answer", response).await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = soon("a body", stream.data()).await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let (status, headers) = (head.status.as_u16(), headers.collect());
    Ok(Reply { status, headers, body, closed: false })
}
