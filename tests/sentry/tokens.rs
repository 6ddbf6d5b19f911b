//! A database for the tokens that the gateway issues, empty at first, of a role of its own, and the
//! commands upon it.

use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis::store::postgres::Address;
use serde_json::Value;

use crate::database::{Database, PASSWORD, Server};
use crate::gate::{Gate, config, folder, portcullis};

pub struct Tokens {
    pub database: Database,
    /// The owner of the database and of the tables; not of the server.
    pub role: String,
}

impl Tokens {
    pub fn new() -> Self {
        Self::on(Server::shared())
    }

    pub fn on(server: &'static Server) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let role = format!("fleet_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'");
        server.try_run("postgres", &create).unwrap();
        Self::of(server, &role)
    }

    /// Of a role that there is.
    pub fn of(server: &'static Server, role: &str) -> Self {
        let database = Database::empty(server);
        database.run(&format!("ALTER DATABASE {} OWNER TO {role}", database.name));
        Self { database, role: role.to_owned() }
    }

    /// Where it is, as a config writes it.
    pub fn url(&self) -> String {
        self.url_of(&self.role)
    }

    /// The same, for another role.
    pub fn url_of(&self, role: &str) -> String {
        format!("postgres://{role}@{}/{}", self.database.server.address, self.database.name)
    }

    /// Where it is, with the password.
    pub fn address(&self) -> Address {
        Address::parse(&self.url()).unwrap().with_password(PASSWORD)
    }

    /// The `[[store]]` of a config that keeps its tokens here, and asks whether something changed.
    pub fn store(&self) -> String {
        self.store_of(&self.role)
    }

    /// The same, for another role.
    pub fn store_of(&self, role: &str) -> String {
        let url = self.url_of(role);
        format!(
            "[[store]]\nkind = \"portcullis\"\nurl = \"{url}\"\npassword = {{ file = \"password\" }}\n"
        )
    }

    /// The same, that listens.
    pub fn listening(&self) -> String {
        format!("{}listen_url = \"{}\"\n", self.store(), self.url())
    }

    /// How many tables, indexes, functions and whatever else there are in it.
    pub fn objects(&self) -> String {
        self.database.value(
            "SELECT ((SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace)
             + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace))::text",
        )
    }

    /// Ends the connections of its roles, except the ones of this test.
    pub fn cut(&self) {
        let of = "usename <> 'postgres' AND datname = current_database()";
        self.database
            .run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {of}"));
    }
}

/// Runs a command on a config with these stores, that no gateway serves.
pub fn command(stores: &str, words: &[&str]) -> Output {
    let folder = folder(&config(([127, 0, 0, 1], 9).into(), "", stores));
    portcullis(words, folder.path().join("portcullis.toml"))
}

/// What a command that ended like this printed on standard output.
#[track_caller]
pub fn printed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that ended like this said on standard error.
#[track_caller]
pub fn told(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A token that a command made.
#[derive(Clone, Debug)]
pub struct Made {
    pub id: String,
    pub name: String,
    pub fingerprint: String,
    pub secret: String,
}

/// Has the command make a token that may read projects, with more words.
#[track_caller]
pub fn create_with(gate: &Gate, name: &str, more: &[&str]) -> Made {
    let words = ["token", "create", "--name", name, "--scope", "project:read", "--no-expiry"];
    let output = gate.portcullis(&[&words[..], more].concat());
    let secret = printed(&output, 0).trim_end().to_owned();
    let told = told(&output, 0);
    let line: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    Made { id: text("id"), name: name.to_owned(), fingerprint: text("fingerprint"), secret }
}

/// Has the command make a token that may read projects.
#[track_caller]
pub fn create(gate: &Gate, name: &str) -> Made {
    create_with(gate, name, &[])
}

/// Has the command revoke a token.
#[track_caller]
pub fn revoke(gate: &Gate, text: &str) {
    let told = told(&gate.portcullis(&["token", "revoke", text]), 0);
    assert!(told.ends_with("is revoked\n"), "{told}");
}
