//! Progress of a run: a bar on a terminal, otherwise a line every 10 seconds.

use std::{
    cell::Cell,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use flowherd_coordinator::state::{Operation, Progress, RunState};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::summary::print_message;

/// Minimum time between lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Watch {
    bar: ProgressBar,
    is_terminal: bool,
    began: Instant,
    /// Objects done at the first count, for the rate since then.
    done_before: Cell<Option<u64>>,
    last_line: Cell<Option<Instant>>,
}

impl Watch {
    pub(super) fn new(run: &str) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3}%  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(format!("run {run}"));
        bar.enable_steady_tick(Duration::from_millis(200));
        let (done_before, last_line) = (Cell::default(), Cell::default());
        Self { bar, is_terminal, began: Instant::now(), done_before, last_line }
    }

    /// Shows the next operation of a run.
    pub(super) fn show(&self, state: &RunState) {
        let progress = &state.progress;
        let wait = state.wait_seconds;
        let message = match &state.operation {
            Operation::Purge(_) if wait > 0 => "waiting for another purge".to_owned(),
            Operation::Purge(_) => "purging the queue".to_owned(),
            Operation::Plan(_) if wait > 0 => format!("waiting {wait} s for a purge to end"),
            Operation::Plan(planning) => {
                format!("{} objects listed and sent", HumanCount(planning.totals.objects))
            }
            Operation::Check(_) => self.checked(progress),
            Operation::Report(_) => "reading receipts and failures".to_owned(),
            Operation::End(_) => return,
        };
        self.bar.set_length(progress.listed);
        self.bar.set_position(progress.listed - progress.pending());
        self.bar.set_message(message.clone());
        let is_due = self.last_line.get().is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
        if !self.is_terminal && is_due {
            self.last_line.set(Some(Instant::now()));
            print_message(&message);
        }
    }

    fn checked(&self, progress: &Progress) -> String {
        let (done, listed) = (HumanCount(progress.done + progress.skipped), HumanCount(progress.listed));
        let mut text = format!("{done}/{listed} objects");
        let more = [
            (progress.failed, "failed"),
            (progress.queued, "waiting"),
            (progress.in_flight, "in flight"),
            (progress.dead_letters, "dead-letter messages"),
        ];
        for (count, name) in more.iter().filter(|(count, _)| *count > 0) {
            text += &format!("  {} {name}", HumanCount(*count));
        }
        let before = self.done_before.get().unwrap_or(progress.done);
        self.done_before.set(Some(before));
        let rate = (progress.done - before.min(progress.done)) as f64 / self.began.elapsed().as_secs_f64();
        if rate > 0.0 {
            let remaining = Duration::from_secs_f64(progress.pending() as f64 / rate);
            text += &format!("  {rate:.1}/s  {} remaining", HumanDuration(remaining));
        }
        text
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
