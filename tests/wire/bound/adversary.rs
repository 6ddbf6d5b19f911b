//! Whoever holds a token for `web` (42) and wants `app` (43): by every spelling of a name, and by every place
//! in a request that somebody could read one in. What counts is what the upstream received.

use super::{bound, received, sentry};
use crate::client::{Connection, Reply, request};
use crate::gate::{Gate, HOST};
use crate::upstream::Seen;
use portcullis::policy::identity::Narrowing;

const ACME: &str = "/api/0/organizations/acme";
const RELEASES: &str = "POST /api/0/organizations/acme/releases/";
const JSON: (&str, &str) = ("Content-Type", "application/json");

struct Adversary {
    gate: Gate,
    authorization: String,
}

impl Adversary {
    fn start() -> Self {
        let gate = Gate::before(sentry());
        let authorization = format!("Bearer {}", bound(&gate, Narrowing::NONE));
        Self { gate, authorization }
    }

    /// What a request is answered, and what arrives of it.
    fn sends(&self, line: &str, fields: &[(&str, &str)], body: &[u8]) -> (Reply, Vec<Seen>) {
        let own = ("Authorization", &*self.authorization);
        let fields = [&[own], fields].concat();
        self.writes(line, &request(line, &fields, body))
    }

    fn writes(&self, line: &str, bytes: &[u8]) -> (Reply, Vec<Seen>) {
        let mut connection = Connection::open(self.gate.address);
        connection.write(bytes);
        let method = line.split(' ').next().unwrap();
        let reply = connection.read_reply(method).expect(line);
        (reply, received(&self.gate))
    }

    /// Nothing arrives, and it is refused for what it is: never by an error of the gateway's or of
    /// the upstream's.
    fn nothing_arrives(&self, line: &str, fields: &[(&str, &str)], body: &[u8]) {
        let (reply, seen) = self.sends(line, fields, body);
        let what = || format!("{line} {fields:?} {:?}", String::from_utf8_lossy(body));
        assert!(seen.is_empty(), "{}: {seen:#?}", what());
        assert!([400, 403, 404, 405, 413].contains(&reply.status), "{}: {reply:?}", what());
    }
}

