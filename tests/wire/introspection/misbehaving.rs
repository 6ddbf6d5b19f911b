//! An endpoint that is away, slow, broken or lies: nobody is let in by it, nobody is told that a
//! credential is not known, and everyone else is served meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{ACTIVE, INDEX, LINE, ask_bearer, is_outage, oauth_store, sentry_store, told};
use crate::gate::{Gate, OWN_STORE, Options, UPSTREAM_TOKEN, eventually};
use crate::upstream::Upstream;

/// What becomes of a connection.
#[derive(Clone)]
enum Answer {
    /// These bytes, once the request is there, and the end.
    Bytes(Vec<u8>),
    /// These bytes, and then these again and again, with a pause between them.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// Nothing, for as long as the gateway likes.
    Silence,
    /// The end before a request.
    Close,
}

/// An endpoint that answers as it is told at the moment. Its threads end with the test process.
struct Endpoint {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    open: Arc<AtomicUsize>,
}

impl Endpoint {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, answer)
    }

    fn on(listener: TcpListener, answer: Answer) -> Self {
        let address = listener.local_addr().unwrap();
        let (answer, open) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let (own_answer, own_open) = (Arc::clone(&answer), Arc::clone(&open));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, open) = (own_answer.lock().unwrap().clone(), Arc::clone(&own_open));
                open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // A gateway that has hung up gets nothing.
                    let _ = serve(stream.unwrap(), &answer);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, answer, open }
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }
}

fn serve(mut stream: TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut request = Vec::new();
    // Both questions end in something that nothing else in them does.
    let asked = |request: &[u8]| match request.starts_with(b"POST") {
        true => request.ends_with(b"token_type_hint=access_token"),
        false => request.ends_with(b"\r\n\r\n"),
    };
    if !matches!(answer, Answer::Close) {
        let mut buffer = [0; 4096];
        while !asked(&request) {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                read => request.extend_from_slice(&buffer[..read]),
            }
        }
    }
    match answer {
        Answer::Close => Ok(()),
        Answer::Silence => stream.read(&mut [0; 1]).map(|_| ()),
        Answer::Bytes(bytes) => stream.write_all(bytes),
        Answer::Endless(first, again, pause) => {
            stream.write_all(first)?;
            loop {
                stream.write_all(again)?;
                thread::sleep(*pause);
            }
        }
    }
}

fn head(status: &str, fields: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{fields}\r\n")
}

fn json(status: &str, fields: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let fields = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n{fields}");
    Answer::Bytes([head(status, &fields).as_bytes(), body].concat())
}

fn typed(content_type: &str, body: &str) -> Answer {
    let fields = format!("{content_type}Content-Length: {}\r\n", body.len());
    Answer::Bytes((head("200 OK", &fields) + body).into_bytes())
}

