//! Recognises a layer by its first bytes, never by its name.

use snap::raw::max_compress_len;

use super::{
    binary::{self, is_text_byte},
    codec::Codec,
    embedded,
    input::{be, le},
    signatures::{
        BZIP2, BZIP2_BLOCK, BZIP2_BYTES, BZIP2_END, GZIP, LZ4, SKIPPABLE_BYTES, XZ, ZSTD, is_skippable,
    },
    snappy, zip,
};
use crate::limits::MAX_SNAPPY_BLOCK_BYTES;

/// Number of bytes that decide. A shorter layer is decided by all its bytes.
pub(super) const HEAD_BYTES: usize = 4096;

/// The format of a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, or too few bytes for anything else.
    Text,
    Codec(Codec),
    /// The layer ends within the magic number of this.
    Cut(&'static str),
    /// The magic number of this, with one bit changed.
    Damaged(&'static str),
    NotText(NotText),
}

/// A format that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotText {
    pub(super) format: &'static str,
    /// The evidence for the format.
    pub(super) evidence: &'static str,
    pub(super) at: u64,
    pub(super) todo: &'static str,
}

/// Recognises a layer by `head`, its first [`HEAD_BYTES`] bytes; `whole` if the layer is no longer.
pub(super) fn recognise(head: &[u8], whole: bool) -> Kind {
    if let Some(codec) = codec(head) {
        return Kind::Codec(codec);
    }
    if whole && let Some(what) = cut(head) {
        return Kind::Cut(what);
    }
    if let Some(what) = damaged(head) {
        return Kind::Damaged(what);
    }
    match named(head).or_else(|| encoding(head, whole)).or_else(|| unnamed(head, whole)) {
        Some(format) => Kind::NotText(format),
        None => Kind::Text,
    }
}

fn codec(head: &[u8]) -> Option<Codec> {
    let simple = [
        (GZIP, Codec::Gzip),
        (ZSTD, Codec::Zstd),
        (LZ4, Codec::Lz4),
        (XZ, Codec::Xz),
        (snappy::STREAM, Codec::Snappy),
        (snappy::JAVA_MAGIC, Codec::SnappyJava),
        (zip::LOCAL, Codec::Zip),
        (zip::END, Codec::Zip),
    ];
    if let Some((_, codec)) = simple.into_iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(codec);
    }
    if is_bzip2(head) {
        return Some(Codec::Bzip2);
    }
    if is_skippable(head) {
        return Some(after_skippable(head));
    }
    is_hadoop(head).then_some(Codec::SnappyHadoop)
}

fn is_bzip2(head: &[u8]) -> bool {
    head.len() >= BZIP2_BYTES
        && head.starts_with(BZIP2)
        && (b'1'..=b'9').contains(&head[3])
        && [BZIP2_BLOCK, BZIP2_END].contains(&&head[4..BZIP2_BYTES])
}

/// Returns the codec of the frames after the skippable ones, if `head` contains them. Otherwise the decoder finds out.
fn after_skippable(mut head: &[u8]) -> Codec {
    while is_skippable(head) && head.len() >= SKIPPABLE_BYTES {
        let length = le(&head[4..8]) as usize;
        head = head.get(SKIPPABLE_BYTES.saturating_add(length)..).unwrap_or_default();
    }
    if head.starts_with(LZ4) { Codec::Lz4 } else { Codec::Zstd }
}

/// Hadoop's container has no magic number. It must begin with a length below 32 MiB, and so with a byte that text never
/// begins with, a second length that fits the first, and a block that fits both, element by element.
fn is_hadoop(head: &[u8]) -> bool {
    if head.len() < 10 {
        return false;
    }
    let (length, compressed) = (be(&head[..4]), be(&head[4..8]));
    if !(1..=MAX_SNAPPY_BLOCK_BYTES).contains(&length)
        || !(2..=max_compress_len(length as usize) as u64).contains(&compressed)
    {
        return false;
    }
    let block = &head[8..head.len().min(8 + compressed as usize)];
    let cut = (block.len() as u64) < compressed;
    // What the block says that it decodes to.
    snap::raw::decompress_len(block).is_ok_and(|decoded| decoded as u64 <= length)
        && snappy::is_block(block, cut)
}

/// Magic numbers that a layer may end in, or that a changed bit may hide. Any that differs in one bit still has a byte
/// that no text has, except bzip2's, which is longer than chance.
const WHOLE_MAGICS: [(&[u8], &str); 9] = [
    (&[0x1f, 0x8b, 8], "a gzip member's header"),
    (ZSTD, "a zstd frame's header"),
    (LZ4, "an LZ4 frame's header"),
    (XZ, "an xz stream's header"),
    (b"BZh91AY&SY", "a bzip2 stream's header"),
    (snappy::STREAM, "a Snappy stream's identifier"),
    (snappy::JAVA_MAGIC, "a snappy-java header"),
    (zip::LOCAL, "a zip entry's header"),
    (zip::END, "a zip archive's directory"),
];

