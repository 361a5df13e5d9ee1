//! The begin of a run: chooses its name and writes its manifest.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Context;
use flowherd_coordinator::{manifest::ManifestWriter, reconcile::damaged_receipt};
use flowherd_shared::{
    enrichment::EnrichmentFile,
    error::Verdict,
    ledger::{Attempt, Failure, Fingerprint, Job, ManifestEntry, Run, examine_json, layout, put_json},
    pipeline::RunConfig,
    store::{Store, StoreError},
};
use flowherd_worker::processor::now;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    listing::{Found, UNREADABLE},
    progress::Progress,
    source::Objects,
};
use crate::{
    args::ConvertArgs, inputs::Inputs, local::DirStore, location::Location, stop::Stop,
    summary::print_message,
};

/// Attempts to lock a run before another process counts as working on it, and the time between them.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// A run whose manifest is complete.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) run: Run,
    pub(super) store: DirStore,
    /// Whether existing receipts count.
    pub(super) resumes: bool,
    unfinished: PathBuf,
    /// Set once a damaged receipt was named.
    has_damage: AtomicBool,
    /// Held until the process ends, so that one process works on the run.
    _lock: File,
}

impl Begun {
    /// Returns the failure of an object that could not be listed. It is in the ledger already.
    pub(super) fn listing_failure(&self, object: &ManifestEntry) -> Result<Option<Failure>, StoreError> {
        if object.etag == UNREADABLE {
            Failure::find(&self.store, &self.run.run, &object.key)
        } else {
            Ok(None)
        }
    }

    /// Names the first receipt that cannot be used. All receipts of another version cannot.
    pub(super) fn damaged_receipt(&self, run: &str, object: &ManifestEntry, why: &str) {
        if !self.has_damage.swap(true, Ordering::Relaxed) {
            print_message(&damaged_receipt(run, object, why));
        }
    }

    /// Removes temporary files of the run.
    pub(super) fn clean_up(&self) {
        // An error is harmless: the directory is empty.
        let _ = fs::remove_dir_all(&self.unfinished);
    }
}

/// Chooses the run, and writes its `run.json` and manifest.
pub(super) fn begin(
    args: &ConvertArgs,
    inputs: &Inputs,
    objects: &Objects,
    progress: &Progress,
) -> Result<Begun, Stop> {
    let path = args.source.path();
    let source = path.map(|path| canonical(path)).transpose();
    let source = source.map_err(|error| Stop::usage(format!("SOURCE {}: {error}", args.source)))?;
    if source.as_ref().is_some_and(|source| !source.is_file() && !source.is_dir()) {
        return Err(Stop::usage(format!("SOURCE {} is neither a file nor a directory", args.source)));
    }
    fs::create_dir_all(&args.dest)
        .and_then(|()| canonical(&args.dest))
        .map_err(|error| Stop::usage(format!("DEST {}: {error}", args.dest.display())))
        .and_then(|dest| {
            if source.is_some_and(|source| source.starts_with(&dest)) {
                return Err(Stop::usage(
                    "SOURCE is inside DEST: results would be written among the objects; choose another DEST",
                ));
            }
            let mut excluded = vec![dest.clone()];
            excluded.extend(
                [&args.config, &args.names].into_iter().flatten().filter_map(|path| canonical(path).ok()),
            );
            excluded.extend(inputs.paths.iter().filter_map(|path| canonical(path).ok()));
            begin_in(args, inputs, &dest, (objects, excluded), progress)
        })
}

