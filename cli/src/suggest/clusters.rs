//! Records of the sample, grouped by log group, or by the folder of the key for records outside of envelopes.

use std::collections::BTreeMap;

use flowherd_shared::{
    error::error_chain,
    flow_fields,
    limits::Limits,
    pipeline::{
        layers::Layers,
        records::{OriginKind, Record as Read, Records},
    },
};

use super::{names, spread::Spread};

/// Maximum records of a cluster that are examined.
const MAX_RECORDS: usize = 2000;
/// Maximum bytes of a cluster's records that are examined.
const MAX_BYTES: usize = 2 << 20;
/// Maximum clusters. A file has at most 256 rules.
const MAX_CLUSTERS: usize = 500;
/// Maximum lines before a file's first record that are kept: comments, and the header of a flow log.
const MAX_PREAMBLE_LINES: usize = 20;

/// What the records of a cluster have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Events of this log group.
    Group(String),
    /// Lines and JSON objects below a folder. `glob` matches the keys.
    Folder { glob: String },
}

impl Source {
    /// Returns the log group, if it is one.
    pub(super) fn group(&self) -> Option<&str> {
        match self {
            Self::Group(group) => Some(group),
            Self::Folder { .. } => None,
        }
    }

    /// Returns the glob of keys, if it is a folder.
    pub(super) fn folder(&self) -> Option<&str> {
        match self {
            Self::Group(_) => None,
            Self::Folder { glob } => Some(glob),
        }
    }

    /// Returns the log group or the glob.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Group(text) | Self::Folder { glob: text } => text,
        }
    }
}

/// A record of the sample.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Invalid text is replaced.
    pub(super) message: String,
    /// The log stream of an event.
    pub(super) stream: String,
    /// Position of its file in the cluster.
    pub(super) file: usize,
    /// Whether it is the first record of its file, without comments and flow-log headers.
    pub(super) is_first: bool,
}

impl Record {
    /// Returns a record of the same stream and file with another message.
    pub(super) fn with_message(&self, message: String) -> Self {
        Self { message, stream: self.stream.clone(), file: self.file, is_first: self.is_first }
    }
}

/// A file with records of a cluster.
#[derive(Clone, Debug)]
pub(super) struct ClusterFile {
    pub(super) key: String,
    /// Comments and header lines before the first record.
    pub(super) preamble: Vec<String>,
}

/// Records of one source.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) source: Source,
    pub(super) files: Vec<ClusterFile>,
    /// Some of the records, in the order of the sample.
    pub(super) records: Vec<Record>,
    /// Count of all records.
    pub(super) seen: u64,
}

/// Clusters while the sample is read.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    building: BTreeMap<Source, Building>,
    /// Records that no rule can take: too long, damaged, or in damaged envelopes.
    pub(super) faulty: u64,
    /// Records of log groups beyond the limit.
    pub(super) beyond_limit: u64,
}

#[derive(Debug)]
struct Building {
    files: Vec<ClusterFile>,
    records: Spread<Record>,
}

/// Limits for finding the rules: a JSON object with an array of records is one record here.
pub(super) fn sample_limits() -> Limits {
    Limits { max_record_bytes: 16 << 20, ..without_reject_limits(Limits::default()) }
}

/// Returns limits with which no number of rejects fails an object.
pub(super) fn without_reject_limits(limits: Limits) -> Limits {
    Limits { max_rejects: u64::MAX, max_reject_percent: 100, max_reject_bytes: u64::MAX, ..limits }
}

impl Clusters {
    /// Adds the records of a text. The error says why it cannot be read to its end; then nothing of it is added.
    pub(super) fn add(&mut self, key: &str, text: &[u8]) -> Result<(), String> {
        read_to_end(text)?;
        let limits = sample_limits();
        let layers = Layers::open(text, limits).map_err(|error| error_chain(&error))?;
        let mut records = Records::new(layers, limits);
        let mut plain_file = PlainFile::default();
        while let Some(record) = records.next().map_err(|error| error_chain(&error))? {
            if record.is_control() {
                continue;
            }
            let is_known = matches!(record.origin.kind, OriginKind::Plain | OriginKind::Data);
            if !is_known || (record.fault.is_some() && record.repaired.is_none()) {
                self.faulty += 1;
                continue;
            }
            self.add_record(key, &record, &mut plain_file);
        }
        Ok(())
    }

    fn add_record(&mut self, key: &str, record: &Read<'_>, plain_file: &mut PlainFile) {
        let message = String::from_utf8_lossy(record.repaired.unwrap_or_else(|| record.message()));
        let is_plain = record.origin.kind == OriginKind::Plain;
        let source = if is_plain {
            Source::Folder { glob: names::key_globs(key).0 }
        } else {
            Source::Group(record.origin.log_group.clone().unwrap_or_default())
        };
        if self.building.len() >= MAX_CLUSTERS && !self.building.contains_key(&source) {
            self.beyond_limit += 1;
            return;
        }
        let building = self
            .building
            .entry(source)
            .or_insert_with(|| Building { files: Vec::new(), records: Spread::new(MAX_RECORDS, MAX_BYTES) });
        if building.files.last().is_none_or(|file| file.key != key) {
            building.files.push(ClusterFile { key: key.to_owned(), preamble: Vec::new() });
        }
        let file = building.files.len() - 1;
        if is_plain && !plain_file.has_record {
            let preamble = &mut building.files[file].preamble;
            if record.is_line && preamble.len() < MAX_PREAMBLE_LINES && is_preamble(&message) {
                preamble.push(message.into_owned());
                return;
            }
        }
        let is_first = is_plain && !std::mem::replace(&mut plain_file.has_record, true);
        let stream = record.origin.log_stream.as_deref().unwrap_or_default();
        building.records.push(message.len() + stream.len(), || Record {
            message: message.into_owned(),
            stream: stream.to_owned(),
            file,
            is_first,
        });
    }

