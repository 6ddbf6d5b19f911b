//! A client that sends bytes as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take before a test gives up; no test depends on it being short.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the server ended the connection after it.
    pub closed: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers(name);
        let first = values.next();
        assert!(values.next().is_none(), "more than one {name}: {:?}", self.headers);
        first
    }

    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |own: &str| own.eq_ignore_ascii_case(name);
        self.headers.iter().filter(move |(own, _)| named(own)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn code(&self) -> String {
        if self.body.is_empty() {
            return String::new();
        }
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A connection that can be used for more than one request.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Writes; a server that has hung up already is met by the next read.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.try_write(bytes);
    }

    /// Whether it could be written to.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads more; `false` at the end of the connection, and when nothing comes.
    fn fill(&mut self) -> bool {
        self.fill_or_end().is_some_and(|more| more)
    }

    /// Reads more: `Some(false)` at the end of the connection, `None` when nothing comes.
    fn fill_or_end(&mut self) -> Option<bool> {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(false),
            Ok(n) => {
                self.read.extend_from_slice(&buffer[..n]);
                Some(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(_) => Some(false),
        }
    }

    /// Whether anything of an answer has come. Waits a moment for it.
    pub fn has_come(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let come = !self.read.is_empty() || self.fill_or_end().is_some();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        come
    }

    /// Reads the head of an answer; `None` when the connection ended without one.
    pub fn read_head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at;
            }
            if !self.fill() {
                assert!(
                    self.read.is_empty(),
                    "half an answer: {:?}",
                    String::from_utf8_lossy(&self.read)
                );
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        });
        Some((status, headers.collect()))
    }

    /// Reads one whole answer to a request with `method`.
    pub fn read_reply(&mut self, method: &str) -> Option<Reply> {
        let (status, headers) = self.read_head()?;
        let value = |name: &str| {
            headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
        };
        let mut body = Vec::new();
        if method != "HEAD" && status != 204 && status != 304 && status >= 200 {
            if let Some(length) = value("content-length") {
                let length: usize = length.parse().unwrap();
                while self.read.len() < length && self.fill() {}
                assert!(self.read.len() >= length, "a body was cut off");
                body = self.read.drain(..length).collect();
            } else if value("transfer-encoding").is_some() {
                body = self.read_chunks();
            } else {
                while self.fill() {}
                body = std::mem::take(&mut self.read);
            }
        }
        let closed = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Some(Reply { status, headers, body, closed })
    }

    fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match find(&self.read, b"\r\n") {
                    Some(at) => break at,
                    None => assert!(self.fill(), "a chunk was cut off"),
                }
            };
            let size =
                usize::from_str_radix(std::str::from_utf8(&self.read[..end]).unwrap(), 16).unwrap();
            while self.read.len() < end + size + 4 {
                assert!(self.fill(), "a chunk was cut off");
            }
            body.extend_from_slice(&self.read[end + 2..end + 2 + size]);
            self.read.drain(..end + size + 4);
            if size == 0 {
                return body;
            }
        }
    }

    /// Takes so many bytes, which must come.
    pub fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.fill(), "{} of {length} bytes came", self.read.len());
        }
        self.read.drain(..length).collect()
    }

    /// Takes everything up to the end of the connection, which must come.
    pub fn read_rest(&mut self) -> Vec<u8> {
        while self.fill_or_end().expect("the end of the connection") {}
        std::mem::take(&mut self.read)
    }

    /// Whether the server ends the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.read.is_empty() && self.fill_or_end() == Some(false)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Sends bytes on a connection of their own and reads one answer.
pub fn send(address: SocketAddr, request: &[u8]) -> Option<Reply> {
    let mut connection = Connection::open(address);
    connection.write(request);
    let method = request.split(|byte| *byte == b' ').next().unwrap();
    connection.read_reply(&String::from_utf8_lossy(method))
}

/// A well-formed request: `METHOD TARGET`, more header lines, and a body; to the public name, unless it
/// says to whom.
pub fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\n");
    if !matches!(headers, [("Host", _), ..]) {
        text.push_str(&format!("Host: {}\r\n", crate::gate::HOST));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
