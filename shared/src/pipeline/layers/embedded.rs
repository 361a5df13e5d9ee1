//! Compressed and binary data that follows text. Two sources that write to one Firehose stream produce such objects; see
//! <https://docs.aws.amazon.com/firehose/latest/dev/writing-with-cloudwatch-logs.html>.
//!
//! A magic number alone proves nothing: an attacker can put one into a request, and the request into a log. So a format
//! counts only if a plausible header follows its magic number.

use flate2::{Decompress, FlushDecompress, Status};

use super::{
    input::{be, le},
    signatures::{BZIP2_BLOCK, LZ4, XZ, ZSTD},
    snappy, zip,
};

/// Bytes from a magic number on that decide whether its header is plausible.
pub(in crate::pipeline) const PROOF_BYTES: usize = 512;

/// A format: its name, its magic number, and a check of the bytes after the magic number. Where the bytes end too soon,
/// the check decides by those that are there.
type Format = (&'static str, &'static [u8], fn(&[u8]) -> bool);

const FORMATS: [Format; 12] = [
    // The third byte is the only compression method (RFC 1952 section 2.3.1).
    ("gzip", b"\x1f\x8b\x08", is_gzip),
    ("zstd", ZSTD, is_zstd),
    ("xz", XZ, is_xz),
    ("lz4", LZ4, is_lz4),
    ("bzip2", BZIP2_BLOCK, is_bzip2),
    ("Snappy", snappy::STREAM, is_framed_snappy),
    ("snappy-java", snappy::JAVA_MAGIC, is_snappy_java),
    ("zip", zip::LOCAL, is_zip),
    ("legacy lz4", b"\x02\x21\x4c\x18", is_legacy_lz4),
    ("KPL aggregate", b"\xf3\x89\x9a\xc2", is_kpl_aggregate),
    ("Avro", b"Obj\x01", is_avro),
    ("Parquet", b"PAR1", is_parquet),
];

/// Bytes of bzip2's header before its block magic: `BZh` and the level.
const BZIP2_LEVEL_BYTES: usize = 4;

/// Returns the first format in `bytes` whose magic number begins before `end`, and its position.
pub(in crate::pipeline) fn find(bytes: &[u8], end: usize) -> Option<(&'static str, usize)> {
    let first = |(name, magic, is_plausible): &Format| {
        let searched = &bytes[..bytes.len().min(end.saturating_add(magic.len() + BZIP2_LEVEL_BYTES))];
        let found = memchr::memmem::find_iter(searched, magic).find_map(|at| {
            let after = &bytes[at + magic.len()..bytes.len().min(at + PROOF_BYTES)];
            let start = if *magic == BZIP2_BLOCK { bzip2_start(bytes, at)? } else { at };
            (start < end && is_plausible(after)).then_some(start)
        });
        found.map(|at| (*name, at))
    };
    FORMATS.iter().filter_map(first).min_by_key(|(_, at)| *at)
}

/// The position of the header whose first block begins at `block`.
fn bzip2_start(bytes: &[u8], block: usize) -> Option<usize> {
    let start = block.checked_sub(BZIP2_LEVEL_BYTES)?;
    matches!(bytes[start..block], [b'B', b'Z', b'h', b'1'..=b'9']).then_some(start)
}

/// Flags and a deflate stream (RFC 1952). Compressed logs do not begin with a stored block, but with one an attacker could
/// declare the text that follows to be compressed data.
fn is_gzip(after: &[u8]) -> bool {
    let Some((&flags, _)) = after.split_first() else { return true };
    if flags & 0xe0 != 0 {
        return false;
    }
    // After flags, time, extra flags and system.
    let Some(mut rest) = after.get(7..) else { return true };
    if flags & 4 != 0 {
        let Some(length) = rest.get(..2).map(le) else { return true };
        // Writers of extra fields use a few bytes.
        let Some(after) = rest.get(2 + length as usize..) else { return false };
        rest = after;
    }
    for text in [8, 16] {
        if flags & text != 0 {
            let end = memchr::memchr(0, rest);
            let text = &rest[..end.unwrap_or(rest.len())];
            if text.iter().any(|byte| *byte < 0x20) {
                return false;
            }
            let Some(end) = end else { return true };
            rest = &rest[end + 1..];
        }
    }
    let rest = if flags & 2 != 0 { rest.get(2..).unwrap_or_default() } else { rest };
    let Some(first) = rest.first() else { return true };
    // Bits 1 and 2 are the type of the block; 0 is stored.
    let is_stored = first & 0b110 == 0;
    !is_stored && inflates(rest)
}

