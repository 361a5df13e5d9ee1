//! Progress on standard error: one line that a terminal redraws, otherwise a line every 10 seconds.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use console::{measure_text_width, truncate_str};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::{
    summary::{print_message, printable},
    terminal, words,
};

/// Time between lines if standard error is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Time between redraws on a terminal.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Width of the bar; in narrow terminals the second one.
const BAR_WIDTHS: [usize; 2] = [24, 12];
/// Number of parts that are shown even without a bar.
const NEEDED_PARTS: usize = 3;
/// A longer time remaining is as good as unknown.
const MAX_REMAINING: Duration = Duration::from_hours(100 * 24);

/// The content of a line of progress.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// Work that is done, and all work. Without it the line has no bar.
    share: Option<(u64, u64)>,
    /// What the command does, counts, rates and times, most important first. A narrow terminal shows the first ones.
    parts: Vec<String>,
}

impl View {
    /// Creates a line that says what the command does or waits for.
    pub(crate) fn stage(stage: impl AsRef<str>) -> Self {
        Self { share: None, parts: vec![printable(stage.as_ref())] }
    }

    /// Creates a line with a bar. Both numbers have the same unit.
    pub(crate) fn share(done: u64, all: u64) -> Self {
        Self { share: Some((done, all)), parts: Vec::new() }
    }

    /// Adds the objects that are done, and those that failed.
    pub(crate) fn objects(mut self, done: u64, listed: u64, failed: u64) -> Self {
        self.parts.push(format!("{}/{} objects done", HumanCount(done), HumanCount(listed)));
        self.count(failed, "failed")
    }

    /// Adds a count, unless it is zero.
    pub(crate) fn count(mut self, count: u64, what: &str) -> Self {
        if count > 0 {
            self.parts.push(format!("{} {what}", HumanCount(count)));
        }
        self
    }

    /// Adds a part.
    pub(crate) fn part(mut self, part: Option<String>) -> Self {
        self.parts.extend(part);
        self
    }

    /// Adds the time remaining, if it is known.
    pub(crate) fn remaining(self, time: Option<Duration>) -> Self {
        self.part(time.map(|time| format!("{} remaining", words::about(time))))
    }
}

/// Returns a line of progress that is at most `width` wide. Without a width there is no bar and all parts are shown.
pub(crate) fn render(view: &View, width: Option<usize>) -> String {
    let texts = &view.parts;
    let Some(width) = width else { return line(view.share, 0, texts) };
    let needed = texts.len().min(NEEDED_PARTS);
    let with_bar = BAR_WIDTHS.into_iter().map(|bar| (bar, texts.len()));
    let narrow = (needed..texts.len()).rev().map(|parts| (BAR_WIDTHS[1], parts));
    let without_bar = (1..=needed).rev().map(|parts| (0, parts));
    let lines = with_bar.chain(narrow).chain(without_bar);
    let mut lines = lines.map(|(bar, parts)| line(view.share, bar, &texts[..parts]));
    let fitting = lines.find(|line| measure_text_width(line) <= width);
    fitting.unwrap_or_else(|| {
        let shortest = line(view.share, 0, &texts[..texts.len().min(1)]);
        truncate_str(&shortest, width, "…").into_owned()
    })
}

fn line(share: Option<(u64, u64)>, bar_width: usize, texts: &[String]) -> String {
    let mut line = String::new();
    if let Some((done, all)) = share {
        if bar_width > 0 {
            let filled = (part_of(done, all, bar_width as u64) as usize).min(bar_width - 1);
            let _ = write!(line, "[{:<bar_width$}]  ", "=".repeat(filled) + ">");
        }
        // The end is not a share of 100 %: the summary follows.
        let _ = write!(line, "{:>2}%  ", part_of(done, all, 100).min(99));
    }
    (line + &texts.join("  ")).trim_end().to_owned()
}

/// Returns `done` of `all` as a part of `whole`, rounded down.
fn part_of(done: u64, all: u64, whole: u64) -> u64 {
    let part = u128::from(done) * u128::from(whole) / u128::from(all.max(1));
    u64::try_from(part).unwrap_or(whole).min(whole)
}

