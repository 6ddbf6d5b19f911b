//! The OpenAPI document that Sentry publishes with each version (`openapi-derefed.json`).
//!
//! It lists scopes as OAuth does, where all are needed; Sentry's permission maps mean any of them.
//! It knows documented routes alone, and some of its pages, written by hand, name one scope where
//! the code takes several.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Route, RouteSet};
use crate::policy::method::Method;
use crate::policy::rules::Access;
use crate::policy::scope::{Scope, ScopeSet};
use crate::policy::template::PathTemplate;

/// What is read of a document.
#[derive(Debug)]
pub struct Document {
    /// Its `info.version`, as it has it.
    pub version: String,
    /// Its routes, which are not all.
    pub set: RouteSet,
    /// What could not be read, a line each.
    pub unread: Vec<String>,
}

/// What is not an OpenAPI document.
#[derive(Debug, thiserror::Error)]
#[error("not an OpenAPI 3 document in JSON ({0}); give Sentry's `openapi-derefed.json`")]
pub struct NotADocument(String);

#[derive(Deserialize)]
struct Raw {
    openapi: String,
    #[serde(default)]
    info: Info,
    #[serde(default)]
    servers: Vec<Server>,
    #[serde(default)]
    security: Vec<Requirement>,
    paths: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Server {
    url: String,
}

#[derive(Deserialize)]
struct Operation {
    security: Option<Vec<Requirement>>,
}

/// The scheme, with its scopes; the caller chooses one requirement of a list.
type Requirement = BTreeMap<String, Vec<String>>;

const COLON: &str = "a colon in a path has a meaning of its own in a rule; write the rule by hand";
/// The scheme of Sentry's document that stands for a Bearer token.
const TOKEN: &str = "auth_token";

impl Document {
    /// Reads the text of a document.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, NotADocument> {
        let raw: Raw =
            serde_json::from_str(text).map_err(|error| NotADocument(error.to_string()))?;
        if !raw.openapi.starts_with("3.") {
            return Err(NotADocument(format!("it is of version `{}`", raw.openapi)));
        }
        let set = RouteSet { routes: Vec::new(), is_complete: false };
        let mut document = Self { version: raw.info.version, set, unread: Vec::new() };
        let prefix = raw.servers.first().map(|server| path_of(&server.url)).unwrap_or_default();
        for (path, item) in raw.paths {
            // Of a parameter a document says the name alone; a rule may say what it holds.
            let plain = if path.contains(':') { Err(COLON.to_owned()) } else { Ok(()) };
            let template = plain.and_then(|()| {
                format!("{prefix}{path}").parse::<PathTemplate>().map_err(|e| e.to_string())
            });
            let (template, operations) = match (template, item) {
                (Ok(template), Value::Object(operations)) => (template, operations),
                (Err(error), _) => {
                    document.unread.push(format!("`{}`: {error}", path.escape_debug()));
                    continue;
                }
                (Ok(_), _) => {
                    document.unread.push(format!("`{}`: it is no path item", path.escape_debug()));
                    continue;
                }
            };
            for (name, operation) in operations {
                let Some(method) = method(&name) else { continue };
                match serde_json::from_value::<Operation>(operation) {
                    Ok(operation) => {
                        let security = operation.security.as_ref().unwrap_or(&raw.security);
                        let (access, remark) = access(security);
                        let template = template.clone();
                        document.set.routes.push(Route {
                            method,
                            template,
                            access,
                            terms: None,
                            remark,
                        });
                    }
                    Err(error) => {
                        let path = path.escape_debug();
                        document.unread.push(format!("`{} {path}`: {error}", method.as_str()));
                    }
                }
            }
        }
        Ok(document)
    }
}

/// A key of a path is a method in lower case, or something else (`parameters`, `summary`).
fn method(name: &str) -> Option<Method> {
    let method = Method::from_name(&name.to_ascii_uppercase())?;
    match method {
        Method::Head | Method::Options => None,
        Method::Get | Method::Post | Method::Put | Method::Patch | Method::Delete => Some(method),
    }
}

/// The path of a server's URL, without the trailing slash; its host may be a template.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..]).trim_end_matches('/')
}

