//! How much of anything an object, a setting or a file may make us hold or do. docs/limits.md has them all.

use serde::{Deserialize, Serialize};

/// The `[limits]` table of `flowherd.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Layers of compression around the text, at most.
    pub max_layers: usize,
    /// Decoded bytes of one object at any layer, at most.
    pub max_decoded_bytes: u64,
    /// Decoded bytes for each byte of the object, at most; looked at from 64 MiB decoded on, because short and very
    /// regular objects compress better than any bomb needs to.
    pub max_decode_ratio: u64,
    /// Bytes of one message or line, at most. CloudWatch Logs takes events up to 1 MiB
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>).
    pub max_record_bytes: usize,
    /// Bytes of an envelope that must be in memory at once, at most: one event, or a whole envelope whose log group
    /// comes after its events.
    pub max_envelope_bytes: usize,
    /// Rejected records of one object, at most. An object that has more is read by the wrong rule, or is no log.
    pub max_rejects: u64,
    /// Rejected records of one object in percent, at most, if it has [`REJECT_PERCENT_MIN_RECORDS`] records or more. 100
    /// disables the limit.
    pub max_reject_percent: u64,
    /// Bytes that its rejects take before they are compressed, at most: messages may be long.
    pub max_reject_bytes: u64,
}

/// Records, without control events, from which on [`Limits::max_reject_percent`] applies: a few bad records in a short
/// object are no proof of a wrong rule.
pub const REJECT_PERCENT_MIN_RECORDS: u64 = 100;
/// Decoded bytes up to which [`Limits::max_decode_ratio`] is not looked at.
pub const RATIO_GRACE_BYTES: u64 = 64 << 20;
/// Bytes of a gzip member's header: an extra field may have 64 KiB (RFC 1952 section 2.3.1.1), name and comment share the
/// other half.
pub const MAX_GZIP_HEADER_BYTES: usize = 128 << 10;
/// Bytes of a zstd window or an xz dictionary: the memory that decoding one layer takes. The `zstd` command decodes this
/// much without further options, and `xz -9` needs half of it.
pub const MAX_WINDOW_BYTES: u64 = 128 << 20;
/// Its logarithm.
pub(crate) const MAX_WINDOW_LOG: u32 = MAX_WINDOW_BYTES.ilog2();
/// Bytes of a block of Hadoop Snappy or snappy-java, decoded. Writers use 256 KiB and 32 KiB.
pub const MAX_SNAPPY_BLOCK_BYTES: u64 = 32 << 20;

/// Bytes of a `flowherd.toml`.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;
/// Its rules.
pub const MAX_RULES: usize = 256;
/// Bytes of a rule's name: each receipt of an object names the rules that took its records.
pub const MAX_RULE_NAME_BYTES: usize = 128;
/// Its tables. Each that an object feeds may hold 9 MiB on its way to S3, and each is looked at for every object.
pub const MAX_TABLES: usize = 64;
/// Columns of a table.
pub const MAX_COLUMNS: usize = 1000;
/// Rules of `kind = "regex"`.
pub const MAX_REGEXES: usize = 32;
/// Bytes of a regular expression as it is written.
pub const MAX_REGEX_BYTES: usize = 16 << 10;
/// Bytes of a regular expression as it is compiled. A search takes at most as many steps for each byte of a message as
/// there are states in them.
pub const MAX_REGEX_COMPILED_BYTES: usize = 1 << 20;
/// Bytes of what is compiled times the groups: what one search may hold.
pub const MAX_REGEX_SEARCH_BYTES: usize = 8 << 20;
/// Bytes of the table that makes the searches of one thread fast.
pub const MAX_REGEX_CACHE_BYTES: usize = 1 << 20;
/// Bytes of a row's values: groups may hold each other, and so may pointers. Athena reads rows of up to 32 MB
/// (<https://docs.aws.amazon.com/athena/latest/ug/other-notable-limitations.html>).
pub const MAX_ROW_BYTES: usize = 24 << 20;
/// Words of a flow log's header line. There are 54 fields: of more words than this, half are no names or stand twice.
pub const MAX_HEADER_WORDS: usize = 128;

/// Bytes of a `lookups.json`.
pub const MAX_LOOKUPS_BYTES: usize = 64 << 20;
/// Its interfaces, its subnets, its VPCs: of each so many.
pub const MAX_LOOKUP_IDS: usize = 250_000;
/// The blocks of its subnets together.
pub const MAX_LOOKUP_BLOCKS: usize = 250_000;
/// Bytes of each id and each name in it.
pub const MAX_LOOKUP_NAME_BYTES: usize = 1024;

/// Bytes of a queue message. A key of 1,024 bytes takes 6 KiB of JSON at most.
pub const MAX_MESSAGE_BYTES: usize = 16 << 10;
/// Bytes of a key, and so of a prefix (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub const MAX_KEY_BYTES: usize = 1024;
/// Bytes of any result or settings file that is read whole: more than either may have, so that it can say itself what is
/// too much.
pub const MAX_RESULT_BYTES: u64 = 80 << 20;
/// Bytes of a ledger file of one object or one run: a receipt of 64 tables with the longest of keys takes half of it.
pub const MAX_LEDGER_BYTES: u64 = 1 << 20;
/// Columns without a value that a receipt names, over all rules: bounds the size of a receipt.
pub const MAX_ABSENT_COLUMNS: usize = 1000;
/// Bytes of a report, which names up to a thousand failures.
pub const MAX_REPORT_BYTES: u64 = 16 << 20;
/// Bytes of a part of the manifest, decoded: 10,000 entries with the longest of keys.
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
    /// Every problem, one line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut within = |name: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                problems.push(format!("limits.{name} = {value}: must be from {least} to {most}"));
            }
        };
        within("max_layers", self.max_layers as u64, 1, 8);
        within("max_decoded_bytes", self.max_decoded_bytes, 1 << 10, 1 << 50);
        within("max_decode_ratio", self.max_decode_ratio, 10, 1 << 20);
        within("max_record_bytes", self.max_record_bytes as u64, 64, 16 << 20);
        within("max_envelope_bytes", self.max_envelope_bytes as u64, 1 << 10, 256 << 20);
        within("max_rejects", self.max_rejects, 0, 1 << 40);
        within("max_reject_percent", self.max_reject_percent, 0, 100);
        within("max_reject_bytes", self.max_reject_bytes, 1 << 10, 1 << 40);
        if self.max_envelope_bytes < self.max_record_bytes {
            problems.push(format!(
                "limits.max_envelope_bytes = {}: must be at least limits.max_record_bytes ({})",
                self.max_envelope_bytes, self.max_record_bytes
            ));
        }
        problems
    }
}