fn chunked(body: &str) -> Answer {
    let fields = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let (first, rest) = body.split_at(5);
    let chunks = format!("5\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len());
    Answer::Bytes((head("200 OK", fields) + &chunks).into_bytes())
}

/// As `gzip -0` would have it.
fn gzipped(body: &str) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(body.as_bytes());
    bytes.extend(crc32fast::hash(body.as_bytes()).to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes
}

/// What an endpoint does instead of answering `good`. Every status comes with the good answer, so that
/// whoever reads no more than the body would let the caller in.
fn outages(good: &str, trap: SocketAddr) -> Vec<(String, Answer)> {
    let body = good.as_bytes();
    let mut rows = Vec::new();
    let mut row = |what: &str, answer: Answer| rows.push((what.to_owned(), answer));
    let elsewhere = format!("Location: http://{trap}/api/0/\r\nRefresh: 0;url=http://{trap}/\r\n");
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        row(status, json(status, &elsewhere, body));
    }
    for status in [
        "101 Switching Protocols",
        "201 Created",
        "206 Partial Content",
        "400 Bad Request",
        "403 Forbidden",
        "404 Not Found",
        "407 Proxy Authentication Required",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ] {
        row(status, json(status, "Retry-After: 100\r\n", body));
    }
    row("204 and nothing", Answer::Bytes(head("204 No Content", "").into_bytes()));
    row("HTML", typed("Content-Type: text/html\r\n", "<html>Log in</html>"));
    row("JSON that says HTML", typed("Content-Type: text/html\r\n", good));
    row(
        "JSON that is signed",
        typed("Content-Type: application/token-introspection+jwt\r\n", good),
    );
    row("JSON that says nothing", typed("", good));
    row("nothing", json("200 OK", "", b""));
    row("no object", json("200 OK", "", format!("[{good}]").as_bytes()));
    row("two", json("200 OK", "", format!("{good}{good}").as_bytes()));
    row("a byte order mark", json("200 OK", "", format!("\u{feff}{good}").as_bytes()));
    row(
        "another encoding",
        json("200 OK", "", &good.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()),
    );
    row("half of it", json("200 OK", "", &body[..body.len() - 1]));
    let cut = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len() + 1);
    row("less than it says", Answer::Bytes((head("200 OK", &cut) + good).into_bytes()));
    let cut = head("200 OK", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n");
    let chunk = format!("{cut}{:x}\r\n{good}\r\n", body.len());
    row("chunks without an end", Answer::Bytes(chunk.into_bytes()));
    let large = good.replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(300 << 10)), 1);
    row("300 KiB", json("200 OK", "", large.as_bytes()));
    row("300 KiB in chunks", chunked(&large));
    row("10,000 arrays", json("200 OK", "", "[".repeat(10_000).as_bytes()));
    row("10,000 objects", json("200 OK", "", "{\"auth\":".repeat(10_000).as_bytes()));
    row("gzip", json("200 OK", "Content-Encoding: gzip\r\n", &gzipped(good)));
    row("gzip of which nobody is told", json("200 OK", "", &gzipped(good)));
    row("no HTTP", Answer::Bytes(format!("{good}\r\n\r\n").into_bytes()));
    row("two lengths", json("200 OK", "Content-Length: 5\r\n", body));
    row("the end", Answer::Bytes(Vec::new()));
    row("the end before a request", Answer::Close);
    row("silence", Answer::Silence);
    let long = head("200 OK", "Content-Type: application/json\r\nContent-Length: 1000\r\n");
    let second = Duration::from_secs(1);
    row("a byte a second", Answer::Endless(long.into_bytes(), b" ".to_vec(), second));
    let field = b"X-More: 1\r\n".repeat(100);
    row("endless headers", Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), field, Duration::ZERO));
    let wait = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    row("endless patience", Answer::Endless(wait.clone(), wait, Duration::from_millis(1)));
    let endless = head("200 OK", "Content-Type: application/json\r\n");
    row("an endless body", Answer::Endless(endless.into_bytes(), vec![b' '; 4096], Duration::ZERO));
    rows
}

/// What is an answer, however it comes.
fn fine(good: &str) -> Vec<(String, Answer)> {
    let deep = format!("{{\"x\":{}{},", "[".repeat(10_000), "]".repeat(10_000));
    let rows = [
        ("as it should be", json("200 OK", "", good.as_bytes())),
        ("chunks", chunked(good)),
        ("a charset", typed("content-type: Application/JSON ; charset=utf-8\r\n", good)),
        (
            "no length",
            Answer::Bytes(
                format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{good}")
                    .into_bytes(),
            ),
        ),
        (
            "a redirection that is none",
            json("200 OK", "Location: http://127.0.0.1:9/\r\n", good.as_bytes()),
        ),
        ("depth where nobody looks", json("200 OK", "", good.replacen('{', &deep, 1).as_bytes())),
    ];
    rows.map(|(what, answer)| (what.to_owned(), answer)).into()
}

fn json_rows(rows: &[(&str, &str)]) -> Vec<(String, Answer)> {
    rows.iter()
        .map(|(what, body)| ((*what).to_owned(), json("200 OK", "", body.as_bytes())))
        .collect()
}

/// A gateway with a store of its own and one that asks; who is known to them is served all the time.
struct Bystanders {
    gate: Gate,
    own: String,
}

