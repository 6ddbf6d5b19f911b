//! HTTP/2 through the whole gateway: bodies in both directions, cookies, and what is recorded.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::client::{Http2, Sent, push, read, run, soon};
use crate::client::PATIENCE;
use crate::gate::{CANONICAL, HOST, Options, eventually};
use crate::upstream::{Seen, Upstream, ok};

const PATH: &str = "/api/0/organizations/acme/issues/";

fn get<'a>(path: &'a str, headers: &'a [(&'a str, &'a str)]) -> Sent<'a> {
    Sent { method: "GET", authority: HOST, path, headers, body: b"" }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

#[test]
fn a_body_of_unknown_length_arrives_with_its_length() {
    let tables = "[spool]\nmemory = \"1000B\"\nmax_body = \"1MB\"\nbudget = \"4MB\"".to_owned();
    let gate = super::before(Upstream::start(), Options { tables, ..Options::default() });
    let bearer = format!("Bearer {}", gate.token("all"));
    let headers = [("authorization", &*bearer)];
    let sent = Sent { method: "PUT", authority: HOST, path: PATH, headers: &headers, body: b"" };
    run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        for length in [0, 1, 1000, 1001, 1_000_000] {
            let body = pattern(length);
            let (response, mut stream) = client.begin(&sent, false).await.unwrap();
            push(&mut stream, &body, false).await.unwrap();
            stream.send_data(bytes::Bytes::new(), true).unwrap();
            let reply = read(response).await.unwrap();
            assert_eq!(reply.status, 200, "{length}: {reply:?}");
            let seen = gate.upstream.take_one();
            assert_eq!(seen.value("content-length"), Some(&*length.to_string()), "{length}");
            assert_eq!(seen.values("transfer-encoding"), [""; 0], "{length}");
            assert!(seen.body == body, "{length}: another body");
        }
        // Past what may be kept: refused, and the connection is good for the next.
        let (response, mut stream) = client.begin(&sent, false).await.unwrap();
        let _ = push(&mut stream, &pattern(1_000_001), true).await;
        let reply = read(response).await.unwrap();
        assert_eq!((reply.status, &*reply.code()), (413, "too_large"));
        assert!(gate.upstream.take().is_empty());
        // Trailers of the client's are not for the upstream.
        let (response, mut stream) = client.begin(&sent, false).await.unwrap();
        push(&mut stream, b"{}", false).await.unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-forwarded-for", http::HeaderValue::from_static("1.2.3.4"));
        stream.send_trailers(trailers).unwrap();
        assert_eq!(read(response).await.unwrap().status, 200);
        let seen = gate.upstream.take_one();
        assert_eq!((&*seen.body, seen.value("x-forwarded-for")), (&b"{}"[..], Some("127.0.0.1")));
    });
}

