//! Limits on what an object, a setting or a file may consume. docs/limits.md lists them all.

use serde::{Deserialize, Serialize};

/// The `[limits]` table of `flowherd.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Maximum layers of compression around the text.
    pub max_layers: usize,
    /// Maximum decoded bytes of one object in any layer.
    pub max_decoded_bytes: u64,
    /// Maximum decoded bytes per byte of the object. Checked above [`RATIO_GRACE_BYTES`], because short, regular objects may
    /// compress better.
    pub max_decode_ratio: u64,
    /// Maximum bytes of one message or line. CloudWatch Logs accepts events up to 1 MiB
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>).
    pub max_record_bytes: usize,
    /// Maximum bytes of an envelope that must be in memory together: one event, or a whole envelope whose log group
    /// follows its events.
    pub max_envelope_bytes: usize,
    /// Maximum rejected records of one object. An object with more has the wrong rule, or is not a log.
    pub max_rejects: u64,
    /// Maximum percentage of rejected records in an object with [`REJECT_PERCENT_MIN_RECORDS`] records or more. 100
    /// disables the limit.
    pub max_reject_percent: u64,
    /// Maximum bytes of an object's rejects before compression, because messages may be long.
    pub max_reject_bytes: u64,
}

/// Minimum records, without control events, for [`Limits::max_reject_percent`]. A few rejects in a short object do not prove a
/// wrong rule.
pub const REJECT_PERCENT_MIN_RECORDS: u64 = 100;
/// Decoded bytes up to which [`Limits::max_decode_ratio`] does not apply.
pub const RATIO_GRACE_BYTES: u64 = 64 << 20;
/// Decoded bytes that a payload inside a record may have beside [`Limits::max_decode_ratio`] times its size.
pub const PAYLOAD_GRACE_BYTES: u64 = 1 << 20;
/// Maximum bytes of a gzip member's header. An extra field may have 64 KiB (RFC 1952 section 2.3.1.1); name and comment share
/// the other half.
pub const MAX_GZIP_HEADER_BYTES: usize = 128 << 10;
/// Maximum bytes of a zstd window or an xz dictionary, which a decoder keeps in memory. The `zstd` command has the same
/// default; `xz -9` needs half of it.
pub const MAX_WINDOW_BYTES: u64 = 128 << 20;
/// Logarithm of [`MAX_WINDOW_BYTES`].
pub(crate) const MAX_WINDOW_LOG: u32 = MAX_WINDOW_BYTES.ilog2();
/// Maximum decoded bytes of a block of Hadoop Snappy or snappy-java. Writers use 256 KiB and 32 KiB.
pub const MAX_SNAPPY_BLOCK_BYTES: u64 = 32 << 20;

/// Maximum bytes of a `flowherd.toml`.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;
/// Maximum rules in a `flowherd.toml`.
pub const MAX_RULES: usize = 256;
/// Maximum bytes of a rule's name. Receipts contain the names of rules.
pub const MAX_RULE_NAME_BYTES: usize = 128;
/// Maximum tables in a `flowherd.toml`. During the upload, each table of an object may hold 9 MiB.
pub const MAX_TABLES: usize = 64;
/// Maximum columns of a table.
pub const MAX_COLUMNS: usize = 1000;
/// Maximum regular expressions: patterns of formats and of `match.message`.
pub const MAX_REGEXES: usize = 32;
/// Maximum calls of `match()` and `search()` in the queries of all rules.
pub const MAX_QUERY_REGEXES: usize = 1024;
/// Maximum bytes of a compiled regular expression of a query. There may be many, so each is smaller than other expressions.
pub(crate) const MAX_QUERY_REGEX_COMPILED_BYTES: usize = 64 << 10;
/// Maximum different arrays that the `records` of all rules name.
pub const MAX_ARRAYS: usize = 16;
/// Maximum steps of the path to an array of records.
pub const MAX_ARRAY_STEPS: usize = 8;
/// Maximum bytes of a regular expression's text.
pub const MAX_REGEX_BYTES: usize = 16 << 10;
/// Maximum bytes of a compiled regular expression. They bound its states, and so the steps of a search per byte of a
/// message.
pub const MAX_REGEX_COMPILED_BYTES: usize = 1 << 20;
/// Maximum compiled bytes times groups, which bounds the memory of one search.
pub const MAX_REGEX_SEARCH_BYTES: usize = 8 << 20;
/// Maximum bytes of one thread's search cache.
pub const MAX_REGEX_CACHE_BYTES: usize = 1 << 20;
/// Maximum bytes of a row's values. Groups and pointers may overlap, so a row may exceed its message. Athena reads rows of up
/// to 32 MB
/// (<https://docs.aws.amazon.com/athena/latest/ug/other-notable-limitations.html>).
pub const MAX_ROW_BYTES: usize = 24 << 20;
/// Maximum words that are read of a flow log's header line. There are 54 fields, so a longer line has unknown or duplicate
/// words.
pub const MAX_HEADER_WORDS: usize = 128;
/// Maximum fields in a header line of a W3C log. A rule has no more columns.
pub const MAX_W3C_HEADER_FIELDS: usize = 1000;

