//! Zip (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>), read from front to back, because an object is read
//! once and the archive's directory is at its end. Each entry is an input of its own for the layers above.

use std::{fmt, hash::BuildHasher};

use flate2::Decompress;
use foldhash::quality::FixedState;

use super::{
    gzip::inflate,
    input::{Input, Refill, le},
};
use crate::error::ObjectError;

pub(super) const LOCAL: &[u8] = b"PK\x03\x04";
pub(super) const END: &[u8] = b"PK\x05\x06";
const CENTRAL: &[u8] = b"PK\x01\x02";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
const SIGNATURE: &[u8] = b"PK\x05\x05";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

const ENTRY: &str = "a zip entry";
const DIRECTORY: &str = "a zip archive's directory";
/// The value of a length that is in the zip64 extra field instead.
const IN_EXTRA: u64 = 0xffff_ffff;

pub(super) struct Zip {
    state: State,
    inflate: Decompress,
    crc: crc32fast::Hasher,
    entry: Entry,
    /// Position at which the current archive begins; its directory counts from there.
    archive: u64,
    /// Number and checksum of the entries of the current archive. Its directory must list the same entries. Otherwise, tools
    /// that read the directory would extract other files.
    found: Tally,
    entries: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before an entry or the directory of an archive.
    Between,
    Stored {
        remaining: u64,
    },
    Deflated,
    /// The current entry was read to its end and checked.
    Ended,
    /// After an archive.
    After,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    begun: u64,
    /// Checksum and lengths, unless they follow the data.
    known: Option<Lengths>,
    zip64: bool,
    compressed: u64,
    decoded: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Lengths {
    crc: u64,
    compressed: u64,
    decoded: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u64,
}

impl Tally {
    fn add(&mut self, offset: u64, lengths: Lengths) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(FixedState::with_seed(0).hash_one((offset, lengths)));
    }
}

