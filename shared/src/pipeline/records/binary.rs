//! Compressed data that follows text. Two sources that write to one Firehose stream leave such objects; see
//! <https://docs.aws.amazon.com/firehose/latest/dev/writing-with-cloudwatch-logs.html>.

/// Format names and their magic bytes. Text cannot hold them: they are searched only in lines that are not text.
const MAGICS: [(&str, &[u8]); 6] = [
    // The third byte is the only compression method (RFC 1952 section 2.3.1).
    ("gzip", b"\x1f\x8b\x08"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("xz", b"\xfd7zXZ\0"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("Snappy", b"\xff\x06\0\0sNaPpY"),
    ("zip", b"PK\x03\x04"),
];

/// Finds the first compressed data in a line that is not text. Returns its format and position.
pub(super) fn find(line: &[u8]) -> Option<(&'static str, usize)> {
    let position =
        |(format, magic): &(&'static str, &[u8])| memchr::memmem::find(line, magic).map(|at| (*format, at));
    // The level, a digit, is between bzip2's two magics.
    let bzip2 = memchr::memmem::find(line, b"1AY&SY").and_then(|at| at.checked_sub(4));
    let bzip2 = bzip2.filter(|at| line[*at..].starts_with(b"BZh")).map(|at| ("bzip2", at));
    MAGICS.iter().filter_map(position).chain(bzip2).min_by_key(|(_, at)| *at)
}