fn canonical(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

fn begin_in(
    args: &ConvertArgs,
    Inputs { run_config: plan, files, .. }: &Inputs,
    dest: &Path,
    (objects, excluded): (&Objects, Vec<PathBuf>),
    progress: &Progress,
) -> Result<Begun, Stop> {
    let chosen = choose(args, plan, dest)?;
    let run_dir = dest.join("runs").join(&chosen.name);
    fs::create_dir_all(&run_dir).with_context(|| format!("cannot create {}", run_dir.display()))?;
    let lock = lock(&run_dir, &chosen.name)?;

    // Removes temporary files and the manifest of an earlier process.
    let unfinished = run_dir.join("unfinished");
    for stale in [&unfinished, &run_dir.join("manifest")] {
        match fs::remove_dir_all(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(anyhow::Error::new(error)
                    .context(format!("cannot remove {}", stale.display()))
                    .into());
            }
            _ => {}
        }
    }
    let store =
        DirStore::new(dest, &unfinished).with_context(|| format!("cannot write to {}", dest.display()))?;

    let time = now().context("cannot begin the run")?;
    let mut run = Run {
        run: chosen.name,
        fleet: layout::MAIN_FLEET.to_owned(),
        prefix: prefix(args).cloned().or(chosen.prefix).unwrap_or_default(),
        job: Job::Convert,
        fingerprint: Fingerprint::from(plan),
        enrichment: plan.enrichment_files().to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        resumed: chosen.started.is_some().then(|| time.clone()),
        started: chosen.started.unwrap_or(time),
        resumes: chosen.resumes,
        live: None,
        lacks_names: false,
        manifest: None,
    };
    let path = layout::run(&run.run);
    put_json(&store, &path, &run).context("cannot write run.json")?;
    keep_rules(args, &store, &run.run)?;
    keep_enrichment(files, &store, &run)?;
    let mut manifest = ManifestWriter::new(&store, &run.run);
    objects
        .each(&run.prefix, excluded, |Found { entry, problem }| {
            progress.listed();
            if let Some(problem) = problem {
                // The manifest names it, so it needs an outcome.
                let attempt = Attempt {
                    run: &run.run,
                    object: &entry,
                    fingerprint: &run.fingerprint,
                    number: 1,
                    finished: now()?,
                    milliseconds: 0,
                    message_id: None,
                };
                Failure::new(&attempt, &io::Error::other(problem), Verdict::Permanent).write(&store)?;
            }
            manifest.add(entry)
        })
        .context("cannot write the manifest")?;
    run.manifest = Some(manifest.finish().context("cannot write the manifest")?);
    put_json(&store, &path, &run).context("cannot write run.json")?;
    let (resumes, has_damage) = (args.resume, AtomicBool::new(false));
    Ok(Begun { run, store, resumes, unfinished, has_damage, _lock: lock })
}

/// Copies the rules into the ledger, where `verify` and queries find them. A resume may have other ones, or none.
fn keep_rules(args: &ConvertArgs, store: &DirStore, run: &str) -> anyhow::Result<()> {
    let path = layout::config(run);
    match &args.config {
        Some(config) => {
            let rules = fs::read(config).with_context(|| format!("cannot read {}", config.display()))?;
            store.put(&path, &rules)
        }
        None => store.remove(&path),
    }
    .with_context(|| format!("cannot write {path}"))
}

/// Copies the enrichment files into the ledger, each content once.
fn keep_enrichment(files: &[EnrichmentFile], store: &DirStore, run: &Run) -> anyhow::Result<()> {
    for digest in &run.enrichment {
        if let Some(file) = files.iter().find(|file| file.file == digest.file) {
            let path = layout::enrichment(&run.run, &digest.sha256);
            store.put(&path, &file.bytes).with_context(|| format!("cannot write {path}"))?;
        }
    }
    Ok(())
}

/// Returns the prefix of the objects, if one was given.
fn prefix(args: &ConvertArgs) -> Option<&String> {
    match &args.source {
        Location::Bucket { prefix, .. } => Some(prefix),
        Location::Files(_) | Location::Stdin => args.prefix.as_ref(),
    }
}

struct Chosen {
    name: String,
    prefix: Option<String>,
    /// The begin of a run that is continued.
    started: Option<String>,
    resumes: Vec<String>,
}

impl Chosen {
    fn new(name: String) -> Self {
        Self { name, prefix: None, started: None, resumes: Vec::new() }
    }
}

