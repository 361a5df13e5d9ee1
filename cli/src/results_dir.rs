//! The results of `flowherd convert` in a directory, read only.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use flowherd_coordinator::reconcile::reconcile;
use flowherd_shared::{
    config::Config,
    ledger::{Report, Run, layout, read_json, read_report},
};
use flowherd_worker::processor::now;
use serde::Serialize;

use crate::{
    args::{ReportArgs, RunsArgs, StatusArgs},
    inputs,
    local::{DirSource, DirStore},
    page,
    runs_table::{self, ListedRun, RunProgress},
    stop::Stop,
    summary::{self, print_message},
};

/// A directory with results: DEST of `flowherd convert`.
#[derive(Debug)]
pub(crate) struct ResultsDir {
    root: PathBuf,
    store: DirStore,
}

impl ResultsDir {
    /// Opens a directory that has a ledger. `flag` names it in an error.
    pub(crate) fn open(flag: &str, root: &Path) -> Result<Self, Stop> {
        if !root.join("runs").is_dir() {
            return Err(Stop::usage(format!(
                "{flag} {}: no results there, because it has no directory runs/; give DEST of flowherd convert",
                root.display()
            )));
        }
        Ok(Self { root: root.to_owned(), store: DirStore::read_only(root) })
    }

    /// Returns the files as a store.
    pub(crate) fn store(&self) -> &DirStore {
        &self.store
    }

    /// Returns the files as objects.
    pub(crate) fn source(&self) -> DirSource {
        DirSource::new(&self.root)
    }

    /// Reads a run.
    pub(crate) fn run(&self, name: &str) -> Result<Run, Stop> {
        if let Some(problem) = layout::run_name_problem(name) {
            return Err(Stop::usage(problem));
        }
        let run = read_json(&self.store, &layout::run(name)).context("cannot read the ledger")?;
        let unknown = || {
            let root = self.root.display();
            Stop::usage(format!(
                "no run named {name:?} in {root}; list runs with: flowherd runs --results {root}"
            ))
        };
        run.ok_or_else(unknown)
    }

    /// Reads the report of a run.
    pub(crate) fn report(&self, run: &str) -> Result<Option<Report>, Stop> {
        Ok(read_report(&self.store, &layout::report(run)).context("cannot read the ledger")?)
    }

    /// Returns the rules of a run; `None` if they are not known.
    pub(crate) fn rules(&self, run: &Run) -> Result<Option<Config>, Stop> {
        let rules = inputs::rules_of_run(&self.store, &run.run, &run.fingerprint.config_hash);
        Ok(rules.context("cannot read the rules of the run")?)
    }

    /// Returns whether a process works on a run: it holds the lock.
    pub(crate) fn is_active(&self, run: &str) -> Result<bool, Stop> {
        let path = self.root.join("runs").join(run).join("lock");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.with_context(|| format!("cannot open {}", path.display()))?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => {
                Err(anyhow::Error::new(error).context(format!("cannot lock {}", path.display())).into())
            }
        }
    }

    /// Returns the runs that a process works on.
    fn active(&self) -> Result<Vec<Run>, Stop> {
        let mut active = Vec::new();
        for run in self.runs()? {
            if self.is_active(&run.run)? {
                active.push(run);
            }
        }
        Ok(active)
    }

    /// Returns all runs, in the order of their last begin or resume.
    pub(crate) fn runs(&self) -> Result<Vec<Run>, Stop> {
        let names = fs::read_dir(self.root.join("runs")).context("cannot list the runs")?;
        let mut runs = Vec::new();
        for name in names {
            let name = name.context("cannot list the runs")?.file_name();
            let Some(name) = name.to_str().filter(|name| layout::is_run_name(name)) else { continue };
            let run = read_json::<Run>(&self.store, &layout::run(name)).context("cannot read the ledger")?;
            runs.extend(run);
        }
        runs.sort_by_cached_key(|run| run.resumed.clone().unwrap_or_else(|| run.started.clone()));
        Ok(runs)
    }
}

/// `flowherd report --results`. Also writes the page if asked.
pub(crate) fn report(args: &ReportArgs, results: &Path) -> Result<(), Stop> {
    let dir = ResultsDir::open("--results", results)?;
    let run = dir.run(&args.run)?;
    let Some(report) = dir.report(&run.run)? else {
        print_message(&format!(
            "run {run} has no report: it is in progress or was killed; to continue, repeat flowherd convert with --resume \
             --run {run}",
            run = run.run
        ));
        return Err(Stop::Failed);
    };
    page::write(args.html.as_deref(), &run, &report)?;
    let text = if args.json {
        summary::json(&report)?
    } else {
        summary::report(&report, &results.display().to_string())
    };
    summary::print(&text)?;
    summary::warn(&report, "SOURCE");
    summary::verdict(&report, args.strict)
}

/// `flowherd runs --results`.
pub(crate) fn runs(args: &RunsArgs, results: &Path) -> Result<(), Stop> {
    let dir = ResultsDir::open("--results", results)?;
    let runs = dir.runs()?;
    let latest = runs.into_iter().rev().take(args.last).collect::<Vec<_>>();
    let listed = latest.into_iter().rev().map(|run| {
        let report = dir.report(&run.run)?;
        let state = runs_table::state(dir.is_active(&run.run)?, report.as_ref());
        Ok(ListedRun { run, state, report })
    });
    let listed = listed.collect::<Result<Vec<_>, Stop>>()?;
    if args.json {
        return summary::print(&summary::json(&listed)?);
    }
    if listed.is_empty() {
        return summary::print("no runs yet\n");
    }
    summary::print(&runs_table::of_runs(&listed))
}

/// The output of `flowherd status --results --json`.
#[derive(Serialize)]
struct Status {
    runs: Vec<RunProgress>,
}

/// `flowherd status --results`.
pub(crate) fn status(args: &StatusArgs, results: &Path) -> Result<(), Stop> {
    let dir = ResultsDir::open("--results", results)?;
    let runs = if let Some(name) = &args.run { vec![dir.run(name)?] } else { dir.active()? };
    let runs = runs.iter().map(|run| progress(&dir, run)).collect::<Result<Vec<_>, Stop>>()?;
    if args.json {
        return summary::print(&summary::json(&Status { runs })?);
    }
    if runs.is_empty() {
        return summary::print(&format!(
            "no run is active; the runs: flowherd runs --results {}\n",
            results.display()
        ));
    }
    summary::print(&runs_table::of_progress(&runs))
}

/// Counts the outcomes of a run, as its ledger is now.
fn progress(dir: &ResultsDir, run: &Run) -> Result<RunProgress, Stop> {
    let is_active = dir.is_active(&run.run)?;
    let report = dir.report(&run.run)?;
    let time = now().context("cannot read the clock")?;
    let objects = reconcile(dir.store(), run, time).context("cannot read the ledger")?.objects;
    Ok(RunProgress {
        run: run.run.clone(),
        prefix: run.prefix.clone(),
        state: runs_table::state(is_active, report.as_ref().filter(|_| !is_active)),
        started: run.started.clone(),
        is_active,
        listed: objects.listed,
        done: objects.done,
        skipped: objects.skipped,
        failed: objects.failed,
        remaining: objects.missing,
    })
}
