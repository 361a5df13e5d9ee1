//! Checks of the fleet's state after a schedule.

use std::{collections::BTreeMap, time::Duration};

use flowherd_coordinator::{options::RunOptions, state::RunState};
use flowherd_shared::{
    error::Verdict,
    ledger::{Amendment, Failure, ManifestEntry, Receipt, ReportState, Run, layout},
    store::Store,
    task::Task,
};
use flowherd_tests::{fake::MemoryStore, objects::gunzip};

use super::{
    report,
    truth::{Truth, read, receipt, reference},
    world::{KEYS, World},
};

impl World {
    fn store(&self) -> &MemoryStore {
        &self.services.store
    }

    fn violate(&self, what: String) {
        self.services.violate(what);
    }

    fn run(&self, run: &str) -> Run {
        report::run(&self.services, run)
    }

    fn truths(&self, run: &Run) -> Vec<(ManifestEntry, Truth)> {
        report::truths(&self.services, run)
    }

    /// Checks every run. Called after [`World::settle`].
    pub(super) fn check(&self) {
        for run in self.runs() {
            let run = self.run(&run);
            self.check_manifest(&run);
            for (entry, truth) in self.truths(&run) {
                match truth {
                    Truth::Done => self.check_outputs(&run.run, &entry),
                    Truth::Failed => self.check_failure(&run.run, &entry),
                    Truth::Skipped => {}
                    Truth::Missing => self.check_missing(&run, &entry),
                }
            }
        }
        self.check_files();
        self.check_dead_letters();
    }

    /// Checks that the manifest lists each unchanged object once, and that the ledger has no files for other objects.
    fn check_manifest(&self, run: &Run) {
        if run.manifest.is_none() {
            return;
        }
        let keys: Vec<String> = self.truths(run).into_iter().map(|(entry, _)| entry.key).collect();
        if !keys.is_sorted_by(|one, next| one < next) {
            self.violate(format!("the manifest of {} is not in order: {keys:?}", run.run));
        }
        let stayed = |key: &&&str| key.starts_with(&run.prefix) && !self.touched.contains(**key);
        for key in KEYS.iter().filter(stayed).filter(|key| !keys.iter().any(|listed| listed == **key)) {
            self.violate(format!("{key} is in no part of the manifest of {}", run.run));
        }
        let of_objects = [layout::receipts(&run.run), layout::failures(&run.run)];
        let files = self.store().files().into_iter();
        for (path, bytes) in files.filter(|(path, _)| of_objects.iter().any(|below| path.starts_with(below)))
        {
            let file: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            if !keys.iter().any(|key| file["key"] == **key) {
                self.violate(format!("{path} is of an object that the manifest does not name"));
            }
        }
    }

    /// Checks that the outputs are the conversion of the version in the receipt.
    fn check_outputs(&self, run: &str, entry: &ManifestEntry) {
        let receipt: Receipt = read(self.store(), &layout::receipt(run, &entry.key)).unwrap();
        let bytes = &self.contents[&(entry.key.clone(), receipt.object.etag.clone())];
        let expected = reference(&entry.key, bytes).expect("a damaged object is done");
        let texts = receipt.outputs.iter().map(|output| {
            let bytes = self.store().get(&output.path).unwrap().unwrap();
            (output.path.clone(), String::from_utf8(gunzip(&bytes)).unwrap())
        });
        if texts.collect::<BTreeMap<_, _>>() != expected {
            self.violate(format!("{} of {run} does not have the outputs of its version", entry.key));
        }
        if receipt.object != *entry
            && read::<Amendment>(self.store(), &layout::amendment(run, &entry.key)).is_none()
        {
            self.violate(format!("{} of {run} is done in a version without an amendment", entry.key));
        }
    }

    fn check_failure(&self, run: &str, entry: &ManifestEntry) {
        let failure: Failure = read(self.store(), &layout::failure(run, &entry.key)).unwrap();
        let has_reason = failure.errors.iter().all(|error| !error.is_empty()) && !failure.errors.is_empty();
        let may_fail = self.touched.contains(&entry.key) || self.had_bad_workers;
        if !has_reason || !may_fail {
            self.violate(format!("{} of {run} has failed without a reason: {:?}", entry.key, failure.errors));
        }
    }

    /// Checks that a missing object was lost by a purge from outside, by a recorded purge, by workers that died, or because
    /// another run replaced its outputs.
    fn check_missing(&self, missing_of: &Run, entry: &ManifestEntry) {
        let run = &missing_of.run;
        let is_its = |body: &String| {
            Task::parse(body).is_ok_and(|task| task.run == *run && task.object.key == entry.key)
        };
        let is_purged = self.store().get(&layout::purged(run)).unwrap().is_some();
        let minute = Duration::from_mins(1);
        let is_lost =
            self.services.queue.lost().iter().filter(|lost| is_its(&lost.body)).any(|lost| {
                self.outside_purges.iter().any(|purge| (*purge..*purge + minute).contains(&lost.at))
            });
        let is_given_up = self.had_bad_workers && self.services.queue.dead().iter().any(is_its);
        // An attempt of another run may have replaced or removed the outputs of the object.
        let mut others = self.runs().into_iter().filter(|other| other != run).map(|other| self.run(&other));
        let is_replaced = others.any(|other| entry.key.starts_with(&other.prefix));
        let has_receipt = |run| read::<Receipt>(self.store(), &layout::receipt(run, &entry.key)).is_some();
        let was_done = std::iter::once(run).chain(&missing_of.resumes).any(|run| has_receipt(run));
        if !(is_purged || is_lost || is_given_up || was_done && is_replaced) {
            self.violate(format!("{} of {run} is missing without a cause", entry.key));
        }
    }

