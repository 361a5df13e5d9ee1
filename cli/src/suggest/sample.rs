//! Reads the beginning of each file of the sample, decoded and cut after a whole record.

use std::{fs::File, io::Read};

use flowherd_shared::{
    error::{ObjectError, error_chain},
    limits::Limits,
    pipeline::layers::Layers,
};

use super::{
    files::{Files, SampleFile},
    trim::trim_to_records,
};

/// Maximum decoded bytes read of one file for its first record.
const MAX_FILE_BYTES: usize = 8 << 20;
/// Maximum decoded bytes read of one file whose first record is shorter.
const MAX_SHARE: usize = 2 << 20;
/// Maximum decoded bytes of all files together.
const MAX_SAMPLE_BYTES: usize = 32 << 20;

/// Decoded text of one file.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) key: String,
    pub(super) text: Vec<u8>,
    /// Whether the file has more text.
    pub(super) is_cut: bool,
}

/// The readable files, and one line for each unreadable file.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) samples: Vec<Sample>,
    pub(super) problems: Vec<String>,
}

/// Reads the chosen files. Their text takes at most [`MAX_SAMPLE_BYTES`].
pub(super) fn read(files: &Files) -> Samples {
    let share = (MAX_SAMPLE_BYTES / files.chosen.len().max(1)).min(MAX_SHARE);
    let mut samples = Samples::default();
    let mut bytes = 0;
    for file in &files.chosen {
        // A first record that exceeds the share may use the bytes that other files did not need.
        let max = MAX_FILE_BYTES.min(MAX_SAMPLE_BYTES.saturating_sub(bytes)).max(share);
        match read_file(file, share, max) {
            Ok(sample) => {
                bytes += sample.text.len();
                samples.samples.push(sample);
            }
            Err(problem) => samples.problems.push(format!("{}: {problem}", file.path.display())),
        }
    }
    samples
}

/// Reads at least `share` bytes of decoded text, and up to `max` until it has a whole record.
fn read_file(file: &SampleFile, share: usize, max: usize) -> Result<Sample, String> {
    let open = File::open(&file.path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut text = Vec::new();
    let is_cut = decode(open, &mut text, share, max).map_err(|error| error_chain(&error))?;
    if is_cut && !trim_to_records(&mut text) {
        return Err(format!("its first record has more than {max} bytes, so it is not in the sample"));
    }
    Ok(Sample { key: file.key.clone(), text, is_cut })
}

/// Appends decoded text, also of all entries of a zip archive. Returns whether there is more.
fn decode(object: impl Read, text: &mut Vec<u8>, share: usize, max: usize) -> Result<bool, ObjectError> {
    let mut layers = Layers::open(object, Limits::default())?;
    let mut portion = vec![0; 64 << 10];
    let mut limit = share;
    loop {
        let count = layers.read(&mut portion)?;
        if count == 0 {
            if !layers.next_file()? {
                return Ok(false);
            }
            // An entry may end without a line feed.
            if text.last().is_some_and(|last| *last != b'\n') {
                text.push(b'\n');
            }
            continue;
        }
        text.extend_from_slice(&portion[..count]);
        if text.len() < limit {
            continue;
        }
        if limit >= max || trim_to_records(&mut text.clone()) {
            return Ok(true);
        }
        limit = (limit * 2).min(max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], share: usize, max: usize) -> (bool, usize) {
        let mut decoded = Vec::new();
        let is_cut = decode(text, &mut decoded, share, max).unwrap();
        (is_cut, decoded.len())
    }

    #[test]
    fn reading_ends_at_the_share_or_when_a_record_is_whole_or_at_the_limit() {
        let lines = b"0123456789012345678901234567890123456789\n".repeat(10_000);
        let (is_cut, bytes) = read(&lines, 100_000, 1_000_000);
        assert!(is_cut && (100_000..200_000).contains(&bytes), "{bytes}");
        let one_line = [&b"x".repeat(300_000)[..], b"\n", &b"y".repeat(1_000_000)].concat();
        let (is_cut, bytes) = read(&one_line, 100_000, 1_000_000);
        assert!(is_cut && (300_000..600_000).contains(&bytes), "{bytes}");
        let (is_cut, bytes) = read(&b"x".repeat(1_000_000), 100_000, 200_000);
        assert!(is_cut && bytes < 300_000, "{bytes}");
        assert_eq!(read(b"short", 100, 200), (false, 5));
    }
}
