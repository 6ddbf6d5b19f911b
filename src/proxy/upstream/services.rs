//! The parts of Sentry, each with its pool.

use std::sync::Arc;

use pingora::prelude::{Error, ErrorType, Result};

use super::Pool;
use crate::config::{Upstream, Upstreams as Configured};
use crate::policy::exposure::Service;
use crate::telemetry::metrics::Metrics;

/// The parts of Sentry that requests go to.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// The web service.
    pub web: Arc<Pool>,
    /// Relay.
    pub relay: Option<Arc<Pool>>,
    /// What serves the files of the pages, where that is not the web service.
    pub assets: Option<Arc<Pool>>,
}

impl Upstreams {
    /// Those of a config. What is as it was `before`, with the requests that are at it, is taken over.
    pub fn new(
        config: &Configured,
        before: Option<(&Configured, &Self)>,
        metrics: &Metrics,
    ) -> Self {
        let pool = |service: Service, upstream: &Upstream| {
            let same = before.and_then(|(config, pools)| {
                let (_, before) = config.iter().find(|(other, _)| *other == service)?;
                (before == upstream).then(|| pools.own(service)).flatten()
            });
            let new = || Arc::new(Pool::new(service, upstream, metrics));
            same.map_or_else(new, Arc::clone)
        };
        Self {
            web: pool(Service::Web, &config.web),
            relay: config.relay.as_ref().map(|relay| pool(Service::Relay, relay)),
            assets: config.assets.as_ref().map(|assets| pool(Service::Assets, assets)),
        }
    }

    const fn own(&self, service: Service) -> Option<&Arc<Pool>> {
        match service {
            Service::Web => Some(&self.web),
            Service::Relay => self.relay.as_ref(),
            Service::Assets => self.assets.as_ref(),
        }
    }

    /// The one for a service.
    ///
    /// # Errors
    /// When there is no Relay, which a config that loads does not let happen.
    pub(in crate::proxy) fn of(&self, service: Service) -> Result<&Arc<Pool>> {
        let no_relay = || Error::explain(ErrorType::ConnectNoRoute, "no relay").into_up();
        match service {
            Service::Web | Service::Relay => self.own(service).ok_or_else(no_relay),
            Service::Assets => Ok(self.assets.as_ref().unwrap_or(&self.web)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Service, &Arc<Pool>)> {
        Service::ALL.iter().filter_map(|service| Some((*service, self.own(*service)?)))
    }

    /// Refuses what waits for one of them, and what would: the gateway is stopping. What finds room
    /// is served.
    pub fn stop_waiting(&self) {
        for (_, pool) in self.iter() {
            pool.stop_waiting();
        }
    }
}
