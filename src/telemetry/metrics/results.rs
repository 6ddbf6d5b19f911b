//! What things came to, as labels.

/// What became of a `Link` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkResult {
    /// At least one target was the upstream's.
    Rewritten,
    /// None was.
    Unchanged,
    /// It could not be read, and was taken off.
    Dropped,
}

impl LinkResult {
    pub(super) const ALL: &'static [(LinkResult, &'static str)] = &[
        (LinkResult::Rewritten, "rewritten"),
        (LinkResult::Unchanged, "unchanged"),
        (LinkResult::Dropped, "dropped"),
    ];
}

/// What became of a JSON answer whose URLs are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum JsonResult {
    /// At least one URL was the upstream's.
    Rewritten,
    /// None was.
    Unchanged,
    /// It could not be read, and was kept back.
    Failed,
    /// It could not be read, and its rule lets it pass.
    Passed,
}

impl JsonResult {
    pub(super) const ALL: &'static [(JsonResult, &'static str)] = &[
        (JsonResult::Rewritten, "rewritten"),
        (JsonResult::Unchanged, "unchanged"),
        (JsonResult::Failed, "failed"),
        (JsonResult::Passed, "passed"),
    ];
}

/// The result of a look-up in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreResult {
    /// It knows the credential.
    Found,
    /// It does not.
    Unknown,
    /// It could not answer.
    Error,
}