/// What a token needs. Whatever else would let somebody in is said, and not taken up.
fn access(security: &[Requirement]) -> (Access, Option<String>) {
    let mut remarks = Vec::new();
    let mut scopes = ScopeSet::EMPTY;
    // Schemes of one requirement are needed together: with a second one, a token is not enough.
    let alone = security.iter().filter(|wanted| wanted.len() == 1);
    for name in alone.filter_map(|wanted| wanted.get(TOKEN)).flatten() {
        match name.parse::<Scope>() {
            Ok(scope) => scopes = scopes.with(scope),
            Err(_) => remarks.push(format!("the unknown scope `{name}` is left out")),
        }
    }
    let others = security.iter().flat_map(BTreeMap::keys).filter(|scheme| *scheme != TOKEN);
    remarks.extend(others.map(|scheme| format!("takes `{scheme}` too, which is left out")));
    let access = if scopes.is_empty() {
        let none = security.is_empty() || security.iter().any(BTreeMap::is_empty);
        let why = if none { "needs no credential" } else { "names no scope" };
        remarks.push(format!("the document says that it {why}: find out before you open it"));
        Access::NotExposed
    } else {
        Access::AnyOf(scopes)
    };
    (access, (!remarks.is_empty()).then(|| remarks.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(paths: &str) -> Document {
        let head = r#""openapi": "3.0.3", "info": {"title": "x", "version": "v0"}"#;
        Document::parse(&format!(r#"{{{head}, "paths": {{{paths}}}}}"#)).unwrap()
    }

    #[test]
    fn what_it_does_not_say_clearly_stays_closed() {
        let one = |security: &str| {
            let get = format!(r#""/a/{{x}}/": {{"parameters": [], "get": {{{security}}}}}"#);
            let document = document(&get);
            assert_eq!(document.set.routes.len(), 1, "{document:?}");
            let route = document.set.routes[0].clone();
            (route.asks(false), route.remark.unwrap_or_default())
        };
        for (security, wanted, said) in [
            (
                r#""security": [{"auth_token": ["org:read", "org:admin"]}]"#,
                "org:admin org:read",
                "",
            ),
            (
                r#""security": [{"auth_token": ["org:read"]}, {"auth_token": ["org:write"]}]"#,
                "org:read org:write",
                "",
            ),
            (r#""security": [{"auth_token": ["org:read"]}, {"dsn": []}]"#, "org:read", "`dsn`"),
            (r#""security": [{"auth_token": ["org:read"], "mtls": []}]"#, "not_exposed", "`mtls`"),
            (r#""security": [{"auth_token": ["org:read", "x:y"]}]"#, "org:read", "`x:y`"),
            (r#""security": [{"auth_token": ["x:y"]}]"#, "not_exposed", "names no scope"),
            (r#""security": [{"auth_token": []}]"#, "not_exposed", "names no scope"),
            (r#""security": [{"dsn": []}]"#, "not_exposed", "names no scope"),
            (r#""security": []"#, "not_exposed", "needs no credential"),
            (r#""security": [{}]"#, "not_exposed", "needs no credential"),
            ("", "not_exposed", "needs no credential"),
        ] {
            let (asks, remark) = one(security);
            assert_eq!(asks, wanted, "{security}");
            assert_eq!(remark.is_empty(), said.is_empty(), "{security}: {remark}");
            assert!(remark.contains(said), "{security}: {remark}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_said() {
        let paths = r#""/a{b}/": {"get": {}}, "/c/": {"get": {"security": 7}, "post": {}, "trace": {}},
            "/d": {"head": {}, "options": {}}, "/e/{x:path}": {"get": {}}, "/f/": null, "x-y": 7"#;
        let document = document(paths);
        assert_eq!(document.set.routes.len(), 1);
        assert_eq!(document.unread.len(), 5, "{:?}", document.unread);
        assert!(document.unread[0].starts_with("`/a{b}/`"), "{:?}", document.unread);
        for text in ["", "[]", "{}", "openapi: 3.0.0", r#"{"openapi": "2.0", "paths": {}}"#] {
            let error = Document::parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("give Sentry's"), "{error}");
        }
    }

    #[test]
    fn a_path_of_the_server_stands_before_the_others() {
        for (url, wanted) in [
            ("https://{region}.sentry.io", ""),
            ("https://sentry.io/", ""),
            ("https://sentry.io/api/0/", "/api/0"),
            ("/api/0", "/api/0"),
        ] {
            assert_eq!(path_of(url), wanted, "{url}");
        }
    }
}