#[test]
fn where_the_upstream_reads_them_bodies_stream_in_chunks() {
    let (word, came) = channel();
    let word = Mutex::new(word);
    let upstream = Upstream::by_hand(move |mut stream| {
        use std::io::Read as _;
        let (mut all, mut buffer) = (Vec::new(), [0; 1024]);
        while !all.ends_with(b"\r\n0\r\n\r\n") {
            let size = stream.read(&mut buffer).unwrap();
            assert!(size > 0, "{:?}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&buffer[..size]);
            word.lock().unwrap().send(all.clone()).unwrap();
        }
        ok(&mut stream, &[], b"{}");
    });
    let web = "chunked_bodies = \"stream\"".to_owned();
    let gate = super::before(upstream, Options { web, ..Options::default() });
    let bearer = format!("Bearer {}", gate.token("all"));
    let headers = [("authorization", &*bearer)];
    let sent = Sent { method: "PUT", authority: HOST, path: PATH, headers: &headers, body: b"" };
    run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        let (response, mut stream) = client.begin(&sent, false).await.unwrap();
        push(&mut stream, b"first", false).await.unwrap();
        // It is there before the rest was sent. The connection is driven meanwhile.
        let mut seen = Vec::new();
        soon("the start of a body", async {
            while !seen.windows(5).any(|five| five == b"first") {
                seen = came.try_recv().unwrap_or(seen);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        push(&mut stream, b"second", true).await.unwrap();
        assert_eq!(read(response).await.unwrap().status, 200);
        let all = came.try_iter().last().unwrap();
        let text = String::from_utf8_lossy(&all).to_ascii_lowercase();
        assert!(
            text.contains("transfer-encoding: chunked\r\n") && !text.contains("content-length"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"), "{text}");
    });
}

#[test]
fn a_body_that_does_not_come_ends_its_request_alone() {
    let rules = "[[rule]]\nmethods = [\"PUT\"]\nscopes = [\"event:write\"]\ntimeout = \"1s\"\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n";
    let options = Options { rules: rules.into(), ..Options::default() };
    let gate = super::before(Upstream::start(), options);
    let bearer = format!("Bearer {}", gate.token("all"));
    let headers = [("authorization", &*bearer)];
    let path = "/api/0/organizations/acme/hasty/";
    let sent = Sent { method: "PUT", authority: HOST, path, headers: &headers, body: b"" };
    run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        let (response, mut stream) = client.begin(&sent, false).await.unwrap();
        push(&mut stream, b"a start", false).await.unwrap();
        assert_eq!(read(response).await.unwrap().status, 408);
        assert!(gate.upstream.take().is_empty());
        let body = Sent { body: b"{}", path: PATH, ..sent.clone() };
        assert_eq!(client.send(&body).await.unwrap().status, 200);
    });
}

#[test]
fn large_answers_and_many_at_once_come_through() {
    const LARGE: usize = 12_000_000;
    let upstream = Upstream::answering(|seen: &Seen, stream| match seen.target.split_once('?') {
        Some((_, "large")) => ok(stream, &[], &pattern(LARGE)),
        Some((_, "chunked")) => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            write!(stream, "{head}4\r\nhalf\r\n4\r\nhalf\r\n0\r\n\r\n").unwrap();
        }
        Some((_, "broken")) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        Some((_, query)) => ok(stream, &[("X-Number", query)], query.as_bytes()),
        None => ok(stream, &[], b"{}"),
    });
    let gate = super::before(upstream, Options::default());
    let bearer = format!("Bearer {}", gate.token("read"));
    let headers = [("authorization", &*bearer)];
    run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        let reply = client.send(&get(&format!("{PATH}?large"), &headers)).await.unwrap();
        assert!(reply.body == pattern(LARGE), "{} bytes", reply.body.len());
        let reply = client.send(&get(&format!("{PATH}?chunked"), &headers)).await.unwrap();
        assert_eq!((&*reply.body, reply.header("transfer-encoding")), (&b"halfhalf"[..], None));
        // Half an answer is no whole one.
        assert!(client.send(&get(&format!("{PATH}?broken"), &headers)).await.is_err());
        let mut responses = Vec::new();
        for number in 0..100 {
            let path = format!("{PATH}?n{number}");
            responses.push(client.begin(&get(&path, &headers), true).await.unwrap().0);
        }
        for (number, response) in responses.into_iter().enumerate() {
            let reply = read(response).await.unwrap();
            assert_eq!(String::from_utf8(reply.body).unwrap(), format!("n{number}"));
        }
        // A client that goes away harms nobody.
        let (response, mut stream) =
            client.begin(&get(&format!("{PATH}?large"), &headers), true).await.unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        assert_eq!(client.send(&get(PATH, &headers)).await.unwrap().status, 200);
    });
    eventually("the end of each", || gate.metric("portcullis_requests_in_flight", &[]) == 0.0);
}

#[test]
fn what_is_rewritten_is_rewritten() {
    let upstream = Upstream::answering(|_, stream| {
        let link = format!("<{CANONICAL}/api/0/x/?cursor=1>; rel=\"next\"");
        ok(stream, &[("Link", &link)], format!("{{\"url\":\"{CANONICAL}/a\"}}").as_bytes());
    });
    let rules = "[[rule]]\nmethods = [\"GET\", \"POST\"]\nscopes = [\"org:read\", \"org:write\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/named/\"\n\
                 rewrite = { fields = [\"/url\"], max_size = \"1000B\" }\n";
    let gate = super::before(upstream, Options { rules: rules.into(), ..Options::default() });
    let bearer = format!("Bearer {}", gate.token("all"));
    let path = "/api/0/organizations/acme/named/";
    run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        for (method, body, length) in [
            ("GET", &b""[..], false),
            ("HEAD", b"", false),
            ("POST", b"{\"b\":1}", true),
            ("POST", b"{\"b\":1}", false),
            ("POST", b"", false),
        ] {
            let row = format!("{method} {} {length}", body.len());
            let size = body.len().to_string();
            let mut headers = vec![("authorization", &*bearer)];
            headers.extend(length.then_some(("content-length", &*size)));
            let sent = Sent { method, authority: HOST, path, headers: &headers, body };
            let reply = client.send(&sent).await.unwrap();
            assert_eq!(reply.status, 200, "{row}: {reply:?}");
            let link = format!("<http://{HOST}/api/0/x/?cursor=1>; rel=\"next\"");
            assert_eq!(reply.header("link"), Some(&*link), "{row}");
            let wanted = if method == "HEAD" {
                String::new()
            } else {
                format!("{{\"url\":\"http://{HOST}/a\"}}")
            };
            assert_eq!(String::from_utf8_lossy(&reply.body), wanted, "{row}");
            let seen = gate.upstream.take_one();
            assert_eq!((&*seen.method, &*seen.target, &*seen.body), (method, path, body), "{row}");
            assert_eq!(seen.value("host"), Some(HOST), "{row}");
        }
    });
}

