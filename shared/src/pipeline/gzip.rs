//! Stage 6: text as gzip. Each member is compressed whole, which is fast and bounds memory. Readers of gzip read all members
//! (RFC 1952 section 2.2).

use std::io::{self, Write};

use flowherd_deflate::Deflater;

use crate::checksum::Crc64;

/// Text of one member. Members do not depend on how the source arrived, so the same source gives the same bytes.
const MEMBER_BYTES: usize = 1 << 20;

/// Collects text and writes it compressed. Holds the text of about one member.
#[derive(Debug)]
pub struct GzipWriter<W> {
    sink: W,
    text: Vec<u8>,
    written: u64,
    checksum: Crc64,
}

impl<W: Write> GzipWriter<W> {
    /// Creates a writer to `sink`.
    pub fn new(sink: W) -> Self {
        Self { sink, text: Vec::new(), written: 0, checksum: Crc64::default() }
    }

    /// Returns the text to append to. Call [`GzipWriter::settle`] after each piece.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Writes a member if there is enough text.
    pub fn settle(&mut self, deflater: &mut Deflater) -> io::Result<()> {
        if self.text.len() < MEMBER_BYTES { Ok(()) } else { self.write_member(deflater) }
    }

    /// Writes the remaining text. Returns the sink, and the number of compressed bytes written to it with their checksum.
    pub fn finish(mut self, deflater: &mut Deflater) -> io::Result<(W, u64, String)> {
        if !self.text.is_empty() || self.written == 0 {
            self.write_member(deflater)?;
        }
        self.sink.flush()?;
        Ok((self.sink, self.written, self.checksum.text()))
    }

    fn write_member(&mut self, deflater: &mut Deflater) -> io::Result<()> {
        let member = deflater.member(&self.text);
        self.sink.write_all(member)?;
        self.written += member.len() as u64;
        self.checksum.add(member);
        self.text.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn long_text_becomes_several_members_that_decode_as_one() {
        let (mut writer, mut deflater) = (GzipWriter::new(Vec::new()), Deflater::default());
        let mut expected = Vec::new();
        for line in 0..300_000 {
            let line = format!("line {line}\n");
            expected.extend_from_slice(line.as_bytes());
            writer.text().extend_from_slice(line.as_bytes());
            writer.settle(&mut deflater).unwrap();
        }
        let (bytes, length, checksum) = writer.finish(&mut deflater).unwrap();
        assert_eq!(bytes.len() as u64, length);
        let mut whole = Crc64::default();
        whole.add(&bytes);
        assert_eq!(checksum, whole.text());
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, expected);
        assert!(bytes.windows(3).filter(|start| *start == [0x1f, 0x8b, 8]).count() >= 3);
    }

    #[test]
    fn empty_text_is_one_empty_member() {
        let (bytes, ..) = GzipWriter::new(Vec::new()).finish(&mut Deflater::default()).unwrap();
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
        assert!(text.is_empty() && !bytes.is_empty());
    }
}
