//! Project keys where they have no business.

use portcullis::store::portcullis::TokenKind;

use crate::gate::{Gate, HOST, new};

#[test]
fn a_dsn_opens_its_own_project_and_nothing_else() {
    let gate = Gate::start();
    let key = gate.create(portcullis::store::portcullis::admin::NewToken {
        organizations: crate::gate::only(&["acme"]),
        projects: crate::gate::only(&["2", "web"]),
        ..new("dsn", TokenKind::Dsn, "project:write")
    });
    let rows = [
        ("POST /api/0/projects/acme/web/user-feedback/", "2", 200),
        ("POST /api/0/projects/acme/2/user-feedback/", "2", 200),
        ("POST /api/0/projects/acme/web/user-feedback/", "3", 401),
        ("POST /api/0/projects/acme/api/user-feedback/", "2", 403),
        ("POST /api/0/projects/globex/web/user-feedback/", "2", 403),
        ("GET /api/0/projects/acme/web/user-feedback/", "2", 401),
        ("GET /api/0/projects/acme/web/issues/", "2", 401),
    ];
    for (line, project, status) in rows {
        let dsn = format!("DSN http://{key}@{HOST}/{project}");
        let reply = gate.send(line, &[("Authorization", &dsn)]);
        assert_eq!(reply.status, status, "{line} with project {project}: {reply:?}");
        assert_eq!(gate.upstream.take().len(), usize::from(status == 200), "{line}");
    }
}