/// A layer that ends within a magic number. One to three letters may also be a word.
fn cut(head: &[u8]) -> Option<&'static str> {
    let says = head.len() > 3 || head.iter().any(|byte| !is_text_byte(*byte) || *byte >= 0x80);
    let found =
        WHOLE_MAGICS.into_iter().find(|(magic, _)| head.len() < magic.len() && changed(head, magic) == 0);
    found.filter(|_| says).map(|(_, what)| what)
}

/// A magic number with one changed bit: else it would be text with some rejects, or binary data without a name.
fn damaged(head: &[u8]) -> Option<&'static str> {
    let found =
        WHOLE_MAGICS.into_iter().find(|(magic, _)| head.len() >= magic.len() && changed(head, magic) == 1);
    found.map(|(_, what)| what)
}

/// How many bits differ, as far as both are long. Bzip2's level does not count.
fn changed(head: &[u8], magic: &[u8]) -> u32 {
    let is_level = |at: usize, byte: u8| magic.starts_with(BZIP2) && at == 3 && (b'1'..=b'9').contains(&byte);
    let pairs = head.iter().zip(magic).enumerate();
    pairs.map(|(at, (byte, other))| if is_level(at, *byte) { 0 } else { (byte ^ other).count_ones() }).sum()
}

const CONVERT: &str = "convert the object to text first, or leave it out of the prefix";
const EXTRACT: &str = "extract the files, or compress them by gzip or zstd without an archive";
const DECOMPRESS: &str = "decompress the object first, or compress it by gzip or zstd";
const DELIVER: &str = "have the logs delivered as text or JSON (for VPC flow logs the file format \"text\"), or convert \
                       the object to JSON lines first";

/// Formats that are often met in buckets, by their magic numbers. `binary` says that letters alone do not prove it: a
/// byte that no text has must follow soon.
struct Magic {
    bytes: &'static [u8],
    binary: bool,
    format: &'static str,
    evidence: &'static str,
    todo: &'static str,
}

const fn magic(
    bytes: &'static [u8],
    binary: bool,
    format: &'static str,
    evidence: &'static str,
    todo: &'static str,
) -> Magic {
    Magic { bytes, binary, format, evidence, todo }
}

const MAGICS: &[Magic] = &[
    magic(b"PAR1", true, "Parquet", "magic PAR1", DELIVER),
    magic(b"PARE", true, "encrypted Parquet", "magic PARE", DELIVER),
    magic(b"ORC", true, "ORC", "magic ORC", DELIVER),
    magic(b"Obj\x01", false, "Avro", "magic Obj and 01", DELIVER),
    magic(b"ARROW1\0\0", false, "Arrow", "magic ARROW1", DELIVER),
    magic(b"SEQ\x06", false, "a Hadoop sequence file", "magic SEQ and 06", DELIVER),
    magic(
        b"\xf3\x89\x9a\xc2",
        false,
        "an aggregate of the Kinesis Producer Library",
        "magic F3899AC2",
        "deaggregate the records before they are delivered, for example in Firehose",
    ),
    magic(b"7z\xbc\xaf\x27\x1c", false, "a 7z archive", "magic 377ABCAF271C", EXTRACT),
    magic(b"Rar!\x1a\x07", false, "a RAR archive", "magic Rar!", EXTRACT),
    magic(b"PK\x07\x08", false, "a split zip archive", "magic PK0708", EXTRACT),
    magic(b"\x02\x21\x4c\x18", false, "LZ4 in its legacy format", "magic 02214C18", DECOMPRESS),
    magic(b"\x89LZO\0\r\n\x1a\n", false, "lzop", "magic 894C5A4F", DECOMPRESS),
    magic(b"LZIP\x01", false, "lzip", "magic LZIP", DECOMPRESS),
    magic(b"\x1f\x9d", false, "Unix compress", "magic 1F9D", DECOMPRESS),
    magic(b"]\0\0", false, "LZMA without a container", "bytes 5D0000", DECOMPRESS),
    magic(b"x\x01", false, "zlib", "bytes 7801", DECOMPRESS),
    magic(b"x^", true, "zlib", "bytes 785E", DECOMPRESS),
    magic(b"x\x9c", true, "zlib", "bytes 789C", DECOMPRESS),
    magic(b"x\xda", true, "zlib", "bytes 78DA", DECOMPRESS),
    magic(b"SQLite format 3\0", false, "an SQLite database", "magic SQLite", CONVERT),
    magic(b"%PDF-", false, "PDF", "magic %PDF", CONVERT),
    // Microseconds and nanoseconds, in either byte order (<https://www.tcpdump.org/manpages/pcap-savefile.5.txt>).
    magic(b"\xd4\xc3\xb2\xa1", false, "a packet capture", "magic D4C3B2A1", CONVERT),
    magic(b"\xa1\xb2\xc3\xd4", false, "a packet capture", "magic A1B2C3D4", CONVERT),
    magic(b"\x4d\x3c\xb2\xa1", false, "a packet capture", "magic 4D3CB2A1", CONVERT),
    magic(b"\xa1\xb2\x3c\x4d", false, "a packet capture", "magic A1B23C4D", CONVERT),
    magic(b"\x0a\x0d\x0d\x0a", true, "a packet capture", "magic 0A0D0D0A", CONVERT),
];

