//! What the upstream is told of the decision, and what of that must not come back.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{Error, ErrorType, Result};

use super::context::Context;
use super::permit;
use crate::assertion::Asserted;
use crate::forward::identity_headers;
use crate::policy::decision::Forward;

/// How the upstream's credential begins.
const BEARER: &[u8] = b"Bearer ";
/// What is shorter, in bytes, may stand anywhere by chance. Sentry's tokens have 64 and more.
const MIN_CONFIDED: usize = 16;

/// Adds the identity headers and the assertion, where the config asks for them, to a request that is ready
/// to be sent. Gives what it holds in confidence.
///
/// What is let through only because the gateway observes was not authorised, so nothing asserts that.
pub(super) fn vouch(ctx: &Context, upstream: &mut RequestHeader) -> Result<Confided> {
    let (serving, permit) = (&*ctx.serving, permit(ctx)?);
    let credential = match permit.forward() {
        Forward::Exchange(_) => upstream.headers.get(AUTHORIZATION).cloned(),
        Forward::AsIs | Forward::Anonymous | Forward::Session | Forward::Untouched { .. } => None,
    };
    let rule = serving.rule(permit);
    let assertion = serving.assertion.as_ref();
    let assertion = assertion.filter(|own| own.is_for(rule.service) && permit.observed().is_none());
    let mut confided = Confided { credential, assertion: None };
    let Some(decision) = ctx.decision.as_deref() else { return Ok(confided) };
    if assertion.is_none() && !serving.identity_headers {
        return Ok(confided);
    }
    let (caller, scopes) = (&decision.caller, permit.scopes());
    let target = std::str::from_utf8(upstream.raw_path());
    let target = target.map_err(|error| failed("a target that is no text", error))?;
    let mut fields = Vec::new();
    if serving.identity_headers {
        let path = target.split('?').next().unwrap_or_default();
        fields.extend(identity_headers(caller, scopes, rule, path));
    }
    if let Some(assertion) = assertion {
        let request_id = ctx.request_id.to_str().unwrap_or_default();
        let method = upstream.method.as_str();
        let asserted = Asserted { caller, scopes, rule, method, target, request_id };
        let value = assertion.sign(&asserted, serving.gateway.clock().now()).map_err(|error| {
            tracing::error!(request_id, %error, "a request is refused that can't be asserted");
            failed("an assertion", error)
        })?;
        fields.push((assertion.header().clone(), value.clone()));
        confided.assertion = Some(value);
    }
    for (name, value) in fields {
        upstream.insert_header(name, value)?;
    }
    Ok(confided)
}

fn failed(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Box<Error> {
    Error::because(ErrorType::InternalError, what, error)
}

/// What an upstream was sent in confidence: the credential of the gateway's, and an assertion.
#[derive(Debug, Default)]
pub(super) struct Confided {
    credential: Option<HeaderValue>,
    assertion: Option<HeaderValue>,
}

impl Confided {
    /// Takes every field off an answer that repeats any of it.
    pub(super) fn keep_back(&self, response: &mut ResponseHeader) -> Result<()> {
        for name in self.repeated(&response.headers) {
            response.remove_header(&name);
        }
        if response.get_reason_phrase().is_some_and(|reason| self.is_in(reason.as_bytes())) {
            response.set_reason_phrase(None)?;
        }
        Ok(())
    }

    /// The same of the fields after an answer.
    pub(super) fn keep_back_of(&self, trailers: &mut HeaderMap) {
        for name in self.repeated(trailers) {
            trailers.remove(&name);
        }
    }

    fn repeated(&self, fields: &HeaderMap) -> Vec<HeaderName> {
        let own = fields.iter().filter(|(_, value)| self.is_in(value.as_bytes()));
        own.map(|(name, _)| name.clone()).collect()
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let credential = self.credential.as_ref().map(HeaderValue::as_bytes);
        let credential = credential.map(|own| own.strip_prefix(BEARER).unwrap_or(own));
        let assertion = self.assertion.as_ref().map(HeaderValue::as_bytes);
        let own = [credential, assertion].into_iter().flatten();
        let mut own = own.filter(|own| own.len() >= MIN_CONFIDED);
        own.any(|secret| text.windows(secret.len()).any(|part| part == secret))
    }
}