#[test]
fn no_spelling_of_a_path_leads_to_another_project() {
    let adversary = Adversary::start();
    let rows = [
        // The slug and the id, and what decodes to them.
        "GET /api/0/projects/acme/app/issues/",
        "GET /api/0/projects/acme/%61pp/issues/",
        "GET /api/0/projects/acme/%61%70%70/issues/",
        "GET /api/0/projects/acme/43/issues/",
        "GET /api/0/projects/acme/%34%33/issues/",
        "GET /api/0/projects/1/43/issues/",
        "GET /api/0/projects/%31/43/issues/",
        "GET /api/0/projects/acme/042/issues/",
        "GET /api/0/projects/acme/+42/issues/",
        "GET /api/0/projects/acme/42.0/issues/",
        "GET /api/0/projects/acme/%EF%BC%94%EF%BC%93/issues/",
        // What some readers cut, fold or join.
        "GET /api/0/projects/acme/APP/issues/",
        "GET /api/0/projects/acme/web%20/issues/",
        "GET /api/0/projects/acme/web%00app/issues/",
        "GET /api/0/projects/acme/web%0Aapp/issues/",
        "GET /api/0/projects/acme/web%2Fapp/issues/",
        "GET /api/0/projects/acme/web%2F..%2Fapp/issues/",
        "GET /api/0/projects/acme/web%5C..%5Capp/issues/",
        "GET /api/0/projects/acme/web/../app/issues/",
        "GET /api/0/projects/acme/web/%2e%2e/app/issues/",
        "GET /api/0/projects/acme/web;app/issues/",
        "GET /api/0/projects/acme/web,app/issues/",
        "GET /api/0/projects/acme//app/issues/",
        "GET /api/0/projects/acme/*/issues/",
        "GET /api/0/projects/acme/-1/issues/",
        "GET /api/0/projects/acme/~/issues/",
        // An organization that has a project of this name or, as it seems, of this number.
        "GET /api/0/projects/globex/web/issues/",
        "GET /api/0/projects/globex/42/issues/",
        "GET /api/0/projects/2/42/issues/",
        // More behind it.
        "GET /api/0/projects/acme/web/app/issues/",
        "GET /api/0/projects/acme/web/issues/app/",
        "GET /api/0/projects/acme/web/issues/../../app/issues/",
        // By another method.
        "HEAD /api/0/projects/acme/app/issues/",
        "PUT /api/0/projects/acme/app/issues/?id=8",
        "DELETE /api/0/projects/acme/app/",
        "PATCH /api/0/projects/acme/app/",
        "POST /api/0/projects/acme/app/releases/",
        "PUT /api/0/projects/acme/web/transfer/",
        "POST /api/0/projects/acme/web/transfer/",
        // By older names.
        "GET /api/0/projects/acme/app/groups/",
        "GET /api/0/groups/8/",
        "GET /api/0/issues/8/",
        "GET /api/0/issues/7/",
        "GET /api/0/organizations/acme/groups/8/",
        "GET /api/0/organizations/acme/groups/?project=43",
        "GET /api/0/organizations/acme/issues/8/",
        "GET /api/0/organizations/acme/issues/%38/",
        "GET /api/0/organizations/acme/issues/8/notes/",
        "GET /api/0/organizations/acme/issues/8/comments/",
        "GET /api/0/organizations/acme/issues/8/events/latest/",
        "DELETE /api/0/organizations/acme/issues/8/",
        // By what it has.
        "GET /api/0/organizations/acme/releases/shared%401/",
        "GET /api/0/organizations/acme/releases/shared@1/",
        "GET /api/0/organizations/acme/releases/web%25401/",
        "DELETE /api/0/organizations/acme/releases/shared%401/",
        "DELETE /api/0/projects/acme/web/releases/shared%401/",
        // Of nobody's in particular.
        "GET /api/0/projects/",
        "GET /api/0/organizations/",
        "GET /api/0/organizations/acme/",
        "GET /api/0/organizations/acme/teams/",
        "GET /api/0/organizations/acme/members/",
        "GET /api/0/teams/acme/team/projects/",
        "POST /api/0/teams/acme/team/projects/",
        "POST /api/0/organizations/acme/projects/",
    ];
    for line in rows {
        adversary.nothing_arrives(line, &[], b"");
    }
    // The other way round: what is its own has more spellings than one, too.
    for line in [
        "GET /api/0/projects/acme/web/issues/",
        "GET /api/0/projects/1/web/issues/",
        "GET /api/0/projects/acme/%77eb/issues/",
        "GET /api/0/projects/acme/%34%32/issues/",
        "GET /api/0/projects/acme/web/groups/",
    ] {
        let (reply, seen) = adversary.sends(line, &[], b"");
        assert_eq!((reply.status, seen.len()), (200, 1), "{line}: {reply:?}");
        assert_eq!(format!("GET {}", seen[0].target), line);
    }
}

