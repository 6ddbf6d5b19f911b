//! What Sentry takes the gateway's requests for: its host, its scheme, and who calls.

use http::header::STRICT_TRANSPORT_SECURITY;

use super::answer::{Answer, shown};
use super::ask::{As, Asked, Patient};
use super::check::Check;
use crate::config::Listen;
use crate::policy::site::{BaseUrl, HttpScheme};

/// Sentry's answer on who calls.
const INDEX: &str = "/api/0/";

/// Whether Sentry takes the gateway's `Host` and believes its scheme.
pub(super) async fn name(patient: &Patient<'_>) -> Vec<Check> {
    let scheme = patient.public().scheme();
    let Asked { tried, answer } = patient.web(INDEX, As::Nobody, scheme).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            return ["host", "scheme"].map(|check| Check::skipped(check, &tried, &*why)).into();
        }
    };
    let host = host(patient.public(), &tried, &answer);
    let scheme = match (scheme, insists(&answer)) {
        (_, true) => insisted(scheme, &tried),
        (HttpScheme::Http, false) => {
            Check::ok("scheme", &tried, "plain HTTP, as clients call the gateway")
        }
        (HttpScheme::Https, false) => believed(patient, &tried, &answer).await,
    };
    vec![host, scheme, client(patient)]
}

fn host(public: &BaseUrl, tried: &str, answer: &Answer) -> Check {
    let host = public.host();
    match answer.status.as_u16() {
        400 => {
            let fix = format!("add `'{host}'` to `ALLOWED_HOSTS` in Sentry's sentry.conf.py");
            Check::problem("host", tried, format!("400: Sentry refuses `{host}`"), fix)
        }
        // Sentry looks at the host before it redirects.
        _ if answer.index().is_some() || insists(answer) => {
            Check::ok("host", tried, format!("Sentry takes `{host}`"))
        }
        _ => {
            let seen = format!("something else than Sentry's API: {}", answer.outline());
            let fix = "name Sentry's web service itself in `urls` of `[upstream.web]`";
            Check::problem("host", tried, seen, fix)
        }
    }
}

/// Whether it redirects to `https`, as Django does with `SECURE_SSL_REDIRECT`.
fn insists(answer: &Answer) -> bool {
    answer.redirect().is_some_and(|to| to.starts_with("https:"))
}

fn insisted(scheme: HttpScheme, tried: &str) -> Check {
    let seen = "a redirect to https: Sentry takes the request for plain HTTP";
    let fix = match scheme {
        HttpScheme::Https => {
            "write `SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https')` in sentry.conf.py, and name the web service itself in `urls`: Sentry's own nginx overwrites the header"
        }
        HttpScheme::Http => {
            "write `public_url` with `https`, or take `SECURE_SSL_REDIRECT` out of sentry.conf.py"
        }
    };
    Check::problem("scheme", tried, seen, fix)
}

/// Whether the answer depends on what the gateway says of the scheme.
async fn believed(patient: &Patient<'_>, tried: &str, over_tls: &Answer) -> Check {
    let Asked { answer, .. } = patient.web(INDEX, As::Nobody, HttpScheme::Http).await;
    // Django sends it over what it takes for TLS alone.
    let promises = |answer: &Answer| answer.headers.contains_key(STRICT_TRANSPORT_SECURITY);
    let differs =
        answer.is_ok_and(|plain| insists(&plain) || (promises(over_tls) && !promises(&plain)));
    if differs {
        return Check::ok("scheme", tried, "Sentry believes `X-Forwarded-Proto`");
    }
    Check::skipped("scheme", tried, "no answer of Sentry's tells whether it believes the scheme")
        .with_fix("see that sentry.conf.py has `SECURE_PROXY_SSL_HEADER`, or browsers can't write")
}

/// What Sentry takes for the address of clients is told by no answer.
fn client(patient: &Patient<'_>) -> Check {
    let https = patient.public().scheme() == HttpScheme::Https;
    // Who ends TLS itself, or is told by a load balancer's header, needs nobody's word for it.
    let told = |listen: &Listen| listen.tls.is_some() || listen.proxy_protocol.is_some();
    let is_told = patient.config.listen.iter().any(told);
    if https && !is_told && patient.config.trusted_proxies.is_empty() {
        let seen = "what ends TLS in front is not trusted, so that every client has its address";
        let fix = "list it in `trusted_proxies`, or have it send the PROXY protocol and set \
                   `proxy_protocol` of the listener";
        return Check::problem("client_address", "`trusted_proxies`", seen, fix);
    }
    Check::skipped("client_address", "", "no answer of Sentry's tells which address it sees")
        .with_fix("sign in through the gateway and look at the session history of your account: it must name your address; `SENTRY_USE_X_FORWARDED_FOR` must be on")
}

/// Whether Sentry's own host lets clients walk around the gateway.
pub(super) async fn bypass(patient: &Patient<'_>) -> Vec<Check> {
    let check = "bypass";
    let (site, upstreams) = (&patient.config.policy.site, &patient.config.upstreams);
    let known = |base: &BaseUrl| {
        let is = |other: &BaseUrl| other.authority() == base.authority();
        let mut urls = upstreams.iter().flat_map(|(_, upstream)| &upstream.urls);
        site.names().iter().any(is) || urls.any(is)
    };
    let mut checks = Vec::new();
    for base in patient.config.canonical.iter().filter(|base| !known(base)) {
        let Asked { tried, answer } = patient.stranger(base, INDEX).await;
        checks.push(match answer {
            Ok(answer) if answer.index().is_some() => {
                let seen = "Sentry answers: whoever is here can walk around the gateway";
                let fix = format!(
                    "let only the gateway and Relay reach `{}`: a firewall rule, or a NetworkPolicy; if only this machine can, ask from a client's network, and here with `--skip {check}`",
                    base.authority()
                );
                Check::problem(check, &tried, seen, fix)
            }
            Ok(answer) => {
                Check::ok(check, &tried, format!("not Sentry's API: {}", answer.outline()))
            }
            Err(why) => unanswered(check, &tried, &why),
        });
    }
    if checks.is_empty() {
        let why = "`canonical_url` is no host of its own, so there is none to ask";
        checks.push(Check::skipped(check, "", why).with_fix(
            "see from a client's network that the addresses in `urls` are not reachable",
        ));
    }
    checks
}

/// What it means that Sentry's own host gave no answer.
fn unanswered(check: &str, tried: &str, why: &str) -> Check {
    if is_about_trust(why) {
        let seen = format!("something answers, which this machine does not trust: {}", shown(why));
        let fix =
            "ask from here with `curl --insecure`, or have this machine trust its certificate";
        return Check::skipped(check, tried, seen).with_fix(fix);
    }
    Check::ok(check, tried, format!("not reachable from here: {}", shown(why)))
}

/// Whether somebody was reached over TLS, and not believed.
pub(super) fn is_about_trust(why: &str) -> bool {
    why.contains("certificate")
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn who_is_not_trusted_is_not_out_of_reach() {
        for (why, verdict) in [
            ("client error (Connect): tcp connect error: Connection refused", Verdict::Ok),
            ("no answer within 10s", Verdict::Ok),
            ("client error (Connect): invalid peer certificate: UnknownIssuer", Verdict::Skipped),
        ] {
            assert_eq!(unanswered("bypass", "", why).verdict, verdict, "{why}");
        }
    }
}
