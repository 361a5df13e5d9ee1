//! Checks of layers of compression, the compressor and timestamps.

use std::{
    cell::RefCell,
    io::{self, Read},
};

use flate2::{
    Crc,
    read::{DeflateDecoder, MultiGzDecoder},
};
use flowherd_deflate::Deflater;
use flowherd_shared::{
    error::ObjectError,
    limits::Limits,
    pipeline::layers::Layers,
    timestamp::{IsoFormatter, MAX_MS, iso},
};
use jiff::{SignedDuration, civil::DateTime};

use super::numbered;
use crate::{
    compress::{CODECS, UNCHECKED},
    objects::Portions,
};

/// Reads any bytes as an object of gzip layers, with any limits and read sizes. The text, or the failure, must be that of a
/// slow reader.
pub(super) fn layers(data: &[u8]) {
    let Some((limits, data)) = numbered(data) else { return };
    let Some((portion, object)) = numbered(data) else { return };
    let limits = Limits {
        max_layers: 1 + limits % 4,
        max_decoded_bytes: 1024 << (limits / 4 % 8),
        ..Limits::default()
    };
    let whole = decode(object, limits, 1 << 16);
    let dripped = decode(Stuttering { rest: Portions::new(object, portion), odd: false }, limits, 7);
    let expected = match slow_layers(object, limits) {
        Slow::Text(expected) => Some(expected),
        Slow::Fails => None,
        Slow::Other => {
            assert_eq!(whole.as_ref().ok(), dripped.as_ref().ok());
            return;
        }
    };
    assert_eq!(whole.as_ref().ok(), expected.as_ref(), "{:?}", whole.as_ref().err());
    assert_eq!(dripped.as_ref().ok(), expected.as_ref(), "in portions: {:?}", dripped.as_ref().err());

    // A read error is never treated as the end of the object.
    let broken = Portions::new(object, portion).chain(Broken);
    match decode(broken, limits, 1000) {
        Ok(_) => panic!("the read error is lost"),
        Err(ObjectError::Read { at, .. }) => assert_eq!(at, object.len() as u64),
        Err(_) => assert!(expected.is_none() || object.is_empty()),
    }
}

/// Reads any bytes, and the same bytes compressed by each codec. The result must not depend on read sizes. If the codec has
/// checksums, a changed bit must cause an error or change nothing.
pub(super) fn codecs(data: &[u8]) {
    let Some((codec, data)) = numbered(data) else { return };
    let Some((portion, data)) = numbered(data) else { return };
    let (name, compress) = CODECS[codec % CODECS.len()];
    let limits = Limits { max_decoded_bytes: 1 << 20, ..Limits::default() };
    let both = |object: &[u8]| {
        let whole = decode(object, limits, 1 << 16);
        let dripped = decode(Stuttering { rest: Portions::new(object, portion), odd: false }, limits, 7);
        assert_eq!(
            whole.as_ref().ok(),
            dripped.as_ref().ok(),
            "{name}: {:?} {:?}",
            whole.as_ref().err(),
            dripped.as_ref().err()
        );
        whole
    };
    // Any result is valid, but it must not depend on read sizes.
    let _ = both(data);
    // No codec or format begins with this line.
    let text = [b"line\n", data].concat();
    let object = compress(&text);
    match both(&object) {
        Ok((decoded, ..)) => assert!(decoded == text, "{name}"),
        Err(ObjectError::NotText { format, .. }) => assert_eq!(format, "binary data"),
        Err(error) => panic!("{name}: {error}"),
    }
    if UNCHECKED.contains(&name) {
        return;
    }
    let bit =
        data.iter().fold(portion, |sum, byte| sum * 31 % 1_000_003 + usize::from(*byte)) % (object.len() * 8);
    let mut changed = object;
    changed[bit / 8] ^= 1 << (bit % 8);
    if let Ok((decoded, ..)) = both(&changed) {
        assert!(decoded == text, "{name}: bit {} of byte {}", bit % 8, bit / 8);
    }
}

/// The text, the units of each layer and the bytes of the object.
type Decoded = (Vec<u8>, Vec<u64>, u64);

fn decode(object: impl Read, limits: Limits, read_size: usize) -> Result<Decoded, ObjectError> {
    let mut layers = Layers::open(object, limits)?;
    let (mut text, mut chunk) = (Vec::new(), vec![0; read_size]);
    loop {
        match layers.read(&mut chunk)? {
            0 if layers.next_file()? => {}
            0 => {
                let counts = layers.counts();
                let units = counts.iter().map(|layer| layer.iter().map(|count| count.units).sum());
                return Ok((text, units.collect(), layers.compressed_bytes()));
            }
            count => text.extend_from_slice(&chunk[..count]),
        }
    }
}

enum Slow {
    Text(Decoded),
    Fails,
    /// The slow reader reads only gzip and text.
    Other,
}

