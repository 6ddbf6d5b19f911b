//! A server of HTTP/1.1 with a thread for each connection, that remembers all that it was sent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::read::GzDecoder;

/// Where Sentry's web service and Relay say whether they are well.
const HEALTH: [&str; 2] = ["/_health/", "/api/relay/healthcheck/ready/"];

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Without the framing of chunks.
    pub body: Vec<u8>,
    pub chunked: bool,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// A parameter of the query, as it is written there; `None` without it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query().split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(own, _)| *own == name).map(|(_, value)| value).next()
    }

    /// `METHOD /path`, which says what a client wanted.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path())
    }

    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |own: &str| own.eq_ignore_ascii_case(name);
        let mut values = self.headers.iter().filter(|(own, _)| named(own));
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "more than one {name}: {:?}", self.headers);
        first
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The body as its sender meant it.
    pub fn decoded(&self) -> Vec<u8> {
        match self.header("content-encoding") {
            None => self.body.clone(),
            Some("gzip") => gunzip(&self.body),
            Some(other) => panic!("an encoding that the stand-in does not know: {other}"),
        }
    }

    /// Whether this text is anywhere in it.
    pub fn mentions(&self, text: &str) -> bool {
        self.target.contains(text)
            || self.headers.iter().any(|(_, value)| value.contains(text))
            || self.body.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).expect("a whole gzip stream");
    plain
}

/// What a server says.
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<&'static str, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, headers: BTreeMap::new(), body: body.to_string().into_bytes() }
    }

    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.insert(name, value);
        self
    }

    fn write(&self, stream: &mut TcpStream) {
        let mut head = format!(
            "HTTP/1.1 {} Stand-in\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            self.status,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        // Who has hung up gets nothing.
        let _ = stream.write_all(&[head.as_bytes(), &self.body].concat());
    }
}

type Handle = dyn Fn(&Seen) -> Answer + Send + Sync;

/// A listener, and what it has received. Its threads end with the test process.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub fn start(handle: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (records, handle): (_, Arc<Handle>) = (Arc::clone(&seen), Arc::new(handle));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (records, handle) = (Arc::clone(&records), Arc::clone(&handle));
                thread::spawn(move || serve(stream.unwrap(), &records, &*handle));
            }
        });
        Self { address, seen }
    }

    /// The first request that it has received, which is not handed out again.
    pub fn first(&self) -> Seen {
        self.seen.lock().unwrap().remove(0)
    }

    /// What it has received since it was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn serve(stream: TcpStream, records: &Mutex<Vec<Seen>>, handle: &Handle) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(seen) = read(&mut reader, &mut stream) {
        // What the gateway asks on its own account, without a credential.
        if seen.method == "GET" && HEALTH.contains(&seen.target.as_str()) {
            Answer::json(200, &serde_json::Value::Null).write(&mut stream);
            continue;
        }
        // Remembered before it is answered, so that it is there when its client has ended.
        records.lock().unwrap().push(seen.clone());
        handle(&seen).write(&mut stream);
    }
}

/// Reads one request; `None` when the connection ends before a whole one has come.
fn read(reader: &mut BufReader<TcpStream>, stream: &mut TcpStream) -> Option<Seen> {
    let mut seen = Seen::default();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        if seen.method.is_empty() {
            let mut words = line.split(' ');
            (seen.method, seen.target) = (words.next()?.to_owned(), words.next()?.to_owned());
        } else {
            let (name, value) = line.split_once(':')?;
            seen.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    if seen.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    if let Some(length) = seen.header("content-length") {
        seen.body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut seen.body).ok()?;
    } else if seen.header("transfer-encoding").is_some() {
        seen.chunked = true;
        loop {
            let size = usize::from_str_radix(&read_line(reader)?, 16).unwrap();
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk).ok()?;
            seen.body.extend_from_slice(&chunk);
            assert_eq!(read_line(reader)?, "", "the end of a chunk");
            if size == 0 {
                break;
            }
        }
    }
    Some(seen)
}

fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
}