#[test]
fn no_spelling_of_a_query_leads_to_another_project() {
    let adversary = Adversary::start();
    let queries = [
        "project=43",
        "project=app",
        "project=-1",
        "project=$all",
        "project=*",
        "project=42&project=43",
        "project=43&project=42",
        "project=42&project=",
        "project=42&project",
        "project=42,43",
        "project=42%2C43",
        "project=42%2643",
        "project=42%20",
        "project=%2042",
        "project=+42",
        "project=42%00",
        "project=42%0A",
        "project=042",
        "project=42.0",
        "project=4_2",
        "project=4e1",
        "project=0x2a",
        "project=%EF%BC%94%EF%BC%92",
        "project=%34%33",
        "pro%6Aect=43",
        "%70roject=43",
        "project%20=43",
        "+project=43",
        "project%00=43",
        "project.=43",
        "project_=43",
        "Project=43",
        "PROJECT=43",
        "project[]=43",
        "project[0]=43",
        "project%5B%5D=43",
        "project[]=42",
        "projects=43",
        "project_id=43",
        "projectId=43",
        "projectIds=43",
        "projectSlug=app",
        "projectSlug=$all",
        "project_slug=app",
        "project_id_or_slug=43",
        "project_id_or_slug=app",
        "project-id=43",
        "projectSlug=web&projectSlug=app",
        "project=42;project=43",
        "project=42&amp;project=43",
        "x=1;project=43",
        "project=42%3Bproject=43",
        "query=project:app",
        "query=project%3Aapp",
        "query=pro%6Aect:app",
        "query=PROJECT:app",
        "query=project.id:43",
        "query=project.slug:app",
        "query=project.name:%22app%22",
        "query=project:[web,app]",
        "query=project:[web",
        "query=(project:web+OR+project:app)",
        "query=project:web&query=project:app",
        "search=project:app",
        "query=APP-8&shortIdLookup=1",
        "query=APP-8&short_id_lookup=1",
        "query=0123456789abcdef0123456789abcdef",
    ];
    let issues = format!("GET {ACME}/issues/");
    let own = [("project=42&", ""), ("", "&project=42")];
    for query in queries {
        // Alone, and with its own before and behind.
        adversary.nothing_arrives(&format!("{issues}?{query}"), &[], b"");
        for (before, behind) in own {
            adversary.nothing_arrives(&format!("{issues}?{before}{query}{behind}"), &[], b"");
        }
        // Where the path names its own.
        let line = format!("GET /api/0/projects/acme/web/issues/?{query}");
        let single = ["project=42&project=", "project=42&project"].contains(&query);
        if !single {
            adversary.nothing_arrives(&line, &[], b"");
        }
    }
    // The list of projects has its own alone, whatever else is asked for.
    for query in [
        "query=id:43",
        "query=id:42+id:43",
        "query=id:42&query=id:43",
        "query=id:43&query=id:42",
        "query=app",
        "query=",
        "query=id:42&query=",
        "query=id:42+OR+id:43",
        "query=%22+id:42",
        "query=!id:42",
        "query=-id:42",
        "query=id:%3E1",
        "query=team:x",
        "Query=id:42",
        "query[]=id:42",
        "query=id:42;query=app",
        "query=id:42%00",
        "query=id:42&project=43",
    ] {
        adversary.nothing_arrives(&format!("GET {ACME}/projects/?{query}"), &[], b"");
    }
    // What changes something is added nothing to.
    for line in [
        "PUT /api/0/organizations/acme/issues/",
        "PUT /api/0/organizations/acme/issues/?id=7",
        "DELETE /api/0/organizations/acme/issues/?id=8",
        "PUT /api/0/organizations/acme/issues/?project=42&id=APP-8",
        "PUT /api/0/organizations/acme/issues/?project=42&ID=APP-8",
        "PUT /api/0/projects/acme/web/issues/?id=7&id=APP-8",
        "PUT /api/0/organizations/acme/detectors/?id=1",
    ] {
        adversary.nothing_arrives(line, &[JSON], b"{\"status\":\"resolved\"}");
    }
    // And what goes through has nothing but its own: what is in the query, and what is in the body of a form.
    let line = format!("{issues}?query=web&cursor=&project=42");
    let (reply, seen) = adversary.sends(&line, &[], b"");
    assert_eq!((reply.status, &*seen[0].target), (200, line.strip_prefix("GET ").unwrap()));
}

