//! Progress on standard error: a bar on a terminal, and each failure.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use flowherd_shared::ledger::{ManifestTotals, Receipt};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::summary::print_message;

/// Maximum failures that are printed individually; the ledger has all.
const FAILURES_SHOWN: u64 = 20;

#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    listed: u64,
    done: AtomicU64,
    failed: AtomicU64,
    rows: AtomicU64,
    rejected: AtomicU64,
}

impl Progress {
    pub(super) fn new(listed: ManifestTotals, terminal: bool) -> Self {
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(listed.bytes), target);
        let template = "{bar:24} {percent:>3}%  {msg}  {binary_bytes_per_sec}  {eta} remaining";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let zero = AtomicU64::default;
        let progress = Self {
            bar,
            listed: listed.objects,
            done: zero(),
            failed: zero(),
            rows: zero(),
            rejected: zero(),
        };
        progress.show();
        progress
    }

    /// Adds bytes that were read.
    pub(super) fn read(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Adds a done object. `unread` of its bytes were not passed to [`Progress::read`].
    pub(super) fn done(&self, receipt: &Receipt, unread: u64) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(receipt.records.rows, Ordering::Relaxed);
        self.rejected.fetch_add(receipt.records.rejected, Ordering::Relaxed);
        self.bar.inc(unread);
        self.show();
    }

    /// Adds a failed object, and prints its error.
    pub(super) fn failed(&self, key: &str, error: &str, unread: u64) {
        let before = self.failed.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(unread);
        self.bar.suspend(|| match before {
            0..FAILURES_SHOWN => print_message(&format!("{key}: {error}")),
            FAILURES_SHOWN => {
                print_message("more objects failed; the run's failures/ directory has all of them");
            }
            _ => {}
        });
        self.show();
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        let count = |number: &AtomicU64| HumanCount(number.load(Ordering::Relaxed));
        let failed = self.failed.load(Ordering::Relaxed);
        let failures = if failed > 0 { format!("  {failed} failed") } else { String::new() };
        let (done, listed) = (count(&self.done), HumanCount(self.listed));
        let (rows, rejected) = (count(&self.rows), count(&self.rejected));
        self.bar.set_message(format!("{done}/{listed} objects{failures}  {rows} rows  {rejected} rejects"));
    }
}
