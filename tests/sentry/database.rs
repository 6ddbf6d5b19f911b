//! A real PostgreSQL with Sentry's tables in it: one server for all tests of this process, on a free
//! loopback port, and a database for each.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use portcullis::policy::scope::ScopeSet;
use portcullis::store::sentry::SETUP;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::runtime::Runtime;

/// The server refuses to run as root, and so runs as nobody.
pub const NOBODY: u32 = 65534;
/// The password of the gateway's role.
pub const PASSWORD: &str = "password-of-the-gateway";
const OWNER: &str = "password-of-the-owner";
/// The SQL that has PostgreSQL tell the gateway of changes.
pub const NOTIFY: &str = include_str!("../../deploy/postgres/sentry-notify.sql");

/// Starts the server, over TLS alone if it has a key, stops and starts it as its standard input says, and
/// ends it when that does: with the test process, however that ends.
const RUN: &str = r#"
set -e
bin="$1" folder="$2" port="$3"
"$bin/initdb" --pgdata "$folder/data" --username postgres --pwfile "$folder/password" \
    --auth-host scram-sha-256 --auth-local trust --encoding UTF8 --locale C --no-sync >"$folder/initdb" 2>&1
set --
if [ -e "$folder/server.key" ]; then
    echo "hostssl all all 127.0.0.1/32 scram-sha-256" >"$folder/data/pg_hba.conf"
    set -- -c ssl=on -c "ssl_cert_file=$folder/server.crt" -c "ssl_key_file=$folder/server.key"
fi
start() {
    "$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses=127.0.0.1 -c fsync=off \
        -c log_min_duration_statement=0 -c log_connections=on "$@" >>"$folder/log" 2>&1 &
    server=$!
}
stop() {
    kill -INT "$server" 2>/dev/null || true
    wait "$server" || true
}
start "$@"
while read -r word; do
    case "$word" in
        down) stop ;;
        kill) kill -QUIT "$server"; wait "$server" || true ;;
        up) start "$@" ;;
        *) break ;;
    esac
done
stop
rm -rf "$folder"
"#;

/// A certificate and its key, in PEM.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Certificate {
    /// Has the server find it when it reads its files the next time.
    fn write(&self, folder: &Path) {
        for (name, text) in [("server.crt", &self.certificate), ("server.key", &self.key)] {
            let path = folder.join(name);
            let mut options = std::fs::OpenOptions::new();
            // The server takes no key that others may read.
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
            // Where this is no root, the server runs as the same user.
            let _ = chown(&path, Some(NOBODY), Some(NOBODY));
        }
    }
}

pub struct Server {
    pub address: SocketAddr,
    folder: PathBuf,
    process: Mutex<Child>,
}

/// The folder of the newest PostgreSQL's programs.
pub fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/initdb").exists().then(|| (version, path.join("bin")))
        })
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL, which `make setup` installs").1
}

