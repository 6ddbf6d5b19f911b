//! Who has connected just before a stop, or reads on after it, is served to the end.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::Builder;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::client::TlsStream;

use super::client::{Http2, Sent, Speaks, exchange, run, soon};
use crate::client::{Connection, request};
use crate::gate::{Gate, HOST, Options, eventually};
use crate::upgrade::Successor;
use crate::upstream::{Upstream, ok};

const PATH: &str = "/api/0/organizations/acme/issues/";

/// How long they wait with what they have to send. Nothing depends on it being short.
const LATE: Duration = Duration::from_millis(500);

async fn called(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn answered(mut stream: TlsStream<TcpStream>, request: &[u8]) {
    let answer = exchange(&mut stream, request).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&answer));
}

#[test]
fn who_has_connected_just_before_a_stop_is_served() {
    for signal in ["-TERM", "-USR2"] {
        let tables = "[[listen]]\naddress = \"127.0.0.1:0\"".to_owned();
        let mut gate = super::before(Upstream::start(), Options { tables, ..Options::default() });
        let plain = gate.addresses()[1];
        let bearer = format!("Bearer {}", gate.token("read"));
        let fields = [("Authorization", &*bearer)];
        let request = request(&format!("GET {PATH}"), &fields, b"");
        run(async {
            let speaks = Speaks::new(&["http/1.1"]);
            let mut silent = Connection::open(plain);
            let mut half = Connection::open(plain);
            half.write(&request[..20]);
            let unshaken = called(gate.address).await;
            let shaken = speaks.connect(gate.address, HOST).await.unwrap();
            let mut http2 = Http2::open(gate.address, HOST).await;
            gate.signal(signal);
            eventually("a word of it", || gate.output().contains("\"stopping\""));
            tokio::time::sleep(LATE).await;
            silent.write(&request);
            assert_eq!(silent.read_reply("GET").expect(signal).status, 200);
            half.write(&request[20..]);
            assert_eq!(half.read_reply("GET").expect(signal).status, 200);
            let sent =
                Sent { method: "GET", authority: HOST, path: PATH, headers: &fields, body: b"" };
            assert_eq!(http2.send(&sent).await.expect(signal).status, 200);
            answered(shaken, &request).await;
            answered(speaks.over(unshaken, HOST).await.unwrap(), &request).await;
            http2.end().await;
        });
        assert_eq!(gate.wait(), Some(0), "{}", gate.output());
        assert_eq!(gate.access_lines().len(), 5);
        assert!(!gate.output().contains("cut off"), "{}", gate.output());
        if signal == "-USR2" {
            drop(Successor::of(&gate));
        }
    }
}

/// The gateway has written less than it has taken from the upstream: the rest is in buffers, where no
/// request is in flight any more.
#[test]
fn an_answer_that_is_read_slowly_over_http2_is_whole_after_a_stop() {
    const SIZE: usize = 12 << 20;
    let upstream = Upstream::answering(move |_, stream| ok(stream, &[], &vec![b'x'; SIZE]));
    let mut gate = super::before(upstream, Options::default());
    let bearer = format!("Bearer {}", gate.token("read"));
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let stream = socket.connect(gate.address).await.unwrap();
        let stream = Speaks::new(&["h2"]).over(stream, HOST).await.unwrap();
        // It never holds up the other side by HTTP/2 itself.
        let window = u32::try_from(2 * SIZE).unwrap();
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window);
        let (send, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let ended = Handle::current().spawn(connection);
        let head = http::Request::builder()
            .uri(format!("https://{HOST}{PATH}"))
            .header("authorization", &bearer)
            .body(())
            .unwrap();
        let mut ready = soon("room for a request", send.ready()).await.unwrap();
        let (answer, _) = ready.send_request(head, true).unwrap();
        let mut body = soon("an answer", answer).await.unwrap().into_body();
        gate.terminate();
        eventually("a word of it", || gate.output().contains("\"stopping\""));
        let mut size = 0;
        while let Some(piece) = soon("a body", body.data()).await {
            size += piece.unwrap_or_else(|error| panic!("{error} after {size}")).len();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(size, SIZE);
        // It is told to go, and that all is well: it opens nothing more.
        assert!(ready.ready().await.is_err());
        match soon("the end", ended).await.unwrap() {
            Ok(()) => {}
            Err(error) => assert!(error.is_go_away() || error.is_io(), "{error}"),
        }
    });
    assert_eq!(gate.wait(), Some(0), "{}", gate.output());
    assert!(!gate.output().contains("cut off"), "{}", gate.output());
}

#[test]
fn a_client_of_http2_that_does_nothing_holds_up_no_stop() {
    let options = Options { server: "drain = \"1h\"".into(), ..Options::default() };
    let mut gate: Gate = super::before(Upstream::start(), options);
    run(async {
        // Nobody reads what comes, so nobody answers.
        let mut quiet = Speaks::new(&["h2"]).connect(gate.address, HOST).await.unwrap();
        quiet.write_all(super::client::BEGIN).await.unwrap();
        assert_eq!(super::client::frame(&mut quiet).await.map(|(kind, ..)| kind), Some(4));
        gate.stop();
    });
}
