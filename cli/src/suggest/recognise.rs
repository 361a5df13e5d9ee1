//! Finds the rules for the records of one cluster: a preset, or a format that every record fits.

use std::cmp::Reverse;

use super::{
    clusters::{Cluster, Record},
    draft::{Draft, time_key},
    flow_guess,
    json_shape::JsonShape,
    preset_rule::PresetRule,
    probe::{Fit, Probes, try_rule},
    spread::some_of,
    text_shape::{self, HeadLines},
    trim::{first_members, trim_to_records},
    w3c_shape, wrapped,
};

/// Records with which every preset is tried before it is tried with all.
const FIRST_RECORDS: usize = 200;
/// Maximum bytes of these records, unless the first has more.
const FIRST_BYTES: usize = 128 << 10;
/// Maximum members of such a record if it is large. No preset has as many columns.
const FIRST_MEMBERS: usize = 1000;
/// Minimum required columns of a preset that takes only some JSON records of a cluster.
const MIN_REQUIRED: usize = 2;
/// Minimum part of a cluster's records that gets columns of its own beside others.
pub(super) const MIN_KIND_PERCENT: usize = 10;
/// Minimum records that get columns of their own beside a log that presets take most of. Fewer are malformed records of it.
const MIN_KIND_RECORDS: usize = 5;
/// Maximum part of the records that may lack the form in which the others hold nested records, and of lines that may not fit the
/// format of the others.
const MAX_UNFIT_PERCENT: usize = 10;
/// Maximum rules for one cluster.
const MAX_DRAFTS: usize = 8;
/// Maximum other members of an object whose message is unwrapped. More of them would be lost.
const MAX_OTHER_MEMBERS: usize = 3;

/// How specific a preset is: required columns, columns with values, and rejects. The greatest is the best.
type Rank = (usize, usize, Reverse<u64>);

/// The rules for a cluster, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    pub(super) drafts: Vec<Draft>,
    /// Records that no rule takes.
    pub(super) remaining: Vec<Record>,
    /// Count of the examined records that the last rule rejects.
    pub(super) rejected: u64,
    /// A commented suggestion for the remaining records.
    pub(super) guess: Option<String>,
    /// Payloads that other rules must take: the file, and the decoded bytes.
    pub(super) payloads: Vec<(usize, Vec<u8>)>,
}

/// Finds rules for clusters.
#[derive(Debug)]
pub(super) struct Recogniser {
    presets: Vec<PresetRule>,
    probes: Probes,
}

impl Recogniser {
    pub(super) fn new(presets: Vec<PresetRule>) -> Self {
        Self { presets, probes: Probes::default() }
    }

    /// Returns the rules for a cluster.
    pub(super) fn recognise(&self, cluster: &Cluster) -> Chain {
        let of_one = |draft| Chain { drafts: vec![draft], ..Chain::default() };
        if let Some(draft) = self.preset_for_all(cluster, &[], 0) {
            return of_one(draft);
        }
        if let Some(chain) = self.decoded(cluster) {
            return chain;
        }
        if let Some(draft) = self.nested(cluster, 0) {
            return of_one(draft);
        }
        if let Some(chain) = self.nested_in_most(cluster) {
            return chain;
        }
        let partial = self.preset_for_some(cluster);
        // Columns of their own would take any JSON, also records of a log that a preset knows and a few others.
        let is_known = |others: &Vec<Record>| others.len() * 2 <= cluster.records.len();
        if partial.as_ref().is_none_or(|(_, others)| !is_known(others))
            && let Some((draft, _)) = own_format(cluster, &[], 0)
        {
            return of_one(draft);
        }
        self.mixed(cluster, partial)
    }