impl Server {
    /// The server of this test process.
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(None))
    }

    /// A server of its own, for a test that reads its log or ends it.
    pub fn own() -> &'static Self {
        Box::leak(Box::new(Self::start(None)))
    }

    /// A server of its own that takes connections over TLS alone.
    pub fn with_tls(certificate: &Certificate) -> &'static Self {
        Box::leak(Box::new(Self::start(Some(certificate))))
    }

    fn start(certificate: Option<&Certificate>) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        if let Some(certificate) = certificate {
            certificate.write(&folder);
        }
        std::fs::write(folder.join("password"), OWNER).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(programs()).arg(&folder).arg(port.to_string());
        if chown(&folder, Some(NOBODY), Some(NOBODY)).is_ok() {
            chown(folder.join("password"), Some(NOBODY), Some(NOBODY)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        let process = command.current_dir("/").stdin(Stdio::piped()).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = Self { address, folder, process: Mutex::new(process) };
        server.wait();
        server
    }

    fn wait(&self) {
        for _ in 0..1_200 {
            if self.try_run("postgres", "SELECT 1").is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL did not start: {}", self.log());
    }

    /// Shuts it down, with every connection to it.
    pub fn down(&self) {
        self.end("down\n");
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&self) {
        self.end("kill\n");
    }

    fn end(&self, word: &str) {
        self.tell(word);
        while TcpStream::connect(self.address).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again.
    pub fn up(&self) {
        self.tell("up\n");
        self.wait();
    }

    fn tell(&self, word: &str) {
        let mut process = self.process.lock().unwrap();
        process.stdin.as_mut().unwrap().write_all(word.as_bytes()).unwrap();
    }

    /// Everything that the server has logged: every statement, with what was bound to it.
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("initdb") + &read("log")
    }

    /// For its owner.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{OWNER}@{}/{database}", self.address)
    }

    /// Runs SQL as the owner.
    pub fn try_run(&self, database: &str, sql: &str) -> sqlx::Result<()> {
        runtime().block_on(async {
            let mut connection = PgConnection::connect(&self.url(database)).await?;
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
            connection.close().await
        })
    }

    /// Ends the server at once, as a crash does.
    pub fn stop(&self) {
        let mut process = self.process.lock().unwrap();
        if let Some(mut input) = process.stdin.take() {
            // It may have ended by itself.
            let _ = input.write_all(b"\n");
        }
        process.wait().unwrap();
    }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A database, as a rule with Sentry's tables.
pub struct Database {
    pub name: String,
    pub server: &'static Server,
    /// The owner's connection, and where it lives.
    owner: Mutex<(Runtime, PgConnection)>,
}

/// Of a role there is one in a server: two tests must not make it at once.
static SETTING_UP: Mutex<()> = Mutex::new(());

impl Database {
    /// With the tables, and nothing of the gateway.
    pub fn bare(server: &'static Server) -> Self {
        let database = Self::empty(server);
        database.run(include_str!("schema.sql"));
        database
    }

    pub fn empty(server: &'static Server) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sentry_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.try_run("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        let runtime = runtime();
        let connection = runtime.block_on(PgConnection::connect(&server.url(&name))).unwrap();
        Self { name, server, owner: Mutex::new((runtime, connection)) }
    }

    /// With the rows of the Sentry that was recorded, and set up for the gateway.
    pub fn recorded() -> Self {
        Self::recorded_on(Server::shared())
    }

    pub fn recorded_on(server: &'static Server) -> Self {
        let database = Self::bare(server);
        let insert = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            database.insert(row["table"].as_str().unwrap(), &row["row"]);
        };
        include_str!("rows.jsonl").lines().for_each(insert);
        database.set_up();
        database
    }

    pub fn set_up(&self) {
        self.try_set_up().unwrap();
    }

    /// Runs the SQL that is shipped. The role is one for the whole server, so one does at a time.
    pub fn try_set_up(&self) -> sqlx::Result<()> {
        let _one = SETTING_UP.lock().unwrap_or_else(PoisonError::into_inner);
        self.try_run(SETUP)?;
        self.try_run(&format!("ALTER ROLE portcullis PASSWORD '{PASSWORD}'"))
    }

    /// Runs SQL as the owner.
    pub fn run(&self, sql: &str) {
        let (runtime, connection) = &mut *self.owner.lock().unwrap();
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        runtime
            .block_on(query.execute(connection))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs SQL as the owner, on a connection that may break over it.
    pub fn try_run(&self, sql: &str) -> sqlx::Result<()> {
        self.server.try_run(&self.name, sql)
    }

    /// The one value that a query answers the owner, as text.
    pub fn value(&self, sql: &str) -> String {
        let (runtime, connection) = &mut *self.owner.lock().unwrap();
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let row = runtime.block_on(query.fetch_one(connection)).unwrap();
        let value: Option<String> = sqlx::Row::get(&row, 0);
        value.unwrap_or_default()
    }

    /// Runs SQL as the gateway's role.
    pub fn run_as_gateway(&self, sql: &str) -> sqlx::Result<()> {
        runtime().block_on(async {
            let mut connection = PgConnection::connect(&self.url(PASSWORD)).await?;
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
            connection.close().await
        })
    }

    /// What the gateway connects with.
    pub fn url(&self, password: &str) -> String {
        format!("postgres://portcullis:{password}@{}/{}", self.server.address, self.name)
    }

    /// Ends the connections of the gateway to this database.
    pub fn cut(&self) {
        let of = "usename = 'portcullis' AND datname = current_database()";
        self.run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {of}"));
    }

    /// Has the server present another certificate to whoever connects from now on.
    pub fn present(&self, certificate: &Certificate) {
        let before = self.value("SELECT clock_timestamp()::text");
        certificate.write(&self.server.folder);
        self.run("SELECT pg_reload_conf()");
        let reloaded = format!("DO $$ BEGIN ASSERT pg_conf_load_time() > '{before}'; END $$");
        for _ in 0..1_200 {
            // A new process of the server has seen what the server has.
            if self.try_run(&reloaded).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL did not read its files again: {}", self.server.log());
    }

    /// Inserts a row; columns that it has not are null.
    pub fn insert(&self, table: &str, row: &serde_json::Value) {
        let text = row.to_string().replace('\'', "''");
        let defaults = "'{\"date_added\": \"2026-01-01T00:00:00Z\"}'::jsonb";
        self.run(&format!(
            "INSERT INTO public.{table} SELECT * FROM jsonb_populate_record(NULL::public.{table}, {defaults} || '{text}'::jsonb)"
        ));
    }

    /// A personal token of the first user, with exactly these scopes.
    pub fn token(&self, secret: &str, scopes: ScopeSet) {
        let hash: String =
            Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
        let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
        self.insert(
            "sentry_apitoken",
            &serde_json::json!({
                "id": next(), "token": secret, "hashed_token": hash, "user_id": 1,
                "scopes": 0, "scope_list": names,
            }),
        );
    }

    /// An API key of the organisation `acme`, with exactly these scopes.
    pub fn api_key(&self, secret: &str, scopes: ScopeSet) {
        let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
        self.insert(
            "sentry_apikey",
            &serde_json::json!({
                "id": next(), "key": secret, "label": secret, "organization_id": 2, "status": 0,
                "scopes": 0, "scope_list": names,
            }),
        );
    }

    /// The `[[store]]` of a config that asks this database; the password is in the file `password`.
    pub fn store(&self) -> String {
        format!(
            "[[store]]\nkind = \"sentry\"\nurl = \"postgres://portcullis@{}/{}\"\npassword = {{ file = \"password\" }}\n",
            self.server.address, self.name
        )
    }
}

/// An id that no recorded row has.
fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(100_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