#[test]
fn no_head_makes_another_request_of_it() {
    let adversary = Adversary::start();
    let issues = format!("GET {ACME}/issues/?project=42");
    // It arrives as what it is, and says nothing of another method, path or project.
    for fields in [
        &[("X-HTTP-Method-Override", "DELETE")][..],
        &[("X-Method-Override", "DELETE")],
        &[("X-HTTP-Method", "DELETE")],
        &[("X_HTTP_Method_Override", "DELETE")],
        &[("X-Original-URL", "/api/0/projects/acme/app/")],
        &[("X-Rewrite-URL", "/api/0/projects/acme/app/")],
        &[("X-Forwarded-Prefix", "/app")],
        &[("Content_Type", "text/plain; charset=utf-7")],
        &[("X-Sentry-Relay-Id", "app")],
    ] {
        let (reply, seen) = adversary.sends(&issues, fields, b"");
        assert_eq!((reply.status, seen.len()), (200, 1), "{fields:?} {reply:?}");
        assert_eq!(format!("{} {}", seen[0].method, seen[0].target), issues);
        for (name, value) in fields {
            assert!(!seen[0].head.contains(value), "{name} arrived: {}", seen[0].head);
        }
    }
    for fields in [
        &[("Content-Type", "text/plain; charset=utf-7")][..],
        &[("Content-Type", "text/plain"), ("Content-Type", "text/plain; charset=utf-7")],
        &[("Content-Type", "text/plain; charset=utf-16")],
        &[("Content-Type", "text/plain;CHARSET=\"cp037\"")],
        &[("Content-Type", "text/plain; charset*=utf-7")],
        &[("Connection", "Content-Type"), JSON],
        &[("Host", "other.example")],
        &[("X-Http-Method-Override", "PUT"), ("Transfer-Encoding", "chunked")],
    ] {
        adversary.nothing_arrives(&issues, fields, b"");
    }
    // No body comes with what reads.
    for (line, kind) in [
        (&*issues, "application/x-www-form-urlencoded"),
        (&*issues, "application/json"),
        ("HEAD /api/0/organizations/acme/issues/?project=42", "application/json"),
    ] {
        adversary.nothing_arrives(line, &[("Content-Type", kind)], b"project=43");
    }
    // A parameter that frameworks read a method of is none of the gateway's, and does not change it.
    let (_, seen) = adversary.sends(&format!("{issues}&_method=DELETE"), &[], b"");
    assert_eq!((seen.len(), &*seen[0].method), (1, "GET"));
    let (_, seen) = adversary.sends(
        RELEASES,
        &[JSON],
        br#"{"version":"new@1","projects":["web"],"_method":"DELETE"}"#,
    );
    assert_eq!((seen.len(), &*seen[0].method), (1, "POST"));
}

fn utf16(text: &str) -> Vec<u8> {
    let marked = std::iter::once(0xfeff).chain(text.encode_utf16());
    marked.flat_map(u16::to_le_bytes).collect()
}

