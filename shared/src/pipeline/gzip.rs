//! Stage 6: text as gzip, in independent members: a member is compressed whole, which is the fastest way there is, and
//! memory stays bounded. Readers of gzip read all members (RFC 1952 section 2.2).

use std::io::{self, Write};

use libdeflater::{CompressionLvl, Compressor};

/// Text of one member. Members do not depend on how the source arrived, so the same source gives the same bytes.
const MEMBER_BYTES: usize = 1 << 20;
/// docs/decisions/0002-codecs.md has the figures.
const LEVEL: i32 = 1;

/// Collects text and writes it compressed.
pub struct GzipWriter<W> {
    sink: W,
    text: Vec<u8>,
    compressor: Compressor,
    member: Vec<u8>,
    written: u64,
}

impl<W> std::fmt::Debug for GzipWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GzipWriter").field("written", &self.written).finish_non_exhaustive()
    }
}

impl<W: Write> GzipWriter<W> {
    /// Writes to `sink`.
    pub fn new(sink: W) -> Self {
        let level = CompressionLvl::new(LEVEL).unwrap_or_default();
        Self { sink, text: Vec::new(), compressor: Compressor::new(level), member: Vec::new(), written: 0 }
    }

    /// Where text is appended; call [`GzipWriter::settle`] after each piece.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Writes a member once enough text is there.
    pub fn settle(&mut self) -> io::Result<()> {
        if self.text.len() < MEMBER_BYTES { Ok(()) } else { self.write_member() }
    }

    /// Writes what is left; gives the sink and how many compressed bytes went into it.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        if !self.text.is_empty() || self.written == 0 {
            self.write_member()?;
        }
        self.sink.flush()?;
        Ok((self.sink, self.written))
    }

    fn write_member(&mut self) -> io::Result<()> {
        self.member.resize(self.compressor.gzip_compress_bound(self.text.len()), 0);
        let length = self
            .compressor
            .gzip_compress(&self.text, &mut self.member)
            .map_err(|error| io::Error::other(format!("gzip: {error}")))?;
        self.sink.write_all(&self.member[..length])?;
        self.written += length as u64;
        self.text.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn long_text_becomes_several_members_that_read_back_as_one() {
        let mut writer = GzipWriter::new(Vec::new());
        let mut expected = Vec::new();
        for line in 0..300_000 {
            let line = format!("line {line}\n");
            expected.extend_from_slice(line.as_bytes());
            writer.text().extend_from_slice(line.as_bytes());
            writer.settle().unwrap();
        }
        let (bytes, length) = writer.finish().unwrap();
        assert_eq!(bytes.len() as u64, length);
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, expected);
        assert!(bytes.windows(3).filter(|start| *start == [0x1f, 0x8b, 8]).count() >= 3);
    }

    #[test]
    fn no_text_is_one_empty_member() {
        let (bytes, _) = GzipWriter::new(Vec::new()).finish().unwrap();
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
        assert!(text.is_empty() && !bytes.is_empty());
    }
}
