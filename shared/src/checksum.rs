//! CRC-64/NVME, the checksum that S3 uses by default
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).

use base64::{Engine, engine::general_purpose::STANDARD};
use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of bytes that arrive in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc64(Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Nvme))
    }
}

impl Crc64 {
    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the checksum as S3 writes it: base64 of the big-endian number.
    #[must_use]
    pub fn text(&self) -> String {
        STANDARD.encode(self.0.finalize().to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one_in_any_pieces() {
        // The check value of CRC-64/NVME (<https://reveng.sourceforge.io/crc-catalogue/all.htm#crc.cat.crc-64-nvme>).
        let expected = STANDARD.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes());
        for at in 0..=9 {
            let mut checksum = Crc64::default();
            let (first, second) = b"123456789".split_at(at);
            checksum.add(first);
            checksum.add(second);
            assert_eq!(checksum.text(), expected);
        }
    }
}