/// RFC 9113, 8.2.3.
#[test]
fn cookies_in_several_fields_are_one_cookie_field() {
    let listen = "expose = [\"api\", \"ui\"]".to_owned();
    let options = Options { listen, ..Options::default() };
    let gate = super::before(Upstream::start(), options);
    let headers = [("cookie", "a=1"), ("cookie", "sentrysid=2"), ("cookie", "b=3; c=4")];
    let sent = Sent {
        method: "GET",
        authority: HOST,
        path: "/organizations/acme/",
        headers: &headers,
        body: b"",
    };
    run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        let reply = client.send(&sent).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let seen = gate.upstream.take_one();
        assert_eq!(seen.values("cookie"), ["a=1; sentrysid=2; b=3; c=4"]);
    });
}

#[test]
fn a_request_is_recorded_as_any_other() {
    let mut gate = super::before(Upstream::start(), Options::default());
    let bearer = format!("Bearer {}", gate.token("all"));
    run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        let headers = [("authorization", &*bearer)];
        let path = format!("{PATH}?query=secret");
        let sent =
            Sent { method: "PUT", authority: HOST, path: &path, headers: &headers, body: b"{}" };
        assert_eq!(client.send(&sent).await.unwrap().status, 200);
        assert_eq!(client.send(&Sent { headers: &[], ..sent }).await.unwrap().status, 401);
        // One that goes away is recorded too.
        let sent =
            Sent { method: "PUT", authority: HOST, path: PATH, headers: &headers, body: b"" };
        let (_, mut stream) = client.begin(&sent, false).await.unwrap();
        push(&mut stream, b"a start", false).await.unwrap();
        tokio::time::timeout(PATIENCE, async {
            while gate.metric("portcullis_requests_in_flight", &[]) != 1.0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        tokio::time::timeout(PATIENCE, async {
            while gate.metric("portcullis_requests_in_flight", &[]) != 0.0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
    });
    let template = "route=\"/api/0/organizations/{organization_id_or_slug}/issues/\"";
    let counted =
        |status: &str| gate.metric("portcullis_requests_total", &[template, "\"PUT\"", status]);
    assert_eq!([counted("\"200\""), counted("\"401\""), counted("\"499\"")], [1.0, 1.0, 1.0]);
    gate.stop();
    // They come from several threads.
    let mut lines = gate.access_lines();
    lines.sort_by_key(|line| line["status"].as_u64());
    let first = &lines[0];
    for (key, wanted) in [
        ("status", serde_json::json!(200)),
        ("method", "PUT".into()),
        ("path", PATH.into()),
        ("bytes_in", 2.into()),
        ("bytes_out", 11.into()),
        ("client_ip", "127.0.0.1".into()),
    ] {
        assert_eq!(first[key], wanted, "{key}: {first}");
    }
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 401, 499]);
    assert!(!gate.output().contains("secret"));
}

#[test]
fn who_does_not_read_its_answer_gives_its_slot_back() {
    let upstream = Upstream::answering(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
    });
    let rules = "[[rule]]\nmethods = [\"GET\"]\ntimeout = \"300ms\"\nscopes = [\"org:read\"]\n\
                 path = \"/api/0/organizations/{organization_id_or_slug}/hasty/\"\n";
    let gate = super::before(upstream, Options { rules: rules.into(), ..Options::default() });
    let bearer = format!("Bearer {}", gate.token("read"));
    let headers = [("authorization", &*bearer)];
    run(async {
        let mut client = Http2::open(gate.address, HOST).await;
        let sent = get("/api/0/organizations/acme/hasty/", &headers);
        let (response, _) = client.begin(&sent, true).await.unwrap();
        let response = soon("a head", response).await.unwrap();
        assert_eq!(response.status(), 200);
        // The connection is there, and no room is given for more.
        let unread = || gate.metric("portcullis_requests_total", &["status=\"499\""]);
        eventually("the end of the request", || unread() == 1.0);
        let in_flight = || gate.metric("portcullis_upstream_requests_in_flight", &["\"web\""]);
        eventually("its slot", || in_flight() == 0.0);
        drop(response);
    });
    gate.counts("portcullis_upstream_failures_total", &[], 0.0);
}
