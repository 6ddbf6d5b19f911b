//! The addresses that Sentry writes into its answers, and whether clients stay on the gateway.

use http::header::LINK;
use serde_json::Value;

use super::answer::{Answer, base, shown};
use super::ask::{As, Asked, CallerToken, Patient};
use super::check::{Check, Verdict};
use crate::policy::site::BaseUrl;
use crate::rewrite::link;

/// Lists with a `Link`, of which a credential may read some.
const LISTS: [&str; 2] = ["/api/0/organizations/?per_page=1", "/api/0/projects/?per_page=1"];

/// Whose address a URL of Sentry's names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whose {
    /// Sentry's, as the config knows it: it is rewritten.
    Sentry(BaseUrl),
    /// The gateway's: nothing is to do.
    Gateway(BaseUrl),
    /// Nobody's: a path.
    Nobody,
    /// A host that the config does not know.
    Stranger(BaseUrl),
    /// It can't be read.
    Unreadable,
}

impl Whose {
    fn of(url: &str, patient: &Patient<'_>) -> Self {
        if url.is_empty() || (url.starts_with('/') && !url.starts_with("//")) {
            return Whose::Nobody;
        }
        let Some(base) = base(url) else { return Whose::Unreadable };
        let names = patient.config.policy.site.names();
        if names.contains(&base) {
            return Whose::Gateway(base);
        }
        match patient.rewriter.rewrite(url.as_bytes(), patient.public()) {
            std::borrow::Cow::Owned(_) => Whose::Sentry(base),
            std::borrow::Cow::Borrowed(_) => Whose::Stranger(base),
        }
    }

    fn told(&self) -> String {
        match self {
            Whose::Sentry(base) => format!("`{base}`, which is rewritten"),
            Whose::Gateway(base) => format!("`{base}`, the gateway itself"),
            Whose::Nobody => "a path without a host".to_owned(),
            Whose::Stranger(base) => format!("`{base}`, which the config does not know"),
            Whose::Unreadable => "something that is no URL".to_owned(),
        }
    }

    /// Whether clients that follow it stay on the gateway.
    const fn stays(&self) -> bool {
        match self {
            Whose::Sentry(_) | Whose::Gateway(_) | Whose::Nobody => true,
            Whose::Stranger(_) | Whose::Unreadable => false,
        }
    }
}

/// What Sentry's `Link` was.
pub(super) struct Seen {
    pub(super) checks: Vec<Check>,
    /// The field as Sentry sent it, if the gateway knows the host in it.
    pub(super) link: Option<Vec<u8>>,
    /// Whether it knows the host in `links.regionUrl` too.
    pub(super) region: bool,
}

impl Seen {
    fn skipped(tried: &str, why: &str) -> Self {
        let checks = ["link", "url_prefix", "region_url", "upload_url"];
        let checks = checks.map(|check| Check::skipped(check, tried, why)).into();
        Self { checks, link: None, region: false }
    }
}

/// Every check that needs a list of Sentry's; `missing` says why there is none to ask for.
pub(super) async fn look_at(patient: &Patient<'_>, missing: Option<&str>) -> Seen {
    if let Some(why) = missing {
        return Seen::skipped("", why);
    }
    let (tried, answer) = match list(patient).await {
        Ok(list) => list,
        Err((tried, why)) => return Seen::skipped(&tried, &why),
    };
    let value = answer.headers.get(LINK).map(|value| value.as_bytes().to_vec());
    let target = value.as_deref().and_then(first_target);
    let Some((value, target)) = value.zip(target) else {
        return Seen::skipped(&tried, "the answer has no `Link` that can be read");
    };
    let whose = Whose::of(&target, patient);
    let link = link(patient, &tried, &whose);
    let known = whose.stays().then_some(value);
    let organization = answer.json().and_then(|body| body.get(0).cloned());
    let organization = organization.filter(|_| tried.contains(LISTS[0]));
    let (prefix, region) = of_organization(patient, &tried, &whose, organization.as_ref());
    let upload = upload(patient, &whose, organization.as_ref()).await;
    let known_region = region.verdict == Verdict::Ok;
    Seen { checks: vec![link, prefix, region, upload], link: known, region: known_region }
}

/// The first list that the upstream's credential may read.
async fn list(patient: &Patient<'_>) -> Result<(String, Answer), (String, String)> {
    let mut last = (String::new(), String::new());
    for path in LISTS {
        let Asked { tried, answer } =
            patient.web(path, As::Gateway, patient.public().scheme()).await;
        match answer {
            Ok(answer) if answer.status.is_success() => return Ok((tried, answer)),
            Ok(answer) => {
                let why = "the credential may read no list: it needs `org:read` or `project:read`";
                last = (tried, format!("{}; {why}", answer.outline()));
            }
            Err(why) => return Err((tried, why)),
        }
    }
    Err(last)
}

