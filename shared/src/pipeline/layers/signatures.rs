//! Magic numbers of compression formats.

pub(super) const GZIP: &[u8] = &[0x1f, 0x8b];
/// RFC 8878 section 3.1.1.
pub(super) const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.
pub(super) const LZ4: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
/// <https://tukaani.org/xz/xz-file-format.txt>, section 2.1.1.1.
pub(super) const XZ: &[u8] = b"\xfd7zXZ\0";
pub(super) const BZIP2: &[u8] = b"BZh";
/// The bytes after bzip2's level: the first block, or the end of an empty stream.
pub(super) const BZIP2_BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
pub(super) const BZIP2_END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
pub(super) const BZIP2_BYTES: usize = 10;
/// Magic and length of a skippable frame.
pub(super) const SKIPPABLE_BYTES: usize = 8;

/// Zstandard and LZ4 share the magic numbers of frames that readers skip.
pub(super) fn is_skippable(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}
