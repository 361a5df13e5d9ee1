//! Progress of `flowherd convert`, and each failure.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flowherd_shared::ledger::{ManifestTotals, Receipt};

use crate::{
    progress::{Line, Rate, View},
    summary::print_message,
    words::{bytes_per_second, counted},
};

/// Maximum failures that are printed individually; the ledger has all.
const FAILURES_SHOWN: u64 = 20;

/// Shows the progress of a run.
#[derive(Debug)]
pub(super) struct Progress {
    shared: Arc<Shared>,
    _line: Line,
}

#[derive(Debug)]
struct Shared {
    source: String,
    began: Instant,
    stage: Mutex<Stage>,
    counts: Counts,
}

/// What the command does. The rate is that of the bytes read.
#[derive(Clone, Debug)]
enum Stage {
    Listing,
    Converting(Rate),
    Reporting,
}

#[derive(Debug, Default)]
struct Counts {
    listed: AtomicU64,
    /// Bytes to read: those of the listed objects, without what did not have to be read.
    bytes: AtomicU64,
    read: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    rows: AtomicU64,
    rejected: AtomicU64,
}

impl Progress {
    /// Shows that objects of `source` are listed.
    pub(super) fn listing(source: String) -> Self {
        let stage = Mutex::new(Stage::Listing);
        let shared = Arc::new(Shared { source, began: Instant::now(), stage, counts: Counts::default() });
        let shown = Arc::clone(&shared);
        Self { shared, _line: Line::show(move || shown.view()) }
    }

    /// Adds a listed object.
    pub(super) fn listed(&self) {
        add(&self.shared.counts.listed, 1);
    }

    /// Shows that the listed objects are converted.
    pub(super) fn converting(&self, listed: ManifestTotals) {
        let counts = &self.shared.counts;
        counts.listed.store(listed.objects, Ordering::Relaxed);
        counts.bytes.store(listed.bytes, Ordering::Relaxed);
        self.shared.set(Stage::Converting(Rate::default()));
    }

    /// Adds bytes that were read.
    pub(super) fn read(&self, bytes: u64) {
        add(&self.shared.counts.read, bytes);
    }

    /// Adds a done object. `unread` of its bytes did not have to be read.
    pub(super) fn done(&self, receipt: &Receipt, unread: u64) {
        let counts = &self.shared.counts;
        add(&counts.done, 1);
        add(&counts.rows, receipt.records.rows);
        add(&counts.rejected, receipt.records.rejected);
        counts.without(unread);
    }

    /// Adds a failed object, and prints its error. `unread` of its bytes did not have to be read.
    pub(super) fn failed(&self, key: &str, error: &str, unread: u64) {
        let counts = &self.shared.counts;
        let before = counts.failed.fetch_add(1, Ordering::Relaxed);
        counts.without(unread);
        match before {
            0..FAILURES_SHOWN => print_message(&format!("{key}: {error}")),
            FAILURES_SHOWN => {
                print_message("more objects failed; the run's failures/ directory has all of them");
            }
            _ => {}
        }
    }

    /// Shows that the report is written.
    pub(super) fn reporting(&self) {
        self.shared.set(Stage::Reporting);
    }

    /// Returns the time since the begin, and the bytes that were read.
    pub(super) fn work(&self) -> (Duration, u64) {
        (self.shared.began.elapsed(), self.shared.counts.read.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn set(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn view(&self) -> View {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Converting(rate) = &mut *stage {
            rate.add(self.began.elapsed(), self.counts.read.load(Ordering::Relaxed));
        }
        self.counts.view(&stage, &self.source)
    }
}

impl Counts {
    /// Takes bytes out of the work: an earlier process has read them, or the object failed before they were read. As work that
    /// is done, they would raise the rate.
    fn without(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn view(&self, stage: &Stage, source: &str) -> View {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (listed, read, bytes) = (count(&self.listed), count(&self.read), count(&self.bytes));
        match stage {
            Stage::Listing => {
                View::stage(format!("listing {source}")).part(Some(counted(listed, "object", "objects")))
            }
            // The size of standard input is not known.
            Stage::Converting(rate) => {
                if bytes == 0 { View::stage("converting") } else { View::share(read, bytes) }
                    .objects(count(&self.done), listed, count(&self.failed))
                    .remaining(rate.remaining(bytes.saturating_sub(read)))
                    .part(rate.per_second().map(bytes_per_second))
                    .part(Some(counted(count(&self.rows), "row", "rows")))
                    .part(Some(counted(count(&self.rejected), "reject", "rejects")))
            }
            Stage::Reporting => View::stage("reading the receipts for the report").objects(
                count(&self.done),
                listed,
                count(&self.failed),
            ),
        }
    }
}

fn add(number: &AtomicU64, more: u64) {
    number.fetch_add(more, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::render;

    fn counts(listed: u64, bytes: u64) -> Counts {
        Counts { listed: listed.into(), bytes: bytes.into(), ..Counts::default() }
    }

    #[test]
    fn each_stage_is_named() {
        let counts = counts(1, 0);
        let of = |stage| render(&counts.view(&stage, "my-logs"), Some(79));
        assert_eq!(of(Stage::Listing), "listing my-logs  1 object");
        assert_eq!(of(Stage::Reporting), "reading the receipts for the report  0/1 objects done");
    }

    #[test]
    fn the_line_of_a_conversion_fits_60_80_and_200_columns() {
        let counts = counts(24_000, 10 << 30);
        add(&counts.read, 3 << 30);
        add(&counts.done, 8_214);
        add(&counts.failed, 1);
        add(&counts.rows, 123_456_789);
        add(&counts.rejected, 1);
        let mut rate = Rate::default();
        (0..=10).for_each(|second| rate.add(Duration::from_secs(second), second * (19 << 20)));
        let stage = Stage::Converting(rate);
        let of = |width: usize| render(&counts.view(&stage, ""), Some(width));
        let all =
            "8,214/24,000 objects done  1 failed  7 min remaining  19.00 MiB/s  123,456,789 rows  1 reject";
        assert_eq!(of(60), "30%  8,214/24,000 objects done  1 failed  7 min remaining");
        assert_eq!(of(80), "[===>        ]  30%  8,214/24,000 objects done  1 failed  7 min remaining");
        assert_eq!(of(200), format!("[=======>                ]  30%  {all}"));
    }

    #[test]
    fn bytes_that_need_no_reading_count_neither_as_work_nor_as_progress() {
        let counts = counts(3, 300);
        // An earlier process has done the first object; the second one fails after 10 bytes.
        counts.without(100);
        add(&counts.read, 10);
        counts.without(90);
        let line = |counts: &Counts| render(&counts.view(&Stage::Converting(Rate::default()), ""), None);
        assert!(line(&counts).starts_with(" 9%  "), "{}", line(&counts));
        add(&counts.read, 45);
        assert!(line(&counts).starts_with("50%  "), "{}", line(&counts));
    }
}