impl Bystanders {
    fn new(store: String) -> Self {
        let tables = "[cache]\nttl = \"1h\"\nunknown_ttl = \"50ms\"\n".to_owned();
        let stores = Some(format!("{OWN_STORE}{store}"));
        let gate = Gate::with(Upstream::start(), &Options { stores, tables, ..Options::default() });
        let own = gate.token("event:read");
        let this = Self { gate, own };
        assert_eq!(ask_bearer(&this.gate, "sntryu_known").status, 200);
        this.are_served("at the start");
        this
    }

    fn are_served(&self, what: &str) {
        self.gate.upstream.take();
        for (token, sent) in [("sntryu_known", "sntryu_known"), (&self.own, UPSTREAM_TOKEN)] {
            assert_eq!(ask_bearer(&self.gate, token).status, 200, "{what}");
            let sent = format!("Bearer {sent}");
            let seen = self.gate.upstream.take();
            assert!(seen.iter().any(|seen| seen.value("authorization") == Some(&sent)), "{what}");
        }
    }

    /// The first use of a token while the endpoint answers so, and what the upstream got of it.
    fn first_use(
        &self,
        endpoint: &Endpoint,
        what: &str,
        token: &str,
        answer: Answer,
    ) -> (u16, String) {
        endpoint.answer(answer);
        thread::scope(|scope| {
            let first = scope.spawn(|| self.gate.bearer(LINE, token));
            self.are_served(what);
            let reply = first.join().unwrap();
            if reply.status == 503 {
                is_outage(&reply, what);
            }
            told(&reply)
        })
    }

    fn recover(&self, endpoint: &Endpoint, what: &str, token: &str, good: &str) {
        let seen = self.gate.upstream.take();
        let own = format!("Bearer {token}");
        assert!(seen.iter().all(|seen| seen.value("authorization") != Some(&own)), "{what}");
        endpoint.answer(json("200 OK", "", good.as_bytes()));
        eventually(what, || self.gate.bearer(LINE, token).status == 200);
        let seen = self.gate.upstream.take_one();
        assert_eq!(seen.value("authorization"), Some(&*own), "{what}");
    }
}