    /// Returns the most specific preset that takes all records but at most `max_unfit` percent. Only a preset for nested records
    /// may leave out any: [`Self::preset_for_some`] tries the others.
    fn preset_for_all(&self, cluster: &Cluster, keys: &[String], max_unfit: usize) -> Option<Draft> {
        let first = first_records(cluster);
        let with_comments = keys_with_comments(cluster, keys);
        let mut best: Option<(Rank, Draft)> = None;
        for preset in self.presets.iter().filter(|preset| !preset.decodes) {
            if max_unfit > 0 && keys.is_empty() && !preset.is_for_nested_records() {
                continue;
            }
            for keys in [Some(keys), with_comments.as_deref()].into_iter().flatten() {
                if keys.iter().any(|key| key.split(' ').next().is_some_and(|key| preset.has_key(key))) {
                    continue;
                }
                let draft = Draft::with_preset(preset, keys);
                let rule = draft.probe();
                let fit = |cluster| self.probes.try_preset(&rule, cluster);
                // Of so few records, the malformed ones may be a larger part.
                let may_fit = |fit: &Fit| fit.rows > 0 && (max_unfit > 0 || fit.rejected == 0);
                let Some(fit) = fit(&first).filter(may_fit).and_then(|_| fit(cluster)) else { continue };
                if !fit.takes_all_but(max_unfit) {
                    continue;
                }
                let rank = (preset.required, fit.columns, Reverse(fit.rejected));
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    best = Some((rank, draft));
                }
                if fit.rejected == 0 {
                    break;
                }
            }
        }
        best.map(|(_, draft)| draft)
    }

    /// Returns a rule for records inside of arrays, members or lines with a time. At most `max_unfit` percent of the cluster's
    /// records may lack the form.
    fn nested(&self, cluster: &Cluster, max_unfit: usize) -> Option<Draft> {
        if let Some(inner) = wrapped::array(&cluster.records, max_unfit) {
            let preset = self.preset_for_nested(cluster, &inner.keys, &inner.what, max_unfit);
            return preset.or_else(|| {
                let shape = json_shape(&inner.records, max_unfit)?;
                verified(Draft::of_json(shape, !cluster.is_group(), &inner.keys), cluster, max_unfit)
            });
        }
        if !cluster.is_group()
            && let Some(inner) = wrapped::export(&cluster.records, max_unfit)
        {
            let preset = self.preset_for_nested(cluster, &inner.keys, &inner.what, max_unfit);
            let found = preset.or_else(|| {
                let shape = json_shape(&inner.records, max_unfit)?;
                verified(Draft::of_json(shape, true, &inner.keys), cluster, max_unfit)
            });
            if found.is_some() {
                return found;
            }
        }
        let (inner, others) = wrapped::member(&cluster.records, max_unfit)?;
        let mut keys = inner.keys.clone();
        let time = json_shape(&inner.outer, 0)?.times().0.filter(|_| !cluster.is_group());
        keys.extend(time.as_ref().map(time_key));
        let with_time = self.preset_for_nested(cluster, &keys, &inner.what, max_unfit);
        let found =
            with_time.or_else(|| self.preset_for_nested(cluster, &inner.keys, &inner.what, max_unfit));
        found.or_else(|| {
            // Other members would be lost, so their number is bounded.
            let shape = json_shape(&inner.records, max_unfit).filter(|_| others <= MAX_OTHER_MEMBERS)?;
            let mut draft = Draft::of_json(shape, false, &keys);
            draft.what = format!("{}, in {}", draft.what, inner.what);
            verified(draft, cluster, max_unfit)
        })
    }

    fn preset_for_nested(
        &self,
        cluster: &Cluster,
        keys: &[String],
        what: &str,
        max_unfit: usize,
    ) -> Option<Draft> {
        let mut draft = self.preset_for_all(cluster, keys, max_unfit)?;
        draft.what = format!("{}, {what}", draft.what);
        Some(draft)
    }

    /// Returns the rule for nested records that most of the cluster's records hold, with those that hold none.
    fn nested_in_most(&self, cluster: &Cluster) -> Option<Chain> {
        let preset = self.preset_for_all(cluster, &[], MAX_UNFIT_PERCENT);
        let draft = preset.or_else(|| self.nested(cluster, MAX_UNFIT_PERCENT))?;
        let fit = try_rule(&draft.probe(), cluster)?;
        let others: Vec<Record> =
            cluster.records.iter().filter(|record| !fit.takes(record)).cloned().collect();
        // One record with an array may have more rows than many other records.
        let are_few = others.len() * 100 <= cluster.records.len() * MAX_UNFIT_PERCENT;
        are_few.then(|| Chain {
            drafts: vec![draft],
            remaining: others,
            rejected: fit.rejected,
            ..Chain::default()
        })
    }

    /// Returns the rule that decodes payloads, with the payloads.
    fn decoded(&self, cluster: &Cluster) -> Option<Chain> {
        let found = wrapped::payloads(&cluster.records, MAX_UNFIT_PERCENT)?;
        let presets =
            self.presets.iter().filter(|preset| preset.decodes).map(|preset| Draft::with_preset(preset, &[]));
        let own = Draft::decoding(found.keys.clone());
        let draft = presets.chain([own]).find(|draft| self.probes.decodes(&draft.probe(), cluster))?;
        Some(Chain { drafts: vec![draft], payloads: found.payloads, ..Chain::default() })
    }

    /// Returns several rules, each for some of the records. `partial` is the first of them.
    fn mixed(&self, cluster: &Cluster, mut partial: Option<(Draft, Vec<Record>)>) -> Chain {
        let mut chain = Chain::default();
        let mut remaining = cluster.clone();
        while let Some((draft, others)) = partial {
            chain.drafts.push(draft);
            remaining = remaining.with_records(others);
            let is_full = chain.drafts.len() + 2 == MAX_DRAFTS;
            partial =
                if is_full || remaining.records.is_empty() { None } else { self.preset_for_some(&remaining) };
        }
        let are_known = (cluster.records.len() - remaining.records.len()) * 2 > cluster.records.len();
        let min_records = if are_known { MIN_KIND_RECORDS } else { 1 };
        let (objects, lines): (Vec<Record>, Vec<Record>) =
            remaining.records.iter().cloned().partition(|record| JsonShape::default().add(&record.message));
        for records in [objects, lines] {
            let part = remaining.with_records(records);
            // A few records beside others are malformed rather than another log.
            let is_kind = part.records.len() >= min_records
                && part.records.len() * 100 >= cluster.records.len() * MIN_KIND_PERCENT;
            match own_format(&part, &[], MAX_UNFIT_PERCENT).filter(|_| is_kind) {
                Some((draft, others)) => {
                    chain.drafts.push(draft);
                    chain.remaining.extend(others);
                }
                None => chain.remaining.extend(part.records),
            }
        }
        chain.guess = flow_guess::guess(&chain.remaining);
        chain.rejected = chain.remaining.len() as u64;
        chain
    }

    /// Returns the preset that takes some of the records and is the most specific, and the records that it does not take.
    fn preset_for_some(&self, cluster: &Cluster) -> Option<(Draft, Vec<Record>)> {
        let first = first_records(cluster);
        let mut best: Option<(Rank, Draft, Vec<Record>)> = None;
        for preset in self.presets.iter().filter(|preset| !preset.decodes && !preset.has_key("records")) {
            if preset.is_json && preset.required < MIN_REQUIRED {
                continue;
            }
            let draft = Draft::with_preset(preset, &[]);
            let rule = draft.probe();
            let has_rows = |cluster| self.probes.try_preset(&rule, cluster).filter(|fit| fit.rows > 0);
            let Some(fit) = has_rows(&first).and_then(|_| has_rows(cluster)) else { continue };
            let rank = (preset.required, fit.columns, Reverse(0));
            if best.as_ref().is_none_or(|(other, ..)| rank > *other) {
                let others = cluster.records.iter().filter(|record| !fit.takes(record)).cloned().collect();
                best = Some((rank, draft, others));
            }
        }
        best.map(|(_, draft, others)| (draft, others))
    }
}