    /// Returns the clusters with records.
    pub(super) fn finish(self) -> Vec<Cluster> {
        let clusters = self.building.into_iter().map(|(source, building)| Cluster {
            source,
            files: building.files,
            seen: building.records.seen(),
            records: building.records.into_kept(),
        });
        clusters.filter(|cluster| cluster.seen > 0).collect()
    }
}

fn read_to_end(text: &[u8]) -> Result<(), String> {
    let limits = sample_limits();
    let layers = Layers::open(text, limits).map_err(|error| error_chain(&error))?;
    let mut records = Records::new(layers, limits);
    while records.next().map_err(|error| error_chain(&error))?.is_some() {}
    Ok(())
}

/// The state of one file's lines and objects outside of envelopes.
#[derive(Debug, Default)]
struct PlainFile {
    has_record: bool,
}

/// Returns whether a line before the first record is a comment or the header of a flow log.
fn is_preamble(line: &str) -> bool {
    line.starts_with('#') || is_flow_header(line)
}

/// Returns whether a line has the names of flow-log fields.
pub(super) fn is_flow_header(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let known = words.iter().filter(|word| flow_fields::is_field(word)).count();
    words.len() > 1 && known * 2 >= words.len()
}

impl Cluster {
    /// Returns a cluster of the same source with some of the records.
    pub(super) fn with_records(&self, records: Vec<Record>) -> Self {
        let seen = records.len() as u64;
        Self { source: self.source.clone(), files: self.files.clone(), records, seen }
    }

    /// Returns whether the records are events of an envelope.
    pub(super) fn is_group(&self) -> bool {
        matches!(self.source, Source::Group(_))
    }

    /// Divides a folder by the kinds of its files' names. A log group, and a folder with one kind, is returned whole.
    pub(super) fn by_names(self) -> Vec<Self> {
        let Source::Folder { .. } = &self.source else { return vec![self] };
        let globs: Vec<String> = self.files.iter().map(|file| names::key_globs(&file.key).1).collect();
        let mut parts: BTreeMap<&str, Self> = BTreeMap::new();
        // The share of all records that the examined ones stand for.
        let weight = self.seen / (self.records.len() as u64).max(1);
        for (file, glob) in self.files.iter().zip(&globs) {
            let part = parts.entry(glob).or_insert_with(|| Self {
                source: Source::Folder { glob: glob.clone() },
                files: Vec::new(),
                records: Vec::new(),
                seen: 0,
            });
            part.files.push(file.clone());
        }
        for record in self.records {
            if let Some(part) = parts.get_mut(globs[record.file].as_str()) {
                let key = &self.files[record.file].key;
                let file = part.files.iter().position(|file| file.key == *key).unwrap_or_default();
                part.records.push(Record { file, ..record });
                part.seen += weight;
            }
        }
        parts.into_values().filter(|part| !part.records.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(texts: &[(&str, &str)]) -> Vec<Cluster> {
        let mut clusters = Clusters::default();
        for (key, text) in texts {
            clusters.add(key, text.as_bytes()).unwrap();
        }
        clusters.finish()
    }

    #[test]
    fn events_are_grouped_by_log_group_and_other_records_by_folder() {
        let envelope = r#"{"messageType":"DATA_MESSAGE","logGroup":"/app","logStream":"s","logEvents":[{"id":"1","timestamp":1,"message":"m"}]}"#;
        let found = clusters(&[
            ("firehose/2026/02/18/00/a", &format!("{envelope}plain\n{{\"x\":1}}")),
            ("firehose/2026/02/18/01/b", envelope),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0].source, found[0].seen), (&Source::Group("/app".into()), 2));
        assert_eq!(found[0].records[0].stream, "s");
        assert_eq!((&found[1].source, found[1].seen), (&Source::Folder { glob: "firehose/*".into() }, 2));
    }

    #[test]
    fn comments_and_flow_log_headers_at_the_start_of_a_file_are_no_records() {
        let found = clusters(&[
            ("a", "version account-id\n2 123\n"),
            ("b", "#Version: 1.0\n#Fields: a b\n1 2\n# x\n"),
        ]);
        assert_eq!(found.len(), 1);
        let preambles: Vec<usize> = found[0].files.iter().map(|file| file.preamble.len()).collect();
        assert_eq!((found[0].seen, preambles), (3, vec![1, 2]));
        assert!(found[0].records[0].is_first && !found[0].records[2].is_first);
    }

    #[test]
    fn a_folder_is_divided_by_the_names_of_its_files() {
        let found =
            clusters(&[("x/orders-1.json", "{}"), ("x/orders-2.json", "{}\n{}"), ("x/users-1.json", "{}")]);
        let parts = found.into_iter().next().unwrap().by_names();
        let parts: Vec<_> =
            parts.into_iter().map(|part| (part.source, part.seen, part.files.len())).collect();
        let folder = |glob: &str| Source::Folder { glob: glob.into() };
        assert_eq!(parts, [(folder("x/orders-*.json"), 3, 2), (folder("x/users-*.json"), 1, 1)]);
    }
}
