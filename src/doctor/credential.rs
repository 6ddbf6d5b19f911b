//! The token that stands in for tokens of the gateway, and a token that a client would present.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use serde_json::Value;

use super::answer::{base, shown};
use super::ask::{As, Asked, CallerToken, Patient};
use super::check::Check;
use crate::config::{Config, StoreKind};
use crate::policy::profile::CredentialId;
use crate::policy::rules::Access;
use crate::policy::scope::{Scope, ScopeSet};
use crate::store::portcullis::Token;

/// Sentry's answer on who calls.
const INDEX: &str = "/api/0/";
/// What an organization's token starts with.
const ORG_TOKEN: &str = "sntrys_";
/// How the payload of one is written; how much padding there is has changed.
const PAYLOAD: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What Sentry says of the upstream's credential.
pub(super) struct Seen {
    pub(super) checks: Vec<Check>,
    /// Whether Sentry knows it.
    pub(super) accepted: bool,
}

/// The checks of [`look_at`] when Sentry can't be asked, and why.
pub(super) fn skipped(why: &str) -> [Check; 2] {
    ["credential", "credential_owner"].map(|check| Check::skipped(check, "", why))
}

/// Whether Sentry takes the upstream's credential, and whose it is. `held` are the scopes of the tokens
/// that it stands in for, where they could be read.
pub(super) async fn look_at(patient: &Patient<'_>, held: &[ScopeSet]) -> Seen {
    let (check, owner) = ("credential", "credential_owner");
    let nobody = |check: Check, why: &str| Seen {
        checks: vec![check, Check::skipped(owner, "", why)],
        accepted: false,
    };
    if patient.config.credential.is_none() {
        let why =
            "`[upstream.web]` has no `credential`, and needs none without tokens of the gateway";
        return nobody(Check::skipped(check, "", why), why);
    }
    let Asked { tried, answer } = patient.web(INDEX, As::Gateway, patient.public().scheme()).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return nobody(Check::skipped(check, &tried, &*why), &why),
    };
    let body = answer.index().filter(|body| !body["auth"].is_null());
    let Some(body) = body else {
        let refused = answer.status.as_u16() == 401 || answer.index().is_some();
        if !refused {
            let why = format!("something else than Sentry's API: {}", answer.outline());
            return nobody(Check::skipped(check, &tried, &*why), "see `credential`");
        }
        let fix = "make a token of an account or an integration of its own in Sentry, write it where `credential` of `[upstream.web]` says, and restart the gateway";
        let seen = format!("{}: Sentry does not know it", answer.outline());
        return nobody(Check::problem(check, &tried, seen, fix), "see `credential`");
    };
    let names = body["auth"]["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let scopes: ScopeSet = names.filter_map(|name| name.parse::<Scope>().ok()).collect();
    let check = judge_scopes(patient, &tried, scopes, held);
    Seen { checks: vec![check, judge_owner(&tried, &body["user"])], accepted: true }
}

/// Routes that a token of the gateway gets to, and Sentry refuses what stands in for it.
fn judge_scopes(patient: &Patient<'_>, tried: &str, own: ScopeSet, held: &[ScopeSet]) -> Check {
    let lent = || {
        let rules = patient.config.policy.rules.iter().map(|(_, rule)| rule);
        rules.filter(|rule| rule.exchange).filter_map(|rule| match rule.access {
            Access::AnyOf(scopes) => Some(scopes),
            Access::Public
            | Access::Authenticated
            | Access::NotExposed
            | Access::Pass
            | Access::ProjectKey => None,
        })
    };
    let refused: Vec<ScopeSet> = lent()
        .filter(|asked| !asked.intersects(own) && held.iter().any(|held| held.intersects(*asked)))
        .collect();
    let scopes = own.names();
    if refused.is_empty() {
        let short = lent().filter(|asked| !asked.intersects(own)).count();
        let seen = format!("accepted, with `{scopes}`");
        let rest =
            format!("; {short} routes that are open to tokens of the gateway ask for others");
        return Check::ok("credential", tried, if short == 0 { seen } else { seen + &rest });
    }
    let lacks: ScopeSet = held
        .iter()
        .flat_map(|held| held.iter())
        .filter(|scope| refused.iter().any(|asked| asked.contains(*scope)))
        .collect();
    let seen = format!(
        "it has `{scopes}`, and Sentry refuses it on {} routes that tokens of the gateway get to",
        refused.len()
    );
    let fix = format!("give it {}, or issue tokens without", lacks.list());
    Check::problem("credential", tried, seen, fix)
}

