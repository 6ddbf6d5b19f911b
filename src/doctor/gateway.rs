//! Whether the public names lead to this gateway, and what it lets out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Method;

use super::answer::Answer;
use super::ask::{Asked, Patient};
use super::check::{Check, Verdict};
use crate::policy::exposure::Exposure;
use crate::policy::site::BaseUrl;

/// What the gateway itself refuses to whoever shows no credential.
const REFUSED: &str = "/api/0/organizations/";
/// What only the admin listener has.
const METRICS: &str = "/metrics";
/// A series of every gateway's.
const CONFIG_INFO: &str = "portcullis_config_info{hash=\"";
/// Where SDKs send events, for the project that Sentry makes first.
const ENVELOPE: &str = "/api/1/envelope/";

/// What the gateway answered.
pub(super) struct Seen {
    pub(super) checks: Vec<Check>,
    /// Whether `public_url` leads to a gateway. Nothing else is shown a caller's token.
    pub(super) is_ours: bool,
    /// One of its own answers, for its clock.
    pub(super) answer: Option<Answer>,
}

pub(super) async fn look_at(patient: &Patient<'_>) -> Seen {
    let mut seen = Seen { checks: Vec::new(), is_ours: false, answer: None };
    for (index, name) in patient.config.policy.site.names().iter().enumerate() {
        let key = if index == 0 { "public_url" } else { "public_aliases" };
        let Asked { tried, answer } = patient.gateway(name, Method::GET, REFUSED).await;
        let check = judge(key, name, &tried, &answer);
        if index == 0 {
            seen.is_ours = check.verdict == Verdict::Ok;
            seen.answer = answer.ok();
        }
        seen.checks.push(check);
    }
    seen.checks.push(config(patient).await);
    seen.checks.push(admin(patient, seen.is_ours).await);
    seen
}

fn judge(key: &str, name: &BaseUrl, tried: &str, answer: &Result<Answer, String>) -> Check {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) if super::sentry::is_about_trust(why) => {
            let fix = format!(
                "have what ends TLS there present a certificate for `{}` that this machine trusts",
                name.host()
            );
            return Check::problem(key, tried, super::answer::shown(why), fix);
        }
        Err(why) => {
            let fix = format!(
                "lead `{}` to the gateway; before it does, or from where it does not, ask with `--gateway http://127.0.0.1:8080`",
                name.host()
            );
            return Check::problem(key, tried, why, fix);
        }
    };
    match (answer.code().as_deref(), answer.redirect()) {
        (Some("misdirected"), _) => {
            let fix = format!(
                "restart the gateway with this config, and have what stands in front of it pass `Host: {}` on",
                name.authority()
            );
            Check::problem(key, tried, "a gateway that does not know this name", fix)
        }
        (Some(code), _) => Check::ok(key, tried, format!("the gateway, which answers `{code}`")),
        (None, Some(to)) => {
            let seen = format!("{}, a redirect to {to}", answer.status.as_u16());
            let fix = format!("write `{key}` as clients call it, and lead that to the gateway");
            Check::problem(key, tried, seen, fix)
        }
        (None, None) => {
            let seen = format!("something else than the gateway: {}", answer.outline());
            let fix = format!("lead `{}` to a listener of the gateway", name.authority());
            Check::problem(key, tried, seen, fix)
        }
    }
}

/// Whether the gateway that runs has read this config.
async fn config(patient: &Patient<'_>) -> Check {
    let check = "config";
    let Some(base) = admin_base(patient) else {
        let why = "`admin.address` takes a free port, which is not known here";
        return Check::skipped(check, "", why)
            .with_fix("name it with `--admin http://127.0.0.1:9090`");
    };
    let Asked { tried, answer } = patient.stranger(&base, METRICS).await;
    let text = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
    let hash = text.map(|text| {
        let (_, behind) = text.split_once(CONFIG_INFO)?;
        behind.split_once('"').map(|(hash, _)| super::answer::shown(hash))
    });
    let own = &patient.config.hash;
    match hash {
        Ok(Some(hash)) if hash == *own => {
            Check::ok(check, &tried, format!("the gateway runs with this config, `{own}`"))
        }
        Ok(Some(hash)) => {
            let seen =
                format!("the gateway runs with the config `{hash}`, and this one is `{own}`");
            Check::problem(check, &tried, seen, "restart the gateway, or name its own config")
        }
        Ok(None) => {
            let seen = "something else than the admin listener answers";
            Check::problem(
                check,
                &tried,
                seen,
                "correct `admin.address`, or name it with `--admin`",
            )
        }
        Err(why) => Check::skipped(check, &tried, format!("not reachable from here: {why}"))
            .with_fix("ask from where the gateway runs, or name the listener with `--admin`"),
    }
}

