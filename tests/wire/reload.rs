//! A config that is read again while the gateway serves: what is taken up, what is refused, and what
//! goes on as it began.

use std::cell::Cell;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use crate::client::{Connection, PATIENCE, Reply, request};
use crate::gate::{ADMIN, CANONICAL, Ending, Gate, Options, eventually};
use crate::tls::authority::Authority;
use crate::tls::files;
use crate::upstream::{Upstream, ok};

const LINE: &str = "GET /api/0/organizations/acme/issues/";
const NEW: &str = "GET /api/0/organizations/acme/new/";
const NEW_RULE: &str = "[[rule]]\nmethods = [\"GET\"]\nscopes = [\"org:read\"]\n\
                        path = \"/api/0/organizations/{organization_id_or_slug}/new/\"\n";

thread_local! {
    /// How many configs the gateway of this test has loaded, as far as the test asked for it.
    static LOADED: Cell<f64> = const { Cell::new(0.0) };
}

/// A gateway whose operators have a credential.
fn gate(upstream: Upstream) -> Gate {
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    Gate::with(upstream, &Options { admin, ..Options::default() })
}

fn reload(gate: &Gate) -> Reply {
    gate.operator("POST /reload", &[("Authorization", &format!("Bearer {ADMIN}"))], "")
}

/// Has the config read again, which must come out so. The gateway looks by itself too, and may have
/// been first: then what is loaded is in force already.
pub fn reloaded(gate: &Gate, result: &str) -> serde_json::Value {
    let reply = reload(gate);
    let said = reply.json();
    let first = result == "loaded"
        && said["result"] == "unchanged"
        && reloads(gate, "loaded") > LOADED.get();
    assert!(said["result"] == result || first, "{said}");
    LOADED.set(reloads(gate, "loaded"));
    assert_eq!(reply.status, if result == "refused" { 422 } else { 200 });
    said
}

