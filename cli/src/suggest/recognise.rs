//! Finds the rules for the records of one cluster: a preset, or a format that every record fits.

use super::{
    clusters::{Cluster, Record},
    draft::{Draft, time_key},
    flow_guess,
    json_shape::JsonShape,
    known::Known,
    probe::{Fit, Probes, try_rule},
    spread::some_of,
    text_shape,
    trim::trim_to_records,
    wrapped,
};

/// Records with which every preset is tried before it is tried with all.
const FIRST_RECORDS: usize = 200;
/// Maximum bytes of these records, unless the first has more.
const FIRST_BYTES: usize = 128 << 10;
/// Minimum required columns of a preset that takes only some JSON records of a cluster.
const MIN_REQUIRED: usize = 2;
/// Minimum part of a cluster's records that gets columns of its own beside others.
pub(super) const MIN_KIND_PERCENT: usize = 10;
/// Maximum rules for one cluster.
const MAX_DRAFTS: usize = 8;
/// Maximum other members of an object whose message is unwrapped. More of them would be lost.
const MAX_OTHER_MEMBERS: usize = 3;

/// The rules for a cluster, in order.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) drafts: Vec<Draft>,
    /// Records that no rule certainly takes.
    pub(super) rest: Vec<Record>,
    /// A commented suggestion for the remaining records.
    pub(super) guess: Option<String>,
    /// Payloads that other rules must take: the file, and the decoded bytes.
    pub(super) payloads: Vec<(usize, Vec<u8>)>,
}

/// Finds rules for clusters.
#[derive(Debug)]
pub(super) struct Recogniser {
    presets: Vec<Known>,
    probes: Probes,
}

impl Recogniser {
    pub(super) fn new(presets: Vec<Known>) -> Self {
        Self { presets, probes: Probes::default() }
    }

    /// Returns the rules for a cluster.
    pub(super) fn recognise(&self, cluster: &Cluster) -> Chain {
        let of_one = |draft| Chain { drafts: vec![draft], ..Chain::default() };
        if let Some(draft) = self.whole(cluster, &[]) {
            return of_one(draft);
        }
        if let Some(chain) = self.decoded(cluster) {
            return chain;
        }
        if let Some(draft) = self.inside(cluster) {
            return of_one(draft);
        }
        let partial = self.partial(cluster);
        // Columns of their own would take any JSON, also records of a log that a preset knows and a few others.
        let is_known = |refused: &Vec<Record>| refused.len() * 2 <= cluster.records.len();
        if partial.as_ref().is_none_or(|(_, refused)| !is_known(refused))
            && let Some(draft) = own_format(cluster, &[])
        {
            return of_one(draft);
        }
        self.mixed(cluster, partial)
    }

