//! The certificate that a client is shown, and the versions that are spoken.

use std::process::Command;

use super::authority::Authority;
use super::client::{Http2, Sent, Speaks, der, exchange, run, shown};
use super::files;
use crate::client::request;
use crate::gate::{Gate, HOST, Options, eventually};
use crate::upstream::Upstream;

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_calls() {
    let authority = Authority::new("ours");
    let first = authority.certificate("DNS:first.example, DNS:www.first.example");
    let wild = authority.certificate("DNS:*.second.example, DNS:Third.Example");
    let own = authority.certificate("DNS:own.second.example");
    let (tls, files) = files(&[&first, &wild, &own]);
    let listen = format!("tls = {{ {tls} }}");
    let gate = Gate::with(Upstream::start(), &Options { listen, files, ..Options::default() });
    run(async {
        for (name, wanted) in [
            ("first.example", &first),
            ("www.first.example", &first),
            ("a.second.example", &wild),
            ("B.SECOND.example", &wild),
            ("third.example", &wild),
            ("own.second.example", &own),
            // Nobody has these, or nothing was asked for.
            ("second.example", &first),
            ("a.b.second.example", &first),
            ("elsewhere.example", &first),
            ("127.0.0.1", &first),
        ] {
            let stream = Speaks::new(&["http/1.1"]).connect(gate.address, name).await.unwrap();
            assert!(shown(&stream) == der(&wanted.certificate), "{name}");
        }
    });
    for index in 0..3 {
        let label = format!("certificate=\"{index}.crt\"");
        let not_after = gate.metric("portcullis_certificate_not_after_seconds", &[&label]);
        let left = not_after - now();
        assert!((1.0..=2.0 * 86_400.0).contains(&left), "{index}: {not_after}");
    }
}

fn now() -> f64 {
    use portcullis::clock::{Clock as _, SystemClock};
    SystemClock.now().as_millis() as f64 / 1000.0
}

#[test]
fn tls_12_and_13_are_spoken_with_either_version_of_http() {
    let gate = super::gate();
    let token = gate.token("read");
    let bearer = format!("Bearer {token}");
    let line = "GET /api/0/organizations/acme/projects/";
    let headers = [("Authorization", &*bearer), ("Connection", "close")];
    run(async {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for (protocols, agreed) in [
                (&["h2", "http/1.1"][..], Some("h2")),
                (&["http/1.1", "h2"], Some("h2")),
                (&["http/1.1"], Some("http/1.1")),
                (&[], None),
            ] {
                let speaks = Speaks::versions(protocols, &[version], None);
                let mut stream = speaks.connect(gate.address, HOST).await.unwrap();
                let session = stream.get_ref().1;
                assert_eq!(session.protocol_version(), Some(version.version));
                assert_eq!(session.alpn_protocol(), agreed.map(str::as_bytes), "{protocols:?}");
                if agreed == Some("h2") {
                    continue;
                }
                let answer = exchange(&mut stream, &request(line, &headers, b"")).await;
                assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
                assert_eq!(gate.upstream.take().len(), 1);
            }
            // What speaks neither is told so.
            let speaks = Speaks::versions(&["spdy/1"], &[version], None);
            let error = speaks.connect(gate.address, HOST).await.unwrap_err();
            assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
        }
    });
    let label = "reason=\"incompatible\"";
    gate.counts("portcullis_tls_handshake_failures_total", &[label], 2.0);
}

/// As a client would say hello that knows TLS 1.1 and no more (RFC 4346, 7.4.1.2).
const TLS_11: &[u8] = &[
    0x16, 3, 1, 0, 0x39, // a handshake, so long
    1, 0, 0, 0x35, 3, 2, // a hello, so long, of TLS 1.1
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, //
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, //
    0,  // no session
    0, 4, 0xc0, 0x13, 0, 0x2f, // two ciphers
    1, 0, // no compression
    0, 8, 0, 13, 0, 4, 0, 2, 4, 3, // one way to sign
];

#[test]
fn tls_11_is_refused_and_the_client_is_told_why() {
    let gate = super::gate();
    let mut connection = crate::client::Connection::open(gate.address);
    connection.write(TLS_11);
    let answer = connection.read_rest();
    // A fatal alert: protocol_version (RFC 8446, 6.2).
    assert!(matches!(&*answer, [0x15, 3, _, 0, 2, 2, 70]), "{answer:?}");
    let label = "reason=\"incompatible\"";
    gate.counts("portcullis_tls_handshake_failures_total", &[label], 1.0);
}

/// What an operator would try first.
#[test]
fn curl_gets_an_answer_by_either_version_and_checks_the_certificate() {
    let authority = Authority::new("ours");
    let other = Authority::new("other");
    let (tls, files) = files(&[&authority.certificate(&format!("DNS:{HOST}"))]);
    let options = Options { listen: format!("tls = {{ {tls} }}"), files, ..Options::default() };
    let gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("read");
    let port = gate.address.port();
    let curl = |root: &str, version: &str, more: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", version, "--cacert", root])
            .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")])
            .args(["--write-out", "\n%{http_code} %{http_version}"])
            .args(["--header", &format!("Host: {HOST}")])
            .args(more)
            .arg(format!("https://{HOST}:{port}/api/0/organizations/acme/issues/"))
            .stdin(std::fs::File::open("/proc/self/exe").unwrap())
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let bearer = format!("Authorization: Bearer {token}");
    let (root, wrong) = (authority.root_path(), other.root_path());
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let answer = curl(&root, flag, &["--header", &bearer]);
        assert!(answer.ends_with(&format!("\n200 {version}")), "{answer}");
        assert_eq!(gate.upstream.take().len(), 1);
        // A refusal is read, whatever is being uploaded.
        let body = gate.folder.path().join("body");
        std::fs::write(&body, "x".repeat(3_000_000)).unwrap();
        let upload = format!("@{}", body.display());
        for more in
            [&["--data-binary", "x"][..], &["--data-binary", &upload], &["--upload-file", "-"]]
        {
            let answer = curl(&root, flag, &[&["--request", "PUT"][..], more].concat());
            assert!(answer.ends_with(&format!("\n401 {version}")), "{more:?}: {answer}");
            assert!(answer.contains("\"missing_credential\""), "{more:?}: {answer}");
        }
        let answer = curl(&wrong, flag, &[]);
        assert!(answer.contains("certificate"), "{answer}");
    }
    assert_eq!(gate.upstream.take().len(), 0);
    eventually("both that were refused", || {
        gate.metric("portcullis_tls_handshake_failures_total", &["\"refused\""]) == 2.0
    });
}

#[test]
fn http_2_is_spoken_above_tls_alone() {
    let gate = Gate::start();
    let mut connection = crate::client::Connection::open(gate.address);
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let answer = connection.read_rest();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
    let tls = super::gate();
    run(async {
        let mut client = Http2::open(tls.address, HOST).await;
        let sent = Sent { method: "GET", authority: HOST, path: "/", ..Sent::default() };
        assert_eq!(client.send(&sent).await.unwrap().status, 404);
    });
}