/// Maximum bytes of a `names.json`. An interface takes about 210.
pub const MAX_NAMES_BYTES: usize = 320 << 20;
/// Maximum interfaces. An id with several entries counts once for each.
pub const MAX_INTERFACES: usize = 1_500_000;
/// Maximum subnets, and maximum VPCs. An id with several entries counts once for each.
pub const MAX_NETWORKS: usize = 250_000;
/// Maximum periods of names. Blocks that overlap, each at its own times, repeat the periods of each other.
pub const MAX_NAME_PERIODS: usize = 4_000_000;
/// Maximum CIDR blocks of all subnets together.
pub const MAX_CIDR_BLOCKS: usize = 250_000;
/// Maximum bytes of each id and each name in a `names.json`.
pub const MAX_NAME_BYTES: usize = 1024;

/// Maximum `[[enrich]]` entries in a `flowherd.toml`.
pub const MAX_ENRICHMENTS: usize = 20;
/// Maximum bytes of an enrichment file, as stored and decompressed.
pub const MAX_ENRICHMENT_BYTES: usize = 128 << 20;
/// Maximum bytes of the enrichment files of all entries of a configuration, decompressed. A file counts once for each entry that
/// names it. A worker may hold those of two runs while it reads those of a third.
pub const MAX_ENRICHMENTS_BYTES: usize = 128 << 20;
/// Maximum rows of an enrichment file that is a table or a list.
pub const MAX_ENRICHMENT_ROWS: usize = 1_000_000;
/// Maximum bytes of a value that an enrichment file adds, because every row repeats it.
pub const MAX_ENRICHMENT_VALUE_BYTES: usize = 1000;

/// Maximum bytes of a queue message. A key of 1,024 bytes takes up to 6 KiB of JSON.
pub const MAX_MESSAGE_BYTES: usize = 16 << 10;
/// Maximum bytes of a key, and so of a prefix (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub const MAX_KEY_BYTES: usize = 1024;
/// Maximum bytes of a result that is read into memory and has no other limit.
pub const MAX_RESULT_BYTES: u64 = 80 << 20;
/// Maximum bytes of a ledger file. A receipt with the longest key, 64 tables and 256 rules stays below it.
pub const MAX_LEDGER_BYTES: u64 = 1 << 20;
/// Maximum absent columns in a receipt, over all rules.
pub const MAX_ABSENT_COLUMNS: usize = 1000;
/// Maximum periods by which a receipt counts rows. Most objects have one hour or two.
pub const MAX_RECEIPT_PERIODS: usize = 48;
/// Maximum periods by which a report counts rows and objects: the hours of two weeks, or the days of a year.
pub const MAX_REPORT_PERIODS: usize = 400;
/// Maximum examples of rejects in a receipt, one for each rule and reason.
pub const MAX_RECEIPT_EXAMPLES: usize = 16;
/// Maximum examples of rejects in a report.
pub const MAX_REPORT_EXAMPLES: usize = 64;
/// Maximum characters of the message of such an example.
pub const MAX_EXAMPLE_CHARS: usize = 200;
/// Maximum slowest, and largest, objects in a report.
pub const MAX_TOP_OBJECTS: usize = 10;
/// Bytes of texts at which the caches of the values of `[[enrich]]`, all those of an object, are emptied.
pub const MAX_CACHED_VALUE_BYTES: usize = 4 << 20;
/// Maximum bytes of the page of a report. A ticket or a mail accepts it.
pub const MAX_REPORT_PAGE_BYTES: usize = 300_000;
/// Maximum bytes of a report, which names up to 1,000 failures.
pub const MAX_REPORT_BYTES: u64 = 16 << 20;
/// Maximum decoded bytes of a manifest part: 10,000 entries with the longest keys.
pub const MAX_PART_BYTES: u64 = 64 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_layers: 3,
            max_decoded_bytes: 32 << 30,
            max_decode_ratio: 200,
            max_record_bytes: 1 << 20,
            max_envelope_bytes: 16 << 20,
            max_rejects: 100_000,
            max_reject_percent: 50,
            max_reject_bytes: 256 << 20,
        }
    }
}

impl Limits {
    /// Returns every problem, one line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |name: &str, value: u64, min: u64, max: u64| {
            if !(min..=max).contains(&value) {
                problems.push(format!("limits.{name} = {value}: must be from {min} to {max}"));
            }
        };
        check("max_layers", self.max_layers as u64, 1, 8);
        check("max_decoded_bytes", self.max_decoded_bytes, 1 << 10, 1 << 50);
        check("max_decode_ratio", self.max_decode_ratio, 10, 1 << 20);
        check("max_record_bytes", self.max_record_bytes as u64, 64, 16 << 20);
        check("max_envelope_bytes", self.max_envelope_bytes as u64, 1 << 10, 256 << 20);
        check("max_rejects", self.max_rejects, 0, 1 << 40);
        check("max_reject_percent", self.max_reject_percent, 0, 100);
        check("max_reject_bytes", self.max_reject_bytes, 1 << 10, 1 << 40);
        if self.max_envelope_bytes < self.max_record_bytes {
            problems.push(format!(
                "limits.max_envelope_bytes = {}: must be at least limits.max_record_bytes ({})",
                self.max_envelope_bytes, self.max_record_bytes
            ));
        }
        problems
    }
}
