//! Recognised clusters. Those that the same rules take are merged.

use super::{
    clusters::{Cluster, Record, Source},
    draft::Draft,
    json_shape::JsonShape,
    names,
    preset_rule::PresetRule,
    recognise::{Chain, MIN_KIND_PERCENT, Recogniser},
    spread::some_of,
};

/// Minimum similarity of JSON objects that one rule takes.
const MIN_SIMILARITY: f64 = 0.8;
/// Similarity of JSON objects below which the files of one folder get separate rules.
const SEPARATE_BELOW: f64 = 0.5;
/// Minimum common prefix of folders and log groups that one JSON rule takes.
const MIN_PREFIX_BYTES: usize = 4;

/// Maximum records kept of each of two merged clusters.
const MAX_JOINED: usize = 1000;
/// The line of the object with which an export task of CloudWatch Logs checks its permission. A rule with `lines = "export"`
/// counts it as control.
const EXPORT_TEST: &str = "Permission Check Successful";

/// Clusters that the same rules take.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) sources: Vec<Source>,
    pub(super) cluster: Cluster,
    pub(super) chain: Chain,
    /// The keys of files with records outside of envelopes.
    plain_keys: Vec<String>,
}

impl Found {
    fn new(cluster: Cluster, chain: Chain) -> Self {
        let plain_files = if cluster.is_group() { &[][..] } else { &cluster.files };
        let plain_keys = plain_files.iter().map(|file| file.key.clone()).collect();
        Self { sources: vec![cluster.source.clone()], cluster, chain, plain_keys }
    }

    /// Returns whether one rule takes every record.
    pub(super) fn is_pure(&self) -> bool {
        self.chain.drafts.len() == 1 && self.chain.remaining.is_empty()
    }

    /// Returns whether it has log groups.
    pub(super) fn is_group(&self) -> bool {
        self.sources.iter().any(|source| source.group().is_some())
    }

    /// Returns whether the share of records without a rule is high enough to indicate another log.
    pub(super) fn has_unknown_kind(&self) -> bool {
        self.chain.remaining.len() * 100 > self.cluster.records.len() * MIN_KIND_PERCENT
    }

    /// Returns whether the `match` of a preset takes all log groups and keys.
    pub(super) fn own_match_of(&self, preset: &PresetRule) -> bool {
        self.groups().iter().all(|group| preset.matches_group(group))
            && self.plain_keys.iter().all(|key| preset.matches_key(key))
    }

    /// Splits the log groups from the folders. One rule for both would have no valid position: above the rules of the folders, its
    /// glob of keys could take their records; below them, their globs could take its events.
    pub(super) fn by_kind(self) -> Vec<Self> {
        let (groups, folders): (Vec<Source>, Vec<Source>) =
            self.sources.iter().cloned().partition(|source| source.group().is_some());
        if groups.is_empty() || folders.is_empty() {
            return vec![self];
        }
        let folders = Self {
            sources: folders,
            cluster: self.cluster.clone(),
            chain: self.chain.clone(),
            plain_keys: self.plain_keys.clone(),
        };
        vec![Self { sources: groups, plain_keys: Vec::new(), ..self }, folders]
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.cluster.files.iter().map(|file| &*file.key)
    }

    pub(super) fn groups(&self) -> Vec<&str> {
        self.sources.iter().filter_map(Source::group).collect()
    }

    /// Returns the globs of keys, without those that another one covers.
    pub(super) fn folders(&self) -> Vec<&str> {
        let mut globs: Vec<&str> = self.sources.iter().filter_map(Source::folder).collect();
        globs.sort_unstable();
        globs.dedup();
        let is_covered = |glob: &&str| globs.iter().any(|other| other != glob && names::matches(other, glob));
        globs.iter().filter(|glob| !is_covered(glob)).copied().collect()
    }

    fn json(&self) -> Option<&JsonShape> {
        let [draft] = &self.chain.drafts[..] else { return None };
        draft.shape.as_ref().filter(|_| !self.has_unknown_kind())
    }

    /// Returns whether the rules of two clusters are the same.
    fn has_same_rules(&self, other: &Self) -> bool {
        let (own, others) = (&self.chain.drafts, &other.chain.drafts);
        let is_certain = |draft: &Draft| draft.shape.is_none();
        own.len() == others.len()
            && !own.is_empty()
            && own.iter().zip(others).all(|(one, two)| one.is_same(two) && is_certain(one))
    }

    fn is_related(&self, other: &Self) -> bool {
        if self.sources.iter().any(|source| other.sources.contains(source)) {
            return true;
        }
        let all: Vec<&str> = self.sources.iter().chain(&other.sources).map(Source::text).collect();
        names::common_prefix(&all).len() >= MIN_PREFIX_BYTES
    }