    /// Checks that every output is the conversion of a version of its object, and that no file is obsolete.
    fn check_files(&self) {
        let mut possible: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((key, _), bytes) in &self.contents {
            for (path, text) in reference(key, bytes).unwrap_or_default() {
                possible.entry(path).or_default().push(text);
            }
        }
        for (path, bytes) in self.store().files() {
            let is_output = path.starts_with("csv/") || path.starts_with("rejects/");
            if is_output && !possible[&path].contains(&String::from_utf8(gunzip(&bytes)).unwrap()) {
                self.violate(format!("{path} is not an output of any version of its object"));
            }
            if self.is_obsolete(&path) {
                self.violate(format!("{path} is obsolete"));
            }
        }
    }

    /// Returns whether a run marker or partial report should be gone. A failed redrive may have moved messages, so its marker
    /// remains until a report, even if the repeated redrive is refused.
    fn is_obsolete(&self, path: &str) -> bool {
        let is_protected = |run: &str| {
            self.drivers
                .iter()
                .any(|driver| driver.run == run && driver.redrives() && driver.refused.is_some())
        };
        let active = path.strip_prefix("active/").and_then(|name| name.strip_suffix(".json"));
        active.is_some_and(|run| !is_protected(run)) || path.contains("report.unfinished")
    }

    fn check_dead_letters(&self) {
        for body in self.services.queue.dead() {
            let task = Task::parse(&body).unwrap();
            let (run, key) = (&task.run, &task.object.key);
            let failure: Option<Failure> = read(self.store(), &layout::failure(run, key));
            let is_permanent = failure.is_some_and(|failure| failure.verdict == Verdict::Permanent);
            if !is_permanent && !self.had_bad_workers && !self.touched.contains(key) {
                self.violate(format!("{key} of {run} is a dead-letter message without a permanent failure"));
            }
        }
    }

    /// Checks that failed objects are done after a repair and a redrive, and missing objects after a resume. A resume
    /// processes no other objects.
    pub(super) fn check_recovery(&mut self) {
        self.repair();
        // After a minute, no purge is in progress.
        self.pass(Duration::from_mins(1));
        let runs = self.runs();
        for _ in 0..3 {
            let is_live = |run: &&String| self.store().get(&layout::purged(run)).unwrap().is_none();
            let Some(run) = runs.iter().find(is_live).cloned() else { break };
            if self.services.queue.dead().is_empty() {
                break;
            }
            self.services.record(format!("dead-letter messages are moved back for {run}"));
            self.redrive(run);
            self.settle();
            let reported = self.drivers.last().and_then(|driver| driver.refused.clone());
            reported
                .into_iter()
                .for_each(|why| self.violate(format!("a redrive without faults is refused: {why}")));
        }
        if runs.iter().any(|run| self.store().get(&layout::purged(run)).unwrap().is_none()) {
            let dead = self.services.queue.dead();
            if !dead.is_empty() {
                self.violate(format!("dead-letter messages cannot be moved back: {dead:?}"));
            }
        }
        for run in runs {
            self.check_resume(&run);
        }
        self.check_files();
    }

    fn check_resume(&mut self, run: &str) {
        let earlier = self.run(run);
        let prefix = &earlier.prefix;
        let now: Vec<String> =
            self.services.source.keys().into_iter().filter(|key| key.starts_with(prefix)).collect();
        let is_done = |key: &&String| {
            let entry = self.services.source.entry(key);
            let mut runs = std::iter::once(&earlier.run).chain(&earlier.resumes);
            runs.any(|run| receipt(self.store(), run, &entry).is_some())
        };
        let done = now.iter().filter(is_done).count() as u64;
        self.services.record(format!("{run} is resumed"));
        let at = self.begin(RunOptions { resume: Some(run.to_owned()), ..RunOptions::default() });
        self.settle();
        let step = self.drivers[at].step.clone();
        let Some(step) = step.filter(RunState::has_ended) else {
            return self.violate(format!("{run} cannot be resumed: {:?}", self.drivers[at].refused));
        };
        let progress = step.progress;
        let remaining = now.len() as u64 - done;
        let state = step.ended().map(|ended| ended.state);
        if (state, progress.skipped, progress.done) != (Some(ReportState::Done), done, remaining) {
            self.violate(format!(
                "{run} resumed: {state:?} {progress:?}, not {remaining} done and {done} skipped"
            ));
        }
    }
}