/// The rate of a count that only grows, over the last counts. A library's estimate falls while no count comes, and the
/// counts of a large run come a minute apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    /// Times since the begin, with their counts.
    counts: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Counts older than this are dropped.
    const WINDOW: Duration = Duration::from_secs(30);
    /// These last counts are kept at any age.
    const KEPT: usize = 5;
    /// No rate is known before this time.
    const MIN_TIME: Duration = Duration::from_secs(3);

    /// Adds a count. A smaller count than the last one begins again.
    pub(crate) fn add(&mut self, now: Duration, count: u64) {
        if self.counts.back().is_some_and(|(_, last)| count < *last) {
            self.counts.clear();
        }
        self.counts.push_back((now, count));
        let is_old = |(time, _): &(Duration, u64)| now.saturating_sub(*time) >= Self::WINDOW;
        while self.counts.len() > Self::KEPT && self.counts.get(1).is_some_and(is_old) {
            self.counts.pop_front();
        }
    }

    /// Returns the rate per second; `None` if it is unknown or zero.
    pub(crate) fn per_second(&self) -> Option<f64> {
        let ((begin, before), (end, after)) = (self.counts.front()?, self.counts.back()?);
        let time = end.saturating_sub(*begin);
        let is_known = time >= Self::MIN_TIME && after > before;
        is_known.then(|| (after - before) as f64 / time.as_secs_f64())
    }

    /// Returns the time for `pending` more; `None` if it is unknown or nothing is pending.
    pub(crate) fn remaining(&self, pending: u64) -> Option<Duration> {
        let seconds = pending as f64 / self.per_second()?;
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        (pending > 0 && time <= MAX_REMAINING).then_some(time)
    }
}

/// A line of progress that is shown until it is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    lines: Option<Lines>,
}

impl Line {
    /// Shows what `view` returns, again and again.
    pub(crate) fn show(view: impl Fn() -> View + Send + Sync + 'static) -> Self {
        if terminal::error_width().is_none() {
            let print = |text: &str| print_message(text);
            return Self { lines: Some(Lines::print(LINE_INTERVAL, view, print)) };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let view = Arc::new(view);
        let draw = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A line of the full width would move the cursor to the next one.
            let width = terminal::error_width().unwrap_or(80).saturating_sub(1);
            let _ = out.write_str(&render(&view(), Some(width)));
        };
        if let Ok(style) = ProgressStyle::with_template("{line}") {
            bar.set_style(style.with_key("line", draw));
        }
        bar.enable_steady_tick(REDRAW_INTERVAL);
        terminal::show(bar);
        Self { lines: None }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.lines.is_none() {
            terminal::clear();
        }
    }
}

/// A line of progress with a text that changes.
#[derive(Debug)]
pub(crate) struct StageLine {
    stage: Arc<Mutex<String>>,
    _line: Line,
}

impl StageLine {
    /// Shows what the command does or waits for.
    pub(crate) fn show(stage: String) -> Self {
        let stage = Arc::new(Mutex::new(stage));
        let shown = Arc::clone(&stage);
        let view = move || View::stage(&*shown.lock().unwrap_or_else(PoisonError::into_inner));
        Self { stage, _line: Line::show(view) }
    }