/// Chooses a new run. With `--resume`: the run of that name, or the latest run; or a new name that resumes the latest run.
fn choose(args: &ConvertArgs, plan: &RunConfig, dest: &Path) -> Result<Chosen, Stop> {
    if let Some(problem) = args.run.as_deref().and_then(layout::run_name_problem) {
        return Err(Stop::usage(format!("--run: {problem}")));
    }
    let named = args.run.as_ref().map(|name| read_run(dest, name)).transpose()?.flatten();
    if !args.resume {
        return match (&args.run, named) {
            (Some(name), Some(_)) => Err(Stop::usage(format!(
                "run {name} is already in {}; continue it with --resume, or choose another name",
                dest.display()
            ))),
            (Some(name), None) => Ok(Chosen::new(name.clone())),
            (None, _) => Ok(Chosen::new(new_name(dest))),
        };
    }
    // A named run is continued whatever the others are.
    let latest = if named.is_some() { None } else { latest(dest)? };
    match (named.or_else(|| if args.run.is_none() { latest.clone() } else { None }), latest, &args.run) {
        (Some(run), _, _) => {
            if let Some(prefix) = prefix(args).filter(|prefix| **prefix != run.prefix) {
                let (given, todo) = match args.source {
                    Location::Bucket { .. } => ("SOURCE with prefix", "give that prefix"),
                    Location::Files(_) | Location::Stdin => ("--prefix", "omit --prefix"),
                };
                return Err(Stop::usage(format!(
                    "{given} {prefix:?}: run {} was begun with {:?}; {todo}, or choose a new name with --run",
                    run.run, run.prefix
                )));
            }
            if run.fingerprint != Fingerprint::from(plan) {
                print_message(&format!(
                    "rules or names differ from those with which run {} last ran: receipts of that run do not count, so objects are converted again",
                    run.run
                ));
            }
            Ok(Chosen {
                name: run.run,
                prefix: Some(run.prefix),
                started: Some(run.started),
                resumes: run.resumes,
            })
        }
        (None, Some(latest), Some(name)) => {
            let resumes = std::iter::once(latest.run).chain(latest.resumes).collect();
            Ok(Chosen { name: name.clone(), prefix: Some(latest.prefix), started: None, resumes })
        }
        _ => Err(Stop::usage(format!("--resume: no run in {}", dest.display()))),
    }
}

/// Reads a run. One that cannot be used is an error: otherwise a new run would take its place.
fn read_run(dest: &Path, name: &str) -> Result<Option<Run>, Stop> {
    let path = layout::run(name);
    let run = examine_json(&DirStore::read_only(dest), &path)
        .with_context(|| format!("cannot read {}", dest.join(&path).display()))?;
    run.transpose().map_err(|why| {
        Stop::usage(format!(
            "{}: {why}; remove the directory of the run to convert its objects again",
            dest.join(&path).display()
        ))
    })
}

fn latest(dest: &Path) -> Result<Option<Run>, Stop> {
    let names = match fs::read_dir(dest.join("runs")) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(anyhow::Error::new(error).context("cannot list the runs").into()),
    };
    let mut runs = Vec::new();
    for name in names {
        let name = name.context("cannot list the runs")?.file_name();
        if let Some(name) = name.to_str().filter(|name| layout::is_run_name(name)) {
            runs.extend(read_run(dest, name)?);
        }
    }
    Ok(runs.into_iter().max_by_key(|run| run.resumed.clone().unwrap_or_else(|| run.started.clone())))
}

fn new_name(dest: &Path) -> String {
    let name = Timestamp::now().to_zoned(TimeZone::UTC).strftime("convert-%Y%m%dT%H%M%SZ").to_string();
    let taken = |name: &String| dest.join("runs").join(name).exists();
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(name)
}

fn lock(run_dir: &Path, name: &str) -> Result<File, Stop> {
    let path = run_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match try_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Stop::usage(format!(
            "another process is working on run {name} or verifies it; wait for its end"
        ))),
        Err(TryLockError::Error(error)) => {
            Err(anyhow::Error::new(error).context("cannot lock the run").into())
        }
    }
}

/// Locks the file, and waits for `status` and `runs`, which share the lock for a moment.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_INTERVAL),
            outcome => return outcome,
        }
    }
    file.try_lock()
}
