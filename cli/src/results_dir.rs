//! The results of `flowherd convert` in a directory, read only.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use flowherd_coordinator::{reconcile::reconcile, runs::IndexedRun};
use flowherd_shared::{
    config::Config,
    ledger::{Report, Run, examine_json, examine_report, layout},
};
use flowherd_worker::processor::now;
use serde::Serialize;

use crate::{
    args::{ReportArgs, RunsArgs, StatusArgs},
    local::{DirSource, DirStore},
    missing::MissingObjects,
    page, run_rules,
    runs_table::{self, ListedRun, ReportFile, RunProgress},
    stop::Stop,
    summary::{self, print_message, printable},
};

/// A directory with results: DEST of `flowherd convert`.
#[derive(Debug)]
pub(crate) struct ResultsDir {
    root: PathBuf,
    store: DirStore,
}

/// The lock of a run, which a process holds while it works on the run.
#[derive(Debug)]
pub(crate) enum Lock {
    /// Another process works on the run.
    Taken,
    /// No process works on the run, nor can one begin while this file is open; `None` if the run never had a lock.
    Free(Option<File>),
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
        let path = layout::run(name);
        let run = examine_json(&self.store, &path).context("cannot read the ledger")?;
        let run =
            run.transpose().map_err(|why| anyhow::anyhow!("{}: {why}", self.root.join(path).display()))?;
        let unknown = || {
            let root = self.root.display();
            Stop::usage(format!(
                "no run named {name:?} in {root}; list runs with: flowherd runs --results {root}"
            ))
        };
        run.ok_or_else(unknown)
    }

    /// Reads the report of a run.
    fn report(&self, run: &str) -> Result<ReportFile, Stop> {
        Ok(examine_report(&self.store, &layout::report(run)).context("cannot read the ledger")?)
    }

    /// Reads the report of a run. One that cannot be used is an error.
    fn valid_report(&self, run: &str) -> Result<Option<Report>, Stop> {
        let path = self.root.join(layout::report(run));
        let report = self.report(run)?.transpose();
        Ok(report.map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?)
    }

    /// Returns the rules of a run; `None` if they are not known.
    pub(crate) fn rules(&self, run: &Run) -> Result<Option<Config>, Stop> {
        let rules = run_rules::rules_of_run(&self.store, &run.run, &run.fingerprint.config_hash);
        Ok(rules.context("cannot read the rules of the run")?)
    }

    /// Returns whether a process works on a run.
    fn is_active(&self, run: &str) -> Result<bool, Stop> {
        Ok(matches!(self.lock(run)?, Lock::Taken))
    }

    /// Shares the lock of a run with other readers.
    pub(crate) fn lock(&self, run: &str) -> Result<Lock, Stop> {
        let path = self.root.join("runs").join(run).join("lock");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::Free(None)),
            file => file.with_context(|| format!("cannot open {}", path.display()))?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Lock::Free(Some(file))),
            Err(TryLockError::WouldBlock) => Ok(Lock::Taken),
            Err(TryLockError::Error(error)) => {
                Err(anyhow::Error::new(error).context(format!("cannot lock {}", path.display())).into())
            }
        }
    }

    /// Lists the missing objects of a run.
    fn show_missing(&self, run: &Run, as_json: bool) -> Result<(), Stop> {
        if self.is_active(&run.run)? {
            print_message(&format!(
                "run {} is in progress; objects that it has not converted yet are listed too",
                run.run
            ));
        }
        let latest_first = || {
            let (runs, damaged) = self.runs()?;
            damaged.iter().for_each(|problem| print_message(problem));
            Ok(runs.into_iter().rev().map(IndexedRun::from).collect())
        };
        let objects = MissingObjects {
            store: &self.store,
            run,
            all_runs: &latest_first,
            status: format!("flowherd status {} --results {}", run.run, self.root.display()),
            resume: format!("to continue, repeat flowherd convert with --resume --run {}", run.run),
            renew: &|| (),
            pause: &|print| print(),
        };
        objects.show(as_json)
    }

    /// Returns the runs that a process works on, and what is wrong with other runs.
    fn active(&self) -> Result<(Vec<Run>, Vec<String>), Stop> {
        let (runs, damaged) = self.runs()?;
        let mut active = Vec::new();
        for run in runs {
            if self.is_active(&run.run)? {
                active.push(run);
            }
        }
        Ok((active, damaged))
    }

    /// Returns all valid runs, in the order of their last begin or resume, and what is wrong with the others.
    pub(crate) fn runs(&self) -> Result<(Vec<Run>, Vec<String>), Stop> {
        let names = fs::read_dir(self.root.join("runs")).context("cannot list the runs")?;
        let (mut runs, mut damaged) = (Vec::new(), Vec::new());
        for name in names {
            let name = name.context("cannot list the runs")?.file_name();
            let Some(name) = name.to_str().filter(|name| layout::is_run_name(name)) else { continue };
            let path = layout::run(name);
            match examine_json::<Run>(&self.store, &path).context("cannot read the ledger")? {
                Some(Ok(run)) => runs.push(run),
                Some(Err(why)) => damaged.push(format!("{}: {why}", self.root.join(path).display())),
                None => {}
            }
        }
        runs.sort_by_cached_key(|run| run.resumed.clone().unwrap_or_else(|| run.started.clone()));
        Ok((runs, damaged))
    }
}

