//! The roots of the images that the Dockerfile begins with.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::tool::Tool;

use super::repository;

/// What the steps of the build stage run, of the machine's own.
const PROGRAMS: &[&str] = &[
    "cat",
    "cp",
    "cut",
    "find",
    "grep",
    "install",
    "mkdir",
    "mktemp",
    "rm",
    "sed",
    "sha256sum",
    "sh",
    "sort",
    "touch",
    "uniq",
    "xargs",
];

/// Has no network and nothing to install; what is asked of it must be what the Dockerfile's comment says.
const APT_GET: &str = r#"#!/bin/sh
case "$*" in
    update | "install --yes --no-install-recommends cmake make") ;;
    *) echo "apt-get: $* is not expected" >&2; exit 1 ;;
esac
"#;

/// Hands out the binary, where the files that it was built from are there. The first build is that of the
/// dependencies, with a library that is empty.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
    "build --release --locked --bin portcullis")
        if grep -q '^\[\[\(bench\|example\)\]\]' Cargo.toml; then
            echo "cargo: there is no such file as Cargo.toml names" >&2
            exit 1
        fi
        mkdir -p target/release
        if [ -s src/lib.rs ]; then
            while read -r file; do
                [ -f "$file" ] || { echo "cargo: $file is read by the build and not there" >&2; exit 1; }
            done </read-by-the-build
            cp /built target/release/portcullis
        fi
        ;;
    "clean --release --package portcullis") ;;
    tree\ *) cat /tree ;;
    *) echo "cargo: $* is not expected" >&2; exit 1 ;;
esac
"#;

/// The root of the build image.
pub fn build(root: &Path) {
    for folder in ["etc", "root", "tmp", "usr/bin", "var/lib"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for program in PROGRAMS {
        let path = Tool::path(program);
        copy(&path, &root.join("usr/bin").join(program));
        libraries(&path, root);
    }
    symlink("usr/bin", root.join("bin")).unwrap();
    for (name, text) in [("apt-get", APT_GET), ("cargo", CARGO)] {
        let path = root.join("usr/bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy(Path::new(env!("CARGO_BIN_EXE_portcullis")), &root.join("built"));
    fs::write(root.join("read-by-the-build"), read_by_the_build()).unwrap();
    // Licences are of one crate here; all are looked at where a release is packaged.
    let source = source_of("pingora-");
    let name = source.file_name().unwrap().to_str().unwrap();
    let (crate_name, version) = name.rsplit_once('-').unwrap();
    fs::write(root.join("tree"), format!("{crate_name} v{version}|Apache-2.0\n")).unwrap();
    let there = root.join("root/.cargo/registry/src/index").join(name);
    fs::create_dir_all(&there).unwrap();
    fs::copy(source.join("LICENSE"), there.join("LICENSE")).unwrap();
}

/// The root of the image to run on: what the gateway needs.
pub fn base(root: &Path) {
    for folder in ["dev", "etc/ssl/certs", "home/nonroot", "proc", "tmp", "usr/bin", "var/lib"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(root.join("home/nonroot"), fs::Permissions::from_mode(0o700)).unwrap();
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    copy(&Path::new("/").join(certificates), &root.join(certificates));
    libraries(Path::new(env!("CARGO_BIN_EXE_portcullis")), root);
}

/// The files of the repository that the compiler read for the binary's library, as it says itself: beside the
/// binary, in the newest of its notes about a library.
fn read_by_the_build() -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_portcullis")).with_file_name("deps");
    let notes = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("portcullis-") && name.ends_with(".d")
    });
    let mut newest = (std::time::UNIX_EPOCH, String::new());
    for path in notes {
        let changed = fs::metadata(&path).unwrap().modified().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        if changed > newest.0 && text.lines().any(|line| line.contains(".rlib: ")) {
            newest = (changed, text);
        }
    }
    let line =
        newest.1.lines().find(|line| line.contains(".rlib: ")).expect("notes about the library");
    let files = line.split_once(": ").unwrap().1.split_whitespace();
    let files =
        files.map(|file| Path::new(file).strip_prefix(repository()).unwrap_or(Path::new(file)));
    let files: String = files.map(|file| format!("{}\n", file.display())).collect();
    assert!(files.contains("src/lib.rs\n") && files.contains("config/sentry.toml\n"), "{files}");
    files + "src/main.rs\n"
}

/// The source of the crate whose folder begins like this.
fn source_of(begins: &str) -> PathBuf {
    let metadata = Tool::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .within(repository())
        .text();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let manifests = metadata["packages"].as_array().unwrap().iter();
    let mut folders = manifests.map(|package| {
        Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
    });
    let is_wanted = |folder: &PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap();
        name.strip_prefix(begins).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    folders.find(is_wanted).unwrap_or_else(|| panic!("no source of {begins}"))
}

/// What a program is linked with, at the same paths.
fn libraries(program: &Path, root: &Path) {
    let listed = Tool::new("ldd").args([program]).text();
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let there = root.join(path.trim_start_matches('/'));
        if !there.exists() {
            copy(Path::new(path), &there);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