fn inflates(stream: &[u8]) -> bool {
    let mut inflate = Decompress::new(false);
    let mut out = [0; 4096];
    loop {
        let before = (inflate.total_in(), inflate.total_out());
        let rest = &stream[before.0 as usize..];
        match inflate.decompress(rest, &mut out, FlushDecompress::None) {
            Err(_) => return false,
            Ok(Status::StreamEnd) => return true,
            Ok(Status::Ok | Status::BufError) if (inflate.total_in(), inflate.total_out()) == before => {
                return true;
            }
            Ok(_) => {}
        }
    }
}

/// A frame header and the header of the first block, RFC 8878 sections 3.1.1.1 and 3.1.1.2.
fn is_zstd(after: &[u8]) -> bool {
    const MAX_BLOCK_BYTES: u64 = 128 << 10;
    let Some((&descriptor, rest)) = after.split_first() else { return true };
    let (size_flag, is_single_segment) = (descriptor >> 6, descriptor & 0x20 != 0);
    // Reserved and unused bits, and a dictionary, which no reader of logs has.
    if descriptor & 0x1b != 0 {
        return false;
    }
    let size_bytes = match size_flag {
        0 => usize::from(is_single_segment),
        flag => 1 << flag,
    };
    let header = usize::from(!is_single_segment) + size_bytes;
    let Some(block) = rest.get(header..header + 3).map(le) else { return true };
    let (kind, size) = (block >> 1 & 3, block >> 3);
    let max = if is_single_segment {
        let size = le(&rest[..size_bytes]) + if size_bytes == 2 { 256 } else { 0 };
        size.min(MAX_BLOCK_BYTES)
    } else {
        MAX_BLOCK_BYTES
    };
    kind != 3 && size <= max
}

/// Stream flags and their CRC-32 (<https://tukaani.org/xz/xz-file-format.txt>, section 2.1.1).
fn is_xz(after: &[u8]) -> bool {
    match (after.get(..2), after.get(2..6)) {
        (Some(flags), Some(crc)) => le(crc) == u64::from(crc32fast::hash(flags)),
        (Some(flags), None) => flags[0] == 0,
        _ => true,
    }
}

/// A frame descriptor and its checksum (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>).
fn is_lz4(after: &[u8]) -> bool {
    let [flags, block, ..] = *after else { return true };
    if flags & 0xc2 != 0x40 || block & 0x8f != 0 || block >> 4 < 4 {
        return false;
    }
    let length = 2 + if flags & 8 != 0 { 8 } else { 0 } + if flags & 1 != 0 { 4 } else { 0 };
    let Some(checksum) = after.get(length) else { return true };
    *checksum == (xxh32(&after[..length]) >> 8) as u8
}

/// XXH32 with seed 0 of fewer than 16 bytes (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>).
fn xxh32(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    let mut hash = PRIMES[4].wrapping_add(bytes.len() as u32);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let lane = u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]);
        hash = hash.wrapping_add(lane).rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in rest {
        let lane = u32::from(*byte).wrapping_mul(PRIMES[4]);
        hash = hash.wrapping_add(lane).rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIMES[1]);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIMES[2]);
    hash ^ hash >> 16
}

/// The header of the first block: its checksum, a bit that is 0 in every stream of the last decades, a position in the
/// block, and the map of used bytes.
fn is_bzip2(after: &[u8]) -> bool {
    const MAX_BLOCK_BYTES: u64 = 900_000;
    let Some(block) = after.get(4..8).map(be) else { return true };
    let (is_randomised, origin) = (block >> 31 != 0, block >> 7 & 0xff_ffff);
    let Some(map) = after.get(7..10).map(be) else { return !is_randomised };
    let map = map >> 7 & 0xffff;
    !is_randomised && origin < MAX_BLOCK_BYTES && map != 0
}

