//! Counts of what compiling has done, so that its cost can be held in proportion to a change.

/// What has been done since the compiler was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Label selectors tried on endpoints, or on endpoints that are alike.
    pub selectors_tried: u64,
    /// Endpoints whose groups were worked out.
    pub endpoints_grouped: u64,
    /// Groups whose rule sets were worked out.
    pub groups_judged: u64,
    /// Rows that were worked out.
    pub rows_built: u64,
    /// Records put or removed.
    pub records_written: u64,
}
