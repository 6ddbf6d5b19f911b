//! Certificates, made by the `openssl` command with a P-256 key each. What the machine's own settings of
//! OpenSSL say does not count.

use std::path::{Path, PathBuf};
use std::process::Command;

const RUN: &str = r#"
set -e
cd "$1"
new() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config "$@" 2>&1; }
name='[req]\ndistinguished_name = n\nprompt = no\n[n]\nCN = %s\n'
case $2 in
root)
    printf "$name"'[x]\nbasicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign\n' "$3" >root
    new root -x509 -extensions x -days 2 -keyout root.key -out root.pem
    printf '[ca]\ndefault_ca = d\n[d]\ndatabase = index\nserial = serial\nunique_subject = no\ndefault_md = sha256\npolicy = p\nnew_certs_dir = .\n[p]\ncommonName = supplied\n' >authority
    : >index
    echo 01 >serial
    ;;
*)
    printf "$name"'[x]\nsubjectAltName = %s\n' "$2" "$3" >leaf
    new leaf -keyout "$2.key" -out leaf.csr
    openssl ca -batch -config authority -cert root.pem -keyfile root.key -notext \
        -startdate "$4" -enddate "$5" -extfile leaf -extensions x -in leaf.csr -out "$2.pem" 2>&1
    ;;
esac
"#;

/// Where the tests' upstreams are.
pub const HERE: &str = "IP:127.0.0.1";

/// Whoever holds it makes certificates that its own is the root of.
pub struct Authority {
    folder: tempfile::TempDir,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        authority.openssl(&["root", name]);
        authority
    }

    fn openssl(&self, words: &[&str]) {
        let mut command = Command::new("sh");
        let made = command.args(["-c", RUN, "sh"]).arg(self.folder.path()).args(words).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its own certificate.
    pub fn root(&self) -> PathBuf {
        self.path("root.pem")
    }

    /// A certificate in the file of this name, for a name such as `IP:127.0.0.1`.
    pub fn leaf(&self, file: &str, name: &str) -> Leaf {
        self.leaf_of(file, name, "20200101000000Z", "20990101000000Z")
    }

    /// The same, of the past.
    pub fn expired(&self, file: &str, name: &str) -> Leaf {
        self.leaf_of(file, name, "20200101000000Z", "20200201000000Z")
    }

    fn leaf_of(&self, file: &str, name: &str, start: &str, end: &str) -> Leaf {
        self.openssl(&[file, name, start, end]);
        let path = |kind| self.path(&format!("{file}.{kind}"));
        Leaf { certificate: path("pem"), key: path("key") }
    }
}

/// The text of a file in TOML.
pub fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}
