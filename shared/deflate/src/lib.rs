#![doc = include_str!("../README.md")]

mod bits;
mod block;
mod huffman;
mod matches;

use bits::Bits;
use matches::MatchFinder;

/// RFC 1952 section 2.3: DEFLATE, no flags, no time, fastest compression, unknown file system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];

/// A compressor with its memory of about 250 KiB, for any number of texts, one at a time.
///
/// Its output depends only on the text, not on the texts before it.
#[derive(Default)]
pub struct Deflater {
    finder: MatchFinder,
    output: Bits,
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl Deflater {
    /// Compresses a text to one gzip member (RFC 1952).
    #[must_use]
    pub fn member(&mut self, text: &[u8]) -> &[u8] {
        self.output.clear();
        self.output.extend(&GZIP_HEADER);
        self.finder.write(text, &mut self.output);
        self.output.extend(&crc32fast::hash(text).to_le_bytes());
        // RFC 1952 section 2.3.1 defines the length modulo 2^32.
        self.output.extend(&(text.len() as u32).to_le_bytes());
        self.output.bytes()
    }

    /// Compresses a text to one DEFLATE stream (RFC 1951), padded to a whole byte.
    #[must_use]
    pub fn stream(&mut self, text: &[u8]) -> &[u8] {
        self.output.clear();
        self.finder.write(text, &mut self.output);
        self.output.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn concatenated_members_decode_to_the_concatenated_texts() {
        let mut deflater = Deflater::default();
        let mut file = deflater.member(b"one line\n").to_vec();
        file.extend_from_slice(deflater.member(b""));
        file.extend_from_slice(deflater.member(&b"another line\n".repeat(10_000)));
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&file[..]).read_to_end(&mut text).unwrap();
        assert!(text == [&b"one line\n"[..], &b"another line\n".repeat(10_000)].concat());
    }

    #[test]
    fn a_member_contains_the_stream_of_the_same_text() {
        let text = b"some text, some text, and some more text\n".repeat(100);
        let stream = Deflater::default().stream(&text).to_vec();
        let mut deflater = Deflater::default();
        let member = deflater.member(&text);
        assert_eq!(member[GZIP_HEADER.len()..member.len() - 8], stream);
    }
}