/// How the admin listener is called from here.
fn admin_base(patient: &Patient<'_>) -> Option<BaseUrl> {
    if let Some(base) = &patient.options.admin {
        return Some(base.clone());
    }
    let mut address = patient.config.admin;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let base = (address.port() != 0).then(|| BaseUrl::parse(&format!("http://{address}")));
    base?.ok()
}

/// Whether clients get to the admin listener.
async fn admin(patient: &Patient<'_>, is_ours: bool) -> Check {
    let check = "admin";
    if !is_ours {
        return Check::skipped(check, "", "see `public_url`");
    }
    let Asked { tried, answer } = patient.gateway(patient.public(), Method::GET, METRICS).await;
    match answer {
        Ok(answer) if String::from_utf8_lossy(&answer.body).contains(CONFIG_INFO) => {
            let fix = "have what stands in front pass public addresses to `[[listen]]` alone, and bind `admin.address` where clients don't come";
            Check::problem(check, &tried, "the gateway's metrics are public", fix)
        }
        Ok(answer) => Check::ok(check, &tried, format!("no metrics: {}", answer.outline())),
        Err(why) => Check::skipped(check, &tried, why),
    }
}

/// Whether events get to Relay, where a listener lets them in. Without a key and a body there is
/// nothing that could be stored.
pub(super) async fn ingest(patient: &Patient<'_>, is_ours: bool) -> Option<Check> {
    let check = "ingest";
    let listeners = &patient.config.listen;
    let exposes = |exposed: &crate::config::Listen| exposed.exposed.contains(Exposure::Ingest);
    if !listeners.iter().any(exposes) {
        return None;
    }
    if !is_ours {
        return Some(Check::skipped(check, "", "see `public_url`"));
    }
    let Asked { tried, answer } = patient.gateway(patient.public(), Method::POST, ENVELOPE).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return Some(Check::skipped(check, &tried, why)),
    };
    Some(match answer.code().as_deref() {
        Some("no_such_route") if !listeners.iter().all(exposes) => {
            let why = "this listener does not expose `ingest`";
            Check::skipped(check, &tried, why).with_fix("ask the one that does with `--gateway`")
        }
        // Before Relay is asked, with `check_keys`.
        Some(code @ ("missing_credential" | "wrong_credential_kind")) => Check::ok(
            check,
            &tried,
            format!("the gateway asks for the key of the project: `{code}`"),
        ),
        Some(code @ ("upstream_unreachable" | "upstream_timeout" | "upstream_busy")) => {
            Check::skipped(check, &tried, format!("`{code}`; see `upstream.relay`"))
        }
        Some(code) => {
            let fix = "restart the gateway with this config, and keep the rules for `ingest`";
            Check::problem(check, &tried, format!("the gateway refuses: `{code}`"), fix)
        }
        None if is_of_relay(&answer) => {
            let status = answer.status.as_u16();
            Check::ok(check, &tried, format!("{status}, a refusal of Relay's own"))
        }
        None => {
            let seen = format!("something else than Relay: {}", answer.outline());
            let fix =
                "name Relay itself in `urls` of `[upstream.relay]`, such as `http://relay:3000`";
            Check::problem(check, &tried, seen, fix)
        }
    })
}

/// Whether Relay refused (`ApiErrorResponse` in `relay-server/src/utils`). Sentry's web service answers
/// with a page, and to a write with one on CSRF.
fn is_of_relay(answer: &Answer) -> bool {
    let detail = answer.json().is_some_and(|body| body["detail"].is_string());
    answer.status.is_client_error() && detail && !answer.headers.contains_key("x-frame-options")
}