/// The header of the first chunk (<https://github.com/google/snappy/blob/main/framing_format.txt>, section 4).
fn is_framed_snappy(after: &[u8]) -> bool {
    const MAX_CHUNK_BYTES: u64 = 76_490;
    let Some(&kind) = after.first() else { return true };
    let is_data = kind < 2;
    (is_data || kind >= 0x80)
        && after.get(1..4).is_none_or(|length| !is_data || le(length) <= MAX_CHUNK_BYTES)
}

/// Version and compatible version.
fn is_snappy_java(after: &[u8]) -> bool {
    let is_version = |bytes: &[u8]| (1..256).contains(&be(bytes));
    after.get(..4).is_none_or(is_version) && after.get(4..8).is_none_or(is_version)
}

/// A local file header (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, section 4.3.7).
fn is_zip(after: &[u8]) -> bool {
    const METHODS: [u64; 9] = [0, 8, 9, 12, 14, 93, 95, 98, 99];
    let version = after.get(..2).map(le);
    let method = after.get(4..6).map(le);
    let name = after.get(22..24).map(le);
    version.is_none_or(|version| version & 0xff <= 63)
        && method.is_none_or(|method| METHODS.contains(&method))
        && name.is_none_or(|bytes| (1..=1024).contains(&bytes))
}

/// The length of the first block (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>, "Legacy frame"): at most
/// 8 MiB before compression.
fn is_legacy_lz4(after: &[u8]) -> bool {
    const MAX_BLOCK_BYTES: u64 = (8 << 20) + (8 << 20) / 255 + 16;
    after.get(..4).is_none_or(|length| (1..=MAX_BLOCK_BYTES).contains(&le(length)))
}

/// The fields of the aggregate's message: partition keys, hash keys, and at least one record
/// (<https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>).
fn is_kpl_aggregate(mut after: &[u8]) -> bool {
    let is_whole = after.len() < PROOF_BYTES - 4;
    loop {
        match *after {
            // Keys have up to 256 characters; a length of one byte is usual.
            [0x0a | 0x12, length, ref rest @ ..] if length < 0x80 => {
                after = rest.get(usize::from(length)..).unwrap_or_default();
            }
            [0x1a, ..] | [0x0a | 0x12, _, 1 | 2, ..] => return true,
            [] | [0x0a | 0x12] => return is_whole,
            _ => return false,
        }
    }
}

/// The metadata has a schema or a codec, whose names begin so (<https://avro.apache.org/docs/1.12.0/specification/>).
fn is_avro(after: &[u8]) -> bool {
    after.len() < 32 || memchr::memmem::find(&after[..32], b"avro.").is_some()
}

/// The first field of a page header in Thrift's compact protocol: the page's type, an i32.
fn is_parquet(after: &[u8]) -> bool {
    after.first().is_none_or(|field| *field == 0x15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magic_number_counts_only_with_a_plausible_header() {
        let text = b" x HTTP/1.1\" 400\nINFO GET / 200\nINFO GET / 200\nINFO GET / 200\n";
        for (name, magic, _) in FORMATS {
            let magic = if magic == BZIP2_BLOCK { b"BZh91AY&SY" } else { magic };
            let (hostile, line) = ([b"GET /", magic, text].concat(), magic.len() + 5);
            assert_eq!(find(&hostile, line), None, "{name}");
        }
    }

    #[test]
    fn the_first_format_of_several_is_found_after_a_magic_number_of_no_format() {
        let kpl = b"\x1f\x8b\x08\xff text \xf3\x89\x9a\xc2\n\x01a\x1a PAR1\x15";
        assert_eq!(find(kpl, kpl.len()), Some(("KPL aggregate", 10)));
        assert_eq!(find(kpl, 10), None);
    }

    #[test]
    fn checksums_of_lz4_headers_are_those_of_its_writers() {
        // `lz4 -c`: independent blocks of 4 MiB, a checksum of the content; and a length of 5.
        assert!(is_lz4(b"\x64\x40\xa7"));
        assert!(is_lz4(b"\x60\x40\x82"));
        assert!(!is_lz4(b"\x60\x40\x83"));
    }
}
