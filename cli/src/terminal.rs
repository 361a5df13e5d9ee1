//! The terminal: its width, its colours, and messages beside a line of progress.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use clap::ColorChoice;
use console::Term;
use indicatif::ProgressBar;

/// The line of progress that the terminal shows.
static ACTIVE: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn active() -> MutexGuard<'static, Option<ProgressBar>> {
    ACTIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the line of progress above which messages are printed.
pub(crate) fn show(line: ProgressBar) {
    *active() = Some(line);
}

/// Removes the line of progress from the terminal.
pub(crate) fn clear() {
    let line = active().take();
    line.iter().for_each(ProgressBar::finish_and_clear);
}

/// Returns whether a line of progress shows what the command waits for.
pub(crate) fn shows_progress() -> bool {
    active().is_some()
}

/// Prints one line to standard error, above the line of progress. A closed standard error does not stop the work.
pub(crate) fn print_line(text: &str) {
    without_line(|| _ = writeln!(io::stderr(), "{text}"));
}

/// Prints while the line of progress is not shown: standard output may be the same terminal.
pub(crate) fn without_line<T>(print: impl FnOnce() -> T) -> T {
    // Without the lock: redrawing the line may take as long as the terminal.
    let line = active().clone();
    match line {
        Some(line) => line.suspend(print),
        None => print(),
    }
}

/// Returns whether both standard output and standard error are terminals.
pub(crate) fn shows_both_streams() -> bool {
    Term::stdout().is_term() && Term::stderr().is_term()
}

/// Returns the width of standard output in characters; `None` if it is not a terminal.
pub(crate) fn width() -> Option<usize> {
    Term::stdout().size_checked().map(|(_, columns)| columns.into())
}

/// Returns the width of standard error in characters; `None` if it is not a terminal, or one that cannot redraw a line:
/// `TERM` is unset or `dumb`.
pub(crate) fn error_width() -> Option<usize> {
    if console::is_dumb() {
        return None;
    }
    Term::stderr().size_checked().map(|(_, columns)| columns.into())
}

/// Returns whether standard output or standard error shows colours, by the variables that [`choose_colours`] names.
pub(crate) fn has_colours() -> bool {
    console::colors_enabled() || console::colors_enabled_stderr()
}

/// Selects colours for the process. `auto` follows `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and whether the output is a
/// terminal (<https://bixense.com/clicolors/>).
pub(crate) fn choose_colours(choice: ColorChoice) {
    let enabled = match choice {
        ColorChoice::Auto => return,
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };
    console::set_colors_enabled(enabled);
    console::set_colors_enabled_stderr(enabled);
}
