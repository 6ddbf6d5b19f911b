//! Whom the gateway asks what a name stands for.

use std::sync::Arc;

use anyhow::Context as _;
use http::HeaderValue;

use crate::config::Config;
use crate::directory::{Directory, NoDirectory, SentryDirectory, Settings};
use crate::policy::site::BaseUrl;

/// Sentry's web service, with the gateway's own credential; nobody without one.
///
/// # Errors
/// When the certificates of the system are needed and can't be read.
pub fn directory(config: &Config) -> anyhow::Result<Arc<dyn Directory>> {
    let Some(credential) = config.credential.clone() else { return Ok(Arc::new(NoDirectory)) };
    let (host, proto) = told(config.policy.site.public())?;
    let web = &config.upstreams.web;
    let directory = SentryDirectory::new(Settings {
        urls: web.urls.iter().map(BaseUrl::to_string).collect(),
        tls: Arc::clone(&web.tls),
        host,
        proto,
        credential,
        ttl: config.cache.directory_ttl,
    })
    .context("the certificates of the system can't be read; set `tls.ca_file` of `upstream.web`")?;
    Ok(Arc::new(directory))
}

/// What the upstream is told that clients call: host and scheme.
///
/// # Errors
/// When the public name is no header value.
pub fn told(public: &BaseUrl) -> anyhow::Result<(HeaderValue, HeaderValue)> {
    let host = HeaderValue::try_from(public.authority()).context("`public_url` is not a host")?;
    Ok((host, HeaderValue::from_static(public.scheme().as_str())))
}