#[test]
fn no_body_names_another_project() {
    let adversary = Adversary::start();
    let app = r#"{"version":"new@1","projects":["app"]}"#;
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        format!(r#"{{"version":"new@1","projects":["web"],"commits":{open}1{close}}}"#)
    };
    let texts = [
        app.to_owned(),
        format!("\u{feff}{app}"),
        format!(" \r\n\t{app}"),
        format!("{app}{app}"),
        format!("{app}\0"),
        r#"{"version":"new@1","projects":["web"],"projects":["app"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["app"],"projects":["web"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"pro\u006aects":["app"]}"#.to_owned(),
        r#"{"version":"new@1","\u0070\u0072\u006f\u006a\u0065\u0063\u0074\u0073":["app"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web","\u0061pp"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"project":"app"}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"Projects":["app"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"projectSlug":"app"}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"project_id_or_slug":"app"}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"projects ":["app"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"projects\u0000":["app"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"ver\u0073ion":"shared@1"}"#.to_owned(),
        r#"{"version":"shared@1","projects":["web"]}"#.to_owned(),
        r#"{"version":"new@1","projects":[43]}"#.to_owned(),
        r#"{"version":"new@1","projects":["43"]}"#.to_owned(),
        r#"{"version":"new@1","projects":[42,43]}"#.to_owned(),
        r#"{"version":"new@1","projects":[42.0]}"#.to_owned(),
        r#"{"version":"new@1","projects":[42e0]}"#.to_owned(),
        r#"{"version":"new@1","projects":[18446744073709551658]}"#.to_owned(),
        format!(r#"{{"version":"new@1","projects":[{}42]}}"#, "9".repeat(400)),
        r#"{"version":"new@1","projects":["042"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web "]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web\u0000"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web,app"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["APP"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["\ud835\udfdc\ud835\udfdb"]}"#.to_owned(),
        r#"{"version":"new@1","projects":["\ud800"]}"#.to_owned(),
        r#"{"version":"new@1","projects":[["web"]]}"#.to_owned(),
        r#"{"version":"new@1","projects":{"0":"web","1":"app"}}"#.to_owned(),
        r#"{"version":"new@1","projects":"web"}"#.to_owned(),
        r#"{"version":"new@1","projects":[true]}"#.to_owned(),
        r#"{"version":"new@1","projects":null}"#.to_owned(),
        r#"{"version":"new@1","projects":[]}"#.to_owned(),
        r#"{"version":"new@1"}"#.to_owned(),
        r#"[{"version":"new@1","projects":["web"]}]"#.to_owned(),
        r#""projects""#.to_owned(),
        r#"{"version":"new@1","projects":["web"],}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"]/*,"projects":["app"]*/}"#.to_owned(),
        r#"{'version':'new@1','projects':['app']}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"x":NaN}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"commits":[{"id":"1","message":"Fixes APP-8"}]}"#.to_owned(),
        r#"{"version":"new@1","projects":["web"],"commits":[{"id":"1","m\u0065ssage":"fix\u0065s app-8"}]}"#.to_owned(),
        deep("[", "]"),
        deep(r#"{"a":"#, "}"),
        "projects=app&version=new@1".to_owned(),
    ];
    for text in &texts {
        adversary.nothing_arrives(RELEASES, &[JSON], text.as_bytes());
    }
    let bytes: [Vec<u8>; 5] = [
        utf16(r#"{"version":"new@1","projects":["app"]}"#),
        utf16(r#"{"version":"new@1","projects":["web"]}"#),
        b"{\"version\":\"new@1\",\"projects\":[\"web\"],\"x\":\"\xff\"}".to_vec(),
        // A slash of two bytes, and half a character.
        b"{\"version\":\"new@1\",\"projects\":[\"web\xc0\xaf\"]}".to_vec(),
        b"\x1f\x8b\x08\0\0\0\0\0".to_vec(),
    ];
    for body in bytes {
        adversary.nothing_arrives(RELEASES, &[JSON], &body);
    }
    // What reads it as something else.
    let web = br#"{"version":"new@1","projects":["web"]}"#;
    for fields in [
        &[][..],
        &[("Content-Type", "application/x-www-form-urlencoded")],
        &[("Content-Type", "multipart/form-data; boundary=x")],
        &[("Content-Type", "text/plain")],
        &[("Content-Type", "application/json; charset=utf-16")],
        &[("Content-Type", "application/json; charset=utf-7")],
        &[("Content-Type", "application/json; boundary=x")],
        &[("Content-Type", "application/json, application/x-www-form-urlencoded")],
        &[JSON, ("Content-Type", "application/x-www-form-urlencoded")],
        &[("Content-Type", "application/x-www-form-urlencoded"), JSON],
        &[JSON, ("Content-Encoding", "gzip")],
        &[JSON, ("Content-Encoding", "deflate")],
        &[JSON, ("Content-Encoding", "identity, deflate")],
        &[JSON, ("Content-Encoding", "identity"), ("Content-Encoding", "deflate")],
        &[JSON, ("Content-Encoding", "")],
        &[JSON, ("Connection", "Content-Encoding"), ("Content-Encoding", "identity")],
    ] {
        adversary.nothing_arrives(RELEASES, fields, web);
    }
    // A field that the gateway takes off can't be read as one of these behind it.
    let fields = [
        JSON,
        ("Content_Type", "application/x-www-form-urlencoded"),
        ("Content_Encoding", "deflate"),
    ];
    let (reply, seen) = adversary.sends(RELEASES, &fields, web);
    assert_eq!((reply.status, seen.len()), (200, 1), "{reply:?}");
    assert_eq!(seen[0].values("content-type"), ["application/json"]);
    assert_eq!((seen[0].values("content-encoding"), &*seen[0].body), (vec![], &web[..]));
    // Its own, with the other's name where it means nothing.
    let nested =
        br#"{"version":"new@1","projects":["web"],"refs":[{"projects":["app"],"x":1e999999}]}"#;
    let (_, seen) = adversary.sends(RELEASES, &[JSON], nested);
    assert_eq!((seen.len(), &*seen[0].body), (1, &nested[..]));
    // By the routes of the other places.
    for (line, body) in [
        (
            &*format!("POST {ACME}/artifactbundle/assemble/"),
            r#"{"checksum":"c","chunks":[],"projects":["app"]}"#,
        ),
        (&*format!("POST {ACME}/artifactbundle/assemble/"), r#"{"checksum":"c","chunks":[]}"#),
        (&*format!("POST {ACME}/monitors/"), r#"{"project":"app","name":"n"}"#),
        (
            &*format!("POST {ACME}/releases/web%401/deploys/"),
            r#"{"environment":"p","projects":["app"]}"#,
        ),
        (
            &*format!("POST {ACME}/releases/shared%401/deploys/"),
            r#"{"environment":"p","projects":["web"]}"#,
        ),
        ("POST /api/0/projects/acme/web/releases/", r#"{"version":"shared@1"}"#),
        ("PUT /api/0/projects/acme/web/", r#"{"copy_from_project":43}"#),
        ("PUT /api/0/projects/acme/web/", r#"{"copyFromProject":43}"#),
        ("PUT /api/0/projects/acme/web/alert-rules/1/", r#"{"projects":["app"]}"#),
        ("PUT /api/0/projects/acme/web/alert-rules/1/", r#"{"includeAllProjects":true}"#),
    ] {
        adversary.nothing_arrives(line, &[JSON], body.as_bytes());
    }
}

#[test]
fn no_way_of_sending_a_body_gets_past_who_reads_it() {
    let adversary = Adversary::start();
    let (own, app) =
        (r#"{"version":"new@1","projects":["web"]}"#, r#"{"version":"new@1","projects":["app"]}"#);
    let head = |more: &str| {
        format!(
            "{RELEASES} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n{more}\r\n",
            adversary.authorization
        )
    };
    let chunks = |pieces: &[&str], trailers: &str| {
        let pieces = pieces.iter().map(|piece| format!("{:x};x=app\r\n{piece}\r\n", piece.len()));
        format!(
            "{}{}0\r\n{trailers}\r\n",
            head("Transfer-Encoding: chunked\r\n"),
            pieces.collect::<String>()
        )
    };
    // In pieces, with more behind the end, and with fields behind the body.
    let halves = app.split_at(app.len() - 8);
    let cases = [
        chunks(&[app], ""),
        chunks(&[halves.0, halves.1], ""),
        chunks(&[own, app], ""),
        chunks(&[], ""),
        chunks(&[app], "Content-Type: text/plain\r\n"),
        format!(
            "{}{own}",
            head(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", own.len()))
        ),
        format!(
            "{}{app}",
            head(&format!("Content-Length: {}\r\nContent-Length: 2\r\n", app.len()))
        ),
        head("Content-Length: 0\r\n"),
        head(""),
    ];
    for bytes in &cases {
        let (reply, seen) = adversary.writes(RELEASES, bytes.as_bytes());
        assert!(seen.is_empty(), "{bytes}: {seen:#?}");
        assert!([400, 403].contains(&reply.status), "{bytes}: {reply:?}");
    }
    let (reply, seen) = adversary.writes(RELEASES, chunks(&[own], "X-Project: app\r\n").as_bytes());
    assert_eq!((reply.status, seen.len(), &*seen[0].body), (200, 1, own.as_bytes()));
    assert!(!seen[0].head.to_ascii_lowercase().contains("x-project"), "{}", seen[0].head);
    // After a word that it may come.
    for (body, arrives) in [(app, false), (own, true)] {
        let mut connection = Connection::open(adversary.gate.address);
        let length = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
        connection.write(head(&length).as_bytes());
        let (status, _) = connection.read_head().expect("a word");
        assert_eq!(status, 100);
        assert!(received(&adversary.gate).is_empty(), "before its body is read");
        connection.write(body.as_bytes());
        let reply = connection.read_reply("POST").unwrap();
        let seen = received(&adversary.gate);
        assert_eq!((reply.status, seen.len()), if arrives { (200, 1) } else { (403, 0) }, "{body}");
    }
    // On a connection on which its own went before, and with the next request right behind.
    let mut connection = Connection::open(adversary.gate.address);
    let one =
        |body: &str| format!("{}{body}", head(&format!("Content-Length: {}\r\n", body.len())));
    connection.write((one(own) + &one(app)).as_bytes());
    assert_eq!(connection.read_reply("POST").unwrap().status, 200);
    if let Some(reply) = connection.read_reply("POST") {
        assert_eq!((reply.status, &*reply.code()), (403, "binding"));
    }
    let bodies: Vec<_> = received(&adversary.gate).into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [own.as_bytes()]);
}