    /// Returns whether the same preset takes a log group and keys by its own `match`.
    fn has_match_for(&self, other: &Self) -> bool {
        let [Draft { preset: Some(preset), .. }] = &self.chain.drafts[..] else { return false };
        self.has_same_rules(other) && self.own_match_of(preset) && other.own_match_of(preset)
    }

    /// Returns a cluster with the records of this one, then those of the other, or with a sample of both if there are too many.
    fn join(&self, other: &Self) -> Cluster {
        let first = self.cluster.files.len();
        let moved = some_of(&other.cluster.records, MAX_JOINED)
            .map(|record| Record { file: record.file + first, ..record.clone() });
        Cluster {
            source: self.cluster.source.clone(),
            files: [&self.cluster.files[..], &other.cluster.files].concat(),
            records: some_of(&self.cluster.records, MAX_JOINED).cloned().chain(moved).collect(),
            seen: self.cluster.seen + other.cluster.seen,
        }
    }

    fn reads_export(&self) -> bool {
        let [draft] = &self.chain.drafts[..] else { return false };
        draft.keys.iter().any(|key| key.starts_with("lines "))
    }

    /// Adds the keys of an export task's test to those of its logs.
    fn add_test(&mut self, test: &Cluster) {
        let globs = test.files.iter().map(|file| names::key_globs(&file.key).1);
        self.sources.extend(globs.map(|glob| Source::Folder { glob }));
        self.plain_keys.extend(test.files.iter().map(|file| file.key.clone()));
        self.cluster.files.extend(test.files.iter().cloned());
    }

    /// Merges another cluster into this one if the same rules take both. Returns it otherwise.
    fn merge(&mut self, mut other: Self, recogniser: &Recogniser) -> Option<Self> {
        if self.is_group() != other.is_group() && !self.has_match_for(&other) {
            return Some(other);
        }
        let joined = if self.has_same_rules(&other) {
            self.chain.remaining.append(&mut other.chain.remaining);
            self.chain.rejected += other.chain.rejected;
            self.join(&other)
        } else {
            let (Some(own), Some(others)) = (self.json(), other.json()) else { return Some(other) };
            if !self.is_related(&other) || own.similarity(others) < MIN_SIMILARITY {
                return Some(other);
            }
            let joined = self.join(&other);
            let chain = recogniser.recognise(&joined);
            let max_remaining = self.chain.remaining.len() + other.chain.remaining.len();
            let is_one = matches!(&chain.drafts[..], [draft] if draft.shape.is_some());
            if !is_one || chain.remaining.len() > max_remaining {
                return Some(other);
            }
            self.chain = chain;
            joined
        };
        self.cluster = joined;
        self.plain_keys.append(&mut other.plain_keys);
        self.sources.append(&mut other.sources);
        self.sources.sort_unstable();
        self.sources.dedup();
        None
    }
}

/// Recognises clusters and adds them to those found before. A folder with several kinds of files is divided by their names if
/// that separates the kinds.
pub(super) fn find(clusters: Vec<Cluster>, recogniser: &Recogniser, mut found: Vec<Found>) -> Vec<Found> {
    let is_test = |cluster: &Cluster| cluster.records.iter().all(|record| record.message == EXPORT_TEST);
    let (tests, clusters): (Vec<Cluster>, Vec<Cluster>) = clusters.into_iter().partition(is_test);
    for cluster in clusters {
        let whole = Found::new(cluster.clone(), recogniser.recognise(&cluster));
        let parts = divided(cluster, recogniser).filter(|parts| is_better(&whole, parts));
        for next in parts.unwrap_or_else(|| vec![whole]) {
            let mut pending = Some(next);
            for other in &mut found {
                pending = pending.and_then(|next| other.merge(next, recogniser));
            }
            found.extend(pending);
        }
    }
    for test in tests {
        match found.iter_mut().find(|found| found.reads_export()) {
            Some(export) => export.add_test(&test),
            None => found.push(Found::new(test, Chain::default())),
        }
    }
    found
}

fn divided(cluster: Cluster, recogniser: &Recogniser) -> Option<Vec<Found>> {
    let parts = cluster.by_names();
    let find = |part: Cluster| {
        let chain = recogniser.recognise(&part);
        Found::new(part, chain)
    };
    (parts.len() > 1).then(|| parts.into_iter().map(find).collect())
}

/// Returns whether a rule for each kind of names takes more records than rules for the folder, or separates different
/// objects.
fn is_better(whole: &Found, parts: &[Found]) -> bool {
    let remaining: usize = parts.iter().map(|part| part.chain.remaining.len()).sum();
    if !whole.is_pure() {
        return remaining < whole.chain.remaining.len() || parts.iter().all(Found::is_pure);
    }
    let shapes: Vec<&JsonShape> = parts.iter().filter_map(Found::json).collect();
    whole.json().is_some()
        && remaining == 0
        && shapes.iter().any(|shape| shapes.iter().any(|other| shape.similarity(other) < SEPARATE_BELOW))
}
