//! Begins a run: checks the options, and writes `run.json` and the configuration to the ledger.

use flowherd_shared::{
    config::{Config, ConfigError},
    enrichment::FileDigest,
    error::error_chain,
    layout,
    ledger::{Fingerprint, Job, Run, examine_json, put_json},
    limits::MAX_KEY_BYTES,
    names::NameIndex,
    pipeline::RunConfig,
    queue::Queue,
    store::{Lister, Problem, Store, StoreError},
};
use jiff::Timestamp;

use crate::{
    coordinator::{Coordinator, Inputs, iso, read_run},
    error::CoordinatorError,
    live::day::is_reserved,
    marker::{RunMarker, Stage},
    options::RunOptions,
    runs,
    state::{Operation, Planning, Purging, RunState},
};

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Begins a run in this fleet and returns its first state. The caller has chosen the fleet by the options. A second call
    /// with the same run name returns the same state.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for invalid options or configuration, a prefix that cannot be listed, an existing run,
    /// and a purge that would delete messages of another run. [`CoordinatorError::Damaged`] if `run.json` of that name, or of the
    /// resumed run, is damaged.
    pub fn begin(&self, options: &RunOptions) -> Result<RunState, CoordinatorError> {
        if options.purge {
            self.queue_or("begin the run without a purge: flowherd run --prefix PREFIX")?;
        }
        let earlier = options.resume.as_ref().map(|name| read_run(self.results, name)).transpose()?;
        if let Some(live) = earlier.as_ref().and_then(|earlier| earlier.live.as_ref()) {
            return Err(CoordinatorError::Refused(format!(
                "a live run cannot be resumed, because it has the objects of a day and not of a prefix; close its day again: \
                 flowherd live close --day {}",
                live.day
            )));
        }
        let prefix = prefix(options, earlier.as_ref())?;
        let job = self.job(options, earlier.as_ref())?;
        match &job {
            Job::Convert => self.check_overlap(&prefix)?,
            Job::Index(target) => self.check_rows(&prefix, target)?,
        }
        let name = options.run_name((self.clock)())?;
        if is_reserved(&name) {
            return Err(CoordinatorError::Refused(format!(
                "run name {name:?} begins with live-, as those of live runs do; choose another name"
            )));
        }
        let path = layout::run(&name);
        let existing = examine_json::<Run>(self.results, &path).map_err(CoordinatorError::Ledger)?;
        let existing = existing.transpose().map_err(|why| {
            CoordinatorError::Damaged(format!("{path}: {why}; choose another name for the run, or omit it"))
        })?;
        if let Some(run) = existing {
            let is_same = run.fleet == self.fleet && run.prefix == prefix && run.job == job;
            if !is_same || run.manifest.is_some() {
                return Err(CoordinatorError::Refused(format!(
                    "run {name} already exists; choose another name, or omit it"
                )));
            }
            return self.begin_again(&run, options);
        }

        // Before anything is written: a prefix that cannot be listed begins no run.
        self.source.page(&prefix, None).map_err(|error| self.list_error(&prefix, error))?;
        let (inputs, (fingerprint, enrichment), prepared) = match job.target() {
            None => {
                let (inputs, checked) = self.read_inputs()?;
                (inputs, checked, Vec::new())
            }
            Some(target) => {
                let (inputs, fingerprint, prepared) = self.prepare_index(&prefix, target)?;
                (inputs, (fingerprint, Vec::new()), prepared)
            }
        };
        let is_reconfigured = earlier.as_ref().is_some_and(|earlier| earlier.fingerprint != fingerprint);
        let resumes = earlier.into_iter().flat_map(|run| std::iter::once(run.run).chain(run.resumes));
        let mut run = Run {
            run: name,
            fleet: self.fleet.to_owned(),
            prefix,
            job,
            fingerprint,
            enrichment,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: String::new(),
            resumed: None,
            resumes: resumes.collect(),
            live: None,
            lacks_names: inputs.lacks_names,
            manifest: None,
        };
        // Writes its own marker before reading others': of two runs that begin at once, at least one sees the other.
        let begun = self.mark_begin(&run, if options.purge { Stage::Purging } else { Stage::Waiting });
        let begun = begun.and_then(|started| {
            run.started = started;
            if options.purge {
                self.losers(&run, options.force)?;
            }
            self.write(&run, &inputs).map_err(CoordinatorError::Ledger)
        });
        if let Err(error) = begun {
            RunMarker::remove(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
            return Err(error);
        }
        let state = first_state(&run, options.purge, options.force);
        let reconfigured = match run.job {
            Job::Convert => {
                "the rules or names differ from those of the resumed run: every object is processed again"
            }
            Job::Index(_) => {
                "the rules or the target differ from those of the resumed run: every object is processed again"
            }
        };
        let without_names = format!(
            "{} does not exist in the results bucket yet: the rows of this run have no names; run the prefix again after the \
             first refresh of the names",
            layout::NAMES
        );
        let mut messages: Vec<&str> = Vec::new();
        messages.extend(run.lacks_names.then_some(&*without_names));
        messages.extend(is_reconfigured.then_some(reconfigured));
        messages.extend(prepared.iter().map(String::as_str));
        Ok(RunState { message: (!messages.is_empty()).then(|| messages.join("; ")), ..state })
    }

    /// Repeats a begin whose response was lost. A purge must not delete messages that the run has sent since.
    fn begin_again(&self, run: &Run, options: &RunOptions) -> Result<RunState, CoordinatorError> {
        runs::add(self.results, run).map_err(CoordinatorError::Ledger)?;
        let has_sent = self.has_sent(&run.run)?;
        let is_to_purge = options.purge && !has_sent;
        if is_to_purge {
            self.mark(run, Stage::Purging)?;
        } else if has_sent {
            self.mark(run, Stage::Sending)?;
        } else if RunMarker::find(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_none() {
            // An existing marker may be that of a purge in progress.
            self.mark(run, Stage::Waiting)?;
        }
        Ok(first_state(run, is_to_purge, options.force))
    }

    /// Writes the first marker of a run, and returns when the store wrote it. Runs are ordered by that time, because the
    /// clocks of the machines that begin them may differ.
    pub(crate) fn mark_begin(&self, run: &Run, stage: Stage) -> Result<String, CoordinatorError> {
        let mut marker = RunMarker { started: None, ..RunMarker::new(run, stage) };
        let mut write = || -> Result<String, StoreError> {
            marker.write(self.results)?;
            let path = layout::active(&run.run);
            let head = self.results.head(&path)?;
            let head = head.ok_or_else(|| {
                StoreError::transient(format!("{path} was removed during the begin; begin the run again"))
            })?;
            let started = iso(Timestamp::try_from(head.modified).map_err(invalid_time)?);
            marker.started = Some(started.clone());
            marker.write(self.results)?;
            Ok(started)
        };
        write().map_err(CoordinatorError::Ledger)
    }

    /// Reads the configuration of a new run. Returns its files, fingerprint and enrichment files.
    pub(crate) fn read_inputs(&self) -> Result<(Inputs, (Fingerprint, Vec<FileDigest>)), CoordinatorError> {
        let inputs = self.read_files()?;
        let checked = check(&inputs)?;
        Ok((inputs, checked))
    }

    /// Reads the files of the configuration of a new run.
    pub(crate) fn read_files(&self) -> Result<Inputs, CoordinatorError> {
        (self.inputs)().map_err(|error| match error {
            StoreError::NotFound(_)
            | StoreError::AccessDenied(_)
            | StoreError::TooLarge { .. }
            | StoreError::WrongBucket(_)
            | StoreError::InvalidKey(_) => {
                CoordinatorError::Refused(format!("cannot read the configuration: {}", error_chain(&error)))
            }
            _ => CoordinatorError::Inputs(error),
        })
    }

    /// Refuses a prefix whose listing would contain the results of runs.
    pub(crate) fn check_overlap(&self, prefix: &str) -> Result<(), CoordinatorError> {
        let overlaps = |reserved: &&&str| prefix.starts_with(**reserved) || reserved.starts_with(prefix);
        let overlap = layout::RESERVED.iter().find(overlaps);
        match overlap.filter(|_| self.bucket == self.results_bucket) {
            Some(reserved) => Err(CoordinatorError::Refused(format!(
                "prefix {prefix:?} of bucket {} contains {reserved}, where this fleet writes its results; the source and \
                 the results are the same bucket: choose a prefix that excludes {}, or another results bucket",
                self.bucket,
                layout::RESERVED.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// Writes the configuration first and `run.json` after it: a run with `run.json` is complete. The index comes last, so it
    /// names no run without a ledger.
    fn write(&self, run: &Run, inputs: &Inputs) -> Result<(), StoreError> {
        self.write_config(run, inputs)?;
        put_json(self.results, &layout::run(&run.run), run)?;
        runs::add(self.results, run)
    }

    /// Writes the copies of the configuration.
    pub(crate) fn write_config(&self, run: &Run, inputs: &Inputs) -> Result<(), StoreError> {
        if let Some(config) = &inputs.config {
            self.results.put(&layout::config(&run.run), config)?;
        }
        if let Some(names) = &inputs.names {
            self.results.put(&layout::names(&run.run), names)?;
        }
        for digest in &run.enrichment {
            if let Some(file) = inputs.files.iter().find(|file| file.file == digest.file) {
                self.results.put(&layout::enrichment(&run.run, &digest.sha256), &file.bytes)?;
            }
        }
        Ok(())
    }
}

fn first_state(run: &Run, purges: bool, force: bool) -> RunState {
    let operation =
        if purges { Operation::Purge(Purging { force }) } else { Operation::Plan(Planning::default()) };
    RunState::new(run, operation)
}

fn prefix(options: &RunOptions, earlier: Option<&Run>) -> Result<String, CoordinatorError> {
    match (&options.prefix, earlier) {
        (Some(prefix), _) if prefix.len() > MAX_KEY_BYTES => Err(CoordinatorError::Refused(format!(
            "the prefix has {} bytes, but a key of S3 at most {MAX_KEY_BYTES}; shorten the prefix",
            prefix.len()
        ))),
        (Some(prefix), Some(earlier)) if *prefix != earlier.prefix => {
            Err(CoordinatorError::Refused(format!(
                "run {} has prefix {:?}, not {prefix:?}; omit the prefix to resume it",
                earlier.run, earlier.prefix
            )))
        }
        (Some(prefix), _) => Ok(prefix.clone()),
        (None, Some(earlier)) => Ok(earlier.prefix.clone()),
        (None, None) => Err(CoordinatorError::refused(
            "neither prefix nor resume is given. Example: {\"prefix\": \"firehose/2026/02/18/06/\"}",
        )),
    }
}

fn invalid_time(error: jiff::Error) -> StoreError {
    StoreError::Invalid(Problem::caused_by("the store returned an invalid time", error))
}

/// Checks all files. Returns their fingerprint and the enrichment files. Does not keep what it has read: names can take hundreds
/// of megabytes, and their bytes are in memory too.
fn check(inputs: &Inputs) -> Result<(Fingerprint, Vec<FileDigest>), CoordinatorError> {
    let run_config = parse(inputs)?;
    Ok((Fingerprint::from(&run_config), run_config.enrichment_files().to_vec()))
}

/// Parses all files, and reports their problems together.
fn parse(inputs: &Inputs) -> Result<RunConfig, CoordinatorError> {
    let (mut config, mut names) = (Config::default(), NameIndex::default());
    let mut problems = Vec::new();
    let mut add = |file: &str, error: ConfigError| {
        problems.extend(error.problems.into_iter().map(|problem| format!("{file}: {problem}")));
    };
    if let Some(bytes) = &inputs.config {
        match Config::from_bytes(bytes) {
            Ok(parsed) => config = parsed,
            Err(error) => add("flowherd.toml", error),
        }
    }
    if let Some(bytes) = &inputs.names {
        match NameIndex::parse(bytes) {
            Ok(parsed) => names = parsed,
            Err(error) => add("names.json", error),
        }
    }
    match RunConfig::load(config, names, &inputs.files) {
        Ok(run_config) if problems.is_empty() => return Ok(run_config),
        Ok(_) => {}
        Err(error) => problems.extend(error.problems),
    }
    Err(CoordinatorError::Refused(problems.join("; ")))
}
