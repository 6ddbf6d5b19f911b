//! Chains of proxies that are broken as real ones were.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::client::Connection;

/// What stands in front reads of a request.
#[derive(Debug, Default)]
pub struct Head {
    pub method: String,
    pub target: String,
    /// By their lower-case names, in their order.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub text: Vec<u8>,
}

impl Head {
    pub fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        let named = move |(own, _): &&(String, String)| own == name;
        self.headers.iter().filter(named).map(|(_, value)| value.as_str())
    }

    /// Without the lines of these fields.
    pub fn without(&self, names: &[&str]) -> Vec<u8> {
        let lines = self.text.split_inclusive(|byte| *byte == b'\n');
        let kept = lines.filter(|line| {
            let line = String::from_utf8_lossy(line).to_ascii_lowercase();
            !names.iter().any(|name| line.starts_with(&format!("{name}:")))
        });
        kept.flatten().copied().collect()
    }
}

/// What becomes of a request.
pub enum Goes {
    /// On, as these bytes.
    To(SocketAddr, Vec<u8>),
    /// Nowhere: it is answered with a status.
    Nowhere(&'static str),
}

/// A proxy that hands each request on, or refuses it, as told. It reads what others refuse, and no bodies.
pub fn front(decide: impl Fn(&Head) -> Goes + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let decide = Arc::new(decide);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let decide = Arc::clone(&decide);
            thread::spawn(move || serve(stream.unwrap(), &*decide));
        }
    });
    address
}

/// One request of a connection.
fn serve(mut stream: TcpStream, decide: &dyn Fn(&Head) -> Goes) {
    let Some(head) = read(&stream) else {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        return;
    };
    let bytes = match decide(&head) {
        Goes::To(address, bytes) => {
            let mut connection = Connection::open(address);
            connection.write(&bytes);
            let Some(reply) = connection.read_reply(&head.method) else { return };
            let mut text =
                format!("HTTP/1.1 {} x\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
            let own = ["content-length", "transfer-encoding", "connection"];
            for (name, value) in reply.headers {
                if !own.contains(&&*name.to_ascii_lowercase()) {
                    text += &format!("{name}: {value}\r\n");
                }
            }
            [(text + "\r\n").into_bytes(), reply.body].concat()
        }
        Goes::Nowhere(status) => {
            format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno").into_bytes()
        }
    };
    let _ = stream.write_all(&bytes);
    // Whatever else comes is read, so that the answer arrives.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

fn read(stream: &TcpStream) -> Option<Head> {
    let mut reader = BufReader::new(stream);
    let mut head = Head::default();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        head.text.extend_from_slice(&line);
        let line = String::from_utf8_lossy(&line).into_owned();
        let line = line.trim_end();
        if head.method.is_empty() {
            let mut words = line.split(' ');
            let (method, target) = (words.next()?, words.next()?);
            (head.method, head.target) = (method.to_owned(), target.to_owned());
        } else if line.is_empty() {
            return Some(head);
        } else {
            let (name, value) = line.split_once(':')?;
            head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}
