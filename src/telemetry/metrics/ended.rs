//! What became of things that are sent to somebody else: spans, and reports of errors.

use std::fmt;
use std::marker::PhantomData;

use prometheus::{IntCounter, Registry};

use super::register::counter_vec;
use super::{ERROR_REPORTS, Metric, SPANS};

/// What can become of something, and the metric that counts it by this.
pub trait EndResult: Copy + PartialEq + fmt::Debug + 'static {
    /// The metric.
    #[doc(hidden)]
    const METRIC: Metric;
    /// Every result, with its name as a label.
    const ALL: &'static [(Self, &'static str)];
}

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanResult {
    /// The collector has it.
    Exported,
    /// The collector did not take it.
    Failed,
    /// There was no room to keep it.
    Dropped,
}

impl EndResult for SpanResult {
    const METRIC: Metric = SPANS;
    const ALL: &'static [(Self, &'static str)] = &[
        (SpanResult::Exported, "exported"),
        (SpanResult::Failed, "failed"),
        (SpanResult::Dropped, "dropped"),
    ];
}

/// What became of a report of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorResult {
    /// Sentry has it.
    Sent,
    /// Sentry did not take it.
    Failed,
    /// It was one too many of its place, or of all, or for Sentry.
    Suppressed,
    /// There was no room to keep it.
    Dropped,
}

impl EndResult for ErrorResult {
    const METRIC: Metric = ERROR_REPORTS;
    const ALL: &'static [(Self, &'static str)] = &[
        (ErrorResult::Sent, "sent"),
        (ErrorResult::Failed, "failed"),
        (ErrorResult::Suppressed, "suppressed"),
        (ErrorResult::Dropped, "dropped"),
    ];
}

/// Is told what became of each.
#[derive(Clone, Debug)]
pub struct Ended<R> {
    counters: Vec<IntCounter>,
    of: PhantomData<R>,
}

/// Is told of spans.
pub type SpanMetrics = Ended<SpanResult>;
/// Is told of reports of errors.
pub type ErrorMetrics = Ended<ErrorResult>;

impl<R: EndResult> Ended<R> {
    /// Registers the metric.
    ///
    /// # Errors
    /// When its name is taken in the registry.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let family = counter_vec(registry, R::METRIC)?;
        let counters = R::ALL.iter().map(|(_, label)| family.with_label_values(&[label]));
        Ok(Self { counters: counters.collect(), of: PhantomData })
    }

    /// This became of so many.
    pub fn ended(&self, result: R, number: u64) {
        let mut all = R::ALL.iter().zip(&self.counters);
        if let Some((_, counter)) = all.find(|((own, _), _)| *own == result) {
            counter.inc_by(number);
        }
    }
}