/// Returns a cluster with some of the records, to leave out rules that do not fit early.
fn first_records(cluster: &Cluster) -> Cluster {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        let is_first = bytes == 0;
        bytes += record.message.len();
        is_first || bytes <= FIRST_BYTES
    };
    let mut records: Vec<Record> = some_of(&cluster.records, FIRST_RECORDS).filter(fits).cloned().collect();
    if let [only] = &mut records[..]
        && only.message.len() > FIRST_BYTES
        && let Some(shorter) = shortened(&only.message)
    {
        only.message = shorter;
    }
    cluster.with_records(records)
}

/// Returns an object with fewer members, or with fewer elements in its array. A preset that it does not fit is left out early.
fn shortened(message: &str) -> Option<String> {
    if message.starts_with('{')
        && let Some(shorter) = first_members(message, FIRST_MEMBERS)
    {
        return Some(shorter);
    }
    let mut text = message.as_bytes()[..FIRST_BYTES].to_vec();
    if trim_to_records(&mut text) { String::from_utf8(text).ok() } else { None }
}

/// Returns the keys with `comments`, if some lines begin with `#` and others do not.
fn keys_with_comments(cluster: &Cluster, keys: &[String]) -> Option<Vec<String>> {
    let is_comment = |message: &str| message.starts_with('#');
    let in_records = cluster.records.iter().any(|record| is_comment(&record.message));
    let in_preambles = cluster.files.iter().any(|file| file.preamble.iter().any(|line| is_comment(line)));
    let has_others = cluster.records.iter().any(|record| !is_comment(&record.message));
    (has_others && (in_records || in_preambles)).then(|| [keys, &["comments = \"#\"".to_owned()]].concat())
}

