//! HTTP/2 from end to end: what the upstream is told of a request there, and that none of it comes back, in
//! trailers neither.

use super::authority::{Authority, HERE};
use super::believes;
use super::server::{Act, Secure, Setup};
use crate::gate::{Gate, HOST, Options, UPSTREAM_TOKEN};
use crate::tls;
use crate::tls::client::{Http2, Sent, run, soon};
use crate::upstream::Upstream;

const TARGET: &str = "/api/0/organizations/%61cme/issues/?query=a%2Fb";
const ASSERTION: &str = "x-portcullis-assertion";

#[test]
fn what_is_confided_to_an_upstream_stays_there() {
    let ours = Authority::new("ours");
    let upstream = Secure::acting(&Setup::new(ours.leaf("server", HERE)), |_| Act::Echo);
    let options = Options {
        web: format!("tls = {{ {} }}\nhttp2 = true", believes(&ours)),
        upstream_url: Some(format!("https://{}", upstream.address)),
        tables: "[assertion]\n".to_owned(),
        ..Options::default()
    };
    let made = tls::authority::Authority::new("ours").certificate(&format!("DNS:{HOST}"));
    let (table, files) = tls::files(&[&made]);
    let listen = format!("tls = {{ {table} }}");
    let gate = Gate::with(Upstream::start(), &Options { listen, files, ..options });
    let authorization = format!("Bearer {}", gate.token("read"));
    let (fields, trailers) = run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        let headers = [
            ("Authorization", &*authorization),
            ("X-Portcullis-Assertion", "evil"),
            ("X-Harmless", "it stays"),
        ];
        let sent =
            Sent { method: "GET", authority: HOST, path: TARGET, headers: &headers, body: b"" };
        let (response, _) = client.begin(&sent, true).await.unwrap();
        let (head, mut body) = soon("an answer", response).await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        while let Some(piece) = soon("a body", body.data()).await {
            body.flow_control().release_capacity(piece.unwrap().len()).unwrap();
        }
        (head.headers, soon("trailers", body.trailers()).await.unwrap().unwrap_or_default())
    });
    let seen = upstream.take_one();
    assert_eq!(seen.protocol, "h2");
    assert_eq!(seen.value("authorization"), Some(&*format!("Bearer {UPSTREAM_TOKEN}")));
    let assertion = seen.value(ASSERTION).unwrap();
    let claims: serde_json::Value =
        jsonwebtoken::dangerous::insecure_decode_claims(assertion).unwrap();
    assert_eq!((&*seen.target, &claims["method"]), (TARGET, &"GET".into()));
    assert_eq!(claims["path"], TARGET.split('?').next().unwrap());
    for told in [&fields, &trailers] {
        assert_eq!(told["x-echo-x-harmless"], "it stays");
        let told = format!("{told:?}");
        assert!(!told.contains(UPSTREAM_TOKEN) && !told.contains(assertion), "{told}");
        assert!(!told.contains("evil"), "{told}");
    }
}
