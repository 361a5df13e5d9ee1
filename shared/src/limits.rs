//! How much of anything one object may make us hold or do.

use serde::{Deserialize, Serialize};

/// The `[limits]` table of `flowherd.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Gzip layers around the text, at most.
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
}

/// Decoded bytes up to which [`Limits::max_decode_ratio`] is not looked at.
pub const RATIO_GRACE_BYTES: u64 = 64 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_layers: 3,
            max_decoded_bytes: 32 << 30,
            max_decode_ratio: 200,
            max_record_bytes: 1 << 20,
            max_envelope_bytes: 16 << 20,
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
        if self.max_envelope_bytes < self.max_record_bytes {
            problems.push(format!(
                "limits.max_envelope_bytes = {}: must be at least limits.max_record_bytes ({})",
                self.max_envelope_bytes, self.max_record_bytes
            ));
        }
        problems
    }
}
