//! Uploads: in chunks, to the URL that the answer names.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;

use crate::client::{Client, Home, PATIENCE};
use crate::http::Seen;
use crate::sentry::hex;
use crate::stage::Stage;

const URL: &str = "/api/0/organizations/acme/chunk-upload/";
const BUNDLES: &str = "/api/0/organizations/acme/artifactbundle/assemble/";
const DEBUG_FILES: &str = "/api/0/projects/acme/web/files/difs/assemble/";

/// That what was received is an upload in chunks, and gives the one file that came of it: Sentry
/// has it whole, since it knows each chunk and the file by a digest of its content.
fn uploaded(stage: &Stage, assemble: &str, requests: usize) -> Vec<u8> {
    let seen = stage.seen();
    // By it Sentry decides whether the URL is absolute.
    let agent = seen[0].header("user-agent").unwrap();
    assert!(agent.starts_with("sentry-cli/"), "{agent}");
    let lines: Vec<_> = seen.iter().map(Seen::line).collect();
    let (asked, posted) = (format!("POST {assemble}"), format!("POST {URL}"));
    let uploads = lines.iter().filter(|line| **line == posted).count();
    assert!(uploads >= requests, "{lines:#?}");
    let before = [format!("GET {URL}"), asked.clone()];
    let mut wanted = before.to_vec();
    wanted.extend(std::iter::repeat_n(posted, uploads));
    // Some clients wait until it has been put together.
    let after = lines.len() - wanted.len();
    wanted.extend(std::iter::repeat_n(asked, after));
    assert!(after > 0, "{lines:#?}");
    assert_eq!(lines, wanted);
    let mut files = std::mem::take(&mut stage.sentry.state.lock().unwrap().files);
    assert_eq!(files.len(), 1);
    files.pop_first().unwrap().1
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn sentry_cli_uploads_source_maps() {
    source_maps_by_sentry_cli(Client::SentryCli);
}

#[test]
fn sentry_cli_2_uploads_source_maps() {
    source_maps_by_sentry_cli(Client::SentryCli2);
}

fn source_maps_by_sentry_cli(client: Client) {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token("org:ci"));
    script(&home.work().join("dist"));
    let words = ["sourcemaps", "upload", "--release", "1.0.0", "dist"];
    let printed = home.run(client, &words).fine();
    for text in ["Uploaded files to Sentry", "Upload type: artifact bundle", "~/main.js.map"] {
        assert!(printed.contains(text), "{printed}");
    }
    let bundle = uploaded(&stage, BUNDLES, 2);
    assert!(contains(&bundle, "main.js.map") && contains(&bundle, "manifest.json"));
}

/// The gateway is replaced while Sentry has yet to answer to the first chunks.
#[test]
fn an_upload_goes_on_while_another_process_takes_over() {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token("org:ci"));
    script(&home.work().join("dist"));
    let ((came, arrived), (go, word)) = (channel(), channel());
    stage.sentry.state.lock().unwrap().hold = Some((came, word));
    let words = ["sourcemaps", "upload", "--release", "1.0.0", "dist"];
    let (printed, _successor) = std::thread::scope(|scope| {
        let client = scope.spawn(|| home.run(Client::SentryCli, &words).fine());
        arrived.recv_timeout(PATIENCE).expect("chunks");
        let successor = stage.hand_over();
        go.send(()).unwrap();
        (client.join().unwrap(), successor)
    });
    assert!(printed.contains("Uploaded files to Sentry"), "{printed}");
    let bundle = uploaded(&stage, BUNDLES, 2);
    assert!(contains(&bundle, "main.js.map") && contains(&bundle, "manifest.json"));
}

#[test]
fn the_npm_package_uploads_source_maps() {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token("org:ci org:read"));
    script(&home.work().join("dist"));
    let words = ["sourcemap", "upload", "dist", "--release", "1.0.0"];
    let printed = home.run(Client::Sentry, &words).fine();
    assert!(printed.contains("Files uploaded") && printed.contains("1.0.0"), "{printed}");
    let first = stage.sentry.web.first();
    assert_eq!(first.line(), "GET /api/0/organizations/acme/");
    let bundle = uploaded(&stage, BUNDLES, 2);
    assert!(contains(&bundle, "main.js.map") && contains(&bundle, "manifest.json"));
}

#[test]
fn sentry_cli_uploads_debug_files() {
    debug_files(Client::SentryCli);
}

#[test]
fn sentry_cli_2_uploads_debug_files() {
    debug_files(Client::SentryCli2);
}

fn debug_files(client: Client) {
    let stage = Stage::start();
    let home = stage.home_with(&stage.token("org:ci"));
    library(&home);
    let printed = home.run(client, &["debug-files", "upload", "libboom.so"]).fine();
    for text in ["Uploaded 1 missing debug information file", "(libboom.so; ", "library)"] {
        assert!(printed.contains(text), "{printed}");
    }
    let file = uploaded(&stage, DEBUG_FILES, 2);
    assert_eq!(file, std::fs::read(home.work().join("libboom.so")).unwrap());
}

#[test]
fn sentry_cli_uploads_a_mapping() {
    let text = "com.example.Main -> a.a:\n    void main() -> a\n";
    let stage = Stage::start();
    let home = stage.home_with(&stage.token("org:ci"));
    std::fs::write(home.work().join("mapping.txt"), text).unwrap();
    let printed = home.run(Client::SentryCli, &["upload-proguard", "mapping.txt"]).fine();
    assert!(printed.contains("(Proguard mapping)"), "{printed}");
    assert_eq!(uploaded(&stage, DEBUG_FILES, 1), text.as_bytes());
}

/// Text that does not compress to nothing, always the same.
fn noise(length: usize) -> String {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&hex(text.len().to_string().as_bytes()));
    }
    text
}

/// A script and its source map, larger than the chunks of several requests.
pub fn script(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let script = format!("boom(\"{}\");\n//# sourceMappingURL=main.js.map\n", noise(60_000));
    std::fs::write(folder.join("main.js"), script).unwrap();
    let map = r#"{"version":3,"file":"main.js","sources":["main.ts"],"sourcesContent":["boom()"],"names":[],"mappings":"AAAA"}"#;
    std::fs::write(folder.join("main.js.map"), map).unwrap();
}

/// A library with debug information, larger than the chunks of several requests.
pub fn library(home: &Home) {
    let source = format!(
        "const char noise[] = \"{}\";\nint boom(int n) {{ return n + 1; }}\n",
        noise(60_000)
    );
    std::fs::write(home.work().join("boom.c"), source).unwrap();
    let words = [
        "-g",
        "-shared",
        "-fPIC",
        "-nostdlib",
        "-Wl,--build-id=sha1",
        "-o",
        "libboom.so",
        "boom.c",
    ];
    let output = Command::new("cc").args(words).current_dir(home.work()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