/// Returns a rule with columns of its own, and the records that it does not take: at most `max_unfit` percent, and only lines.
fn own_format(cluster: &Cluster, keys: &[String], max_unfit: usize) -> Option<(Draft, Vec<Record>)> {
    if cluster.records.is_empty() {
        return None;
    }
    let is_plain = !cluster.is_group();
    if let Some(shape) = json_shape(&cluster.records, 0) {
        let draft = verified(Draft::of_json(shape, is_plain, keys), cluster, 0)?;
        return Some((draft, Vec::new()));
    }
    let draft = text_draft(cluster, keys, max_unfit)?;
    let fit = try_rule(&draft.probe(), cluster).filter(|fit| fit.takes_all_but(max_unfit))?;
    let others = cluster.records.iter().filter(|record| !fit.takes(record)).cloned().collect();
    Some((draft, others))
}

/// Returns a rule for lines of text.
fn text_draft(cluster: &Cluster, keys: &[String], max_unfit: usize) -> Option<Draft> {
    let is_plain = !cluster.is_group();
    let lines = |with_comments: bool| -> Vec<&str> {
        let messages = cluster.records.iter().map(|record| &*record.message);
        messages.filter(|message| with_comments || !message.starts_with('#')).collect()
    };
    let preambles: Vec<&str> =
        cluster.files.iter().flat_map(|file| file.preamble.iter().map(String::as_str)).collect();
    if let Some(format) = w3c_shape::w3c(&preambles, &lines(true), max_unfit) {
        return Some(Draft::of_text(format, is_plain, keys));
    }
    let comments = keys_with_comments(cluster, keys);
    let keys = comments.as_deref().unwrap_or(keys);
    let lines = lines(comments.is_none());
    // A rule has one kind of comments, and a header line takes it.
    let heads = if comments.is_some() { HeadLines::default() } else { head_lines(cluster) };
    let format =
        text_shape::pairs(&lines, max_unfit).or_else(|| text_shape::delimited(&lines, &heads, max_unfit))?;
    Some(Draft::of_text(format, is_plain, keys))
}

fn head_lines(cluster: &Cluster) -> HeadLines<'_> {
    let mut heads = HeadLines::default();
    for (at, record) in cluster.records.iter().enumerate().filter(|(_, record)| record.is_first) {
        heads.first.push(&*record.message);
        let next = cluster.records.get(at + 1).filter(|next| next.file == record.file);
        heads.second.extend(next.map(|next| &*next.message));
    }
    heads
}

/// Returns the shape of records that are JSON objects, if at most `max_unfit` percent are not.
fn json_shape(records: &[Record], max_unfit: usize) -> Option<JsonShape> {
    let mut shape = JsonShape::default();
    let unfit = records.iter().filter(|record| !shape.add(&record.message)).count();
    (unfit < records.len() && unfit * 100 <= records.len() * max_unfit).then_some(shape)
}

/// Returns the rule if it takes records and rejects at most `max_unfit` percent. A sample that fits does not prove a rule, but one
/// that does not fit refutes it.
fn verified(draft: Draft, cluster: &Cluster, max_unfit: usize) -> Option<Draft> {
    try_rule(&draft.probe(), cluster).is_some_and(|fit| fit.takes_all_but(max_unfit)).then_some(draft)
}
