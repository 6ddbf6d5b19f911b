//! Certificates, made with the `openssl` command.

use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Whoever holds it makes certificates that its own is the root of.
pub struct Authority {
    folder: tempfile::TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Made {
    pub certificate: String,
    pub key: String,
}

impl Made {
    /// How a server speaks TLS that has it, and asks clients for none.
    pub fn served(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        config.with_no_client_auth().with_single_cert(chain, key).unwrap().into()
    }
}

/// With a P-256 key each. What the machine's own settings of OpenSSL say does not count.
const RUN: &str = r#"
set -e
cd "$1"
new() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config "$@" 2>&1; }
if [ "$2" = root ]; then
    printf '[req]\ndistinguished_name = n\nprompt = no\n[n]\nCN = %s\n[x]\nbasicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign\n' "$3" >root
    new root -x509 -extensions x -days 2 -keyout root.key -out root.pem
else
    printf '[req]\ndistinguished_name = n\nprompt = no\n[n]\nCN = %s\n[x]\n%s\n' "$3" "$4" >leaf
    new leaf -keyout leaf.key -out leaf.csr
    openssl x509 -req -in leaf.csr -CA root.pem -CAkey root.key -CAcreateserial -days "$5" \
        -extfile leaf -extensions x -out leaf.pem 2>&1
fi
"#;

impl Authority {
    pub fn new(name: &str) -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        authority.openssl(&["root", name]);
        authority
    }

    fn openssl(&self, words: &[&str]) {
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(self.folder.path()).args(words);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    }

    /// A certificate for names such as `DNS:a.example, IP:127.0.0.1`.
    pub fn certificate(&self, names: &str) -> Made {
        self.make("leaf", &format!("subjectAltName = {names}"), 2)
    }

    /// The same, from now on for so many days.
    pub fn make(&self, common_name: &str, extensions: &str, days: i32) -> Made {
        self.openssl(&["leaf", common_name, extensions, &days.to_string()]);
        Made { certificate: self.read("leaf.pem"), key: self.read("leaf.key") }
    }

    /// Its own certificate, in PEM.
    pub fn root(&self) -> String {
        self.read("root.pem")
    }

    /// Where that is.
    pub fn root_path(&self) -> String {
        self.folder.path().join("root.pem").to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}