fn misbehave(
    store: fn(SocketAddr, &str) -> String,
    good: &str,
    more: Vec<(String, Answer)>,
    says_no: Vec<(String, Answer)>,
) {
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::start(json("200 OK", "", good.as_bytes()));
    let rates = "unknown_per_second = 10000\nunknown_per_client = 10000";
    let bystanders = Bystanders::new(store(endpoint.address, rates));
    let outages: Vec<_> =
        outages(good, trap.local_addr().unwrap()).into_iter().chain(more).collect();
    for (number, (what, answer)) in outages.into_iter().enumerate() {
        let token = format!("sntryu_outage-{number}");
        let seen = bystanders.first_use(&endpoint, &what, &token, answer);
        assert_eq!(seen, (503, "store_unavailable".to_owned()), "{what}");
        bystanders.recover(&endpoint, &what, &token, good);
    }
    for (number, (what, answer)) in says_no.into_iter().enumerate() {
        let token = format!("sntryu_no-{number}");
        bystanders.first_use(&endpoint, &what, &token, answer);
        // Unless it came too late.
        let reply = ask_bearer(&bystanders.gate, &token);
        assert_eq!(told(&reply), (401, "unknown_token".to_owned()), "{what}");
        bystanders.recover(&endpoint, &what, &token, good);
    }
    for (number, (what, answer)) in fine(good).into_iter().enumerate() {
        let token = format!("sntryu_fine-{number}");
        bystanders.first_use(&endpoint, &what, &token, answer);
        assert_eq!(ask_bearer(&bystanders.gate, &token).status, 200, "{what}");
    }
    trap.set_nonblocking(true).unwrap();
    assert_eq!(trap.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it was redirected");
    // Whoever gave up asking holds no connection.
    eventually("the end of every question", || endpoint.open.load(Ordering::SeqCst) == 0);
    let log = bystanders.gate.output();
    assert!(log.contains("does not answer") && log.contains("answers again"), "{log}");
    assert!(!log.contains("sntryu_"), "{log}");
}

#[test]
fn a_sentry_that_misbehaves_lets_nobody_in_and_takes_nobody_out() {
    let more = json_rows(&[
        ("auth is true", r#"{"version":"0","auth":true,"user":null}"#),
        ("no auth", r#"{"version":"0","user":{"id":"7"}}"#),
        ("an error", r#"{"detail":"Internal Error"}"#),
        ("scopes in one text", r#"{"auth":{"scopes":"event:read"},"user":null}"#),
        ("two auths", r#"{"auth":{"scopes":["event:read"]},"auth":null,"user":null}"#),
        (
            "two auths the other way",
            r#"{"auth":null,"auth":{"scopes":["event:read"]},"user":null}"#,
        ),
        ("a user without an id", r#"{"auth":{"scopes":["event:read"]},"user":{"id":null}}"#),
    ]);
    let deep = format!("{{\"auth\":{{\"scopes\":[]}},\"user\":{{\"id\":{}", "[".repeat(10_000));
    let more = [more, vec![("a deep id".to_owned(), json("200 OK", "", deep.as_bytes()))]].concat();
    let nobody = json_rows(&[("nobody", r#"{"version":"0","auth":null,"user":null}"#)]);
    let no = vec![
        ("401".to_owned(), json("401 Unauthorized", "", b"{\"detail\":\"Invalid token\"}")),
        ("401 with the good answer".to_owned(), json("401 Unauthorized", "", INDEX.as_bytes())),
    ];
    misbehave(sentry_store, INDEX, more, [nobody, no].concat());
}

#[test]
fn an_oauth_server_that_misbehaves_lets_nobody_in_and_takes_nobody_out() {
    let more = json_rows(&[
        ("active is a text", r#"{"active":"true","scope":"event:read"}"#),
        ("active is a number", r#"{"active":1,"scope":"event:read"}"#),
        ("active is nothing", r#"{"active":null,"scope":"event:read"}"#),
        ("active is missing", r#"{"scope":"event:read","sub":"ci"}"#),
        ("active twice", r#"{"active":false,"active":true,"scope":"event:read"}"#),
        ("an error", r#"{"error":"invalid_request"}"#),
        ("an expiry that is none", r#"{"active":true,"scope":"event:read","exp":"never"}"#),
        ("scopes in a list", r#"{"active":true,"scope":["event:read"]}"#),
    ]);
    // What is refused is the gateway itself, and not its caller.
    let own = json("401 Unauthorized", "WWW-Authenticate: Bearer\r\n", ACTIVE.as_bytes());
    let deep = format!("{{\"active\":true,\"scope\":\"event:read\",\"exp\":{}", "[".repeat(10_000));
    let own = vec![
        ("401".to_owned(), own),
        ("a deep expiry".to_owned(), json("200 OK", "", deep.as_bytes())),
    ];
    let no = json_rows(&[
        ("inactive", r#"{"active":false}"#),
        ("inactive, with all that was", r#"{"active":false,"scope":"event:read","sub":"ci"}"#),
    ]);
    misbehave(oauth_store, ACTIVE, [more, own].concat(), no);
}

#[test]
fn an_endpoint_that_is_not_there_is_an_outage_until_it_is() {
    // An address of its own, so that no other test gets the port meanwhile.
    let listener = TcpListener::bind("127.86.53.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let nowhere = "[[store]]\nkind = \"introspection\"\nname = \"nowhere\"\nurl = \"http://nowhere.invalid/api/0/\"\n";
    let only_keys = "credentials = [\"api_key\"]\n";
    let stores = format!("{OWN_STORE}{}{nowhere}{only_keys}", sentry_store(address, ""));
    let options = Options { stores: Some(stores), ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let own = gate.token("event:read");
    let basic = [("Authorization", "Basic Z29vZDo=")];
    for _ in 0..3 {
        is_outage(&gate.bearer(LINE, "sntryu_good"), "a port that refuses");
        is_outage(&gate.send(LINE, &basic), "a name that nobody has");
        assert_eq!(gate.bearer(LINE, &own).status, 200);
    }
    assert_eq!(gate.upstream.take().len(), 3);
    let endpoint =
        Endpoint::on(TcpListener::bind(address).unwrap(), json("200 OK", "", INDEX.as_bytes()));
    assert_eq!(ask_bearer(&gate, "sntryu_good").status, 200);
    assert_eq!(endpoint.address, address);
}
