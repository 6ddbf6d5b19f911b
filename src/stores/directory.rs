//! Whom the gateway asks what a name stands for.

use std::sync::Arc;

use anyhow::Context as _;
use http::HeaderValue;

use crate::config::Config;
use crate::directory::{Directory, NoDirectory, SentryDirectory, Settings};
use crate::policy::site::BaseUrl;

/// Who a config has asked: Sentry's web service, or nobody.
///
/// # Errors
/// When the certificates of the system are needed and can't be read.
pub fn directory(config: &Config) -> anyhow::Result<Arc<dyn Directory>> {
    Ok(asked(sentry_directory(config, None)?.as_ref()))
}

/// This one, or nobody.
pub fn asked(sentry: Option<&Arc<SentryDirectory>>) -> Arc<dyn Directory> {
    match sentry {
        Some(sentry) => Arc::<SentryDirectory>::clone(sentry),
        None => Arc::new(NoDirectory),
    }
}

/// Sentry's web service, with the gateway's own credential; nobody without one. It is `before`, with what
/// that knows, where Sentry is asked in the same way.
///
/// # Errors
/// When the certificates of the system are needed and can't be read.
pub fn sentry_directory(
    config: &Config,
    before: Option<&Arc<SentryDirectory>>,
) -> anyhow::Result<Option<Arc<SentryDirectory>>> {
    let Some(credential) = config.credential.clone() else { return Ok(None) };
    let (host, proto) = told(config.policy.site.public())?;
    let web = &config.upstreams.web;
    let settings = Settings {
        urls: web.urls.iter().map(BaseUrl::to_string).collect(),
        tls: Arc::clone(&web.tls),
        host,
        proto,
        credential,
        ttl: config.cache.directory_ttl,
    };
    if let Some(before) = before.filter(|before| *before.settings() == settings) {
        return Ok(Some(Arc::clone(before)));
    }
    let directory = SentryDirectory::new(settings).context(
        "the certificates of the system can't be read; set `tls.ca_file` of `upstream.web`",
    )?;
    Ok(Some(Arc::new(directory)))
}

/// What the upstream is told that clients call: host and scheme.
///
/// # Errors
/// When the public name is no header value.
pub fn told(public: &BaseUrl) -> anyhow::Result<(HeaderValue, HeaderValue)> {
    let host = HeaderValue::try_from(public.authority()).context("`public_url` is not a host")?;
    Ok((host, HeaderValue::from_static(public.scheme().as_str())))
}
