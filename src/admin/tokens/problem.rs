//! Why nothing was done: a status, and `{"detail", "code"}` with more keys where they help a program.

use http::StatusCode;
use serde_json::{Value, json};

use super::Done;
use crate::store::portcullis::admin::{AdminError, Resolved};
use crate::store::portcullis::{PortcullisStore, RotateError};
use crate::store::{Chain, StoreError};

/// Why nothing was done.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    more: Option<(&'static str, Value)>,
}

impl From<Problem> for Done {
    fn from(problem: Problem) -> Self {
        let Problem { status, code, detail, more } = problem;
        let mut body = json!({ "detail": detail, "code": code });
        let target = match &more {
            Some(("id", Value::String(id))) => Some(id.clone()),
            Some(_) | None => None,
        };
        if let Some((key, value)) = more {
            body[key] = value;
        }
        Self { status, body, target }
    }
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), more: None }
    }

    fn with(self, key: &'static str, value: impl Into<Value>) -> Self {
        Self { more: Some((key, value.into())), ..self }
    }

    /// What was sent is not what is taken.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn bad_query(detail: impl Into<String>) -> Self {
        Self::bad_request(detail)
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let detail = format!("this path takes {allow}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).with("allow", allow)
    }

    pub(super) fn no_such_token() -> Self {
        let detail = "there is no token of this id in this store; see `GET /tokens`";
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn no_such_path() -> Self {
        let detail = "not found; a token has `/tokens/ID` and `/tokens/ID/rotate`";
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn no_store() -> Self {
        let detail = "the config has no store for tokens of the gateway; add a `[[store]]` with `kind = \
                      \"portcullis\"`";
        Self::new(StatusCode::NOT_FOUND, "no_store", detail)
    }

    pub(super) fn several_stores(names: &[&str]) -> Self {
        let detail =
            "the config has several stores for tokens of the gateway; name one: `?store=NAME`";
        Self::new(StatusCode::BAD_REQUEST, "store_not_named", detail).with("stores", names)
    }

    pub(super) fn no_such_store(names: &[&str]) -> Self {
        let detail =
            "there is no store of this name for tokens of the gateway; take one of `stores`";
        Self::new(StatusCode::NOT_FOUND, "no_such_store", detail).with("stores", names)
    }

    pub(super) fn not_audited() -> Self {
        let detail = "nothing was changed: the audit can't be written; mend `audit.output`";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", detail)
    }

    pub(super) fn bad_actor() -> Self {
        Self::bad_request(
            "`X-Portcullis-Actor` is one header of 1 to 100 printable ASCII characters; shorten it",
        )
    }

    pub(super) fn no_object() -> Self {
        Self::bad_request("the body is no JSON object; send `{…}`")
    }

    /// Of a body that could not be read.
    pub(super) fn of_body(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "send at most 64 KiB"),
            _ => ("bad_request", "the body broke off; send it again"),
        };
        Self::new(status, code, detail)
    }

    /// What stands where is told to who sent it, and to nobody else.
    pub(super) fn of_json(error: &serde_json::Error) -> Self {
        Self::bad_request(format!("the body can't be read: {error}; correct it"))
    }

    pub(super) fn of_store(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { ref id, .. } => {
                let id = id.clone();
                let code = "unreadable_token";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, error.to_string()).with("id", id)
            }
            StoreError::Timeout(_) | StoreError::Unavailable(_) => Self::unavailable(&error),
        }
    }

    /// Why is for the log: it may name hosts and files.
    fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %Chain(error), "tokens can't be administered");
        let detail =
            "the token store can't be reached or written; the gateway's log says why: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
    }

    pub(super) fn of_admin(error: AdminError) -> Self {
        match error {
            AdminError::Store(error) => Self::of_store(error),
            AdminError::Write(_) | AdminError::NoRandomness => Self::unavailable(&error),
            AdminError::NameTaken(_) => {
                Self::new(StatusCode::CONFLICT, "name_taken", error.to_string())
            }
            AdminError::BadName(_)
            | AdminError::NoProject
            | AdminError::NoOrganization
            | AdminError::BadSlug(_)
            | AdminError::BadOrigin(_)
            | AdminError::BadReason
            | AdminError::BadTime => Self::bad_request(error.to_string()),
        }
    }

    /// With the id of the token that has the name.
    pub(super) async fn of_creation(error: AdminError, store: &PortcullisStore) -> Self {
        let name = match &error {
            AdminError::NameTaken(name) => Some(name.clone()),
            _ => None,
        };
        let problem = Self::of_admin(error);
        let Some(name) = name else { return problem };
        match store.resolve(&name).await {
            Ok(Resolved::One(one)) => problem.with("id", one.id),
            Ok(Resolved::Several(all)) => {
                let holds = all.into_iter().find(|one| {
                    one.name == name && one.revoked_at.is_none() && one.successor.is_none()
                });
                holds.map(|one| one.id).map(|id| problem.with("id", id)).unwrap_or_else(|| {
                    Self::new(
                        StatusCode::CONFLICT,
                        "name_taken",
                        "the name is taken; see `GET /tokens`",
                    )
                })
            }
            Ok(Resolved::None) | Err(_) => problem,
        }
    }

    pub(super) fn of_rotation(error: RotateError) -> Self {
        let detail = error.to_string();
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, detail.clone());
        match error {
            RotateError::NotFound(_) => Self::no_such_token(),
            RotateError::Revoked(_) => conflict("revoked"),
            RotateError::Rotated { successor, .. } => {
                conflict("already_rotated").with("successor", successor)
            }
            RotateError::Overlap { before, .. } => {
                conflict("already_rotated").with("rotated_from", before)
            }
            RotateError::Canary(_) => conflict("canary"),
            RotateError::NoLifetime => Self::bad_request(detail),
            RotateError::Admin(error) => Self::of_admin(error),
        }
    }
}
