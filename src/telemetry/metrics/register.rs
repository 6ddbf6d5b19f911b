//! Collectors out of the table of metrics, registered.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::Metric;

fn opts(metric: Metric) -> Opts {
    Opts::new(metric.name, metric.help).namespace("portcullis")
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

pub(super) fn counter(registry: &Registry, metric: Metric) -> prometheus::Result<IntCounter> {
    registered(registry, IntCounter::with_opts(opts(metric)))
}

pub(super) fn counter_vec(
    registry: &Registry,
    metric: Metric,
) -> prometheus::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(opts(metric), metric.labels))
}

pub(super) fn gauge(registry: &Registry, metric: Metric) -> prometheus::Result<IntGauge> {
    registered(registry, IntGauge::with_opts(opts(metric)))
}

pub(super) fn gauge_vec(registry: &Registry, metric: Metric) -> prometheus::Result<IntGaugeVec> {
    registered(registry, IntGaugeVec::new(opts(metric), metric.labels))
}

pub(super) fn histogram(
    registry: &Registry,
    metric: Metric,
    buckets: &[f64],
) -> prometheus::Result<Histogram> {
    let opts = HistogramOpts::from(opts(metric)).buckets(buckets.to_vec());
    registered(registry, Histogram::with_opts(opts))
}

pub(super) fn histogram_vec(
    registry: &Registry,
    metric: Metric,
    buckets: &[f64],
) -> prometheus::Result<HistogramVec> {
    let opts = HistogramOpts::from(opts(metric)).buckets(buckets.to_vec());
    registered(registry, HistogramVec::new(opts, metric.labels))
}
