//! Sending a request over a connection of its own, in bounded time.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Plan;
use super::http1::{Reply, replies};
use super::http2::{self, is_end};
use crate::policy::site::HttpScheme;
use crate::tls::ClientTls;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long another answer is waited for behind the first.
const QUIET: Duration = Duration::from_secs(1);
/// As much of the answers as is looked at, in bytes.
const MAX_READ: usize = 256 << 10;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Version {
    /// HTTP/1.1, or what is like it.
    #[serde(rename = "HTTP/1.1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "HTTP/2")]
    Http2,
}

impl Version {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http1 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) enum Came {
    /// At least one answer.
    Replies(Vec<Reply>),
    /// The end of the connection, or of the stream.
    Closed,
    /// Nothing.
    Silent,
    /// It could not be asked.
    Failed(String),
}

impl Came {
    pub(super) fn replies(&self) -> &[Reply] {
        match self {
            Came::Replies(replies) => replies,
            Came::Closed | Came::Silent | Came::Failed(_) => &[],
        }
    }

    /// In a few words.
    pub(super) fn outline(&self) -> String {
        match self {
            Came::Replies(replies) => {
                let each = replies.iter().map(|reply| reply.status.to_string());
                each.collect::<Vec<_>>().join(", then ")
            }
            Came::Closed => "closed without an answer".to_owned(),
            Came::Silent => format!("no answer within {} s", PATIENCE.as_secs()),
            Came::Failed(why) => why.clone(),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The way to the target.
pub(super) struct Line {
    address: String,
    tls: Option<Tls>,
    http2: bool,
}

struct Tls {
    name: ServerName<'static>,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn new(plan: &Plan) -> io::Result<Self> {
        let target = &plan.target;
        let own = || format!("{}:{}", target.host(), target.port());
        let address = plan.connect.clone().unwrap_or_else(own);
        let tls = match target.scheme() {
            HttpScheme::Http => None,
            HttpScheme::Https => {
                let host = target.host().trim_start_matches('[').trim_end_matches(']');
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let tls =
                    ClientTls { authorities: plan.authorities.clone(), ..ClientTls::default() };
                let config = tls.config()?;
                let speaks = |protocol: &[u8]| {
                    let mut config = config.clone();
                    config.alpn_protocols = vec![protocol.to_vec()];
                    TlsConnector::from(Arc::new(config))
                };
                Some(Tls { name, http1: speaks(b"http/1.1"), http2: speaks(b"h2") })
            }
        };
        Ok(Self { address, tls, http2: false })
    }

    pub(super) const fn speaks_http2(&self) -> bool {
        self.http2
    }

    /// Sees whether it can be reached, and whether it speaks HTTP/2.
    pub(super) async fn learn(&mut self) -> Result<(), String> {
        self.open(Version::Http1).await?;
        self.http2 = self.open(Version::Http2).await.is_ok();
        Ok(())
    }

    async fn open(&self, version: Version) -> Result<Box<dyn Stream>, String> {
        let opening = async {
            let stream =
                TcpStream::connect(&self.address).await.map_err(|error| error.to_string())?;
            let Some(tls) = &self.tls else {
                return match version {
                    Version::Http1 => Ok(Box::new(stream) as Box<dyn Stream>),
                    Version::Http2 => Err("it speaks no TLS".to_owned()),
                };
            };
            let connector = match version {
                Version::Http1 => &tls.http1,
                Version::Http2 => &tls.http2,
            };
            let stream = connector.connect(tls.name.clone(), stream).await;
            let stream = stream.map_err(|error| error.to_string())?;
            let agreed = stream.get_ref().1.alpn_protocol();
            if version == Version::Http2 && agreed != Some(b"h2") {
                return Err("it does not speak HTTP/2".to_owned());
            }
            Ok(Box::new(stream) as Box<dyn Stream>)
        };
        timeout(PATIENCE, opening)
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {} s", PATIENCE.as_secs())))
    }

    /// Sends bytes, and reads the answer, the first to `HEAD` if `head`, and what comes behind it if `more`.
    pub(super) async fn http1(&self, bytes: &[u8], head: bool, more: bool) -> Came {
        let mut stream = match self.open(Version::Http1).await {
            Ok(stream) => stream,
            Err(why) => return Came::Failed(why),
        };
        // Whoever refuses need not read it all.
        let written = timeout(PATIENCE, async {
            stream.write_all(bytes).await?;
            stream.flush().await
        });
        let _ = written.await;
        let (mut read, mut ended) = (Vec::new(), false);
        let mut buffer = vec![0; 16 << 10];
        while !ended && read.len() < MAX_READ {
            let found = replies(&read, head, false);
            let wait = match (found.is_empty(), more) {
                (true, _) => PATIENCE,
                (false, true) => QUIET,
                (false, false) => break,
            };
            match timeout(wait, stream.read(&mut buffer)).await {
                Ok(Ok(0)) => ended = true,
                Ok(Ok(length)) => read.extend_from_slice(&buffer[..length]),
                Ok(Err(error)) if is_end(&error) => ended = true,
                Ok(Err(error)) => return Came::Failed(error.to_string()),
                Err(_) if found.is_empty() && read.is_empty() => return Came::Silent,
                Err(_) => break,
            }
        }
        let found = replies(&read, head, true);
        if found.is_empty() { Came::Closed } else { Came::Replies(found) }
    }

    /// Sends these fields as a request of HTTP/2, and reads the answer.
    pub(super) async fn http2(&self, fields: &[(Vec<u8>, Vec<u8>)], body: &str) -> Came {
        let mut stream = match self.open(Version::Http2).await {
            Ok(stream) => stream,
            Err(why) => return Came::Failed(why),
        };
        match timeout(PATIENCE, http2::exchange(&mut stream, fields, body)).await {
            Ok(Ok(Some(reply))) => Came::Replies(vec![reply]),
            Ok(Ok(None)) => Came::Closed,
            Ok(Err(error)) if is_end(&error) => Came::Closed,
            Ok(Err(error)) => Came::Failed(error.to_string()),
            Err(_) => Came::Silent,
        }
    }
}
