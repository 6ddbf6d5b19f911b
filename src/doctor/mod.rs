//! What an operator gets wrong, asked of the pair that runs: the gateway, and its Sentry.
//!
//! Each check says what was tried, what came back, and what to do. What no answer tells is said to be so.
//!
//! **Invariants:** nothing is changed, neither in Sentry nor in a store; each secret is shown to nobody
//! but whom it is for, and never printed; the end comes in bounded time.

mod answer;
mod ask;
mod check;
mod clocks;
mod credential;
mod databases;
mod gateway;
mod redis;
mod sentry;
mod upstreams;
mod urls;

use std::io;
use std::sync::Arc;

pub use ask::{CallerToken, Options};
pub use check::{Check, Report, Verdict};

use ask::Patient;

use crate::clock::Clock;
use crate::config::Config;
use crate::policy::scope::ScopeSet;

/// Asks everything; `progress` is told what is being asked.
///
/// # Errors
/// When nothing can be asked at all.
pub async fn examine(
    config: &Config,
    options: &Options,
    clock: Arc<dyn Clock>,
    progress: impl Fn(&str),
) -> io::Result<Report> {
    let patient = &Patient::new(config, options, clock)?;
    progress("asking the gateway, the parts of Sentry and the databases");
    let (mut parts, gateway, databases, redis, bypass) = tokio::join!(
        upstreams::look_at(patient),
        gateway::look_at(patient),
        databases::look_at(patient),
        redis::look_at(patient),
        sentry::bypass(patient),
    );
    progress("asking Sentry as the gateway does, and watching an idle connection");
    let down =
        (!patient.has_web()).then_some("the web service does not answer; see `upstream.web`");
    let (of_sentry, keep_alive) =
        tokio::join!(of_sentry(patient, down), upstreams::keep_alive(patient));
    progress("asking Sentry through the gateway");
    let token = options.token.as_ref();
    let (through, caller, ingest) = tokio::join!(
        urls::through(patient, &of_sentry, gateway.is_ours, token),
        credential::caller(patient, token, gateway.is_ours),
        gateway::ingest(patient, gateway.is_ours),
    );

    let mut checks = std::mem::take(&mut parts.checks);
    checks.extend(gateway.checks);
    checks.extend(of_sentry.checks);
    checks.push(through);
    checks.extend(ingest);
    checks.extend([caller, credential::organization_token(patient, token)]);
    checks.extend(bypass);
    checks.push(clocks::of_answer("gateway", gateway.answer.as_ref()));
    for service in parts.services {
        let mut told = parts.answers.iter().filter(|(of, _)| *of == service).peekable();
        if told.peek().is_none() {
            checks.push(clocks::of_answer(service.as_str(), None));
        }
        checks.extend(told.map(|(of, answer)| clocks::of_answer(of.as_str(), Some(answer))));
    }
    checks.extend(databases);
    checks.extend(redis);
    checks.extend(keep_alive);
    Ok(Report { checks })
}

/// What is asked of the web service as the gateway asks it; `down` says why it is not.
async fn of_sentry(patient: &Patient<'_>, down: Option<&str>) -> urls::Seen {
    let mut checks = match down {
        Some(why) => {
            ["host", "scheme", "client_address"].map(|check| Check::skipped(check, "", why)).into()
        }
        None => sentry::name(patient).await,
    };
    // Whoever is not let in, or is sent elsewhere, learns no more.
    let turned_away = checks.iter().any(|check: &Check| {
        matches!(check.check.as_str(), "host" | "scheme") && check.verdict == Verdict::Problem
    });
    let why = "Sentry lets no request of the gateway's in; see `host` and `scheme`";
    if let Some(why) = down.or(turned_away.then_some(why)) {
        let urls = urls::look_at(patient, Some(why)).await;
        checks.extend(credential::skipped(why));
        checks.extend(urls.checks);
        return urls::Seen { checks, ..urls };
    }
    let tokens = databases::tokens_in_use(patient).await;
    let held: Vec<ScopeSet> = tokens.iter().map(|token| token.scopes).collect();
    let credential = credential::look_at(patient, &held).await;
    checks.extend(credential.checks);
    checks.extend(credential::shared(patient.config, &tokens));
    let missing = match (credential.accepted, &patient.config.credential) {
        (true, _) => None,
        (false, Some(_)) => Some("Sentry was not asked, without a credential that it knows"),
        (false, None) => Some("Sentry shows a list to nobody without a `credential`"),
    };
    let urls = urls::look_at(patient, missing).await;
    checks.extend(urls.checks);
    urls::Seen { checks, ..urls }
}
