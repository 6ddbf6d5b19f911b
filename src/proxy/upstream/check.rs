//! Asking the addresses of an upstream whether they work.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::prelude::{Error, ErrorType, OrErr as _, Result};
use tokio::task::JoinSet;

use super::Pool;
use super::address::Address;
use crate::config::HealthCheck;

/// How long an answer may take: a busy Sentry is slow, and is no better for being left out.
const PATIENCE: Duration = Duration::from_secs(5);
/// Without checks an address that a request could not connect to is tried again after so long.
const FORGET_AFTER: Duration = Duration::from_secs(5);

impl Pool {
    /// Checks every address, again and again.
    pub(super) async fn keep_checked(self: Arc<Self>, check: HealthCheck) {
        // Connections of its own, made as requests make theirs, TLS included.
        let connector = Arc::new(Connector::new(None));
        loop {
            let mut checks = JoinSet::new();
            for address in self.addresses.load_full().iter() {
                let (pool, address) = (Arc::clone(&self), Arc::clone(address));
                let (connector, path) = (Arc::clone(&connector), check.path.clone());
                checks.spawn(async move { pool.check(&address, &connector, &path).await });
            }
            while checks.join_next().await.is_some() {}
            self.tell();
            tokio::time::sleep(check.interval).await;
        }
    }

    async fn check(&self, address: &Address, connector: &Connector<()>, path: &str) {
        let asked = tokio::time::timeout(PATIENCE, self.ask(address, connector, path)).await;
        let result = asked.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, ""));
        if !address.checked(result.is_ok()) {
            return;
        }
        match result {
            Ok(()) => {
                let (upstream, address) = (&*self.name, address.at);
                tracing::info!(upstream, %address, "an address of the upstream's is used again");
            }
            Err(error) => self.say_down(address, &error),
        }
    }

    async fn ask(&self, address: &Address, connector: &Connector<()>, path: &str) -> Result<()> {
        let mut peer = address.peer.clone();
        // With room for no other request, so that it is not kept for one.
        peer.options.max_h2_streams = 1;
        let (mut session, _) = connector.get_http_session(&peer).await?;
        let host = self.urls[address.url].authority();
        let mut request = RequestHeader::build("GET", path.as_bytes(), Some(4))?;
        request.insert_header(USER_AGENT, "portcullis")?;
        request.insert_header(ACCEPT, "*/*")?;
        if session.as_http2().is_some() {
            let uri = format!("https://{host}{path}").parse();
            request.set_uri(uri.or_err(ErrorType::InvalidHTTPHeader, "")?);
        } else {
            request.insert_header(HOST, host)?;
            request.insert_header(CONNECTION, "close")?;
        }
        session.write_request_header(Box::new(request)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        match session.response_header().map(|head| head.status) {
            Some(status) if status.is_success() => Ok(()),
            Some(status) => Error::e_explain(ErrorType::HTTPStatus(status.as_u16()), ""),
            None => Error::e_explain(ErrorType::InvalidHTTPHeader, ""),
        }
    }

    /// Forgets, again and again, that requests could not connect: nothing else would.
    pub(super) async fn keep_forgetting(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FORGET_AFTER).await;
            for address in self.addresses.load_full().iter() {
                address.checked(true);
            }
            self.tell();
        }
    }
}
