//! What `.ci/release` packages, of the binary under test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tool::Tool;

/// A folder of its own, with what was made of `binary`.
fn package(binary: &Path) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    Tool::new(repository().join(".ci/release"))
        .arg("--binary", binary)
        .arg("--out", out.path())
        // Where there is no git, too.
        .env("SOURCE_DATE_EPOCH", "1790000000")
        .text();
    out
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The one file with this end of its name.
fn file(folder: &Path, ending: &str) -> PathBuf {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = all.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    assert_eq!(found.len(), 1, "{ending}: {found:?}");
    found.remove(0)
}

/// `name` and `version` of what is linked into the binary, without itself.
fn linked() -> BTreeSet<(String, String)> {
    let tree = Tool::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--quiet",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
        ])
        .args(["--no-dedupe", "--format", "{p}"])
        .within(repository())
        .text();
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    });
    let crates: BTreeSet<_> = crates.filter(|(name, _)| name != "portcullis").collect();
    assert!(crates.iter().any(|(name, _)| name == "pingora") && crates.len() > 100, "{crates:?}");
    crates
}

#[test]
fn the_archive_the_list_and_the_checksums_are_whole_and_the_same_each_time() {
    let work = tempfile::tempdir().unwrap();
    // Without debug information it is packed in a fraction of the time.
    let binary = work.path().join("portcullis");
    Tool::new("strip")
        .args(["--strip-debug", "-o"])
        .args([&binary, Path::new(env!("CARGO_BIN_EXE_portcullis"))])
        .text();
    let out = package(&binary);

    // Checksums, as whoever downloads it checks them.
    Tool::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).within(out.path()).text();
    let sums = fs::read_to_string(out.path().join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), fs::read_dir(out.path()).unwrap().count() - 1);
    // Another time, by somebody else with another mask.
    let words = "umask 077; exec \"$@\"";
    let again = tempfile::tempdir().unwrap();
    Tool::new("sh")
        .args(["-c", words, "sh"])
        .args([repository().join(".ci/release")])
        .arg("--binary", &binary)
        .arg("--out", again.path())
        .env("SOURCE_DATE_EPOCH", "1790000000")
        .env("TZ", "Asia/Tokyo")
        .text();
    assert_eq!(fs::read_to_string(again.path().join("SHA256SUMS")).unwrap(), sums);

    let archive = file(out.path(), ".tar.gz");
    let listed = Tool::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--file"])
        .args([&archive])
        .text();
    for line in listed.lines() {
        assert!(line.split_whitespace().nth(1) == Some("0/0"), "{line}");
        assert!(
            line.starts_with("-rwxr-xr-x")
                || line.starts_with("-rw-r--r--")
                || line.starts_with("drwxr-xr-x"),
            "{line}"
        );
    }
    Tool::new("tar").args(["--extract", "--file"]).args([&archive]).within(work.path()).text();
    let name = archive.file_name().unwrap().to_str().unwrap().strip_suffix(".tar.gz").unwrap();
    let unpacked = work.path().join(name);
    holds_what_is_needed(&unpacked);
    names_every_crate(&out, &unpacked);
}

fn holds_what_is_needed(unpacked: &Path) {
    let program = unpacked.join("portcullis");
    let version = Tool::new(&program).args(["--version"]).text();
    assert_eq!(version.trim(), concat!("portcullis ", env!("CARGO_PKG_VERSION")));
    // What is said of the version that is unpacked is said by it.
    let reference = Tool::new(&program).args(["generate", "reference"]).text();
    assert_eq!(fs::read_to_string(unpacked.join("config/reference.md")).unwrap(), reference);
    // A link that leads nowhere in the archive was left behind.
    for page in ["README.md", "config/stores.md", "deploy/RELEASES.md", "deploy/systemd/README.md"]
    {
        let text = fs::read_to_string(unpacked.join(page)).unwrap();
        let folder = unpacked.join(page).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            let is_source =
                ["tests/", "config/sentry", "CONTRIBUTING"].iter().any(|own| path.contains(own));
            if !path.is_empty() && !path.contains("://") && !is_source {
                assert!(folder.join(path).exists(), "{page} links to {target}");
            }
        }
    }
    for file in
        ["LICENSE", "CHANGELOG.md", "config/sentry.toml", "deploy/postgres/sentry-store.sql"]
    {
        let there = fs::read(unpacked.join(file)).unwrap();
        assert_eq!(there, fs::read(repository().join(file)).unwrap(), "{file}");
    }
}

fn names_every_crate(out: &tempfile::TempDir, unpacked: &Path) {
    let list = fs::read_to_string(file(out.path(), ".cdx.json")).unwrap();
    for path in [env!("CARGO_MANIFEST_DIR"), "/tmp/", "/home/", "/root/"] {
        assert!(!list.contains(path), "the list names `{path}`");
    }
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&list["bomFormat"], &list["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let own = &list["metadata"]["component"];
    assert_eq!(
        (&own["name"], &own["version"]),
        (&"portcullis".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let components = list["components"].as_array().unwrap().iter();
    let listed: BTreeSet<_> =
        components.map(|own| (text(&own["name"]), text(&own["version"]))).collect();
    let licences = fs::read_to_string(unpacked.join("THIRD-PARTY-LICENSES")).unwrap();
    let (index, texts) = licences.split_once("====\n").unwrap();
    for (name, version) in linked() {
        assert!(
            listed.contains(&(name.clone(), version.clone())),
            "the list lacks {name} {version}"
        );
        let line = format!("\n{name}-{version}: ");
        let line =
            index.split(&line).nth(1).unwrap_or_else(|| panic!("no licence of {name} {version}"));
        let has_text = texts.contains(&format!("\n{name}-{version} "))
            || texts.starts_with(&format!("{name}-{version} "));
        let excused = line.lines().next().unwrap().contains("; ");
        assert!(has_text != excused, "{name} {version}: {line:.60}");
    }
    // Of C code that crates bring.
    for text in ["zlib-ng/LICENSE.md", "mimalloc/v3/LICENSE", "LICENSE-BoringSSL"] {
        assert!(texts.contains(text), "no licence {text}");
    }
}

#[test]
fn what_is_no_release_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wants = folder.path().join("wants");
    // A library beyond those of C.
    let source = folder.path().join("wants.c");
    fs::write(&source, "int deflateEnd(void*); int main(void) { return 0; }").unwrap();
    Tool::new("cc")
        .arg("-o", &wants)
        .args([&source])
        .args(["-Wl,--no-as-needed", "-ldl", "-lresolv"])
        .text();
    for (binary, said) in [
        (folder.path().join("nothing"), "there is no `"),
        (wants, "the binary needs `libresolv.so.2`, which is not promised"),
    ] {
        let output = Tool::new(repository().join(".ci/release"))
            .arg("--binary", &binary)
            .arg("--out", folder.path())
            .env("SOURCE_DATE_EPOCH", "1790000000")
            .output();
        let text = crate::tool::lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
        assert!(!folder.path().join("SHA256SUMS").exists());
    }
}

/// The page says what the script holds the binary to.
#[test]
fn the_page_says_what_the_archive_runs_on() {
    let script = fs::read_to_string(repository().join(".ci/release")).unwrap();
    let promised = script.lines().find_map(|line| line.strip_prefix("glibc=")).unwrap();
    let page = fs::read_to_string(repository().join("deploy/RELEASES.md")).unwrap();
    assert!(page.contains(&format!("glibc {promised}")), "{promised}");
    let toolchain = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let rust = toolchain.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(page.contains(&format!("Rust {}", rust.trim_matches('"'))), "{rust}");
}