pub fn edit(gate: &Gate, from: &str, to: &str) {
    let path = gate.folder.path().join("portcullis.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

pub fn write(gate: &Gate, name: &str, text: &str) {
    fs::write(gate.folder.path().join(name), text).unwrap();
}

fn reloads(gate: &Gate, result: &str) -> f64 {
    gate.metric("portcullis_config_reloads_total", &[&format!("\"{result}\"")])
}

fn ready(gate: &Gate) -> (u16, String) {
    let reply = gate.admin("/readyz").unwrap();
    (reply.status, String::from_utf8(reply.body).unwrap())
}

#[test]
fn a_rule_is_taken_up_and_who_is_known_stays_known() {
    let mut gate = gate(Upstream::start());
    let token = gate.token("read");
    gate.settle();
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.bearer(NEW, &token).status, 404);
    gate.upstream.take();
    let lookups = gate.metric("portcullis_store_lookups_total", &[]);
    let before = reloaded(&gate, "unchanged")["config_hash"].clone();

    write(&gate, "own.toml", NEW_RULE);
    let said = reloaded(&gate, "loaded");
    assert_eq!(
        (&said["problems"], &said["notes"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    assert_ne!(said["config_hash"], before);
    assert_eq!(gate.bearer(NEW, &token).status, 200);
    assert_eq!(gate.upstream.take_one().path(), "/api/0/organizations/acme/new/");
    assert_eq!(
        gate.metric("portcullis_store_lookups_total", &[]),
        lookups,
        "it was looked up again"
    );
    assert_eq!(
        gate.metric("portcullis_config_info", &[said["config_hash"].as_str().unwrap()]),
        1.0
    );
    gate.counts("portcullis_config_info", &[], 1.0);
    assert_eq!(reloads(&gate, "loaded"), 1.0);

    // And is closed again.
    write(&gate, "own.toml", "");
    assert_eq!(reloaded(&gate, "loaded")["config_hash"], before);
    assert_eq!(gate.bearer(NEW, &token).status, 404);
    gate.stop();
    let hashes: Vec<_> =
        gate.access_lines().iter().map(|line| line["config_hash"].clone()).collect();
    let new = &said["config_hash"];
    assert_eq!(hashes.iter().collect::<Vec<_>>(), [&before, &before, new, &before]);
}

#[test]
fn a_signal_or_a_changed_file_is_enough() {
    let gate = gate(Upstream::start());
    let token = gate.token("read");
    let is_open = || gate.bearer(NEW, &token).status == 200;
    write(&gate, "own.toml", NEW_RULE);
    gate.signal("-HUP");
    eventually("the rule", is_open);
    // As Kubernetes does it: what is read is a link into a folder that is replaced as a whole.
    let path = |name: &str| gate.folder.path().join(name);
    for (folder, text) in [("one", NEW_RULE), ("two", "")] {
        fs::create_dir(path(folder)).unwrap();
        fs::write(path(folder).join("own.toml"), text).unwrap();
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, path(name)).unwrap();
    let replace = |to: &str| {
        link(to, "new-link");
        fs::rename(path("new-link"), path("data")).unwrap();
    };
    replace("one");
    link("data/own.toml", "linked.toml");
    fs::rename(path("linked.toml"), path("own.toml")).unwrap();
    eventually("the links", || reloads(&gate, "unchanged") >= 1.0);
    assert!(is_open());
    replace("two");
    eventually("no rule", || !is_open());
    replace("one");
    eventually("the rule", is_open);
    // A secret is a file of the config too.
    write(&gate, "sentry-token", "sntryu_another-credential");
    eventually("the credential", || {
        gate.upstream.take();
        gate.bearer(LINE, &token);
        let seen = gate.upstream.take_one();
        seen.value("authorization") == Some("Bearer sntryu_another-credential")
    });
    assert_eq!(reloads(&gate, "refused"), 0.0, "{}", gate.output());
}

#[test]
fn a_config_with_problems_changes_nothing_and_all_of_them_are_told() {
    let gate = gate(Upstream::start());
    let token = gate.token("read");
    let config = fs::read_to_string(gate.folder.path().join("portcullis.toml")).unwrap();
    assert_eq!(ready(&gate), (200, "ok\n".to_owned()));

    write(&gate, "own.toml", NEW_RULE);
    edit(&gate, "[server]", "[cache]\nttl = \"0s\"\ncapacity = 0\n[server]");
    let said = reloaded(&gate, "refused");
    let places: Vec<_> =
        said["problems"].as_array().unwrap().iter().map(|one| &one["at"]).collect();
    assert_eq!(places, ["cache.ttl", "cache.capacity"], "{said}");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.bearer(NEW, &token).status, 404);
    let (status, text) = ready(&gate);
    assert_eq!(status, 200, "the config before it serves");
    assert!(text.contains("refused (problems: 2)"), "{text}");
    gate.counts("portcullis_config_last_reload_refused", &[], 1.0);
    assert!(reloads(&gate, "refused") >= 1.0);
    eventually("both problems", || {
        let output = gate.output();
        output.contains("cache.ttl") && output.contains("cache.capacity")
    });

    // What is no TOML, what is not there, and a rule that contradicts another one.
    for text in ["public_url = ", "", &config.replace("own.toml", "missing.toml")] {
        write(&gate, "portcullis.toml", text);
        reloaded(&gate, "refused");
        assert_eq!(gate.bearer(LINE, &token).status, 200, "{text}");
    }
    fs::remove_file(gate.folder.path().join("portcullis.toml")).unwrap();
    reloaded(&gate, "refused");
    write(&gate, "portcullis.toml", &config);
    write(&gate, "own.toml", &NEW_RULE.repeat(2));
    reloaded(&gate, "refused");

    write(&gate, "own.toml", NEW_RULE);
    reloaded(&gate, "loaded");
    assert_eq!(gate.bearer(NEW, &token).status, 200);
    assert_eq!(ready(&gate), (200, "ok\n".to_owned()));
    gate.counts("portcullis_config_last_reload_refused", &[], 0.0);
}

#[test]
fn a_config_that_is_put_back_is_no_longer_refused() {
    let gate = gate(Upstream::start());
    write(&gate, "own.toml", "what?");
    reloaded(&gate, "refused");
    write(&gate, "own.toml", "");
    reloaded(&gate, "unchanged");
    assert_eq!(ready(&gate), (200, "ok\n".to_owned()));
    gate.counts("portcullis_config_last_reload_refused", &[], 0.0);
}

#[test]
fn what_a_running_gateway_cannot_take_up_is_said() {
    let gate = gate(Upstream::start());
    let (tls, files) = files(&[&Authority::new("ours").certificate("DNS:gw.example")]);
    for (name, text) in files {
        write(&gate, &name, &text);
    }
    let config = fs::read_to_string(gate.folder.path().join("portcullis.toml")).unwrap();
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"";
    let another = "[[listen]]\naddress = \"127.0.0.2:0\"\n";
    let rows = [
        ("listen", listen.to_owned(), another.to_owned()),
        ("listen", listen.to_owned(), format!("{another}{listen}")),
        (
            "admin.address",
            "[admin]\naddress = \"127.0.0.1:0\"".into(),
            "[admin]\naddress = \"127.0.0.2:0\"".into(),
        ),
        ("server.threads", "threads = 2".into(), "threads = 3".into()),
        ("listen[0].tls", listen.to_owned(), format!("{listen}\ntls = {{ {tls} }}")),
    ];
    for (place, from, to) in rows {
        write(&gate, "portcullis.toml", &config);
        edit(&gate, &from, &to);
        let said = reloaded(&gate, "refused");
        assert_eq!(said["problems"][0]["at"], place, "{said}");
        let help = said["problems"][0]["help"].as_str().unwrap();
        assert!(help.contains("restart the gateway"), "{help}");
    }
}

#[test]
fn tls_of_a_listener_is_not_taken_off_while_it_runs() {
    let (tls, files) = files(&[&Authority::new("ours").certificate("DNS:gw.example")]);
    let tls = format!("tls = {{ {tls} }}");
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let tables = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{tls}");
    let gate =
        Gate::with(Upstream::start(), &Options { admin, tables, files, ..Options::default() });
    edit(&gate, &tls, "");
    let said = reloaded(&gate, "refused");
    assert_eq!(said["problems"].as_array().unwrap().len(), 1, "{said}");
    assert_eq!(said["problems"][0]["at"], "listen[1].tls", "{said}");
    assert_eq!(gate.bearer(LINE, &gate.token("read")).status, 200);
}

#[test]
fn what_is_in_flight_ends_under_the_config_that_it_began_with() {
    let (go, word) = channel::<()>();
    let word = Mutex::new(word);
    let upstream = Upstream::answering(move |seen, stream| {
        if seen.target.ends_with("?wait") {
            word.lock().unwrap().recv_timeout(PATIENCE).expect("a word");
        }
        let link = format!("<{CANONICAL}/api/0/next/>; rel=\"next\"");
        ok(stream, &[("Link", &link)], b"{}");
    });
    let mut gate = gate(upstream);
    let token = gate.token("read");
    let mut waiting = Connection::open(gate.address);
    let bearer = format!("Bearer {token}");
    waiting.write(&request(&format!("{LINE}?wait"), &[("Authorization", &bearer)], b""));
    eventually("a request upstream", || !gate.upstream.take().is_empty());

    edit(&gate, CANONICAL, "https://other.internal");
    reloaded(&gate, "loaded");
    let link = |reply: &Reply| reply.header("link").unwrap().to_owned();
    let next = gate.bearer(LINE, &token);
    assert_eq!(
        link(&next),
        format!("<{CANONICAL}/api/0/next/>; rel=\"next\""),
        "no name of Sentry's now"
    );
    go.send(()).unwrap();
    let first = waiting.read_reply("GET").unwrap();
    assert_eq!(link(&first), "<http://gw.example/api/0/next/>; rel=\"next\"");
    // The connection goes on, under the new one.
    waiting.write(&request(LINE, &[("Authorization", &bearer)], b""));
    assert_eq!(link(&waiting.read_reply("GET").unwrap()), link(&next));
    gate.stop();
}

#[test]
fn another_upstream_gets_what_comes_and_the_old_one_ends_what_it_has() {
    let (go, word) = channel::<()>();
    let word = Mutex::new(word);
    let gate = gate(Upstream::answering(move |_, stream| {
        word.lock().unwrap().recv_timeout(PATIENCE).expect("a word");
        ok(stream, &[], b"{\"from\":1}");
    }));
    let token = gate.token("read");
    let mut waiting = Connection::open(gate.address);
    waiting.write(&request(LINE, &[("Authorization", &format!("Bearer {token}"))], b""));
    eventually("a request upstream", || !gate.upstream.take().is_empty());

    let other = Upstream::start();
    let (old, new) = (gate.upstream.address.to_string(), other.address.to_string());
    edit(&gate, &old, &new);
    reloaded(&gate, "loaded");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(other.take_one().path(), "/api/0/organizations/acme/issues/");
    assert!(gate.upstream.take().is_empty());
    let addresses = |url: &str| gate.metric("portcullis_upstream_addresses", &[url]);
    assert_eq!((addresses(&old), addresses(&new)), (0.0, 1.0));
    go.send(()).unwrap();
    assert_eq!(waiting.read_reply("GET").unwrap().body, b"{\"from\":1}");
    eventually("nothing in flight", || {
        gate.metric("portcullis_upstream_requests_in_flight", &[]) == 0.0
    });

    // One that can't be resolved is not waited for by requests.
    edit(&gate, &new, "sentry.invalid:80");
    let said = reloaded(&gate, "refused");
    assert_eq!(said["problems"][0]["at"], "upstream.web.urls", "{said}");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!((addresses("sentry.invalid:80"), addresses(&new)), (0.0, 1.0));
}

#[test]
fn a_store_comes_and_goes() {
    let gate = gate(Upstream::start());
    let (own, filed) = (gate.token("read"), "a-token-of-a-file-0123456789abcdef");
    assert_eq!(gate.bearer(LINE, &own).status, 200);
    assert_eq!(gate.bearer(LINE, filed).status, 401);
    let digest = portcullis::policy::credential::Digest::of(filed).hex();
    let entry =
        format!("[[token]]\nname = \"ci\"\ndigest = \"{digest}\"\nscopes = [\"event:read\"]\n");
    write(&gate, "tokens.toml", &entry);
    let config = fs::read_to_string(gate.folder.path().join("portcullis.toml")).unwrap();
    write(
        &gate,
        "portcullis.toml",
        &format!("{config}\n[[store]]\nkind = \"file\"\npath = \"tokens.toml\"\n"),
    );
    reloaded(&gate, "loaded");
    assert_eq!(gate.bearer(LINE, filed).status, 200);
    assert_eq!(gate.bearer(LINE, &own).status, 200);
    let up = || gate.metric("portcullis_store_up", &["\"file\""]);
    assert_eq!(up(), 1.0);

    // A store that can't be opened: nobody is forgotten.
    write(
        &gate,
        "portcullis.toml",
        &format!("{config}\n[[store]]\nkind = \"file\"\npath = \"none.toml\"\nname = \"none\"\n"),
    );
    let said = reloaded(&gate, "refused");
    assert!(said["problems"][0]["what"].as_str().unwrap().contains("none.toml"), "{said}");
    assert_eq!(gate.bearer(LINE, filed).status, 200);
    let text = String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
    assert!(!text.contains("store_up{store=\"none\"}"), "{text}");

    write(&gate, "portcullis.toml", &config);
    reloaded(&gate, "loaded");
    assert_eq!(gate.bearer(LINE, filed).status, 401);
    assert_eq!(gate.bearer(LINE, &own).status, 200);
    let text = String::from_utf8(gate.admin("/metrics").unwrap().body).unwrap();
    assert!(!text.contains("store_up{store=\"file\"}"), "{text}");
}

#[test]
fn operators_and_logs_are_taken_up() {
    let mut gate = gate(Upstream::start());
    let token = gate.token("read");
    write(&gate, "admin-credential", "another-credential-of-operators");
    reloaded(&gate, "loaded");
    assert_eq!(reload(&gate).status, 401);
    let another = [("Authorization", "Bearer another-credential-of-operators")];
    let reload = || gate.operator("POST /reload", &another, "").json()["result"].clone();
    assert_eq!(reload(), "unchanged");
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    edit(&gate, "[server]", "[log]\naccess = false\nlevel = \"error\"\n[server]");
    assert!(["loaded", "unchanged"].contains(&reload().as_str().unwrap()));
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    edit(&gate, "access = false", "access = true");
    assert!(["loaded", "unchanged"].contains(&reload().as_str().unwrap()));
    assert_eq!(gate.bearer(LINE, &token).status, 200);
    assert_eq!(gate.operator("GET /reload", &another, "").status, 405);
    gate.stop();
    assert_eq!(gate.access_lines().len(), 2);
    let output = gate.output();
    assert_eq!(output.matches("\"a new config is in force\"").count(), 1, "{output}");
    assert!(!output.contains("\"stopped\""), "{output}");
}

#[test]
fn a_hundred_reloads_under_load_harm_nobody() {
    let gate = gate(Upstream::start());
    let token = format!("Bearer {}", gate.token("read"));
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = Connection::open(gate.address);
                let request = request(LINE, &[("Authorization", &token)], b"");
                while !stop.load(Ordering::Relaxed) {
                    connection.write(&request);
                    assert_eq!(connection.read_reply("GET").expect("an answer").status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let done = |count: u64| eventually("requests", || served.load(Ordering::Relaxed) >= count);
        let mut memory = Vec::new();
        for round in 1..=100_u32 {
            write(&gate, "own.toml", if round % 2 == 1 { NEW_RULE } else { "" });
            reloaded(&gate, "loaded");
            if round.is_multiple_of(20) {
                memory.push(gate.memory());
            }
            done(u64::from(round));
        }
        // What keeps a config keeps it every time; an allocator takes more once in a while.
        let grown = memory.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min();
        println!("resident after each twenty reloads: {memory:?}");
        assert!(grown < Some(4 << 20), "every twenty reloads take more: {memory:?}");
    });
    assert_eq!(reloads(&gate, "loaded"), 100.0);
    let served = served.into_inner() as f64;
    eventually("each of them counted", || gate.metric("portcullis_requests_total", &[]) == served);
}

/// What is not taken over from one config to the next: an upstream, a store, what listens.
#[test]
fn what_reloads_replace_is_given_back() {
    let authority = Authority::new("ours");
    let made = ["DNS:gw.example", "DNS:gw.example, DNS:b.example"];
    let made = made.map(|names| authority.certificate(names));
    let (tls, files) = files(&[&made[0]]);
    let admin = "credential = { file = \"admin-credential\" }".to_owned();
    let tables = format!("[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ {tls} }}");
    let web = "timeout = \"50s\"".to_owned();
    let mut options = Options { admin, tables, files, web, ..Options::default() };
    options.files.push(("tokens.toml".into(), String::new()));
    options.store = "[[store]]\nkind = \"file\"\npath = \"tokens.toml\"\nname = \"one\"\n".into();
    let gate = Gate::with(Upstream::start(), &options);
    let token = gate.token("read");
    let count =
        |what: &str| fs::read_dir(format!("/proc/{}/{what}", gate.process())).unwrap().count();
    let mut round = |number: usize| {
        let turn = |pair: [&'static str; 2]| -> (&'static str, &'static str) {
            if number.is_multiple_of(2) { (pair[0], pair[1]) } else { (pair[1], pair[0]) }
        };
        for pair in
            [["timeout = \"50s\"", "timeout = \"40s\""], ["name = \"one\"", "name = \"two\""]]
        {
            let (from, to) = turn(pair);
            edit(&gate, from, to);
        }
        let next = &made[(number + 1) % 2];
        write(&gate, "0.crt", &next.certificate);
        write(&gate, "0.key", &next.key);
        reloaded(&gate, "loaded");
        assert_eq!(gate.bearer(LINE, &token).status, 200);
    };
    (0..10).for_each(&mut round);
    let before = ["fd", "task"].map(count);
    (10..30).for_each(&mut round);
    // What has ended is closed a little later.
    // Threads for blocking work come and go; what is not given back would be twenty more.
    eventually("no more files and threads", || {
        ["fd", "task"].map(count).iter().zip(before).all(|(now, before)| *now <= before + 5)
    });
    let now = ["fd", "task"].map(count);
    println!("{before:?} files and threads after ten reloads, {now:?} after thirty");
}