impl fmt::Debug for Zip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zip").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Zip {
    pub(super) fn new(archive: u64) -> Self {
        Self {
            state: State::Between,
            inflate: Decompress::new(false),
            crc: crc32fast::Hasher::new(),
            entry: Entry::default(),
            archive,
            found: Tally::default(),
            entries: 0,
        }
    }

    /// Returns the number of entries begun, without directories.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Fills some of `out` with the current entry. Returns 0 at its end, after its checksum was verified.
    pub(super) fn read(
        &mut self,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<usize, ObjectError> {
        loop {
            let count = match self.state {
                State::Between | State::Ended | State::After => return Ok(0),
                State::Stored { remaining: 0 } => {
                    self.check_entry(input, refill)?;
                    continue;
                }
                State::Stored { remaining } => {
                    input.need(1, ENTRY, refill)?;
                    let count = input.unused().len().min(out.len()).min(remaining as usize);
                    out[..count].copy_from_slice(&input.unused()[..count]);
                    input.consume(count);
                    self.entry.compressed += count as u64;
                    self.state = State::Stored { remaining: remaining - count as u64 };
                    count
                }
                State::Deflated => {
                    let limit = self
                        .entry
                        .known
                        .map_or(u64::MAX, |known| known.compressed.saturating_sub(self.entry.compressed));
                    if limit > 0 {
                        input.need(1, ENTRY, refill)?;
                    }
                    let before = input.position();
                    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                    let (count, ended) = inflate(&mut self.inflate, input, limit, out, ENTRY)?;
                    self.entry.compressed += input.position() - before;
                    if !ended && count == 0 && limit == 0 {
                        return Err(
                            input.corrupt("a zip entry whose deflate stream is longer than its length")
                        );
                    }
                    self.crc.update(&out[..count]);
                    self.entry.decoded += count as u64;
                    if ended {
                        self.check_entry(input, refill)?;
                    }
                    if count > 0 {
                        return Ok(count);
                    }
                    continue;
                }
            };
            self.crc.update(&out[..count]);
            self.entry.decoded += count as u64;
            return Ok(count);
        }
    }

    /// Opens the next entry. Returns false if the layer ends here. The current entry must have been read to its end.
    pub(super) fn next_entry(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<bool, ObjectError> {
        loop {
            if !input.want(4, refill)? {
                if self.state == State::After && input.unused().is_empty() {
                    return Ok(false);
                }
                return Err(input.truncated(DIRECTORY));
            }
            let signature = &input.unused()[..4];
            if self.state == State::After {
                if signature != LOCAL && signature != END {
                    return Err(input.corrupt("bytes after a zip archive that are not a zip archive"));
                }
                self.archive = input.position();
                self.found = Tally::default();
                self.state = State::Between;
            }
            if signature == LOCAL {
                if self.open_entry(input, refill)? {
                    self.entries += 1;
                    return Ok(true);
                }
            } else if signature == CENTRAL || signature == END {
                self.read_directory(input, refill)?;
                self.state = State::After;
            } else {
                return Err(
                    input.corrupt("a zip archive with something other than entries and their directory")
                );
            }
        }
    }

    /// Reads a local file header (section 4.3.7). Returns false if the entry is a directory.
    fn open_entry(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<bool, ObjectError> {
        let head = input.need(30, ENTRY, refill)?;
        let (flags, method) = (le(&head[6..8]), le(&head[8..10]));
        let crc = le(&head[14..18]);
        let lengths = [le(&head[22..26]), le(&head[18..22])];
        let (name_bytes, extra_bytes) = (le(&head[26..28]) as usize, le(&head[28..30]) as usize);
        if flags & 0x2041 != 0 {
            return Err(input.unsupported("an encrypted zip entry", "decrypt the archive first"));
        }
        if method != 0 && method != 8 {
            return Err(input.unsupported(
                format!("a zip entry of compression method {method}"),
                "use deflate (method 8), or compress the logs without an archive",
            ));
        }
        let length = 30 + name_bytes + extra_bytes;
        input.need(length, ENTRY, refill)?;
        let is_directory = input.unused()[30..30 + name_bytes].ends_with(b"/");
        let extra = &input.unused()[30 + name_bytes..length];
        let zip64 = zip64(extra);
        let [decoded, compressed] = in_extra(lengths, zip64)
            .ok_or_else(|| input.corrupt("a zip entry without the lengths that it announces"))?;
        let lengths = Lengths { crc, compressed, decoded };
        let described = flags & 8 != 0;
        self.entry = Entry {
            begun: input.position(),
            known: (!described).then_some(lengths),
            zip64: zip64.is_some(),
            ..Entry::default()
        };
        self.crc.reset();
        self.inflate.reset(false);
        // A stored entry does not show where it ends.
        if described && method == 0 && compressed == 0 {
            let after = &input.need(length + 8, ENTRY, refill)?[length..];
            if after[..4] != *DESCRIPTOR || after[4..] != [0; 4] {
                return Err(input.unsupported(
                    "a stored zip entry whose length follows it",
                    "write the archive to a file, or use deflate",
                ));
            }
        }
        input.consume(length);
        self.state = if method == 0 { State::Stored { remaining: compressed } } else { State::Deflated };
        if is_directory && !described && decoded == 0 && compressed == 0 {
            self.check_entry(input, refill)?;
            self.state = State::Between;
            return Ok(false);
        }
        Ok(true)
    }

    /// Compares checksum and lengths with those of the header, or of the descriptor after the data (section 4.3.9).
    fn check_entry(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<(), ObjectError> {
        let actual = Lengths {
            crc: u64::from(self.crc.clone().finalize()),
            compressed: self.entry.compressed,
            decoded: self.entry.decoded,
        };
        let matches = match self.entry.known {
            Some(known) => known == actual,
            None => skip_descriptor(actual, self.entry.zip64, input, refill)?,
        };
        if !matches {
            return Err(input.corrupt("a zip entry whose checksum or length does not match"));
        }
        self.found.add(self.entry.begun - self.archive, actual);
        self.state = State::Ended;
        Ok(())
    }

    /// Reads the directory to the archive's end, sections 4.3.12 to 4.3.16.
    fn read_directory(&self, input: &mut Input, refill: Refill<'_>) -> Result<(), ObjectError> {
        let mut listed = Tally::default();
        loop {
            input.need(4, DIRECTORY, refill)?;
            let signature = &input.unused()[..4];
            if signature == CENTRAL {
                let head = input.need(46, DIRECTORY, refill)?;
                let [name_bytes, extra_bytes, comment_bytes] =
                    [28, 30, 32].map(|at| le(&head[at..at + 2]) as usize);
                let length = 46 + name_bytes + extra_bytes + comment_bytes;
                let head = input.need(length, DIRECTORY, refill)?;
                let fields = [24, 20, 42].map(|at| le(&head[at..at + 4]));
                let crc = le(&head[16..20]);
                let extra = &head[46 + name_bytes..46 + name_bytes + extra_bytes];
                let [decoded, compressed, offset] = in_extra(fields, zip64(extra)).ok_or_else(|| {
                    input.corrupt("a zip archive's directory without the lengths it announces")
                })?;
                listed.add(offset, Lengths { crc, compressed, decoded });
                input.consume(length);
            } else if signature == END {
                input.need(22, DIRECTORY, refill)?;
                if listed != self.found {
                    return Err(input.corrupt(format!(
                        "a zip archive of {} entries whose directory lists {} or other ones",
                        self.found.count, listed.count
                    )));
                }
                let comment = le(&input.unused()[20..22]);
                return input.skip(22 + comment, DIRECTORY, refill);
            } else if signature == END_64 {
                let length = le(&input.need(12, DIRECTORY, refill)?[4..]);
                input.skip(length.saturating_add(12), DIRECTORY, refill)?;
            } else if signature == LOCATOR_64 {
                input.skip(20, DIRECTORY, refill)?;
            } else if signature == SIGNATURE {
                let length = le(&input.need(6, DIRECTORY, refill)?[4..]);
                input.skip(6 + length, DIRECTORY, refill)?;
            } else {
                return Err(input.corrupt("a zip archive's directory with something other than entries"));
            }
        }
    }
}

/// Skips the descriptor after an entry if it matches `actual`. The signature is optional and lengths have 4 or 8 bytes, so
/// the bytes after it must be a header.
fn skip_descriptor(
    actual: Lengths,
    zip64: bool,
    input: &mut Input,
    refill: Refill<'_>,
) -> Result<bool, ObjectError> {
    // The directory of one entry is the shortest continuation, so every complete archive has these bytes.
    input.need(4 + 20 + 4, ENTRY, refill)?;
    let widths = if zip64 { [8, 4] } else { [4, 8] };
    for width in widths {
        for signature in [4, 0] {
            let bytes = input.unused();
            if signature > 0 && !bytes.starts_with(DESCRIPTOR) {
                continue;
            }
            let (crc, lengths) = bytes[signature..].split_at(4);
            let (compressed, lengths) = lengths.split_at(width);
            let (decoded, after) = lengths.split_at(width);
            let mask = if width == 8 { u64::MAX } else { 0xffff_ffff };
            let fits = le(crc) == actual.crc
                && le(compressed) == actual.compressed & mask
                && le(decoded) == actual.decoded & mask;
            if fits && (after.starts_with(LOCAL) || after.starts_with(CENTRAL)) {
                input.consume(signature + 4 + 2 * width);
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Returns the data of the zip64 extra field (section 4.5.3).
fn zip64(mut extra: &[u8]) -> Option<&[u8]> {
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let length = le(&head[2..]) as usize;
        let data = rest.get(..length)?;
        if le(&head[..2]) == 1 {
            return Some(data);
        }
        extra = &rest[length..];
    }
    None
}

/// Replaces fields that are all ones with those of the zip64 extra field, in the same order. Returns `None` if it lacks one.
fn in_extra<const N: usize>(fields: [u64; N], zip64: Option<&[u8]>) -> Option<[u64; N]> {
    let mut rest = zip64.unwrap_or_default();
    let mut whole = fields;
    for field in &mut whole {
        if *field == IN_EXTRA && zip64.is_some() {
            let (number, after) = rest.split_first_chunk::<8>()?;
            *field = le(number);
            rest = after;
        }
    }
    Some(whole)
}
