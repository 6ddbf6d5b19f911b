//! Where keys are asked for: of whom the certificates prove that it is the issuer, and where it may say
//! that they are.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::issuer::{AUDIENCE, DOCUMENT, Issuer, with};
use super::key::Key;
use super::{LINE, ask, told};
use crate::gate::{Gate, OWN_STORE, Options, eventually};
use crate::tls::authority::{Authority, Made};
use crate::upstream::{Upstream, ok};

const HERE: &str = "IP:127.0.0.1, DNS:localhost";

/// What a server answers with at a path; 404 where it is nothing.
type Answers = dyn Fn(SocketAddr, &str) -> Option<Value> + Send + Sync;

/// A server that speaks TLS, and the paths that it was asked for.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(
        made: &Made,
        answers: impl Fn(SocketAddr, &str) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let config = made.served();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (records, answers): (_, Arc<Answers>) = (Arc::clone(&asked), Arc::new(answers));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, records) = (Arc::clone(&config), Arc::clone(&records));
                let answers = Arc::clone(&answers);
                thread::spawn(move || serve(stream.unwrap(), config, &records, address, &*answers));
            }
        });
        Self { address, asked }
    }

    /// An issuer at this address, with these keys.
    fn issuer(made: &Made, key: &Key) -> Self {
        let keys = json!({ "keys": [key.jwk()] });
        Self::start(made, move |own, path| match path {
            DOCUMENT => {
                let issuer = format!("https://{own}");
                Some(json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") }))
            }
            "/keys" => Some(keys.clone()),
            _ => None,
        })
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request, if it comes so far.
fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    asked: &Mutex<Vec<String>>,
    own: SocketAddr,
    answers: &Answers,
) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let (status, body) = match answers(own, &path) {
        Some(body) => ("200 OK", body.to_string()),
        None => ("404 Not Found", String::new()),
    };
    asked.lock().unwrap().push(path);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    let _ = stream.write_all((head + &body).as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// An `[[issuer]]` with these lines.
fn table(name: &str, url: &str, lines: &str) -> String {
    format!(
        "[[issuer]]\nname = \"{name}\"\nissuer = \"{url}\"\naudiences = [\"{AUDIENCE}\"]\n\
         algorithms = [\"ES256\"]\ncooldown = \"1s\"\n{lines}\n\
         [[issuer.trust]]\nclaims = {{ repository = \"acme/web\" }}\nscopes = [\"event:read\"]\n",
    )
}

/// A gateway whose system believes one authority, and another one of which there is a file.
fn gate(tables: &str, system: &Authority, file: &Authority) -> Gate {
    let nowhere = "/nowhere-that-certificates-are".to_owned();
    let environment = vec![
        ("SSL_CERT_FILE".to_owned(), system.root_path()),
        ("SSL_CERT_DIR".to_owned(), nowhere),
    ];
    let files = vec![("root.pem".to_owned(), file.root())];
    let tables = format!("{OWN_STORE}{tables}");
    let stores = Some(String::new());
    let options = Options { stores, tables, files, environment, ..Options::default() };
    Gate::with(Upstream::start(), &options)
}

fn token(key: &Key, issuer: &Issuer, url: &str) -> String {
    key.sign(&with(issuer.claims(), "iss", json!(url)))
}

/// Nobody can tell, though the keys were asked for more than once, and nothing is forwarded.
fn is_outage(gate: &Gate, store: &str, token: &str, what: &str) {
    let label = format!("store=\"{store}\"");
    let read = |result: &str| gate.metric("portcullis_jwks_refreshes_total", &[&label, result]);
    eventually("that keys are asked for again", || read("\"error\"") >= 2.0);
    let reply = gate.bearer(LINE, token);
    assert_eq!(told(&reply), (503, "store_unavailable".to_owned()), "{what}");
    assert_eq!(reply.header("retry-after"), Some("1"), "{what}");
    assert_eq!(read("\"ok\""), 0.0, "{what}");
    assert_eq!(gate.upstream.take().len(), 0, "{what}");
}

#[test]
fn keys_are_believed_of_whom_ca_file_vouches_for() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let key = Key::made("one");
    let claims = Issuer::of(&[]);
    // How the keys are found, beside `ca_file`.
    for by in ["", "jwks_url = \"URL/keys\"\n"] {
        let rows = [
            ("the right one", &ours, HERE, "ca_file = \"root.pem\"", (&other, &ours), ""),
            (
                "the wrong one",
                &ours,
                HERE,
                "ca_file = \"root.pem\"",
                (&other, &other),
                "UnknownIssuer",
            ),
            // In place of those of the system, not beside them.
            (
                "the wrong one",
                &ours,
                HERE,
                "ca_file = \"root.pem\"",
                (&ours, &other),
                "UnknownIssuer",
            ),
            ("the system's", &ours, HERE, "", (&ours, &other), ""),
            ("not the system's", &ours, HERE, "", (&other, &ours), "UnknownIssuer"),
            (
                "of another name",
                &ours,
                "DNS:elsewhere.example",
                "ca_file = \"root.pem\"",
                (&other, &ours),
                "not valid for name",
            ),
        ];
        for (what, authority, names, lines, (system, file), cause) in rows {
            let server = Server::issuer(&authority.certificate(names), &key);
            let lines = format!("{}{lines}", by.replace("URL", &server.url()));
            let gate = gate(&table("ci", &server.url(), &lines), system, file);
            let token = token(&key, &claims, &server.url());
            let what = format!("{what}: {lines}");
            if cause.is_empty() {
                assert_eq!(told(&ask(&gate, &token)), (200, String::new()), "{what}");
                assert_eq!(gate.upstream.take().len(), 1, "{what}");
                continue;
            }
            is_outage(&gate, "ci", &token, &what);
            assert_eq!(server.asked(), [""; 0], "{what}");
            assert!(gate.output().contains(cause), "{what}: {}", gate.output());
        }
    }
}

/// RFC 8414, section 3.3, and OpenID Connect Discovery 1.0, section 4.3.
#[test]
fn a_document_is_of_its_own_issuer_and_leads_to_nowhere_less_safe() {
    let (ours, key) = (Authority::new("ours"), Key::made("one"));
    let claims = Issuer::of(&[]);
    let keys = json!({ "keys": [key.jwk()] });
    // Keys that are good, at places to which a document may lead and may not.
    let (own, plain) = (keys.clone(), keys.to_string());
    let plain = Upstream::answering(move |_, stream| ok(stream, &[], plain.as_bytes()));
    let elsewhere =
        Server::start(&ours.certificate("DNS:localhost"), move |_, _| Some(own.clone()));
    const OTHER: &str = "is of another issuer";
    const NONE: &str = "has no discovery document";
    const PLACE: &str = "names a `jwks_uri` that is no URL of the same scheme";
    let (port, http) = (elsewhere.address.port(), plain.address);
    // The document, with its own URL in place of OWN, and what becomes of it.
    let rows: Vec<(Value, &str)> = vec![
        (json!({"issuer": "OWN", "jwks_uri": "OWN/keys"}), ""),
        // On another host, as at Google.
        (json!({"issuer": "OWN", "jwks_uri": format!("https://localhost:{port}/keys")}), ""),
        (json!({"issuer": "OWN/", "jwks_uri": "OWN/keys"}), OTHER),
        (json!({"issuer": "https://other.example", "jwks_uri": "OWN/keys"}), OTHER),
        (json!({"issuer": "", "jwks_uri": "OWN/keys"}), OTHER),
        (json!({"issuer": ["OWN"], "jwks_uri": "OWN/keys"}), NONE),
        (json!({"jwks_uri": "OWN/keys"}), NONE),
        (json!({"issuer": "OWN"}), NONE),
        (json!(["OWN", "OWN/keys"]), NONE),
        (json!({"issuer": "OWN", "jwks_uri": format!("http://{http}/keys")}), PLACE),
        (json!({"issuer": "OWN", "jwks_uri": "http://gw.example/keys"}), PLACE),
        (
            json!({"issuer": "OWN", "jwks_uri": format!("https://user:pa55word@localhost:{port}/keys")}),
            PLACE,
        ),
        (
            json!({"issuer": "OWN", "jwks_uri": format!("https://127.0.0.1@localhost:{port}/keys")}),
            PLACE,
        ),
        (json!({"issuer": "OWN", "jwks_uri": "file:///etc/passwd"}), PLACE),
        (json!({"issuer": "OWN", "jwks_uri": "/keys"}), PLACE),
        (json!({"issuer": "OWN", "jwks_uri": ""}), PLACE),
        // Nothing is there.
        (json!(null), "answers 404"),
    ];
    // Each row is an issuer of its own below one address.
    let documents: Vec<_> = rows.iter().map(|(document, _)| document.clone()).collect();
    let server = Server::start(&ours.certificate(HERE), move |own, path| {
        let (number, path) = path.strip_prefix("/row-")?.split_once('/')?;
        let url = format!("https://{own}/row-{number}");
        let document = documents[number.parse::<usize>().unwrap()].to_string();
        match path {
            "keys" => Some(keys.clone()),
            ".well-known/openid-configuration" if document == "null" => None,
            ".well-known/openid-configuration" => {
                Some(serde_json::from_str(&document.replace("OWN", &url)).unwrap())
            }
            _ => panic!("{path}"),
        }
    });
    let url = |row: usize| format!("{}/row-{row}", server.url());
    let name = |row: usize| format!("row-{row}");
    let tables = (0..rows.len()).map(|row| table(&name(row), &url(row), "ca_file = \"root.pem\""));
    let gate = gate(&tables.collect::<String>(), &ours, &ours);
    for (row, (document, cause)) in rows.iter().enumerate() {
        let (token, what) = (token(&key, &claims, &url(row)), format!("{row}: {document}"));
        if cause.is_empty() {
            assert_eq!(told(&ask(&gate, &token)), (200, String::new()), "{what}");
            assert_eq!(gate.upstream.take().len(), 1, "{what}");
            continue;
        }
        is_outage(&gate, &name(row), &token, &what);
        let keys = format!("/row-{row}/keys");
        assert!(!server.asked().contains(&keys), "{what}");
        let log = gate.output();
        let own = format!("/row-{row}/.well-known/");
        let mut lines = log.lines();
        assert!(lines.any(|line| line.contains(&own) && line.contains(cause)), "{what}: {log}");
    }
    // By the one row that may, and by no other.
    assert_eq!(elsewhere.asked(), ["/keys"]);
    assert_eq!(plain.take().len(), 0);
    assert!(!gate.output().contains("pa55word"), "{}", gate.output());
}

/// The same of an issuer on this machine that is asked without TLS.
#[test]
fn an_issuer_on_this_machine_leads_to_no_other() {
    let key = Key::made("one");
    let claims = Issuer::of(&[]);
    let keys = json!({ "keys": [key.jwk()] }).to_string();
    let other = keys.clone();
    let other = Upstream::answering(move |_, stream| ok(stream, &[], other.as_bytes()));
    let rows = [
        (format!("http://{}/keys", other.address), true),
        ("http://gw.example/keys".to_owned(), false),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), false),
        (format!("http://user@{}/keys", other.address), false),
        (format!("https://{}/keys", other.address), false),
    ];
    let places: Vec<_> = rows.iter().map(|(place, _)| place.clone()).collect();
    let server = Upstream::answering(move |seen, stream| {
        let number = seen.target.strip_prefix("/row-").unwrap().split('/').next().unwrap();
        let place = &places[number.parse::<usize>().unwrap()];
        let issuer = format!("http://{}/row-{number}", seen.value("host").unwrap());
        let document = json!({ "issuer": issuer, "jwks_uri": place });
        ok(stream, &[], document.to_string().as_bytes());
    });
    let url = |row: usize| format!("http://{}/row-{row}", server.address);
    let name = |row: usize| format!("row-{row}");
    let tables = (0..rows.len()).map(|row| table(&name(row), &url(row), ""));
    let gate = super::gate(&tables.collect::<String>());
    for (row, (place, led)) in rows.iter().enumerate() {
        let token = token(&key, &claims, &url(row));
        if *led {
            assert_eq!(told(&ask(&gate, &token)), (200, String::new()), "{place}");
            gate.upstream.take();
        } else {
            is_outage(&gate, &name(row), &token, place);
        }
    }
    assert_eq!(other.take().len(), 1);
}
