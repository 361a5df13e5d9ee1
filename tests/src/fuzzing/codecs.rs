//! Bytes in and bytes out: gzip layers, deflate, timestamps.

use std::{
    cell::RefCell,
    io::{self, Read},
};

use flate2::{
    Crc,
    read::{DeflateDecoder, MultiGzDecoder},
};
use flowherd_shared::{
    error::ObjectError,
    limits::Limits,
    pipeline::{gunzip::Layers, gzip::Deflater},
    timestamp::{IsoFormatter, MAX_MS, iso},
};
use jiff::{SignedDuration, civil::DateTime};

use super::numbered;
use crate::objects::Portions;

/// Any bytes as an object of gzip layers, under any limits, in any portions: the text that a slow reader finds, or an
/// error where it finds none.
pub(super) fn layers(data: &[u8]) {
    let Some((limits, data)) = numbered(data) else { return };
    let Some((portion, object)) = numbered(data) else { return };
    let limits = Limits {
        max_layers: 1 + limits % 4,
        max_decoded_bytes: 1024 << (limits / 4 % 8),
        ..Limits::default()
    };
    let expected = slow_layers(object, limits);
    let whole = decode(object, limits, 1 << 16);
    let dripped = decode(Stuttering { rest: Portions::new(object, portion), odd: false }, limits, 7);
    assert_eq!(whole.as_ref().ok(), expected.as_ref(), "{:?}", whole.as_ref().err());
    assert_eq!(dripped.as_ref().ok(), expected.as_ref(), "in portions: {:?}", dripped.as_ref().err());

    // A source that breaks off is never taken for one that ends.
    let broken = Portions::new(object, portion).chain(Broken);
    match decode(broken, limits, 1000) {
        Ok(_) => panic!("a broken source was read to its end"),
        Err(ObjectError::Read { at, .. }) => assert_eq!(at, object.len() as u64),
        Err(_) => assert!(expected.is_none() || object.is_empty()),
    }
}

/// The text, the members of each layer and the bytes of the object.
type Decoded = (Vec<u8>, Vec<u64>, u64);

fn decode(object: impl Read, limits: Limits, most: usize) -> Result<Decoded, ObjectError> {
    let mut layers = Layers::open(object, limits)?;
    let (mut text, mut chunk) = (Vec::new(), vec![0; most]);
    loop {
        match layers.read(&mut chunk)? {
            0 => return Ok((text, layers.members().collect(), layers.compressed_bytes())),
            count => text.extend_from_slice(&chunk[..count]),
        }
    }
}

fn slow_layers(object: &[u8], limits: Limits) -> Option<Decoded> {
    let (mut bytes, mut members) = (object.to_vec(), Vec::new());
    while bytes.starts_with(&[0x1f, 0x8b]) {
        if members.len() == limits.max_layers {
            return None;
        }
        let (text, count) = slow_layer(&bytes, limits.max_decoded_bytes)?;
        bytes = text;
        members.push(count);
    }
    Some((bytes, members, object.len() as u64))
}

/// All members of a layer (RFC 1952), none of them with a header of more than 32 KiB.
fn slow_layer(mut rest: &[u8], most: u64) -> Option<(Vec<u8>, u64)> {
    let (mut text, mut members) = (Vec::new(), 0);
    while !rest.is_empty() {
        let before = rest.len();
        let flags = *rest.strip_prefix(&[0x1f, 0x8b, 8])?.first()?;
        rest = rest.get(10..).filter(|_| flags & 0xe0 == 0)?;
        if flags & 4 != 0 {
            let (length, behind) = rest.split_first_chunk()?;
            rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
        }
        for text in [8, 16] {
            if flags & text != 0 {
                rest = &rest[rest.iter().position(|byte| *byte == 0)? + 1..];
            }
        }
        if flags & 2 != 0 {
            rest = rest.get(2..)?;
        }
        if before - rest.len() > 32 << 10 {
            return None;
        }
        let start = text.len();
        let mut decoder = DeflateDecoder::new(rest);
        (&mut decoder).take(most + 1 - start as u64).read_to_end(&mut text).ok()?;
        if text.len() as u64 > most {
            return None;
        }
        rest = rest.get(decoder.total_in() as usize..)?;
        let mut crc = Crc::new();
        crc.update(&text[start..]);
        let (trailer, behind) = rest.split_first_chunk::<8>()?;
        let length = (text.len() - start) as u32;
        if *trailer != *[crc.sum().to_le_bytes(), length.to_le_bytes()].concat() {
            return None;
        }
        rest = behind;
        members += 1;
    }
    Some((text, members))
}

/// Is interrupted every other time.
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

/// Any text, as it stands and repeated to some length: what is compressed is read back, is never much longer than the
/// text, and is the same whatever was compressed before.
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
            assert!(member == Deflater::default().member(&text), "it depends on what was compressed before");
        });
    }
}

/// Eight bytes a time: one after another they are written as a calendar library writes each.
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
