//! Stage 1: removes all layers of compression from an object and returns one stream of decoded text.
//!
//! Each layer is recognised by its first bytes and read to its end: all members, frames, streams, blocks or entries, with
//! their checksums. Layers may be nested in any order, under the same limits.

mod binary;
mod codec;
mod decoder;
pub(super) mod embedded;
mod gzip;
mod input;
mod magic;
mod signatures;
mod snappy;
mod streams;
mod zip;

use std::io::{self, Read};

pub use self::codec::{Codec, LayerCount};
use self::{
    decoder::{Decoder, Layer},
    input::Input,
    magic::{HEAD_BYTES, Kind, NotText, recognise},
};
use crate::{
    error::ObjectError,
    limits::{Limits, RATIO_GRACE_BYTES},
};

/// The decoded text of an object: plain bytes under up to `max_layers` layers of compression.
#[derive(Debug)]
pub struct Layers<R> {
    object: Object<R>,
    /// The layers of the current entry, from the outside in.
    stack: Vec<Layer>,
    /// Decoded bytes of each depth, also of earlier entries of a zip archive.
    decoded: Vec<u64>,
    /// Units read of each depth in earlier entries.
    earlier: Vec<Vec<LayerCount>>,
    /// Text that was read to recognise the layer, and the position of its next byte.
    head: Vec<u8>,
    head_at: usize,
    limits: Limits,
}

impl<R: Read> Layers<R> {
    /// Reads the first bytes of each layer until one is text.
    pub fn open(object: R, limits: Limits) -> Result<Self, ObjectError> {
        let mut layers = Self {
            object: Object { inner: object, bytes: 0 },
            stack: Vec::new(),
            decoded: Vec::new(),
            earlier: Vec::new(),
            head: Vec::new(),
            head_at: 0,
            limits,
        };
        layers.descend()?;
        Ok(layers)
    }

    /// Fills some of `out` with text of the current file, and returns the number of bytes; 0 means the end of that file. An
    /// object is one file, except that each entry of a zip archive is a file: see [`Layers::next_file`].
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, ObjectError> {
        if self.head_at == self.head.len() {
            return self.pull(out);
        }
        let head = &self.head[self.head_at..];
        let count = out.len().min(head.len());
        out[..count].copy_from_slice(&head[..count]);
        self.head_at += count;
        Ok(count)
    }

    /// Returns the number of object bytes read so far.
    pub fn compressed_bytes(&self) -> u64 {
        self.object.bytes
    }

    /// Returns the number of layers around the current text, which is also the number of the text as a layer.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Returns the units read of each layer, from the outside in. Entries of a zip archive may have different codecs.
    pub fn counts(&self) -> Vec<Vec<LayerCount>> {
        let mut counts = self.earlier.clone();
        for (depth, layer) in self.stack.iter().enumerate() {
            add(&mut counts, depth, layer.decoder.count());
        }
        counts
    }

    /// Adds layers to the stack until the innermost one decodes to text.
    fn descend(&mut self) -> Result<(), ObjectError> {
        loop {
            let base = self.stack.len().checked_sub(1).map_or(0, |below| self.decoded[below]);
            let mut head = vec![0; HEAD_BYTES];
            let (mut filled, mut whole) = (0, false);
            // One read may return a single byte.
            while filled < HEAD_BYTES && !whole {
                let count = self.pull(&mut head[filled..])?;
                filled += count;
                whole = count == 0;
            }
            head.truncate(filled);
            let layer = self.stack.len();
            match recognise(&head, whole) {
                Kind::Codec(_) if layer == self.limits.max_layers => {
                    return Err(ObjectError::TooDeep { max: self.limits.max_layers });
                }
                Kind::Codec(codec) => {
                    let decoder = Decoder::new(codec, base);
                    self.stack.push(Layer { input: Input::new(layer, base, head), decoder });
                    if self.decoded.len() == layer {
                        self.decoded.push(0);
                    }
                    if codec == Codec::Zip && !self.open_entry(layer)? {
                        return Ok(());
                    }
                }
                Kind::Text => {
                    self.head = head;
                    self.head_at = 0;
                    return Ok(());
                }
                Kind::Cut(what) => {
                    return Err(ObjectError::Truncated { what, layer, at: base + filled as u64 });
                }
                Kind::Damaged(what) => {
                    let what = format!("{what} with a changed bit");
                    return Err(ObjectError::Corrupt { what, layer, at: base });
                }
                Kind::NotText(NotText { format, evidence, at, todo }) => {
                    return Err(ObjectError::NotText { format, evidence, layer, at: base + at, todo });
                }
            }
        }
    }