fn slow_layers(object: &[u8], limits: Limits) -> Slow {
    let (mut bytes, mut members) = (object.to_vec(), Vec::new());
    while bytes.starts_with(&[0x1f, 0x8b]) {
        if members.len() == limits.max_layers {
            return Slow::Fails;
        }
        let Some((text, count)) = slow_layer(&bytes, limits.max_decoded_bytes) else {
            return Slow::Fails;
        };
        bytes = text;
        members.push(count);
    }
    let is_text = Layers::open(&bytes[..], limits).is_ok_and(|layers| layers.depth() == 0);
    if is_text { Slow::Text((bytes, members, object.len() as u64)) } else { Slow::Other }
}

/// Returns the text and the number of members of a layer (RFC 1952). A line feed may follow each member, and zeros the last.
/// Fails for a header of more than 128 KiB.
fn slow_layer(mut rest: &[u8], limit: u64) -> Option<(Vec<u8>, u64)> {
    let (mut text, mut members) = (Vec::new(), 0);
    while !rest.is_empty() {
        let (member, before) = (rest, rest.len());
        let flags = *rest.strip_prefix(&[0x1f, 0x8b, 8])?.first()?;
        rest = rest.get(10..).filter(|_| flags & 0xe0 == 0)?;
        if flags & 4 != 0 {
            let (length, after) = rest.split_first_chunk()?;
            rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
        }
        for text in [8, 16] {
            if flags & text != 0 {
                rest = &rest[rest.iter().position(|byte| *byte == 0)? + 1..];
            }
        }
        if flags & 2 != 0 {
            let mut crc = Crc::new();
            crc.update(&member[..before - rest.len()]);
            let (stated, after) = rest.split_first_chunk()?;
            rest = after;
            if u32::from(u16::from_le_bytes(*stated)) != crc.sum() & 0xffff {
                return None;
            }
        }
        if before - rest.len() > 128 << 10 {
            return None;
        }
        let start = text.len();
        let mut decoder = DeflateDecoder::new(rest);
        (&mut decoder).take(limit + 1 - start as u64).read_to_end(&mut text).ok()?;
        if text.len() as u64 > limit {
            return None;
        }
        rest = rest.get(decoder.total_in() as usize..)?;
        let mut crc = Crc::new();
        crc.update(&text[start..]);
        let (trailer, after) = rest.split_first_chunk::<8>()?;
        let length = (text.len() - start) as u32;
        if *trailer != *[crc.sum().to_le_bytes(), length.to_le_bytes()].concat() {
            return None;
        }
        members += 1;
        rest = after.strip_prefix(b"\n").unwrap_or(after);
        if rest.iter().all(|byte| *byte == 0) {
            break;
        }
    }
    Some((text, members))
}

/// A reader whose every second read is interrupted.
struct Stuttering<R> {
    rest: R,
    odd: bool,
}

impl<R: Read> Read for Stuttering<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.odd = !self.odd;
        if self.odd { Err(io::ErrorKind::Interrupted.into()) } else { self.rest.read(out) }
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// Compresses any text, once and repeated. The output must decompress to the text, must not be much longer than it, and must
/// not depend on earlier texts.
pub(super) fn deflate(data: &[u8]) {
    thread_local! {
        static USED: RefCell<Deflater> = RefCell::default();
    }
    let Some((times, text)) = numbered(data) else { return };
    for text in [text.to_vec(), text.repeat(times)] {
        USED.with_borrow_mut(|deflater| {
            let member = deflater.member(&text);
            let mut read = Vec::new();
            MultiGzDecoder::new(member).read_to_end(&mut read).expect("a gzip member");
            assert!(read == text);
            // Header and trailer, and five bytes for each stored block of at least 32 KiB.
            assert!(member.len() <= 18 + text.len() + 5 * (text.len() / (32 << 10) + 1));
            assert!(member == Deflater::default().member(&text), "the output depends on an earlier text");
        });
    }
}

/// Formats each eight bytes as a time. The result must be that of a calendar library.
pub(super) fn timestamp(data: &[u8]) {
    let mut formatter = IsoFormatter::default();
    for bytes in data.as_chunks::<8>().0 {
        let any = i64::from_le_bytes(*bytes);
        assert_eq!(iso(any).is_some(), (0..=MAX_MS).contains(&any));
        let ms = any.rem_euclid(MAX_MS + 1);
        // Not jiff's timestamps: those end a day sooner, so that any offset can be added.
        let time = DateTime::constant(1970, 1, 1, 0, 0, 0, 0) + SignedDuration::from_millis(ms);
        let expected = time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        assert_eq!(std::str::from_utf8(formatter.format(ms)).unwrap(), expected);
        assert_eq!(iso(ms), Some(expected));
    }
}