/// Names the files of the ledger that cannot be used, and fails if there are any.
pub(crate) fn fail_on(damaged: &[String]) -> Result<(), Stop> {
    damaged.iter().for_each(|problem| print_message(problem));
    if damaged.is_empty() { Ok(()) } else { Err(Stop::Failed) }
}

/// `flowherd report --results`. Also writes the page if asked.
pub(crate) fn report(args: &ReportArgs, results: &Path) -> Result<(), Stop> {
    let dir = ResultsDir::open("--results", results)?;
    let run = dir.run(&args.run)?;
    if args.missing {
        return dir.show_missing(&run, args.json);
    }
    let Some(report) = dir.valid_report(&run.run)? else {
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
    summary::warn(&report, "SOURCE", args.json);
    summary::verdict(&report, args.strict)
}

/// `flowherd runs --results`.
pub(crate) fn runs(args: &RunsArgs, results: &Path) -> Result<(), Stop> {
    let dir = ResultsDir::open("--results", results)?;
    let (runs, damaged) = dir.runs()?;
    let latest = runs.into_iter().rev().take(args.last).collect::<Vec<_>>();
    let listed = latest.into_iter().rev().map(|run| {
        let report = dir.report(&run.run)?;
        let is_active = dir.is_active(&run.run)?;
        Ok(ListedRun::new(run, is_active, report))
    });
    let listed = listed.collect::<Result<Vec<_>, Stop>>()?;
    if args.json {
        summary::print(&summary::json(&listed)?)?;
    } else if !listed.is_empty() {
        summary::print(&runs_table::of_runs(&listed, false))?;
    } else if damaged.is_empty() {
        summary::print("no runs yet\n")?;
    }
    fail_on(&damaged).and(runs_table::check_reports(&listed))
}

/// The output of `flowherd status --results --json`.
#[derive(Serialize)]
struct Status {
    runs: Vec<RunProgress>,
}

/// `flowherd status --results`.
pub(crate) fn status(args: &StatusArgs, results: &Path) -> Result<(), Stop> {
    let dir = ResultsDir::open("--results", results)?;
    let (runs, damaged) =
        if let Some(name) = &args.run { (vec![dir.run(name)?], Vec::new()) } else { dir.active()? };
    let runs = runs.iter().map(|run| progress(&dir, run)).collect::<Result<Vec<_>, Stop>>()?;
    if args.json {
        summary::print(&summary::json(&Status { runs })?)?;
    } else if runs.is_empty() {
        let results = printable(&results.display().to_string());
        summary::print(&format!("no run is active; the runs: flowherd runs --results {results}\n"))?;
    } else {
        summary::print(&runs_table::of_progress(&runs, false))?;
    }
    fail_on(&damaged)
}

/// Counts the outcomes of a run, as its ledger is now.
fn progress(dir: &ResultsDir, run: &Run) -> Result<RunProgress, Stop> {
    let is_active = dir.is_active(&run.run)?;
    let report = dir.report(&run.run)?;
    let time = now().context("cannot read the clock")?;
    let objects = reconcile(dir.store(), run, time).context("cannot read the ledger")?.objects;
    Ok(RunProgress {
        run: run.run.clone(),
        fleet: None,
        prefix: run.prefix.clone(),
        state: runs_table::state(is_active, report.as_ref().filter(|_| !is_active)),
        started: run.started.clone(),
        is_active,
        is_listed: run.manifest.is_some(),
        listed: objects.listed,
        done: objects.done,
        skipped: objects.skipped,
        failed: objects.failed,
        remaining: objects.missing,
    })
}
