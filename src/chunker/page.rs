//! Cutting databases: runs of whole pages.
//!
//! Follows `format-spec/04-chunking.md#pages`. A page that changes costs one run and moves no other, which is
//! why a night's changes to a database cost what changed. The number of pages in a run grows with the database
//! so that lists stay short, but late, for a new length stores all of it again.

/// Least length of a run in bytes.
pub const RUN_MIN_BYTES: u64 = 4 << 10;
/// Most runs of a database met for the first time.
pub const RUNS_AT_FIRST: u64 = 1 << 18;
/// Most runs before a longer run is chosen.
pub const RUNS_MAX: u64 = 1 << 19;
/// Greatest length of a run in bytes.
pub const RUN_MAX_BYTES: u64 = 4 << 20;

/// Pages in a run for a database of this many pages: the one used before where it still fits, else the least
/// power of two that gives at most [`RUNS_AT_FIRST`] runs.
pub fn run_pages(page_size: u32, pages: u64, before: Option<u32>) -> u32 {
    let page_size = u64::from(page_size.max(1));
    let allowed = |run: u64| {
        let bytes = run.saturating_mul(page_size);
        (RUN_MIN_BYTES..=RUN_MAX_BYTES).contains(&bytes)
    };
    if let Some(before) = before {
        let run = u64::from(before);
        if run.is_power_of_two() && allowed(run) && pages.div_ceil(run) <= RUNS_MAX {
            return before;
        }
    }
    let mut run = 1u64;
    while run.saturating_mul(page_size) < RUN_MIN_BYTES
        || pages.div_ceil(run) > RUNS_AT_FIRST && run.saturating_mul(page_size) < RUN_MAX_BYTES
    {
        run = run.saturating_mul(2);
    }
    u32::try_from(run).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_late_and_stay() {
        assert_eq!(run_pages(4096, 1, None), 1);
        assert_eq!(run_pages(512, 1, None), 8);
        assert_eq!(run_pages(65536, 1, None), 1);
        assert_eq!(run_pages(4096, 1 << 18, None), 1);
        assert_eq!(run_pages(4096, (1 << 18) + 1, None), 2);
        assert_eq!(run_pages(4096, 1 << 19, Some(1)), 1);
        assert_eq!(run_pages(4096, (1 << 19) + 1, Some(1)), 4);
        assert_eq!(run_pages(4096, 10, Some(4)), 4);
        assert_eq!(run_pages(4096, 10, Some(3)), 1);
        assert_eq!(run_pages(4096, 10, Some(1 << 30)), 1);
    }
}
