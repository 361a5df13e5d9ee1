//! Snappy in its three containers: the framing format, Hadoop's blocks, and the blocks of snappy-java. Firehose offers
//! the first two (<https://docs.aws.amazon.com/firehose/latest/APIReference/API_S3DestinationConfiguration.html>,
//! `CompressionFormat`).

use std::{
    fmt,
    io::{self, Read},
};

use snap::{
    raw::{Decoder, decompress_len, max_compress_len},
    read::FrameDecoder,
};

use super::input::{Input, Refill, be, le};
use crate::{error::ObjectError, limits::MAX_SNAPPY_BLOCK_BYTES};

/// The chunk that begins each stream (<https://github.com/google/snappy/blob/main/framing_format.txt>, section 4.1).
pub(super) const STREAM: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// Bytes of a chunk: its checksum, and 64 KiB of data, which may grow when they are compressed.
const MAX_CHUNK_BYTES: usize = 4 + 76_490;
const CHUNK: &str = "a Snappy chunk";

/// The framing format: chunks, each with a CRC-32C of its data.
pub(super) struct Framed {
    decoder: FrameDecoder<Chunk>,
    /// The decoder may hold data of the last chunk.
    in_chunk: bool,
    chunks: u64,
    /// A stream has begun and had no chunk of data yet.
    is_empty: bool,
}

/// The bytes of one chunk; the decoder reads no further.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Chunk {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = (&self.bytes[self.at..]).read(out)?;
        self.at += count;
        Ok(count)
    }
}

impl fmt::Debug for Framed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl Framed {
    pub(super) fn new() -> Self {
        let chunk = Chunk { bytes: Vec::new(), at: 0 };
        Self { decoder: FrameDecoder::new(chunk), in_chunk: false, chunks: 0, is_empty: true }
    }

    /// Returns the number of data chunks read.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    pub(super) fn read(
        &mut self,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<usize, ObjectError> {
        loop {
            if self.in_chunk {
                let count = self.decoder.read(out).map_err(|error| {
                    input.corrupt(format!("bytes after a Snappy chunk that cannot be decoded ({error})"))
                })?;
                if count > 0 {
                    return Ok(count);
                }
                self.in_chunk = false;
            }
            if !input.want(1, refill)? {
                // Streams have no end mark, so a stream that was cut after its identifier looks empty.
                return if self.is_empty {
                    Err(input.truncated("a Snappy stream without data"))
                } else {
                    Ok(0)
                };
            }
            let head = input.need(4, CHUNK, refill)?;
            let (kind, length) = (head[0], le(&head[1..]) as usize);
            match kind {
                0xff => {
                    if input.need(STREAM.len(), CHUNK, refill)? != STREAM {
                        return Err(input.corrupt("a Snappy stream identifier that does not match"));
                    }
                    input.consume(STREAM.len());
                    self.is_empty = true;
                }
                0xfe => input.skip(4 + length as u64, CHUNK, refill)?,
                0 | 1 if (4..=MAX_CHUNK_BYTES).contains(&length) => {
                    if let Some(count) = self.chunk(4 + length, input, out, refill)? {
                        return Ok(count);
                    }
                }
                0 | 1 => return Err(input.corrupt(format!("a Snappy chunk of {length} bytes"))),
                // The format lets readers skip 0x80 to 0xfd. No writer uses them, and a damaged chunk of data looks the
                // same, so skipping them could lose records without an error.
                kind => {
                    return Err(input.corrupt(format!("a Snappy chunk of the reserved type 0x{kind:02x}")));
                }
            }
        }
    }

    /// Decodes the next chunk, of `length` bytes. Returns `None` if it has no data.
    fn chunk(
        &mut self,
        length: usize,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<Option<usize>, ObjectError> {
        let data = input.need(length, CHUNK, refill)?;
        let first = self.chunks == 0;
        let chunk = self.decoder.get_mut();
        chunk.bytes.clear();
        chunk.at = 0;
        if first {
            chunk.bytes.extend_from_slice(STREAM);
        }
        chunk.bytes.extend_from_slice(data);
        self.chunks += 1;
        self.is_empty = false;
        let count = self
            .decoder
            .read(out)
            .map_err(|error| input.corrupt(format!("a Snappy chunk that cannot be decoded ({error})")))?;
        input.consume(length);
        self.in_chunk = count > 0;
        Ok((count > 0).then_some(count))
    }
}

/// The container of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// Hadoop's `BlockCompressorStream`: the length of a block before and after compression, big-endian, and the latter
    /// again for each further chunk of the block.
    Hadoop,
    /// snappy-java's `SnappyOutputStream`: a header, then the compressed length of each block, big-endian.
    Java,
}

/// The header of snappy-java: magic, version and the oldest version that can read it
/// (<https://github.com/xerial/snappy-java/blob/master/src/main/java/org/xerial/snappy/SnappyCodec.java>).
pub(super) const JAVA_MAGIC: &[u8] = b"\x82SNAPPY\0";
const JAVA_HEADER_BYTES: usize = 16;
const BLOCK: &str = "a Snappy block";
/// `max_compress_len` of [`MAX_SNAPPY_BLOCK_BYTES`].
const MAX_COMPRESSED_BYTES: u64 = 32 + MAX_SNAPPY_BLOCK_BYTES + MAX_SNAPPY_BLOCK_BYTES / 6;

