//! Stage 1: the object's bytes, and whatever gzip layers they are wrapped in, as one stream of decoded text.
//!
//! Every layer is a sequence of gzip members (RFC 1952) read to its very end: CloudWatch Logs writes one member per
//! envelope and Firehose only concatenates, so stopping after the first would lose the rest without an error.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};

use crate::{
    error::ObjectError,
    limits::{Limits, RATIO_GRACE_BYTES},
};

/// Compressed bytes fetched at a time, for each layer.
const INPUT_BYTES: usize = 64 << 10;
/// A member's header may hold text of any length; beyond this it is no log file.
const MAX_HEADER_BYTES: usize = INPUT_BYTES / 2;
const HEADER_TOO_LONG: &str = "a gzip member's header without an end";
const MAGIC: [u8; 2] = [0x1f, 0x8b];
const TRAILER_BYTES: usize = 8;

/// The decoded text of an object: plain bytes under up to `max_layers` gzip layers, told apart by content.
#[derive(Debug)]
pub struct Layers<R> {
    object: Object<R>,
    gunzips: Vec<Gunzip>,
    /// Text that was read to find out that there is no further layer.
    peeked: Vec<u8>,
    limits: Limits,
}

impl<R: Read> Layers<R> {
    /// Reads the first bytes of each layer until one is not gzip.
    pub fn open(object: R, limits: Limits) -> Result<Self, ObjectError> {
        let mut layers = Self {
            object: Object { inner: object, bytes: 0 },
            gunzips: Vec::new(),
            peeked: Vec::new(),
            limits,
        };
        loop {
            let mut head = vec![0; INPUT_BYTES];
            let mut filled = 0;
            // One read may give a single byte; two are needed to know.
            while filled < MAGIC.len() {
                let count = layers.pull(&mut head[filled..])?;
                if count == 0 {
                    break;
                }
                filled += count;
            }
            head.truncate(filled);
            if !head.starts_with(&MAGIC) {
                layers.peeked = head;
                return Ok(layers);
            }
            if layers.gunzips.len() == limits.max_layers {
                return Err(ObjectError::TooDeep { max: limits.max_layers });
            }
            layers.gunzips.push(Gunzip::new(layers.gunzips.len(), head));
        }
    }

    /// Fills some of `out` with decoded text; 0 means the end.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, ObjectError> {
        if self.peeked.is_empty() {
            return self.pull(out);
        }
        let count = out.len().min(self.peeked.len());
        out[..count].copy_from_slice(&self.peeked[..count]);
        self.peeked.drain(..count);
        Ok(count)
    }

    /// Bytes of the object read so far.
    pub fn compressed_bytes(&self) -> u64 {
        self.object.bytes
    }

    /// For each gzip layer from the outside in: how many members have begun.
    pub fn members(&self) -> impl Iterator<Item = u64> {
        self.gunzips.iter().map(|gunzip| gunzip.members)
    }

    fn pull(&mut self, out: &mut [u8]) -> Result<usize, ObjectError> {
        pull(&mut self.object, &mut self.gunzips, &self.limits, out)
    }
}

/// Bytes of the layer that `gunzips` decode, innermost last. Each layer is held to the limits each time it gives bytes,
/// so that one which expands endlessly into nothing for the next is noticed.
fn pull<R: Read>(
    object: &mut Object<R>,
    gunzips: &mut [Gunzip],
    limits: &Limits,
    out: &mut [u8],
) -> Result<usize, ObjectError> {
    let Some((innermost, outer)) = gunzips.split_last_mut() else { return object.read(out) };
    let count = innermost.read(out, &mut |input| pull(object, outer, limits, input))?;
    let (decoded, compressed) = (innermost.decoded, object.bytes);
    if decoded > limits.max_decoded_bytes {
        return Err(ObjectError::TooLarge { max: limits.max_decoded_bytes });
    }
    if decoded > compressed.saturating_mul(limits.max_decode_ratio).max(RATIO_GRACE_BYTES) {
        return Err(ObjectError::Bomb { decoded, compressed, max: limits.max_decode_ratio });
    }
    Ok(count)
}

