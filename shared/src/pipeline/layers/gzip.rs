//! Gzip (RFC 1952): all members until the layer ends. CloudWatch Logs writes one member per envelope and
//! Firehose concatenates them, so a decoder that stops after the first member would lose the others without an error.

use flate2::{Decompress, FlushDecompress, Status};

use super::input::{Input, Refill, le};
use crate::{error::ObjectError, limits::MAX_GZIP_HEADER_BYTES};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const TRAILER_BYTES: usize = 8;
const NO_MEMBER: &str = "bytes after a gzip member are not a gzip member";

enum State {
    Header,
    Body,
    Trailer,
}

pub(super) struct Gzip {
    state: State,
    inflate: Decompress,
    crc: crc32fast::Hasher,
    /// Decoded bytes of the current member, modulo 2^32 as in its trailer.
    member_size: u32,
    members: u64,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            inflate: Decompress::new(false),
            crc: crc32fast::Hasher::new(),
            member_size: 0,
            members: 0,
        }
    }

    /// Returns the number of members begun.
    pub(super) fn members(&self) -> u64 {
        self.members
    }

    pub(super) fn read(
        &mut self,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<usize, ObjectError> {
        loop {
            match self.state {
                State::Header => {
                    if self.members > 0 {
                        skip_separators(input, refill)?;
                    }
                    if !self.open_member(input, refill)? {
                        return Ok(0);
                    }
                }
                State::Body => {
                    let count = self.inflate(input, out, refill)?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
                State::Trailer => self.check_trailer(input, refill)?,
            }
        }
    }

    /// Reads the next member's header. Returns false if the layer ends here.
    fn open_member(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<bool, ObjectError> {
        loop {
            match header_length(input.unused()) {
                Header::Complete(length) if length <= MAX_GZIP_HEADER_BYTES => {
                    input.consume(length);
                    self.members += 1;
                    self.member_size = 0;
                    self.crc.reset();
                    self.inflate.reset(false);
                    self.state = State::Body;
                    return Ok(true);
                }
                Header::Invalid(problem) => return Err(input.corrupt(problem)),
                // Without this arm, the limit would depend on the size of the reads.
                Header::Complete(_) => return Err(header_too_long(input)),
                Header::Incomplete if input.unused().len() > MAX_GZIP_HEADER_BYTES => {
                    return Err(header_too_long(input));
                }
                Header::Incomplete => {
                    if !input.fetch(refill)? {
                        let ended = input.unused().is_empty();
                        return if ended {
                            Ok(false)
                        } else {
                            Err(input.truncated("a gzip member's header"))
                        };
                    }
                }
            }
        }
    }

    fn inflate(
        &mut self,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<usize, ObjectError> {
        input.need(1, "a gzip member", refill)?;
        let (count, ended) = inflate(&mut self.inflate, input, usize::MAX, out, "a gzip member")?;
        if ended {
            self.state = State::Trailer;
        }
        self.crc.update(&out[..count]);
        self.member_size = self.member_size.wrapping_add(count as u32);
        Ok(count)
    }

    fn check_trailer(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<(), ObjectError> {
        let trailer = input.need(TRAILER_BYTES, "a gzip member's checksum", refill)?;
        let (crc, size) = (le(&trailer[..4]), le(&trailer[4..]));
        if crc != u64::from(self.crc.clone().finalize()) {
            return Err(input.corrupt("the CRC-32 of a gzip member does not match"));
        }
        if size != u64::from(self.member_size) {
            return Err(input.corrupt("the length (ISIZE) of a gzip member does not match"));
        }
        input.consume(TRAILER_BYTES);
        self.state = State::Header;
        Ok(())
    }
}

/// Inflates some of the next `limit` bytes of `input`. Returns the number of bytes written and whether the stream has ended.
pub(super) fn inflate(
    inflate: &mut Decompress,
    input: &mut Input,
    limit: usize,
    out: &mut [u8],
    what: &str,
) -> Result<(usize, bool), ObjectError> {
    let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
    let available = &input.unused()[..input.unused().len().min(limit)];
    let has_input = !available.is_empty();
    let status = inflate.decompress(available, out, FlushDecompress::None);
    let used = (inflate.total_in() - before_in) as usize;
    let count = (inflate.total_out() - before_out) as usize;
    input.consume(used);
    match status {
        Ok(Status::StreamEnd) => Ok((count, true)),
        // With input and output space, a valid stream always makes progress.
        Ok(Status::BufError) if count == 0 && used == 0 && has_input => {
            Err(input.corrupt(format!("the deflate stream of {what} makes no progress")))
        }
        Ok(Status::Ok | Status::BufError) => Ok((count, false)),
        Err(_) => Err(input.corrupt(format!("the deflate stream of {what} is invalid"))),
    }
}

/// Skips the bytes that some writers append to a member: one line feed, or zero bytes up to the end of the layer.
///
/// fluent-plugin-kinesis appends the line feed if `append_new_line` is set
/// (<https://github.com/awslabs/aws-fluent-plugin-kinesis/issues/196>). Zero bytes pad tape and disk blocks, and gzip itself
/// accepts them (<https://www.gnu.org/software/gzip/manual/gzip.html>, Tapes).
fn skip_separators(input: &mut Input, refill: Refill<'_>) -> Result<(), ObjectError> {
    if input.next_is(b"\n", refill)? {
        input.consume(1);
    }
    let padded = input.next_is(&[0], refill)?;
    while padded && input.want(1, refill)? {
        let zeros = input.unused().iter().take_while(|byte| **byte == 0).count();
        input.consume(zeros);
        if !input.unused().is_empty() {
            return Err(input.corrupt(NO_MEMBER));
        }
    }
    Ok(())
}

fn header_too_long(input: &Input) -> ObjectError {
    input.corrupt(format!("the header of a gzip member is longer than {MAX_GZIP_HEADER_BYTES} bytes"))
}

enum Header {
    Complete(usize),
    Incomplete,
    Invalid(&'static str),
}

/// Finds the end of the member's header (RFC 1952 section 2.3).
fn header_length(bytes: &[u8]) -> Header {
    const FIXED: usize = 10;
    const FHCRC: u8 = 2;
    const FEXTRA: u8 = 4;
    const FNAME: u8 = 8;
    const FCOMMENT: u8 = 16;
    const RESERVED: u8 = 0xe0;
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Header::Invalid(NO_MEMBER);
    }
    if bytes.len() < FIXED {
        return Header::Incomplete;
    }
    let flags = bytes[3];
    if bytes[2] != 8 {
        return Header::Invalid("the compression method of a gzip member is not deflate");
    }
    if flags & RESERVED != 0 {
        return Header::Invalid("the header of a gzip member has reserved flags");
    }
    let mut at = FIXED;
    if flags & FEXTRA != 0 {
        let Some(&[low, high]) = bytes.get(at..at + 2) else { return Header::Incomplete };
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let Some(length) = bytes.get(at..).and_then(|rest| memchr::memchr(0, rest)) else {
                return Header::Incomplete;
            };
            at += length + 1;
        }
    }
    if flags & FHCRC != 0 {
        let (Some(header), Some(stated)) = (bytes.get(..at), bytes.get(at..at + 2)) else {
            return Header::Incomplete;
        };
        if le(stated) != u64::from(crc32fast::hash(header) & 0xffff) {
            return Header::Invalid("the header checksum of a gzip member does not match");
        }
        at += 2;
    }
    if bytes.len() < at { Header::Incomplete } else { Header::Complete(at) }
}