fn first_target(value: &[u8]) -> Option<String> {
    let links = link::parse(value).ok()?;
    Some(String::from_utf8_lossy(links.first()?.target()).into_owned())
}

fn link(patient: &Patient<'_>, tried: &str, whose: &Whose) -> Check {
    let seen = format!("`Link` names {}", whose.told());
    match whose {
        Whose::Sentry(_) | Whose::Gateway(_) | Whose::Nobody => Check::ok("link", tried, seen),
        Whose::Stranger(base) => Check::problem("link", tried, seen, canonical(patient, base)),
        Whose::Unreadable => {
            let fix = "set `system.url-prefix` in Sentry's config.yml to a URL";
            Check::problem("link", tried, seen, fix)
        }
    }
}

/// What makes the gateway know `base`.
fn canonical(patient: &Patient<'_>, base: &BaseUrl) -> String {
    let was = match patient.config.canonical.first() {
        Some(was) => format!(" in place of `{was}`"),
        None => String::new(),
    };
    format!(
        "write `canonical_url = \"{base}\"` under `[upstream.web]`{was}: pages and uploads leave the gateway"
    )
}

fn of_organization(
    patient: &Patient<'_>,
    tried: &str,
    link: &Whose,
    organization: Option<&Value>,
) -> (Check, Check) {
    let url = organization.and_then(|organization| organization["links"]["regionUrl"].as_str());
    let region = url.map(|url| Whose::of(url, patient));
    let prefix = match (link, &region) {
        (Whose::Nobody, _) | (_, Some(Whose::Nobody)) => {
            let fix = format!(
                "set `system.url-prefix: '{}'` in Sentry's config.yml, restart Sentry, and issue its organization tokens again: they hold no address",
                patient.public()
            );
            let seen = "empty: Sentry's URLs have no host";
            Check::problem("url_prefix", tried, seen, fix)
        }
        (Whose::Gateway(base), _) => {
            Check::ok("url_prefix", tried, format!("`{base}`, so nothing has to be rewritten"))
        }
        (Whose::Sentry(base) | Whose::Stranger(base), _) => {
            Check::ok("url_prefix", tried, format!("`{base}`"))
        }
        (Whose::Unreadable, _) => Check::skipped("url_prefix", tried, "see `link`"),
    };
    let region = match region {
        None => {
            Check::skipped("region_url", tried, "no organization is listed, or without `links`")
        }
        Some(Whose::Nobody) => Check::skipped("region_url", tried, "see `url_prefix`"),
        Some(whose) => json_url("region_url", tried, "links.regionUrl", link, &whose),
    };
    (prefix, region)
}

/// A URL in JSON that clients follow with their token.
fn json_url(check: &str, tried: &str, field: &str, link: &Whose, whose: &Whose) -> Check {
    let seen = format!("`{field}` is {}", whose.told());
    match whose {
        // One cause is told once.
        Whose::Stranger(_) | Whose::Unreadable if whose == link => {
            Check::skipped(check, tried, format!("{seen}; see `link`"))
        }
        Whose::Stranger(base) => {
            let fix = format!(
                "add `\"{base}\"` to `canonical_aliases` of `[upstream.web]`: clients follow it, with their token"
            );
            Check::problem(check, tried, seen, fix)
        }
        Whose::Unreadable => {
            let fix = "set `system.url-prefix` in Sentry's config.yml to a URL";
            Check::problem(check, tried, seen, fix)
        }
        Whose::Sentry(_) | Whose::Gateway(_) | Whose::Nobody => Check::ok(check, tried, seen),
    }
}