/// The object as stored.
#[derive(Debug)]
struct Object<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Object<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ObjectError> {
        loop {
            match self.inner.read(out) {
                Ok(count) => {
                    self.bytes += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ObjectError::Read { at: self.bytes, source }),
            }
        }
    }
}

#[derive(Debug)]
enum State {
    Header,
    Body,
    Trailer,
}

/// One gzip layer: members one after another until its input ends.
struct Gunzip {
    layer: usize,
    state: State,
    inflate: Decompress,
    crc: crc32fast::Hasher,
    /// Fetched compressed bytes not yet used: `input[at..end]`.
    input: Vec<u8>,
    at: usize,
    end: usize,
    /// Position of `input[0]` in the layer.
    base: u64,
    /// Decoded bytes of the member in hand, modulo 2^32 as in its trailer.
    member_size: u32,
    decoded: u64,
    members: u64,
}

impl std::fmt::Debug for Gunzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gunzip")
            .field("layer", &self.layer)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

type Refill<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, ObjectError>;

impl Gunzip {
    fn new(layer: usize, input: Vec<u8>) -> Self {
        Self {
            layer,
            state: State::Header,
            inflate: Decompress::new(false),
            crc: crc32fast::Hasher::new(),
            at: 0,
            end: input.len(),
            input,
            base: 0,
            member_size: 0,
            decoded: 0,
            members: 0,
        }
    }

