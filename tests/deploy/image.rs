//! The image: `deploy/Dockerfile` as it is, built by buildah and started as a container is.
//!
//! No registry is asked. The images that the Dockerfile begins with are made here: for the build one with
//! the machine's shell and a `cargo` that hands out the binary under test, and to run on a root with the
//! libraries that this binary needs, certificates and nothing else.

mod builder;
mod container;
mod reading;
mod roots;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::client::{request, send};
use crate::gate::HOST;
use crate::upstream::Upstream;

use builder::Builder;
use container::Container;

const LINE: &str = "GET /api/0/organizations/acme/issues/";

/// Who a platform may run it as, and what that may write to.
const USERS: &[(&str, &str, bool)] = &[
    ("the image's own user", "65532:65532", true),
    ("any user in the group of root, as OpenShift has it", "12345:0", true),
    ("any user without a volume", "54321:54321", false),
];

#[test]
fn it_has_what_the_gateway_needs_and_serves_as_any_user() {
    if !builder::as_root("image::it_has_what_the_gateway_needs_and_serves_as_any_user") {
        return;
    }
    let builder = Builder::new();
    let image = builder.build();
    let root = image.root();

    let config = image.config();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/bin/portcullis"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    // That of the base can be entered by its own user alone, and then nobody else's container starts.
    assert_eq!(config["WorkingDir"], "/");
    for (label, value) in [
        ("title", "Portcullis"),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", "0123abcd"),
    ] {
        let label = format!("org.opencontainers.image.{label}");
        assert_eq!(config["Labels"][&label], value, "{label}");
    }

    let binary = root.join("usr/bin/portcullis");
    assert_eq!(fs::read(&binary).unwrap(), fs::read(env!("CARGO_BIN_EXE_portcullis")).unwrap());
    let mode = fs::metadata(&binary).unwrap();
    assert_eq!((mode.uid(), mode.permissions().mode() & 0o7777), (0, 0o755));
    let state = fs::metadata(root.join("var/lib/portcullis")).unwrap();
    assert_eq!((state.uid(), state.gid(), state.permissions().mode() & 0o7777), (65532, 0, 0o770));
    let parent = fs::metadata(root.join("var/lib")).unwrap();
    assert_eq!((parent.uid(), parent.permissions().mode() & 0o7777), (0, 0o755));
    let licence = fs::read_to_string(root.join("usr/share/doc/portcullis/LICENSE")).unwrap();
    assert_eq!(licence, fs::read_to_string(repository().join("LICENSE")).unwrap());
    let others = root.join("usr/share/doc/portcullis/THIRD-PARTY-LICENSES");
    assert!(fs::read_to_string(others).unwrap().contains("pingora-"));
    assert_eq!(programs(&root), ["usr/bin/portcullis"], "no shell, and nothing else to run");

    for (who, user, volume) in USERS {
        serves(&image, who, user, *volume);
    }
}

/// Serves a request as this user, and ends as told.
fn serves(image: &builder::Image<'_>, who: &str, user: &str, volume: bool) {
    let upstream = Upstream::start();
    let store = if volume {
        "kind = \"portcullis\"\nurl = \"sqlite:///var/lib/portcullis/tokens.db\""
    } else {
        "kind = \"file\"\npath = \"tokens.toml\""
    };
    let config = format!(
        "public_url = \"http://{HOST}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[upstream.web]\nurls = [\"http://{}\"]\n\
         health_interval = \"0s\"\ncredential = {{ file = \"token\" }}\n\
         [[store]]\n{store}\n[server]\nstop_delay = \"0s\"\n",
        upstream.address
    );
    let container = Container::new(image, user, volume, &config);
    let token = container.token();
    let mut serving = container.serve();
    let bearer = format!("Bearer {token}");
    let reply = send(serving.address, &request(LINE, &[("Authorization", &bearer)], b"")).unwrap();
    assert_eq!(reply.status, 200, "{who}: {}", serving.output());
    assert_eq!(upstream.take_one().path(), "/api/0/organizations/acme/issues/", "{who}");
    let ready =
        send(serving.admin, &request("GET /readyz", &[("Host", "127.0.0.1")], b"")).unwrap();
    assert_eq!(ready.status, 200, "{who}: {}", serving.output());
    serving.assert_confined(user);
    assert_eq!(serving.stop(), Some(0), "{who}: {}", serving.output());
}

/// What of a root can be run, apart from libraries.
fn programs(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if !kind.is_file() || entry.metadata().unwrap().permissions().mode() & 0o111 != 0
            {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                if !name.contains(".so") {
                    found.push(name);
                }
            }
        }
    }
    found.sort();
    found
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
