//! What is measured of spans.

use prometheus::{IntCounter, Registry};

use super::SPANS;
use super::register::counter_vec;

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SpanResult {
    /// The collector has it.
    Exported,
    /// The collector did not take it.
    Failed,
    /// There was no room to keep it.
    Dropped,
}

impl SpanResult {
    const ALL: &'static [SpanResult] =
        &[SpanResult::Exported, SpanResult::Failed, SpanResult::Dropped];

    const fn as_str(self) -> &'static str {
        match self {
            SpanResult::Exported => "exported",
            SpanResult::Failed => "failed",
            SpanResult::Dropped => "dropped",
        }
    }
}

/// Is told of spans.
#[derive(Clone, Debug)]
pub struct SpanMetrics {
    /// By result.
    spans: Vec<IntCounter>,
}

impl SpanMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken in the registry.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let spans = counter_vec(registry, SPANS)?;
        let of = |result: &SpanResult| spans.with_label_values(&[result.as_str()]);
        Ok(Self { spans: SpanResult::ALL.iter().map(of).collect() })
    }

    /// This became of so many.
    pub fn ended(&self, result: SpanResult, number: u64) {
        if let Some(counter) = self.spans.get(result as usize) {
            counter.inc_by(number);
        }
    }
}