    fn read(&mut self, out: &mut [u8], refill: Refill<'_>) -> Result<usize, ObjectError> {
        loop {
            match self.state {
                State::Header => {
                    if !self.open_member(refill)? {
                        return Ok(0);
                    }
                }
                State::Body => {
                    let count = self.inflate(out, refill)?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
                State::Trailer => self.check_trailer(refill)?,
            }
        }
    }

    /// Reads the next member's header; false when the layer ends here instead.
    fn open_member(&mut self, refill: Refill<'_>) -> Result<bool, ObjectError> {
        loop {
            match header_length(self.unused()) {
                Header::Complete(length) if length <= MAX_HEADER_BYTES => {
                    self.at += length;
                    self.members += 1;
                    self.member_size = 0;
                    self.crc.reset();
                    self.inflate.reset(false);
                    self.state = State::Body;
                    return Ok(true);
                }
                Header::Wrong(what) => return Err(self.corrupt(what)),
                // Too long is too long also where all of it has been fetched.
                Header::Complete(_) => return Err(self.corrupt(HEADER_TOO_LONG)),
                Header::Incomplete if self.unused().len() > MAX_HEADER_BYTES => {
                    return Err(self.corrupt(HEADER_TOO_LONG));
                }
                Header::Incomplete => {
                    if !self.fetch(refill)? {
                        let ended = self.at == self.end;
                        return if ended { Ok(false) } else { Err(self.truncated("a gzip member's header")) };
                    }
                }
            }
        }
    }

    fn inflate(&mut self, out: &mut [u8], refill: Refill<'_>) -> Result<usize, ObjectError> {
        if self.at == self.end && !self.fetch(refill)? {
            return Err(self.truncated("a gzip member"));
        }
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let input = &self.input[self.at..self.end];
        let status = self.inflate.decompress(input, out, FlushDecompress::None);
        self.at += (self.inflate.total_in() - before_in) as usize;
        let count = (self.inflate.total_out() - before_out) as usize;
        match status {
            Ok(Status::StreamEnd) => self.state = State::Trailer,
            // No progress with input at hand and room to write cannot be: deflate always moves or fails.
            Ok(Status::BufError) if count == 0 && self.at < self.end => {
                return Err(self.corrupt("a deflate stream that makes no progress"));
            }
            Ok(Status::Ok | Status::BufError) => {}
            Err(_) => return Err(self.corrupt("an invalid deflate stream")),
        }
        self.crc.update(&out[..count]);
        self.member_size = self.member_size.wrapping_add(count as u32);
        self.decoded += count as u64;
        Ok(count)
    }

    fn check_trailer(&mut self, refill: Refill<'_>) -> Result<(), ObjectError> {
        while self.unused().len() < TRAILER_BYTES {
            if !self.fetch(refill)? {
                return Err(self.truncated("a gzip member's checksum"));
            }
        }
        let word = |at: usize| {
            let bytes = &self.input[self.at + at..];
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        if word(0) != self.crc.clone().finalize() {
            return Err(self.corrupt("a gzip member whose checksum does not match"));
        }
        if word(4) != self.member_size {
            return Err(self.corrupt("a gzip member whose length does not match"));
        }
        self.at += TRAILER_BYTES;
        self.state = State::Header;
        Ok(())
    }

    /// Fetches more input behind what is not yet used; false at the end of the layer. The buffer is not cleared each
    /// time: the layer above may give a byte a call.
    fn fetch(&mut self, refill: Refill<'_>) -> Result<bool, ObjectError> {
        self.base += self.at as u64;
        self.input.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        if self.input.len() < INPUT_BYTES.max(self.end + 1) {
            self.input.resize(INPUT_BYTES.max(self.end + 1), 0);
        }
        let count = refill(&mut self.input[self.end..])?;
        self.end += count;
        Ok(count > 0)
    }

    fn unused(&self) -> &[u8] {
        &self.input[self.at..self.end]
    }

    fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    fn corrupt(&self, what: &str) -> ObjectError {
        ObjectError::Corrupt { what: what.to_owned(), layer: self.layer, at: self.position() }
    }

    fn truncated(&self, what: &'static str) -> ObjectError {
        ObjectError::Truncated { what, layer: self.layer, at: self.base + self.end as u64 }
    }
}

enum Header {
    Complete(usize),
    Incomplete,
    Wrong(&'static str),
}

/// Where the member's header ends, by RFC 1952 section 2.3.
fn header_length(bytes: &[u8]) -> Header {
    const FIXED: usize = 10;
    const FHCRC: u8 = 2;
    const FEXTRA: u8 = 4;
    const FNAME: u8 = 8;
    const FCOMMENT: u8 = 16;
    const RESERVED: u8 = 0xe0;
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Header::Wrong("bytes after a gzip member that are no gzip member");
    }
    if bytes.len() < FIXED {
        return Header::Incomplete;
    }
    let flags = bytes[3];
    if bytes[2] != 8 {
        return Header::Wrong("a gzip member with a compression method other than deflate");
    }
    if flags & RESERVED != 0 {
        return Header::Wrong("a gzip member with reserved flags");
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
        at += 2;
    }
    if bytes.len() < at { Header::Incomplete } else { Header::Complete(at) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Gives one byte a call: the worst chunking there is.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            out[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn decode(object: impl Read, limits: Limits) -> Result<Vec<u8>, ObjectError> {
        let mut layers = Layers::open(object, limits)?;
        let (mut text, mut chunk) = (Vec::new(), [0; 7]);
        loop {
            match layers.read(&mut chunk)? {
                0 => return Ok(text),
                count => text.extend_from_slice(&chunk[..count]),
            }
        }
    }

    fn error(object: &[u8]) -> String {
        let whole = decode(object, Limits::default()).unwrap_err().to_string();
        assert_eq!(decode(Drip(object), Limits::default()).unwrap_err().to_string(), whole);
        whole
    }

    #[test]
    fn every_member_of_every_layer_is_read() {
        let members = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        for object in [members.clone(), gzip(&members), [gzip(&members[..9]), gzip(&members[9..])].concat()] {
            assert_eq!(decode(&object[..], Limits::default()).unwrap(), b"one two");
            assert_eq!(decode(Drip(&object), Limits::default()).unwrap(), b"one two");
        }
        assert_eq!(decode(&b"plain"[..], Limits::default()).unwrap(), b"plain");
        assert_eq!(decode(&b""[..], Limits::default()).unwrap(), b"");
    }

    #[test]
    fn a_header_with_every_optional_part_is_skipped() {
        let plain = gzip(b"text");
        let mut member = plain[..10].to_vec();
        member[3] = 2 | 4 | 8 | 16;
        member.extend_from_slice(b"\x03\x00abcname\0comment\0hc");
        member.extend_from_slice(&plain[10..]);
        assert_eq!(decode(Drip(&member), Limits::default()).unwrap(), b"text");
    }

    #[test]
    fn a_header_that_is_too_long_is_refused_however_its_bytes_arrive() {
        let plain = gzip(b"text");
        for (name, fits) in [(MAX_HEADER_BYTES - 11, true), (MAX_HEADER_BYTES - 10, false), (60_000, false)] {
            let member = [&plain[..3], &[8], &plain[4..10], &vec![b'n'; name], &[0], &plain[10..]].concat();
            for object in [member.clone(), [gzip(b"first"), member].concat()] {
                let whole = decode(&object[..], Limits::default());
                let dripped = decode(Drip(&object), Limits::default());
                assert_eq!((whole.is_ok(), dripped.is_ok()), (fits, fits), "a name of {name} bytes");
            }
        }
        let endless = [&plain[..3], &[8], &plain[4..10], &vec![b'n'; 200_000]].concat();
        assert!(error(&endless).contains("header without an end"));
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let good = gzip(b"some text that is long enough to compress, to compress, to compress");
        let cut_trailer = &good[..good.len() - 3];
        assert!(
            error(cut_trailer).starts_with("truncated: a gzip member's checksum ends too soon"),
            "{}",
            error(cut_trailer)
        );
        assert!(
            error(&good[..30]).starts_with("truncated: a gzip member ends too soon at byte 30 of layer 0")
        );
        assert!(error(&good[..4]).starts_with("truncated: a gzip member's header"));
        let garbage = [&good[..], b"garbage"].concat();
        let place = format!(
            "corrupt: bytes after a gzip member that are no gzip member at byte {} of layer 0",
            good.len()
        );
        assert_eq!(error(&garbage), place);
        let mut flipped = good.clone();
        let checksum = flipped.len() - 6;
        flipped[checksum] ^= 1;
        assert!(error(&flipped).contains("checksum does not match"));
        let mut length = good.clone();
        *length.last_mut().unwrap() ^= 1;
        assert!(error(&length).contains("length does not match"));
        let mut method = good;
        method[2] = 7;
        assert!(error(&method).contains("compression method"));
    }

    #[test]
    fn a_fourth_layer_is_refused() {
        let three = gzip(&gzip(&gzip(b"text")));
        assert_eq!(decode(&three[..], Limits::default()).unwrap(), b"text");
        assert!(matches!(decode(&gzip(&three)[..], Limits::default()), Err(ObjectError::TooDeep { max: 3 })));
    }

    #[test]
    fn a_bomb_is_refused_in_whichever_layer_it_explodes() {
        let bomb = gzip(&vec![0; 100 << 20]);
        assert!(matches!(decode(&bomb[..], Limits::default()), Err(ObjectError::Bomb { .. })));
        assert!(matches!(decode(&gzip(&bomb)[..], Limits::default()), Err(ObjectError::Bomb { .. })));
        // A hundred megabytes of members that decode to nothing at all.
        let strict = Limits { max_decode_ratio: 100, ..Limits::default() };
        let nothing = gzip(b"").repeat(5_000_000);
        assert!(matches!(decode(&gzip(&nothing)[..], strict), Err(ObjectError::Bomb { .. })));
        let small = Limits { max_decoded_bytes: 1 << 20, ..Limits::default() };
        assert!(matches!(decode(&gzip(&vec![b'x'; 2 << 20])[..], small), Err(ObjectError::TooLarge { .. })));
    }
}
