//! buildah, with a store of its own that ends with the test.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::gate::open_folder;
use crate::tool::{Tool, lossy};

use super::{repository, roots};

/// As the images that the Dockerfile names by default are: another user's folder to work in, and the
/// certificates named, without which the gateway does not start then.
const BASE: &str = "FROM scratch\nCOPY . /\nCOPY --chown=65532:65532 home/nonroot /home/nonroot\n\
                    ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\n\
                    WORKDIR /home/nonroot\nUSER 65532\n";
const BUILD: &str = "FROM scratch\nCOPY . /\nENV PATH=/usr/bin HOME=/root\n";

pub struct Builder {
    pub folder: tempfile::TempDir,
}

impl Builder {
    pub fn new() -> Self {
        Self { folder: open_folder() }
    }

    /// The image of the Dockerfile.
    pub fn build(&self) -> Image<'_> {
        let folder = self.folder.path();
        for (name, make, text) in
            [("rust", roots::build as fn(&Path), BUILD), ("base", roots::base, BASE)]
        {
            let root = folder.join(name);
            make(&root);
            let file = folder.join(format!("{name}.Dockerfile"));
            fs::write(&file, text).unwrap();
            self.image(name, &file, &root, &[]);
            fs::remove_dir_all(root).unwrap();
        }
        let arguments = ["RUST=localhost/rust", "RUNTIME=localhost/base", "REVISION=0123abcd"]
            .map(|own| format!("--build-arg={own}"));
        self.image("portcullis", &repository().join("deploy/Dockerfile"), repository(), &arguments);
        let container = self.tool(["from", "--pull=never", "localhost/portcullis"]).text();
        Image { builder: self, container: container.trim().to_owned() }
    }

    fn image(&self, name: &str, file: &Path, context: &Path, arguments: &[String]) {
        let built = self
            .tool(["build", "--isolation=chroot", "--network=host", "--pull=never", "--tag"])
            .args([format!("localhost/{name}")])
            .args(arguments)
            .arg("--file", file)
            .args([context]);
        built.text();
    }

    fn tool<const N: usize>(&self, arguments: [&str; N]) -> Tool {
        let folder = self.folder.path();
        Tool::new(Tool::path("buildah"))
            .arg("--root", &folder.join("store"))
            .arg("--runroot", &folder.join("run"))
            .args(["--storage-driver=vfs"])
            .args(arguments)
    }
}

/// An image, and the root of a container of it.
pub struct Image<'a> {
    pub builder: &'a Builder,
    container: String,
}

impl Image<'_> {
    pub fn root(&self) -> PathBuf {
        self.builder.tool(["mount", &self.container]).text().trim().into()
    }

    /// What the image says of itself.
    pub fn config(&self) -> serde_json::Value {
        let text = self.builder.tool(["inspect", "--type=image", "localhost/portcullis"]).text();
        let mut all: serde_json::Value = serde_json::from_str(&text).unwrap();
        all["OCIv1"]["config"].take()
    }
}

/// Has the test run as root, or as who is root among the users that /etc/subuid gives one. `false`: that has
/// happened, in a process of its own; or this machine does not let root mount anything, as a build in a
/// container may not.
pub fn as_root(test: &str) -> bool {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let words = ["--mount", "--pid", "--fork", "mount", "--bind", "/", "/"];
        let tried = Tool::new(Tool::path("unshare")).args(words).output();
        if !tried.status.success() {
            println!("skipped: this machine does not permit it: {}", lossy(&tried.stderr));
        }
        return tried.status.success();
    }
    Tool::new(Tool::path("buildah"))
        .args(["unshare", "--"])
        .args([std::env::current_exe().unwrap()])
        .args(["--exact", "--nocapture", test])
        .text();
    false
}