/// Blocks of raw Snappy. They have no checksums.
#[derive(Debug)]
pub(super) struct Blocks {
    container: Container,
    decoder: Decoder,
    data: Vec<u8>,
    returned: usize,
    /// Decoded bytes of the current Hadoop block that are still to come.
    remaining: u64,
    begun: u64,
}

impl Blocks {
    pub(super) fn new(container: Container) -> Self {
        Self { container, decoder: Decoder::new(), data: Vec::new(), returned: 0, remaining: 0, begun: 0 }
    }

    pub(super) fn container(&self) -> Container {
        self.container
    }

    /// Returns the number of blocks begun.
    pub(super) fn blocks(&self) -> u64 {
        self.begun
    }

    pub(super) fn read(
        &mut self,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<usize, ObjectError> {
        while self.returned == self.data.len() {
            if self.remaining == 0 && !self.open_block(input, refill)? {
                return Ok(0);
            }
            if self.remaining > 0 {
                self.block(input, refill)?;
            }
        }
        let count = (&self.data[self.returned..]).read(out).unwrap_or(0);
        self.returned += count;
        Ok(count)
    }

    /// Reads the maximum decoded size of the next block. Returns false if the layer ends here.
    fn open_block(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<bool, ObjectError> {
        if !input.want(1, refill)? {
            let is_empty = self.container == Container::Java && self.begun == 0;
            return if is_empty {
                Err(input.truncated("a snappy-java stream without data"))
            } else {
                Ok(false)
            };
        }
        if self.container == Container::Java {
            if input.next_is(JAVA_MAGIC, refill)? {
                let header = input.need(JAVA_HEADER_BYTES, "a snappy-java header", refill)?;
                if be(&header[12..]) > 1 {
                    return Err(
                        input.unsupported("a snappy-java stream of a later version", "decompress it first")
                    );
                }
                input.consume(JAVA_HEADER_BYTES);
                return Ok(true);
            }
            self.remaining = MAX_SNAPPY_BLOCK_BYTES;
        } else {
            self.remaining = be(input.need(4, BLOCK, refill)?);
            if self.remaining > MAX_SNAPPY_BLOCK_BYTES {
                return Err(input.window_too_large(input.position(), BLOCK, MAX_SNAPPY_BLOCK_BYTES));
            }
            input.consume(4);
        }
        self.begun += 1;
        Ok(true)
    }

    fn block(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<(), ObjectError> {
        let length = be(input.need(4, BLOCK, refill)?);
        if self.container == Container::Java && length > MAX_COMPRESSED_BYTES {
            return Err(input.window_too_large(input.position(), BLOCK, MAX_SNAPPY_BLOCK_BYTES));
        }
        if length == 0 || length > max_compress_len(self.remaining as usize) as u64 {
            return Err(input.corrupt(format!("a Snappy block of {length} compressed bytes")));
        }
        let length = length as usize;
        input.need(4 + length, BLOCK, refill)?;
        let raw = &input.unused()[4..4 + length];
        let damaged = |error| input.corrupt(format!("a Snappy block that cannot be decoded ({error})"));
        let decoded = decompress_len(raw).map_err(damaged)?;
        if decoded as u64 > self.remaining {
            return Err(input.corrupt("a Snappy block that decodes to more than its length"));
        }
        self.data.clear();
        self.data.resize(decoded, 0);
        self.returned = 0;
        self.decoder.decompress(raw, &mut self.data).map_err(damaged)?;
        self.remaining = match self.container {
            Container::Hadoop => self.remaining - decoded as u64,
            Container::Java => 0,
        };
        input.consume(4 + length);
        Ok(())
    }
}

/// Returns whether `raw` is a raw Snappy block, or begins like one if `cut`: its length, then consistent elements, the
/// first of them a literal (<https://github.com/google/snappy/blob/main/format_description.txt>). Text does not pass.
pub(super) fn is_block(raw: &[u8], cut: bool) -> bool {
    let mut length = 0u64;
    let mut at = 0;
    loop {
        let Some(&byte) = raw.get(at) else { return false };
        length |= u64::from(byte & 0x7f) << (7 * at);
        at += 1;
        if byte < 0x80 {
            break;
        }
        if at == 5 {
            return false;
        }
    }
    if length == 0 || length > u64::from(u32::MAX) {
        return false;
    }
    let (mut produced, mut elements) = (0u64, 0);
    while let Some(&tag) = raw.get(at) {
        let extra = match tag & 3 {
            0 if tag >> 2 >= 60 => usize::from(tag >> 2) - 59,
            0 => 0,
            1 => 1,
            2 => 2,
            _ => 4,
        };
        let Some(number) = raw.get(at + 1..at + 1 + extra) else { return cut && elements > 0 };
        let number = le(number);
        at += 1 + extra;
        if matches!(tag & 3, 0) {
            let literal = if extra > 0 { number + 1 } else { u64::from(tag >> 2) + 1 };
            produced += literal;
            at = at.saturating_add(literal as usize);
        } else {
            let (copy, offset) = if tag & 3 == 1 {
                (u64::from(tag >> 2 & 7) + 4, u64::from(tag >> 5) << 8 | number)
            } else {
                (u64::from(tag >> 2) + 1, number)
            };
            if offset == 0 || offset > produced {
                return false;
            }
            produced += copy;
        }
        if produced > length {
            return false;
        }
        elements += 1;
    }
    if at > raw.len() { cut } else { cut || produced == length }
}
