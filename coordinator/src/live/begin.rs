//! Begins the run of a day. Several invocations may do so at once, also with different configurations while a deployment is in
//! progress, so the first file of the run decides whose configuration it has.

use std::time::Duration;

use flowherd_shared::{
    layout,
    ledger::{
        EarlierRun, Fingerprint, Job, LiveBegin, LiveDay, Run, examine_json, put_json_if_absent, read_json,
    },
    queue::Queue,
    store::{Lister, Store, StoreError},
};

use super::{
    day::{Day, FleetPrefixes, MAX_RUNS, common_prefix, run_name},
    stage::{LiveStage, RunOfDay},
};
use crate::{coordinator::Coordinator, error::CoordinatorError, marker::Stage, runs};

/// Age of an unfinished begin after which another run takes its place: longer than an invocation can take.
const ABANDONED: Duration = Duration::from_mins(20);

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Returns the run that accepts the arrivals of a day. Begins it if there is none.
    pub(super) fn open_run(&self, keys: &FleetPrefixes, day: Day) -> Result<Run, CoordinatorError> {
        let mut follows = Vec::new();
        for number in 0..MAX_RUNS {
            let name = run_name(self.fleet, day, number);
            let Some(run) = self.find_live(&name)? else {
                match self.begin_day(&name, keys, day, &follows)? {
                    Some(run) => return Ok(run),
                    None => continue,
                }
            };
            if self.live_stage(&run)? == LiveStage::Open {
                return Ok(run);
            }
            follows.insert(0, EarlierRun { run: run.run, fingerprint: run.fingerprint });
        }
        Err(CoordinatorError::Refused(format!(
            "day {} of fleet {} has {MAX_RUNS} runs; convert its later objects with: flowherd run --prefix PREFIX",
            day.text(),
            self.fleet
        )))
    }

    /// Returns the runs of a day that have begun, in their order.
    pub(super) fn runs_of_day(&self, day: Day) -> Result<Vec<RunOfDay>, CoordinatorError> {
        let mut runs = Vec::new();
        for number in 0..MAX_RUNS {
            let name = run_name(self.fleet, day, number);
            match self.find_live(&name)? {
                Some(run) => runs.push(RunOfDay { stage: self.live_stage(&run)?, run }),
                // The begin of this one may have been abandoned, and another one may follow.
                None if self.exists(&layout::live_begin(&name))? => {}
                None => break,
            }
        }
        Ok(runs)
    }

    fn find_live(&self, name: &str) -> Result<Option<Run>, CoordinatorError> {
        let path = layout::run(name);
        let found = examine_json::<Run>(self.results, &path).map_err(CoordinatorError::Ledger)?;
        found.transpose().map_err(|why| CoordinatorError::Damaged(format!("{path}: {why}")))
    }

    /// Begins a run with the current configuration. Returns the run that exists, if another invocation was first, and `None` if
    /// the begin of another invocation with another configuration was abandoned.
    fn begin_day(
        &self,
        name: &str,
        keys: &FleetPrefixes,
        day: Day,
        follows: &[EarlierRun],
    ) -> Result<Option<Run>, CoordinatorError> {
        for prefix in keys.prefixes() {
            self.check_overlap(prefix)?;
        }
        let (inputs, (fingerprint, enrichment)) = self.read_inputs()?;
        if !self.claim_begin(name, &fingerprint)? {
            return Ok(None);
        }
        let prefixes = keys.prefixes().to_vec();
        let mut run = Run {
            run: name.to_owned(),
            fleet: self.fleet.to_owned(),
            prefix: common_prefix(&prefixes).to_owned(),
            job: Job::Convert,
            fingerprint,
            enrichment,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: String::new(),
            resumed: None,
            resumes: Vec::new(),
            live: Some(LiveDay { day: day.text(), prefixes, follows: follows.to_vec() }),
            lacks_names: inputs.lacks_names,
            manifest: None,
        };
        // Writes its own marker before reading others'. A purging run does the reverse.
        run.started = self.mark_begin(&run, Stage::Sending)?;
        if let Some(other) = self.purging_run(&run)? {
            return Err(CoordinatorError::Busy(format!(
                "run {name} cannot begin: the queue is being purged for run {other}"
            )));
        }
        let path = layout::run(name);
        self.write_config(&run, &inputs)
            .and_then(|()| put_json_if_absent(self.results, &path, &run))
            .map_err(CoordinatorError::Ledger)?;
        // Of all invocations that begin the run, one has created the file.
        let run = self.run(name)?;
        runs::add(self.results, &run).map_err(CoordinatorError::Ledger)?;
        Ok(Some(run))
    }

    /// Decides with which configuration the run begins. Returns `false` if another one was chosen, and its begin abandoned.
    fn claim_begin(&self, name: &str, own: &Fingerprint) -> Result<bool, CoordinatorError> {
        let path = layout::live_begin(name);
        let claim = LiveBegin { fingerprint: own.clone() };
        if put_json_if_absent(self.results, &path, &claim).map_err(CoordinatorError::Ledger)? {
            return Ok(true);
        }
        let claimed: Option<LiveBegin> = read_json(self.results, &path).map_err(CoordinatorError::Ledger)?;
        if claimed.is_some_and(|claimed| claimed.fingerprint == *own) {
            return Ok(true);
        }
        let head = self.results.head(&path).map_err(CoordinatorError::Ledger)?;
        let removed = || StoreError::transient(format!("{path} was removed during the begin"));
        if head.ok_or_else(removed).map_err(CoordinatorError::Ledger)?.age() >= ABANDONED {
            return Ok(false);
        }
        Err(CoordinatorError::Busy(format!(
            "run {name} cannot begin yet: another invocation begins it with another configuration"
        )))
    }
}
