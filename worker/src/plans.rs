//! The rules and names of each run, as its begin wrote them into the ledger. So all workers of a run have the same, and
//! new names are used from the next run on, without a deployment.

use std::sync::{Arc, Mutex, PoisonError};

use flowherd_shared::{
    config::Config,
    ledger::{Fingerprint, Run, layout, read_json},
    limits::{MAX_CONFIG_BYTES, MAX_LOOKUPS_BYTES},
    lookups::Lookups,
    pipeline::Plan,
    store::{Store, StoreError},
};

/// Runs remembered; a worker seldom sees more than one.
const RUNS: usize = 64;
/// Plans in memory. Lookups may take tens of megabytes.
const PLANS: usize = 2;

/// Why a run cannot be worked on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlanError {
    /// Nothing says what it was begun with.
    #[error("the ledger has no run.json of this run; begin a new one")]
    NoRun,
    /// They are not what the run was begun with.
    #[error(
        "the rules or lookups in the ledger are not those of the run, or this worker reads them in another way; \
         deploy coordinator and workers together, and begin a new run"
    )]
    Fingerprint,
    /// They do not parse.
    #[error("the rules or lookups in the ledger are damaged: {0}")]
    Damaged(String),
}

/// The plans of the runs seen lately.
#[derive(Debug, Default)]
pub struct Plans {
    /// Latest last.
    known: Mutex<Vec<(String, Arc<Plan>)>>,
}

impl Plans {
    /// The plan of a run. Read once; other threads wait meanwhile, because lookups are large.
    pub fn of(&self, store: &impl Store, run: &str) -> Result<Result<Arc<Plan>, PlanError>, StoreError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.iter().position(|(name, _)| name == run) {
            let found = known.remove(at);
            let plan = Arc::clone(&found.1);
            known.push(found);
            return Ok(Ok(plan));
        }
        let Some(asked) = read_json::<Run>(store, &layout::run(run))? else {
            return Ok(Err(PlanError::NoRun));
        };
        let same = known.iter().find(|(_, plan)| Fingerprint::from(&**plan) == asked.fingerprint);
        let plan = match same.map(|(_, plan)| Arc::clone(plan)) {
            Some(plan) => plan,
            None => match load(store, &asked)? {
                Ok(plan) => Arc::new(plan),
                Err(error) => return Ok(Err(error)),
            },
        };
        known.push((run.to_owned(), Arc::clone(&plan)));
        forget(&mut known);
        Ok(Ok(plan))
    }
}

fn load(store: &impl Store, run: &Run) -> Result<Result<Plan, PlanError>, StoreError> {
    let damaged = |told: &dyn std::fmt::Display| Ok(Err(PlanError::Damaged(told.to_string())));
    let mut plan = Plan::default();
    let read = |path: String, most: usize| match store.get_limited(&path, most as u64) {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error @ StoreError::TooLarge { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    };
    let (config, lookups) = match (
        read(layout::config(&run.run), MAX_CONFIG_BYTES)?,
        read(layout::lookups(&run.run), MAX_LOOKUPS_BYTES)?,
    ) {
        (Ok(config), Ok(lookups)) => (config, lookups),
        (Err(error), _) | (_, Err(error)) => return damaged(&error),
    };
    if let Some(bytes) = config {
        match Config::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(config) => plan.config = config,
            Err(error) => return damaged(&error),
        }
    }
    if let Some(bytes) = lookups {
        match Lookups::parse(&bytes) {
            Ok(lookups) => plan.lookups = lookups,
            Err(error) => return damaged(&error),
        }
    }
    Ok(if Fingerprint::from(&plan) == run.fingerprint { Ok(plan) } else { Err(PlanError::Fingerprint) })
}

/// Keeps the latest.
fn forget(known: &mut Vec<(String, Arc<Plan>)>) {
    known.drain(..known.len().saturating_sub(RUNS));
    loop {
        let mut plans: Vec<*const Plan> = known.iter().map(|(_, plan)| Arc::as_ptr(plan)).collect();
        plans.sort_unstable();
        plans.dedup();
        if plans.len() <= PLANS {
            return;
        }
        let oldest = Arc::as_ptr(&known[0].1);
        known.retain(|(_, plan)| Arc::as_ptr(plan) != oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_two_plans_stay_in_memory_and_the_latest_do() {
        let plan = |_| Arc::new(Plan::default());
        let plans: Vec<Arc<Plan>> = (0..4).map(plan).collect();
        let mut known: Vec<_> =
            [0, 1, 0, 2, 3, 3].iter().map(|at| (at.to_string(), plans[*at].clone())).collect();
        forget(&mut known);
        assert_eq!(known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["2", "3", "3"]);
    }
}
