//! Figures read from the metrics, as they are exported.
//!
//! The page shows what Prometheus gets, so the two can't disagree, and nothing is counted twice.

use prometheus::proto::{Metric, MetricFamily};
use serde::Serialize;

/// Every metric at one moment.
#[derive(Debug)]
pub(super) struct Figures(Vec<MetricFamily>);

/// One series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series<'a>(&'a Metric);

/// What a histogram tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) count: u64,
    pub(super) mean_seconds: f64,
    /// 95 % were not slower than that; `None` when that is more than the histogram can tell.
    pub(super) p95_at_most_seconds: Option<f64>,
    /// The most that it can tell.
    #[serde(skip)]
    pub(super) most: f64,
}

impl Figures {
    pub(super) const fn new(families: Vec<MetricFamily>) -> Self {
        Self(families)
    }

    /// The series of a metric of the gateway.
    pub(super) fn series(&self, name: &str) -> impl Iterator<Item = Series<'_>> {
        let full = format!("portcullis_{name}");
        let family = self.0.iter().find(|family| family.name() == full);
        family.into_iter().flat_map(|family| family.get_metric()).map(Series)
    }

    /// The sum of a metric over the series with these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let has_all = |one: &Series<'_>| labels.iter().all(|(key, label)| one.label(key) == *label);
        self.series(name).filter(has_all).map(|one| one.count()).sum()
    }

    /// What a histogram without labels, or the series of it with this one, tells.
    pub(super) fn spread(&self, name: &str, label: Option<(&str, &str)>) -> Spread {
        let is_it = |one: &Series<'_>| label.is_none_or(|(key, label)| one.label(key) == label);
        self.series(name).find(is_it).map(Series::spread).unwrap_or_default()
    }

    /// When the process started, in milliseconds since the epoch, where the system tells.
    pub(super) fn started(&self) -> Option<u64> {
        let family = self.0.iter().find(|f| f.name() == "process_start_time_seconds")?;
        Some(whole(family.get_metric().first()?.get_gauge().get_value() * 1000.0))
    }
}

impl<'a> Series<'a> {
    pub(super) fn label(self, name: &str) -> &'a str {
        let label = self.0.get_label().iter().find(|label| label.name() == name);
        label.map_or("", |label| label.value())
    }

    /// The value of a counter or a gauge that counts something.
    pub(super) fn count(self) -> u64 {
        // Whichever it is not is zero.
        whole(self.0.get_counter().get_value() + self.0.get_gauge().get_value())
    }

    pub(super) fn spread(self) -> Spread {
        let histogram = self.0.get_histogram();
        let count = histogram.get_sample_count();
        if count == 0 {
            return Spread::default();
        }
        let buckets = histogram.get_bucket();
        let within = |bound: u64| bound.saturating_mul(100) >= count.saturating_mul(95);
        let bucket = buckets.iter().find(|bucket| within(bucket.cumulative_count()));
        let finite = |bound: f64| bound.is_finite().then_some(bound);
        let mut bounds = buckets.iter().filter_map(|bucket| finite(bucket.upper_bound()));
        Spread {
            count,
            mean_seconds: histogram.get_sample_sum() / count as f64,
            p95_at_most_seconds: bucket.and_then(|bucket| finite(bucket.upper_bound())),
            most: bounds.next_back().unwrap_or_default(),
        }
    }
}

/// A count that prometheus keeps as a float.
fn whole(value: f64) -> u64 {
    // Saturates; there are no negative counts.
    value as u64
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn sums_and_spreads_are_those_of_the_metrics() {
        let registry = Registry::new();
        let opts = Opts::new("things_total", "x").namespace("portcullis");
        let counter = IntCounterVec::new(opts, &["a", "b"]).unwrap();
        let opts = HistogramOpts::new("took_seconds", "x").namespace("portcullis");
        let histogram = HistogramVec::new(opts.buckets(vec![0.1, 1.0, 10.0]), &["route"]).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        for (labels, count) in [(["1", "x"], 3), (["1", "y"], 4), (["2", "x"], 50)] {
            counter.with_label_values(&labels).inc_by(count);
        }
        // 95 of 100 within a second; of the others there are too many beyond what can be told.
        for (route, seconds, times) in [
            ("/a/", 0.5, 95),
            ("/a/", 5.0, 5),
            ("/b/", 0.5, 94),
            ("/b/", 20.0, 6),
            ("/c/", 0.05, 1),
        ] {
            for _ in 0..times {
                histogram.with_label_values(&[route]).observe(seconds);
            }
        }
        let figures = Figures::new(registry.gather());
        let sum = |labels: &[(&str, &str)]| figures.sum("things_total", labels);
        assert_eq!([sum(&[]), sum(&[("a", "1")]), sum(&[("a", "1"), ("b", "y")])], [57, 7, 4]);
        assert_eq!([sum(&[("a", "3")]), figures.sum("nothing", &[])], [0, 0]);
        let spread = |route: &str| figures.spread("took_seconds", Some(("route", route)));
        assert_eq!(spread("/a/").p95_at_most_seconds, Some(1.0));
        assert_eq!((spread("/b/").p95_at_most_seconds, spread("/b/").most), (None, 10.0));
        assert_eq!(spread("/c/").p95_at_most_seconds, Some(0.1));
        let a = spread("/a/");
        assert_eq!((a.count, (a.mean_seconds * 1000.0).round()), (100, 725.0));
        assert_eq!(spread("/d/"), Spread::default());
    }
}