    /// Returns the most specific preset that takes all records.
    fn whole(&self, cluster: &Cluster, keys: &[String]) -> Option<Draft> {
        let first = first_records(cluster);
        let with_comments = keys_with_comments(cluster, keys);
        let mut best: Option<((usize, usize), Draft)> = None;
        for known in self.presets.iter().filter(|known| !known.decodes) {
            for keys in [Some(keys), with_comments.as_deref()].into_iter().flatten() {
                if keys.iter().any(|key| key.split(' ').next().is_some_and(|key| known.has_key(key))) {
                    continue;
                }
                let draft = Draft::with_preset(known, keys);
                let rule = draft.probe();
                let takes_all = |cluster| self.probes.try_preset(&rule, cluster).filter(Fit::takes_all);
                let Some(fit) = takes_all(&first).and_then(|_| takes_all(cluster)) else { continue };
                let rank = (known.required, fit.columns);
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    best = Some((rank, draft));
                }
                break;
            }
        }
        best.map(|(_, draft)| draft)
    }

    /// Returns a rule for records that are inside of arrays, members or lines with a time.
    fn inside(&self, cluster: &Cluster) -> Option<Draft> {
        if let Some(inner) = wrapped::array(&cluster.records) {
            let elements = cluster.with_records(inner.records);
            return self.whole_of(cluster, &inner.keys, &inner.what).or_else(|| {
                let shape = json_shape(&elements.records)?;
                verified(Draft::of_json(shape, !cluster.is_group(), &inner.keys), cluster)
            });
        }
        if !cluster.is_group()
            && let Some(inner) = wrapped::export(&cluster.records)
        {
            let messages = cluster.with_records(inner.records);
            let found = self.whole_of(cluster, &inner.keys, &inner.what).or_else(|| {
                let shape = json_shape(&messages.records)?;
                verified(Draft::of_json(shape, true, &inner.keys), cluster)
            });
            if found.is_some() {
                return found;
            }
        }
        let (inner, others) = wrapped::member(&cluster.records)?;
        let mut keys = inner.keys.clone();
        let time = json_shape(&cluster.records)?.times().0.filter(|_| !cluster.is_group());
        keys.extend(time.as_ref().map(time_key));
        let with_time = self.whole_of(cluster, &keys, &inner.what);
        let found = with_time.or_else(|| self.whole_of(cluster, &inner.keys, &inner.what));
        found.or_else(|| {
            // Other members would be lost, so their number is bounded.
            let shape = json_shape(&inner.records).filter(|_| others <= MAX_OTHER_MEMBERS)?;
            let mut draft = Draft::of_json(shape, false, &keys);
            draft.what = format!("{}, in {}", draft.what, inner.what);
            verified(draft, cluster)
        })
    }

    fn whole_of(&self, cluster: &Cluster, keys: &[String], what: &str) -> Option<Draft> {
        let mut draft = self.whole(cluster, keys)?;
        draft.what = format!("{}, {what}", draft.what);
        Some(draft)
    }

    /// Returns the rule for containers, with their payloads.
    fn decoded(&self, cluster: &Cluster) -> Option<Chain> {
        let found = wrapped::payloads(&cluster.records)?;
        let presets =
            self.presets.iter().filter(|known| known.decodes).map(|known| Draft::with_preset(known, &[]));
        let own = Draft::decoding(found.keys.clone());
        let draft = presets.chain([own]).find(|draft| self.probes.decodes(&draft.probe(), cluster))?;
        Some(Chain { drafts: vec![draft], payloads: found.payloads, ..Chain::default() })
    }

    /// Returns several rules, each for some of the records. `partial` is the first of them.
    fn mixed(&self, cluster: &Cluster, mut partial: Option<(Draft, Vec<Record>)>) -> Chain {
        let mut chain = Chain::default();
        let mut rest = cluster.clone();
        while let Some((draft, refused)) = partial {
            chain.drafts.push(draft);
            rest = rest.with_records(refused);
            let is_full = chain.drafts.len() + 2 == MAX_DRAFTS;
            partial = if is_full || rest.records.is_empty() { None } else { self.partial(&rest) };
        }
        let (objects, lines): (Vec<Record>, Vec<Record>) =
            rest.records.iter().cloned().partition(|record| JsonShape::default().add(&record.message));
        let mut remaining = Vec::new();
        for records in [objects, lines] {
            let part = rest.with_records(records);
            // A few records beside a known log are damaged rather than another log.
            let is_kind = part.records.len() * 100 >= cluster.records.len() * MIN_KIND_PERCENT;
            match own_format(&part, &[]).filter(|_| is_kind) {
                Some(draft) => chain.drafts.push(draft),
                None => remaining.extend(part.records),
            }
        }
        chain.guess = flow_guess::guess(&remaining);
        chain.rest = remaining;
        chain
    }

    /// Returns the preset that takes some of the records and is the most specific, and the records that it does not take.
    fn partial(&self, cluster: &Cluster) -> Option<(Draft, Vec<Record>)> {
        let first = first_records(cluster);
        let mut best: Option<((usize, usize), Draft, Vec<Record>)> = None;
        for known in self.presets.iter().filter(|known| !known.decodes && !known.has_key("records")) {
            if known.is_json && known.required < MIN_REQUIRED {
                continue;
            }
            let draft = Draft::with_preset(known, &[]);
            let rule = draft.probe();
            let has_rows = |cluster| self.probes.try_preset(&rule, cluster).filter(|fit| fit.rows > 0);
            let Some(fit) = has_rows(&first).and_then(|_| has_rows(cluster)) else { continue };
            let rank = (known.required, fit.columns);
            if best.as_ref().is_none_or(|(other, ..)| rank > *other) {
                let refused = cluster.records.iter().filter(|record| !fit.takes(record)).cloned().collect();
                best = Some((rank, draft, refused));
            }
        }
        best.map(|(_, draft, refused)| (draft, refused))
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

/// Returns an object with fewer elements in its array.
fn shortened(message: &str) -> Option<String> {
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

/// Returns a rule with columns of its own that takes all records.
fn own_format(cluster: &Cluster, keys: &[String]) -> Option<Draft> {
    if cluster.records.is_empty() {
        return None;
    }
    let is_plain = !cluster.is_group();
    if let Some(shape) = json_shape(&cluster.records) {
        return verified(Draft::of_json(shape, is_plain, keys), cluster);
    }
    let lines = |with_comments: bool| -> Vec<&str> {
        let messages = cluster.records.iter().map(|record| &*record.message);
        messages.filter(|message| with_comments || !message.starts_with('#')).collect()
    };
    let preambles: Vec<&str> =
        cluster.files.iter().flat_map(|file| file.preamble.iter().map(String::as_str)).collect();
    if let Some(format) = text_shape::w3c(&preambles, &lines(true)) {
        return verified(Draft::of_text(format, is_plain, keys), cluster);
    }
    let comments = keys_with_comments(cluster, keys);
    let keys = comments.as_deref().unwrap_or(keys);
    let lines = lines(comments.is_none());
    let first_lines: Vec<&str> =
        cluster.records.iter().filter(|record| record.is_first).map(|record| &*record.message).collect();
    // A rule has one kind of comments, and a header line takes it.
    let first_lines = if comments.is_some() { &[][..] } else { &first_lines };
    let format = text_shape::pairs(&lines).or_else(|| text_shape::delimited(&lines, first_lines))?;
    verified(Draft::of_text(format, is_plain, keys), cluster)
}

/// Returns the shape of records that are all JSON objects.
fn json_shape(records: &[Record]) -> Option<JsonShape> {
    let mut shape = JsonShape::default();
    let are_objects = !records.is_empty() && records.iter().all(|record| shape.add(&record.message));
    are_objects.then_some(shape)
}

/// Returns the rule if it takes all records. A sample with one is not proof enough, but a rule without is wrong.
fn verified(draft: Draft, cluster: &Cluster) -> Option<Draft> {
    try_rule(&draft.probe(), cluster).is_some_and(|fit| fit.takes_all()).then_some(draft)
}