/// Where clients upload to: `system.upload-url-prefix`, or else `system.url-prefix`
/// (`api/endpoints/chunk.py`).
async fn upload(patient: &Patient<'_>, link: &Whose, organization: Option<&Value>) -> Check {
    let check = "upload_url";
    let slug = organization.and_then(|organization| organization["slug"].as_str());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let Some(slug) = slug.filter(|slug| slug.chars().all(plain) && !slug.is_empty()) else {
        return Check::skipped(check, "", "no organization is listed that could be asked");
    };
    let path = format!("/api/0/organizations/{slug}/chunk-upload/");
    let Asked { tried, answer } = patient.web(&path, As::Gateway, patient.public().scheme()).await;
    let answer = match answer {
        Ok(answer) if answer.status.is_success() => answer,
        Ok(answer) => {
            let why = format!("{}; the credential may not ask", answer.outline());
            return Check::skipped(check, &tried, why);
        }
        Err(why) => return Check::skipped(check, &tried, why),
    };
    match answer.json().as_ref().and_then(|body| body["url"].as_str()) {
        None => Check::skipped(check, &tried, "the answer has no `url`"),
        Some(url) => {
            let told = json_url(check, &tried, "url", link, &Whose::of(url, patient));
            match (told.verdict, told.fix.clone()) {
                (Verdict::Problem, Some(fix)) => {
                    told.with_fix(format!("clear Sentry's `system.upload-url-prefix`, or {fix}"))
                }
                (Verdict::Ok | Verdict::Problem | Verdict::Skipped, _) => told,
            }
        }
    }
}

/// Whether a client gets a `Link` that names the gateway.
pub(super) async fn through(
    patient: &Patient<'_>,
    direct: &Seen,
    is_ours: bool,
    token: Option<&CallerToken>,
) -> Check {
    let (check, link) = ("link_rewritten", direct.link.as_deref());
    let token = token.filter(|_| is_ours);
    let Some(token) = token else {
        let Some(link) = link else { return Check::skipped(check, "", "see `link`") };
        let rewritten = link::rewrite(link, &patient.rewriter, patient.public());
        let value = rewritten.map(|new| new.unwrap_or_else(|| link.to_vec()));
        let told =
            judge_rewritten(patient, "the `Link` of before, rewritten", value.ok().as_deref());
        return match told.verdict {
            Verdict::Ok => told.with_fix("to see it on its way, pass a token with `--token-stdin`"),
            Verdict::Problem | Verdict::Skipped => told,
        };
    };
    let mut last = None;
    for path in LISTS {
        let Asked { tried, answer } = patient.as_caller(patient.public(), path, token).await;
        match answer {
            Ok(answer) if answer.status.is_success() => {
                let value = answer.headers.get(LINK).map(|value| value.as_bytes());
                return match (value, link) {
                    (None, None) => Check::skipped(check, &tried, "the answer has no `Link`"),
                    (value, _) => {
                        let told = judge_rewritten(patient, &tried, value);
                        let json = direct.region.then(|| json_rewritten(patient, &tried, &answer));
                        json.flatten().filter(|_| told.verdict == Verdict::Ok).unwrap_or(told)
                    }
                };
            }
            Ok(answer) => last = Some((tried, answer.outline())),
            Err(why) => return Check::skipped(check, &tried, why),
        }
    }
    let (tried, why) = last.unwrap_or_default();
    let why = format!("{why}; the token may read no list: it needs `org:read` or `project:read`");
    Check::skipped(check, &tried, why)
}

/// What is wrong with the URL in JSON that clients follow most.
fn json_rewritten(patient: &Patient<'_>, tried: &str, answer: &Answer) -> Option<Check> {
    let body = answer.json()?;
    let whose = Whose::of(body.get(0)?["links"]["regionUrl"].as_str()?, patient);
    let fix = "keep `rewrite` in the rule for this route, and restart the gateway";
    let problem = || {
        let seen = format!("`links.regionUrl` still names {}", whose.told());
        Check::problem("link_rewritten", tried, seen, fix)
    };
    (!matches!(whose, Whose::Gateway(_) | Whose::Nobody)).then(problem)
}

fn judge_rewritten(patient: &Patient<'_>, tried: &str, value: Option<&[u8]>) -> Check {
    let check = "link_rewritten";
    let targets: Option<Vec<String>> = value.and_then(|value| {
        let text = |link: &link::Link<'_>| String::from_utf8_lossy(link.target()).into_owned();
        Some(link::parse(value).ok()?.iter().map(text).collect())
    });
    let Some(targets) = targets else {
        let fix = "see `link_rewrites_total{result=\"dropped\"}`, and what stands between Sentry and the gateway";
        return Check::problem(check, tried, "no `Link` comes out that can be read", fix);
    };
    let stays =
        |target: &&String| !matches!(Whose::of(target, patient), Whose::Gateway(_) | Whose::Nobody);
    match targets.iter().find(stays) {
        None => Check::ok(check, tried, format!("`Link` names `{}`", patient.public())),
        Some(target) => {
            let named = base(target).map_or_else(|| shown(target), |base| base.to_string());
            let fix = "write what Sentry names as `canonical_url`, and restart the gateway";
            Check::problem(check, tried, format!("`Link` names `{named}`"), fix)
        }
    }
}