    /// Replaces the text.
    pub(crate) fn set(&self, stage: String) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

/// A thread that prints lines at an interval, until it is dropped.
#[derive(Debug)]
struct Lines {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    fn print(
        interval: Duration,
        view: impl Fn() -> View + Send + 'static,
        print: impl Fn(&str) + Send + 'static,
    ) -> Self {
        let (end, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
                print(&render(&view(), None));
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has printed its message.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::TryRecvError;

    use super::*;

    fn converting() -> View {
        View::share(37, 100)
            .objects(8_214, 24_000, 3)
            .remaining(Some(Duration::from_secs(252)))
            .part(Some("12.30 MiB/s".to_owned()))
            .count(480_036, "rows")
            .count(120, "rejects")
    }

    #[test]
    fn a_line_fits_the_width_and_drops_its_last_parts_first() {
        let lines = [
            (
                None,
                "37%  8,214/24,000 objects done  3 failed  5 min remaining  12.30 MiB/s  480,036 rows  120 rejects",
            ),
            (
                Some(200),
                "[========>               ]  37%  8,214/24,000 objects done  3 failed  5 min remaining  12.30 MiB/s  \
                 480,036 rows  120 rejects",
            ),
            (
                Some(120),
                "[====>       ]  37%  8,214/24,000 objects done  3 failed  5 min remaining  12.30 MiB/s  480,036 rows  \
                 120 rejects",
            ),
            (
                Some(99),
                "[====>       ]  37%  8,214/24,000 objects done  3 failed  5 min remaining  12.30 MiB/s",
            ),
            (Some(79), "[====>       ]  37%  8,214/24,000 objects done  3 failed  5 min remaining"),
            (Some(59), "37%  8,214/24,000 objects done  3 failed  5 min remaining"),
            (Some(45), "37%  8,214/24,000 objects done  3 failed"),
            (Some(35), "37%  8,214/24,000 objects done"),
            (Some(20), "37%  8,214/24,000 o…"),
        ];
        for (width, expected) in lines {
            let line = render(&converting(), width);
            assert_eq!(line, expected, "{width:?}");
            assert!(width.is_none_or(|width| measure_text_width(&line) <= width), "{width:?}");
        }
    }

    #[test]
    fn no_width_is_exceeded() {
        let wide = View::stage("listing 日本語/логи and sending messages").count(12_000, "objects");
        for view in [converting(), wide, View::default(), View::share(1, 2)] {
            for width in 1..250 {
                let line = render(&view, Some(width));
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_share_never_reaches_100_percent() {
        let at = |done, all| render(&View::share(done, all), Some(60));
        assert_eq!(at(0, 0), "[>                       ]   0%");
        assert_eq!(at(1, 3), "[========>               ]  33%");
        assert_eq!(at(999, 1000), "[=======================>]  99%");
        for (done, all) in [(1000, 1000), (2000, 1000), (u64::MAX, u64::MAX), (1, 0)] {
            assert_eq!(at(done, all), "[=======================>]  99%", "{done}/{all}");
        }
    }

    #[test]
    fn a_rate_and_a_time_remaining_are_smooth_and_unknown_without_progress() {
        let mut rate = Rate::default();
        let seconds = Duration::from_secs;
        rate.add(seconds(0), 0);
        rate.add(seconds(1), 500);
        assert_eq!((rate.per_second(), rate.remaining(100)), (None, None), "too early");
        rate.add(seconds(4), 400 + 500);
        assert_eq!(rate.per_second(), Some(225.0));
        assert_eq!(rate.remaining(450), Some(seconds(2)));
        assert_eq!(rate.remaining(0), None, "nothing is pending");
        assert_eq!(rate.remaining(u64::MAX), None, "as good as unknown");
        // One slow second changes an average of half a minute only a little.
        (5..=40).for_each(|second| rate.add(seconds(second), 900 + 225 * (second - 4)));
        rate.add(seconds(41), 900 + 225 * 36);
        let after = rate.per_second().unwrap();
        assert!((215.0..225.0).contains(&after), "{after}");
        // Without progress the rate becomes unknown.
        (42..=80).for_each(|second| rate.add(seconds(second), 900 + 225 * 36));
        assert_eq!(rate.per_second(), None);
        // A redrive makes failed objects pending again.
        rate.add(seconds(81), 10);
        assert_eq!(rate.per_second(), None);
        // Counts of a large run are far apart.
        let mut rate = Rate::default();
        (0..10).for_each(|count| rate.add(seconds(100 * count), 1000 * count));
        assert_eq!(rate.per_second(), Some(10.0));
    }

    #[test]
    fn without_a_terminal_lines_come_until_the_end() {
        let (sender, printed) = mpsc::channel();
        let view = || View::stage("converting").objects(1, 2, 0);
        let print = move |text: &str| _ = sender.send(text.to_owned());
        let lines = Lines::print(Duration::from_millis(1), view, print);
        for _ in 0..2 {
            let line = printed.recv_timeout(Duration::from_mins(1)).unwrap();
            assert_eq!(line, "converting  1/2 objects done");
        }
        drop(lines);
        printed.try_iter().for_each(drop);
        assert_eq!(printed.try_recv(), Err(TryRecvError::Disconnected), "the thread has ended");
    }
}
