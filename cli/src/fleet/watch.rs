//! What a person sees of a run: on a terminal a bar, elsewhere a line now and then.

use std::{
    cell::Cell,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use flowherd_coordinator::steps::{Operation, Progress, Step};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::summary::tell;

/// Lines are at least so far apart.
const LINES_APART: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Watch {
    bar: ProgressBar,
    is_terminal: bool,
    began: Instant,
    /// Done when first seen: the rate is of what was done since.
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

    /// What is to be done next.
    pub(super) fn show(&self, step: &Step) {
        let progress = &step.progress;
        let message = match step.operation {
            Operation::Purge if step.wait_seconds > 0 => "waiting for another purge".to_owned(),
            Operation::Purge => "purging the queue".to_owned(),
            Operation::Plan if step.wait_seconds > 0 => {
                format!("waiting {} s for the purge to be over", step.wait_seconds)
            }
            Operation::Plan => format!("{} objects listed and sent", HumanCount(step.planned.totals.objects)),
            Operation::Check => self.checked(progress),
            Operation::Report => "reconciling".to_owned(),
            Operation::End => return,
        };
        self.bar.set_length(progress.listed);
        self.bar.set_position(progress.listed - progress.left());
        self.bar.set_message(message.clone());
        let is_due = self.last_line.get().is_none_or(|last| last.elapsed() >= LINES_APART);
        if !self.is_terminal && is_due {
            self.last_line.set(Some(Instant::now()));
            tell(&message);
        }
    }

    fn checked(&self, progress: &Progress) -> String {
        let (done, listed) = (HumanCount(progress.done + progress.skipped), HumanCount(progress.listed));
        let mut text = format!("{done}/{listed} objects");
        let more = [
            (progress.failed, "failed"),
            (progress.queued, "waiting"),
            (progress.in_flight, "in hand"),
            (progress.dead_letters, "dead letters"),
        ];
        for (count, name) in more.iter().filter(|(count, _)| *count > 0) {
            text += &format!("  {} {name}", HumanCount(*count));
        }
        let before = self.done_before.get().unwrap_or(progress.done);
        self.done_before.set(Some(before));
        let rate = (progress.done - before.min(progress.done)) as f64 / self.began.elapsed().as_secs_f64();
        if rate > 0.0 {
            let left = Duration::from_secs_f64(progress.left() as f64 / rate);
            text += &format!("  {rate:.1}/s  {} left", HumanDuration(left));
        }
        text
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
