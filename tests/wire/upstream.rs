//! The worst reader that the gateway could stand in front of: it decodes `%2F`, collapses dots and
//! slashes, reads `-`, `_` and `.` in header names as one, and remembers all that it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub head: String,
}

impl Seen {
    /// Every value of the headers that this reader takes for `name`.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fold = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
        let wanted = fold(name);
        self.headers
            .iter()
            .filter(|(own, _)| fold(own) == wanted)
            .map(|(_, v)| v.as_str())
            .collect()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "{name}: {values:?}");
        values.first().copied()
    }

    /// The path as this reader understands it.
    pub fn path(&self) -> String {
        let path = self.target.split(['?', '#']).next().unwrap();
        let mut decoded = percent_decode(path).replace(['\0'], "").replace('\\', "/");
        if decoded.contains('%') {
            decoded = percent_decode(&decoded);
        }
        let mut segments: Vec<&str> = Vec::new();
        for segment in decoded.split('/') {
            match segment.split(';').next().unwrap() {
                "" | "." => {}
                ".." => drop(segments.pop()),
                name => segments.push(name),
            }
        }
        format!("/{}/", segments.join("/"))
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(decoded) if *byte == b'%' => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

type Answer = dyn Fn(&Seen, &mut TcpStream) + Send + Sync;

/// A listener, and what it has received. Its threads end with the test process.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    /// Answers every request with 200 and a little JSON.
    pub fn start() -> Self {
        Self::answering(|_, stream| ok(stream, &[], b"{\"ok\":true}"))
    }

    /// Answers as told.
    pub fn answering(answer: impl Fn(&Seen, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// The same on a listener that there is.
    pub fn on(
        listener: TcpListener,
        answer: impl Fn(&Seen, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (records, answer): (_, Arc<Answer>) = (Arc::clone(&seen), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (records, answer) = (Arc::clone(&records), Arc::clone(&answer));
                thread::spawn(move || serve(stream.unwrap(), &records, &*answer));
            }
        });
        Self { address, seen }
    }

    /// Hands over each connection as it comes, for a test that looks at bytes on their way. What
    /// is received like this is not remembered.
    pub fn by_hand(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handle = Arc::new(handle);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, handle) = (stream.unwrap(), Arc::clone(&handle));
                thread::spawn(move || handle(stream));
            }
        });
        Self { address, seen: Arc::default() }
    }

    /// What it has received since it was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The one request that it has received.
    pub fn take_one(&self) -> Seen {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0)
    }
}

fn serve(stream: TcpStream, records: &Mutex<Vec<Seen>>, answer: &Answer) {
    each(stream, |seen, stream| {
        records.lock().unwrap().push(seen.clone());
        answer(seen, stream);
    });
}

/// Answers every request of a connection.
pub fn each(stream: TcpStream, mut answer: impl FnMut(&Seen, &mut TcpStream)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(seen) = read(&mut reader) {
        answer(&seen, &mut stream);
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut seen = Seen::default();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        seen.head.push_str(&line);
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if seen.method.is_empty() {
            let (method, rest) = line.split_once(' ')?;
            let (target, _) = rest.rsplit_once(' ')?;
            (seen.method, seen.target) = (method.to_owned(), target.to_owned());
        } else {
            let (name, value) = line.split_once(':')?;
            seen.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    if let Some(length) = seen.value("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        let whole = reader.read_exact(&mut body);
        seen.body = body;
        whole.ok()?;
    } else if seen.value("transfer-encoding").is_some() {
        // As Sentry's uWSGI: a chunked body is not there.
        seen.body = b"chunked".to_vec();
    }
    Some(seen)
}

/// Writes a 200 with these header lines and this body.
pub fn ok(stream: &mut TcpStream, headers: &[(&str, &str)], body: &[u8]) {
    reply(stream, "200 OK", headers, body);
}

pub fn reply(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    // A gateway that has hung up gets nothing.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}
