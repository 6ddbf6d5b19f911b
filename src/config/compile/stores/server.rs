//! Stores that are in a PostgreSQL.

use super::super::super::raw::RawStore;
use super::super::super::value::TextOrSecret;
use super::super::super::{ServerOrigin, StoreServer};
use super::super::Compiler;
use crate::store::postgres::Address;

/// Connections to a database: a look-up takes a millisecond, and others need the room.
const CONNECTIONS: u32 = 4;
/// More is a mistake: PostgreSQL has a hundred for all.
const MOST_CONNECTIONS: u32 = 50;
/// What such a store is told.
const KEYS: [&str; 5] = ["url", "password", "listen_url", "connections", "required_at_start"];
/// How a database is named.
const HELP: &str = "write `postgres://user@host/database` and the password as `password = { file = \"path\" }`, or the whole URL as a secret";

impl Compiler<'_> {
    pub(super) fn server(&mut self, index: usize, raw: &RawStore) -> Option<Box<StoreServer>> {
        let at = |key: &str| format!("store[{index}].{key}");
        self.only(index, raw, &KEYS);
        let Some(url) = &raw.url else {
            self.problem(at("url"), "is missing", HELP);
            return None;
        };
        let (address, origin) = self.address_of(index, "url", url, raw)?;
        let listen = match &raw.listen_url {
            Some(url) => Some(self.address_of(index, "listen_url", url, raw)?.1),
            None => None,
        };
        let connections = raw.connections.unwrap_or(CONNECTIONS);
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            let what = format!("is {connections}");
            let help = format!("write a number from 1 to {MOST_CONNECTIONS}");
            self.problem(at("connections"), what, help);
        }
        let required_at_start = raw.required_at_start.unwrap_or(true);
        Some(Box::new(StoreServer { address, origin, listen, connections, required_at_start }))
    }

    /// Where a database is, and where that is read again.
    fn address_of(
        &mut self,
        index: usize,
        key: &str,
        url: &TextOrSecret,
        raw: &RawStore,
    ) -> Option<(Address, ServerOrigin)> {
        let at = format!("store[{index}].{key}");
        let text = match url {
            TextOrSecret::Text(text) if has_password(text) => {
                self.problem(at, "holds a password", HELP);
                return None;
            }
            TextOrSecret::Text(text) => text.clone(),
            TextOrSecret::Secret(secret) => self.secret(&at, secret)?,
        };
        let mut address = self.parsed(&at, Address::parse(&text), HELP)?;
        if let Some(password) = &raw.password {
            let password = self.secret(&format!("store[{index}].password"), password)?;
            address = address.with_password(&password);
        }
        let (url, password) = (url.clone(), raw.password.clone());
        let origin = ServerOrigin { url, password, folder: self.folder.to_path_buf() };
        Some((address, origin))
    }
}

/// Whether the text of a URL has a password, in the place of one or as a parameter.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, query) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || query.contains("password=")
}