/// Whether one credential stands in for tokens of several profiles: Sentry's own scopes don't tell those
/// apart, and an organisation's token or key has every scope of its organisation behind Sentry's first gate.
pub(super) fn shared(config: &Config, tokens: &[Token]) -> Option<Check> {
    let of_tokens = tokens.iter().map(|token| &token.narrowing);
    let issuers = config.stores.iter().filter_map(|store| match &store.kind {
        StoreKind::Jwt(issuer) => Some(&issuer.trust),
        StoreKind::Portcullis(_)
        | StoreKind::Sentry(_)
        | StoreKind::Introspection(_)
        | StoreKind::File(_) => None,
    });
    let of_policies = issuers.flatten().map(|trust| &trust.narrowing);
    let named = of_tokens.chain(of_policies).filter_map(|narrowing| narrowing.profile.as_deref());
    let shares = |name: &&str| {
        let profile = config.policy.profiles.profile(name);
        profile.is_some_and(|profile| profile.credential == CredentialId::UPSTREAM)
    };
    let sharing: BTreeSet<&str> = named.filter(shares).collect();
    if sharing.len() < 2 {
        return None;
    }
    let names: Vec<_> = sharing.iter().map(|name| format!("`{name}`")).collect();
    let seen = format!(
        "that of `upstream.web` stands in for tokens of the profiles {}: only the gateway tells them apart",
        names.join(", ")
    );
    let fix = "give each `[profile.NAME]` a `credential` of its own, with no more scopes in Sentry than it needs";
    Some(Check::ok("profile_credentials", "profiles of tokens in force", seen).with_fix(fix))
}

/// Sentry says whose account it is, and not whether a person signs in with it.
fn judge_owner(tried: &str, user: &Value) -> Check {
    let check = "credential_owner";
    if user.is_null() {
        return Check::ok(check, tried, "no user's: it ends with nobody's account");
    }
    if user["email"].as_str().is_none_or(str::is_empty) {
        return Check::ok(check, tried, "of an account without an address, as integrations have");
    }
    let id = match &user["id"] {
        Value::String(id) => shown(id),
        Value::Number(id) => id.to_string(),
        _ => "?".to_owned(),
    };
    let why = format!("of the user {id}; Sentry does not say whether that is a person");
    Check::skipped(check, tried, why).with_fix(
        "if it is, every token of the gateway ends with that account: take an internal integration, or an account of its own",
    )
}

/// Whether clients that present this token stay on the gateway: they call the address in it.
pub(super) fn organization_token(patient: &Patient<'_>, token: Option<&CallerToken>) -> Check {
    let check = "organization_token";
    let Some(token) = token else {
        return Check::skipped(check, "", "no token was passed with `--token-stdin`");
    };
    let tried = "the addresses in the token";
    let Some(rest) = token.expose().strip_prefix(ORG_TOKEN) else {
        return Check::ok(
            check,
            tried,
            "not an organization token: clients call what they are told",
        );
    };
    let payload = rest.rsplit_once('_').map(|(payload, _)| payload);
    let payload = payload.and_then(|text| PAYLOAD.decode(text).ok());
    let payload: Option<Value> = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let again = format!(
        "set Sentry's `system.url-prefix` to `{}` and issue the token again, or use a token of the gateway",
        patient.public()
    );
    let Some(payload) = payload else {
        let fix = "copy the token again";
        return Check::problem(check, tried, "it holds nothing that can be read", fix);
    };
    for field in ["url", "region_url"] {
        match payload[field].as_str() {
            None | Some("") if field == "url" => {
                let seen = "`url` is empty, which sentry-cli can't read";
                return Check::problem(check, tried, seen, again);
            }
            None | Some("") => {}
            Some(url) => {
                let named = base(url);
                let names = patient.config.policy.site.names();
                if !named.as_ref().is_some_and(|base| names.contains(base)) {
                    let named = named.map_or_else(|| shown(url), |base| base.to_string());
                    let seen =
                        format!("`{field}` is `{named}`: clients go there, not to the gateway");
                    return Check::problem(check, tried, seen, again);
                }
            }
        }
    }
    Check::ok(check, tried, "they are the gateway's")
}

/// Whether the gateway takes the token.
pub(super) async fn caller(
    patient: &Patient<'_>,
    token: Option<&CallerToken>,
    is_ours: bool,
) -> Check {
    let check = "token";
    let Some(token) = token else {
        return Check::skipped(check, "", "no token was passed with `--token-stdin`");
    };
    if !is_ours {
        return Check::skipped(
            check,
            "",
            "it is shown to nobody but the gateway; see `public_url`",
        );
    }
    let Asked { tried, answer } = patient.as_caller(patient.public(), INDEX, token).await;
    match answer {
        Ok(answer) if answer.status.is_success() => {
            Check::ok(check, &tried, "the gateway takes it")
        }
        Ok(answer) => {
            let detail = answer.json().and_then(|body| body["detail"].as_str().map(shown));
            let fix = format!(
                "{}; `portcullis explain --token-stdin GET {INDEX}` says more",
                detail.unwrap_or_else(|| "see the log of the gateway".to_owned())
            );
            Check::problem(check, &tried, answer.outline(), fix)
        }
        Err(why) => Check::skipped(check, &tried, why),
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn an_account_with_an_address_may_be_a_persons() {
        let user = |text: &str| judge_owner("", &serde_json::from_str(text).unwrap()).verdict;
        assert_eq!(user("null"), Verdict::Ok);
        assert_eq!(user(r#"{"id": "7", "email": ""}"#), Verdict::Ok);
        assert_eq!(user(r#"{"id": "7", "email": "a@example.com"}"#), Verdict::Skipped);
    }

    #[test]
    fn a_payload_is_read_with_any_padding() {
        for text in [STANDARD.encode("{}x"), STANDARD.encode("{}"), "e30".to_owned()] {
            assert!(PAYLOAD.decode(&text).is_ok(), "{text}");
        }
    }
}