/// Bytes after a magic number of letters. At least one of them must not be text.
const PROOF_BYTES: usize = 32;

fn named(head: &[u8]) -> Option<NotText> {
    let proven = |magic: &Magic| {
        let after = &head[magic.bytes.len()..];
        let after = &after[..after.len().min(PROOF_BYTES)];
        !magic.binary || after.iter().any(|byte| !is_text_byte(*byte))
    };
    let found = MAGICS.iter().find(|magic| head.starts_with(magic.bytes) && proven(magic));
    if let Some(Magic { format, evidence, todo, .. }) = found {
        return Some(NotText { format, evidence, at: 0, todo });
    }
    let (evidence, at) = tar(head)?;
    Some(NotText { format: "a tar archive", evidence, at, todo: EXTRACT })
}

/// Returns what shows that `head` begins with a tar header, and where. The header must have a valid checksum (POSIX.1-2017
/// pax, "ustar Interchange Format"). Archives of version 7 have no magic; their mode and size must be octal numbers.
fn tar(head: &[u8]) -> Option<(&'static str, u64)> {
    let header = head.get(..512)?;
    let octal = |field: &[u8]| {
        let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
        let digits = field.iter().filter(|byte| !is_padding(byte));
        let number = digits.clone().try_fold(0_u64, |sum, digit| {
            (b'0'..=b'7').contains(digit).then(|| sum << 3 | u64::from(digit - b'0'))
        });
        number.filter(|_| digits.count() > 0)
    };
    let blank = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
    let sum = header.iter().enumerate().map(|(at, byte)| u64::from(blank(at, *byte))).sum::<u64>();
    if octal(&header[148..156]) != Some(sum) {
        return None;
    }
    if &header[257..262] == b"ustar" {
        return Some(("magic ustar", 257));
    }
    let is_version_7 = octal(&header[100..108]).is_some() && octal(&header[124..136]).is_some();
    is_version_7.then_some(("a valid header checksum", 148))
}

const UTF_8: &str = "convert the object to UTF-8, for example by iconv";
/// Characters that must all be ASCII in UTF-16 or UTF-32 without a byte order mark.
const ENCODED_CHARS: usize = 8;

/// UTF-16 and UTF-32, by their byte order mark, or by the zero bytes of ASCII characters.
fn encoding(head: &[u8], whole: bool) -> Option<NotText> {
    let marks: [(&[u8], _, _); 4] = [
        (&[0xff, 0xfe, 0, 0], "UTF-32", "byte order mark FFFE0000"),
        (&[0, 0, 0xfe, 0xff], "UTF-32", "byte order mark 0000FEFF"),
        (&[0xff, 0xfe], "UTF-16", "byte order mark FFFE"),
        (&[0xfe, 0xff], "UTF-16", "byte order mark FEFF"),
    ];
    let found = marks.into_iter().find(|(mark, ..)| head.starts_with(mark));
    let found = found.map(|(_, format, evidence)| (format, evidence)).or_else(|| {
        let widths = [(4, 0, "UTF-32"), (4, 3, "UTF-32"), (2, 0, "UTF-16"), (2, 1, "UTF-16")];
        let encoded = |width: usize, place: usize| {
            let chars = (head.len() / width).min(ENCODED_CHARS);
            let is_char = |char: &[u8]| {
                char.iter().enumerate().all(|(at, byte)| {
                    if at == place { *byte != 0 && *byte < 0x80 && is_text_byte(*byte) } else { *byte == 0 }
                })
            };
            let enough = chars == ENCODED_CHARS || whole && chars >= 2 && head.len().is_multiple_of(width);
            enough && head.chunks_exact(width).take(chars).all(is_char)
        };
        let found = widths.into_iter().find(|(width, place, _)| encoded(*width, *place));
        found.map(|(.., format)| (format, "zero bytes between ASCII characters"))
    });
    found.map(|(format, evidence)| NotText { format, evidence, at: 0, todo: UTF_8 })
}

fn unnamed(head: &[u8], whole: bool) -> Option<NotText> {
    let has_binary = head.iter().any(|byte| !is_text_byte(*byte) || *byte >= 0x80);
    if has_binary && snappy::is_block(head, !whole) {
        return Some(NotText {
            format: "a raw Snappy block",
            evidence: "its length and elements",
            at: 0,
            todo: "compress the logs in Snappy's framing format, in Hadoop's, or by gzip or zstd",
        });
    }
    // Text that is followed by compressed data: the records name the format and its position.
    if binary::begins_as_text(head) && embedded::find(head, head.len()).is_some() {
        return None;
    }
    binary::is_binary(head, whole).then_some(NotText {
        format: "binary data",
        evidence: "bytes that no text has",
        at: 0,
        todo: CONVERT,
    })
}