    /// Opens the next file: the next entry of the innermost zip archive that has one, whatever its compression. Returns
    /// false at the end of the object. The current file must have been read to its end.
    pub fn next_file(&mut self) -> Result<bool, ObjectError> {
        for depth in (0..self.stack.len()).rev() {
            if !self.open_entry(depth)? {
                continue;
            }
            for (above, layer) in self.stack.drain(depth + 1..).enumerate() {
                add(&mut self.earlier, depth + 1 + above, layer.decoder.count());
            }
            self.descend()?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Opens the next entry of the layer at this depth. Returns false if it has no more or is not a zip archive.
    fn open_entry(&mut self, depth: usize) -> Result<bool, ObjectError> {
        let (below, layers) = self.stack.split_at_mut(depth);
        let Some(Layer { input, decoder: Decoder::Zip(zip) }) = layers.first_mut() else { return Ok(false) };
        let (object, decoded, limits) = (&mut self.object, &mut self.decoded[..depth], &self.limits);
        zip.next_entry(input, &mut |out| pull(object, below, decoded, limits, out))
    }

    fn pull(&mut self, out: &mut [u8]) -> Result<usize, ObjectError> {
        let depth = self.stack.len();
        pull(&mut self.object, &mut self.stack, &mut self.decoded[..depth], &self.limits, out)
    }
}

fn add(counts: &mut Vec<Vec<LayerCount>>, depth: usize, count: LayerCount) {
    if counts.len() <= depth {
        counts.resize(depth + 1, Vec::new());
    }
    match counts[depth].iter_mut().find(|other| other.codec == count.codec) {
        Some(other) => other.units += count.units,
        None => counts[depth].push(count),
    }
}

/// Reads bytes of the layer that `stack` decodes to, innermost last. Checks the limits of each layer whenever it returns
/// bytes, so that a layer that expands without output from the next one is detected.
fn pull<R: Read>(
    object: &mut Object<R>,
    stack: &mut [Layer],
    decoded: &mut [u64],
    limits: &Limits,
    out: &mut [u8],
) -> Result<usize, ObjectError> {
    let (Some((layer, below)), Some((total, decoded))) = (stack.split_last_mut(), decoded.split_last_mut())
    else {
        return object.read(out);
    };
    let Layer { input, decoder } = layer;
    let count = decoder.read(input, out, &mut |bytes| pull(object, below, decoded, limits, bytes))?;
    *total += count as u64;
    if *total > limits.max_decoded_bytes {
        return Err(ObjectError::TooLarge { max: limits.max_decoded_bytes });
    }
    let compressed = object.bytes;
    if *total > compressed.saturating_mul(limits.max_decode_ratio).max(RATIO_GRACE_BYTES) {
        return Err(ObjectError::Bomb { decoded: *total, compressed, max: limits.max_decode_ratio });
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::limits::MAX_GZIP_HEADER_BYTES;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Returns one byte per call.
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
                0 if !layers.next_file()? => return Ok(text),
                0 => {}
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
        member.extend_from_slice(b"\x03\x00abcname\0comment\0");
        let crc = crc32fast::hash(&member).to_le_bytes();
        let with_crc = |crc: &[u8]| [&member, crc, &plain[10..]].concat();
        assert_eq!(decode(Drip(&with_crc(&crc[..2])), Limits::default()).unwrap(), b"text");
        let message = error(&with_crc(&[crc[0], crc[1] ^ 1]));
        assert_eq!(
            message,
            "corrupt: the header checksum of a gzip member does not match at byte 0 of layer 0"
        );
    }

    #[test]
    fn a_header_may_have_an_extra_field_of_64_kib_and_not_be_much_longer_however_its_bytes_arrive() {
        let plain = gzip(b"text");
        let extra = [&[0xff, 0xff][..], &vec![b'e'; 0xffff]].concat();
        let member = [&plain[..3], &[4], &plain[4..10], &extra, &plain[10..]].concat();
        assert_eq!(decode(&member[..], Limits::default()).unwrap(), b"text");
        assert_eq!(decode(Drip(&member), Limits::default()).unwrap(), b"text");
        let limit = MAX_GZIP_HEADER_BYTES;
        for (name, fits) in [(limit - 11, true), (limit - 10, false), (limit + 10_000, false)] {
            let member = [&plain[..3], &[8], &plain[4..10], &vec![b'n'; name], &[0], &plain[10..]].concat();
            for object in [member.clone(), [gzip(b"first"), member].concat()] {
                let whole = decode(&object[..], Limits::default());
                let dripped = decode(Drip(&object), Limits::default());
                assert_eq!((whole.is_ok(), dripped.is_ok()), (fits, fits), "a name of {name} bytes");
            }
        }
        let endless = [&plain[..3], &[8], &plain[4..10], &vec![b'n'; 200_000]].concat();
        assert!(error(&endless).contains("is longer than 131072 bytes"));
    }

    #[test]
    fn zero_padding_at_the_end_and_single_line_feeds_after_members_are_skipped() {
        let member = gzip(b"text ");
        let good = [
            [&member[..], b"\n", &member].concat(),
            [&member[..], b"\n", &member, b"\n"].concat(),
            [&member[..], &member, &[0; 512]].concat(),
            [&member[..], b"\n", &member, b"\n\0"].concat(),
        ];
        for object in good {
            assert_eq!(decode(&object[..], Limits::default()).unwrap(), b"text text ", "{object:?}");
            assert_eq!(decode(Drip(&object), Limits::default()).unwrap(), b"text text ");
        }
        let no_member = |object: &[u8], at: usize| {
            let place = format!("are not a gzip member at byte {at} of layer 0");
            assert!(error(object).ends_with(&place), "{}", error(object));
        };
        let length = member.len();
        no_member(&[&member[..], b"\n\n", &member].concat(), length + 1);
        no_member(&[&member[..], b"\r\n", &member].concat(), length);
        no_member(&[&member[..], b"\0\0\0", &member].concat(), length + 3);
        no_member(&[&member[..], b"\0x"].concat(), length + 1);
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
            "corrupt: bytes after a gzip member are not a gzip member at byte {} of layer 0",
            good.len()
        );
        assert_eq!(error(&garbage), place);
        let mut flipped = good.clone();
        let checksum = flipped.len() - 6;
        flipped[checksum] ^= 1;
        assert!(error(&flipped).contains("the CRC-32 of a gzip member does not match"));
        let mut length = good.clone();
        *length.last_mut().unwrap() ^= 1;
        assert!(error(&length).contains("the length (ISIZE) of a gzip member does not match"));
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
        let bomb = gzip(&vec![b'0'; 100 << 20]);
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
