//! The status page: what is up, what is decided and what is slow, for whoever operates the gateway.
//!
//! It is made here whole, so it needs no script: one that keeps it current takes the same page again
//! and puts its figures in place of the old ones. It only reads: a browser sends a password by itself
//! once it has it, so whatever changes something takes the credential as a Bearer token alone.

mod figures;
mod form;
mod html;
mod model;
#[cfg(test)]
mod tests;
mod up;

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::answer::{Answer, detail, json};
use super::credential::{Access, password};
use super::{Admin, visitor, vouching};
use crate::explain::Explanation;
use crate::proxy::Serving;
use figures::Figures;
use form::Form;
use html::Explained;
use model::{Sources, Status, TOKENS, Told};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What a browser asks for the credential with.
const CHALLENGE: HeaderValue = HeaderValue::from_static(
    "Basic realm=\"Portcullis, the admin credential as the password\", charset=\"UTF-8\"",
);
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

impl Admin {
    /// The page, or with `/status` what it says as JSON.
    pub(super) async fn status(&self, head: &Parts, serving: &Serving, bearer: Access) -> Answer {
        if bearer != Access::Granted
            && let Some(refused) = refusal(head, serving)
        {
            return refused;
        }
        let status = Status::of(self.sources(serving).await);
        if head.uri.path() == "/status" {
            return own(json(StatusCode::OK, &status));
        }
        let form = head.uri.query().and_then(Form::parse);
        let explained = match &form {
            Some(form) => Some(explained(form, serving).await),
            None => None,
        };
        let page = html::page(&status, &form.unwrap_or_default(), explained.as_ref());
        let page = Answer::new(StatusCode::OK, HTML, page.into_string().into_bytes());
        own(page).with(CONTENT_SECURITY_POLICY, POLICY.clone())
    }

    async fn sources(&self, serving: &Serving) -> Sources {
        let gateway = &serving.gateway;
        let now = gateway.clock().now();
        // There may be a million to look at.
        let identities = Arc::clone(gateway.identities());
        let tokens = spawn_blocking(move || identities.most_used(TOKENS)).await.unwrap_or_default();
        Sources {
            figures: Figures::new(self.gather(serving).await),
            now,
            not_ready: self.readiness.reason(),
            observing_until: gateway.policy().observing(now),
            last_reload: self.reloads.as_ref().and_then(|reloads| reloads.last()),
            config_hash: serving.config_hash.to_string(),
            cache_capacity: gateway.identities().capacity(),
            unmatched: self.unmatched.entries(),
            tokens,
            upstreams_told: Told::of(&vouching(serving)),
        }
    }
}

/// What whoever comes without a Bearer token is refused with; `None` when not at all.
fn refusal(head: &Parts, serving: &Serving) -> Option<Answer> {
    if let Err(stranger) = visitor::check(&head.headers, &serving.admin_names) {
        return Some(stranger.answer());
    }
    match password(&head.headers, serving.admin_credential) {
        Access::Granted => None,
        Access::Refused | Access::Closed => {
            let what =
                "send the admin credential, as a Bearer token or as the password of any user";
            Some(detail(StatusCode::UNAUTHORIZED, what).with(WWW_AUTHENTICATE, CHALLENGE))
        }
    }
}

/// The decision on what was filled in. Nobody is looked up: the caller is made up, or nobody.
async fn explained(form: &Form, serving: &Serving) -> Explained {
    let question = form.question();
    match question.decide(&serving.gateway).await {
        Ok(decision) => {
            let (gateway, vouching) = (&serving.gateway, vouching(serving));
            let told = Explanation::of(&decision, gateway, &vouching, &question);
            Explained::Decided { allowed: told.allowed, steps: told.to_string() }
        }
        Err(error) => Explained::NotAsked(error.to_string()),
    }
}

/// No other page may load it.
fn own(answer: Answer) -> Answer {
    let same_origin = HeaderValue::from_static("same-origin");
    answer.with(RESOURCE_POLICY, same_origin.clone()).with(OPENER_POLICY, same_origin)
}

/// What the page may do: show itself with its own style, run its own script, and ask this listener.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    let (style, script) = (digest(STYLE), digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
         img-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
         base-uri 'none'"
    );
    // It is visible ASCII; without a script or a style the page still stands.
    HeaderValue::try_from(policy)
        .unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
});
