//! Zstandard, bzip2, xz and LZ4: all frames or streams until the layer ends. `compression-codecs`, the part of
//! async-compression without a runtime, decodes them.

use std::{fmt, io};

use compression_codecs::{
    BzDecoder, DecodeV2, Lz4Decoder, Xz2Decoder, ZstdDecoder,
    core::util::{PartialBuffer, WriteBuffer},
    zstd::params::DParameter,
};

use super::{
    codec::Codec,
    input::{Input, Refill, le},
    signatures::{BZIP2_BLOCK, BZIP2_END, LZ4, SKIPPABLE_BYTES, XZ, ZSTD, is_skippable},
};
use crate::{
    error::ObjectError,
    limits::{MAX_WINDOW_BYTES, MAX_WINDOW_LOG},
};

/// Memory that liblzma needs besides the dictionary
/// (`lzma_memusage`, <https://tukaani.org/xz/man/xz.1.html>: about the dictionary plus 1 MiB).
const XZ_EXTRA_BYTES: u64 = 1 << 20;

pub(super) struct Streams {
    codec: Codec,
    decoder: Box<dyn DecodeV2>,
    in_frame: bool,
    /// Position at which the current frame begins. Errors name it: how far a decoder has read when it notices the
    /// corruption depends on how the bytes arrived.
    begun: u64,
    /// The last call filled its output, so the decoder may hold more.
    pending: bool,
    frames: u64,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// A codec's names for its units.
struct Words {
    frame: &'static str,
    header: &'static str,
    no_frame: &'static str,
}

fn words(codec: Codec) -> Words {
    match codec {
        Codec::Bzip2 => Words {
            frame: "a bzip2 stream",
            header: "a bzip2 stream's header",
            no_frame: "bytes after a bzip2 stream that are not a bzip2 stream",
        },
        Codec::Xz => Words {
            frame: "an xz stream",
            header: "an xz stream's header",
            no_frame: "bytes after an xz stream that are not an xz stream",
        },
        Codec::Lz4 => Words {
            frame: "an LZ4 frame",
            header: "an LZ4 frame's header",
            no_frame: "bytes after an LZ4 frame that are not an LZ4 frame",
        },
        _ => Words {
            frame: "a zstd frame",
            header: "a zstd frame's header",
            no_frame: "bytes after a zstd frame that are not a zstd frame",
        },
    }
}

fn decoder(codec: Codec) -> Box<dyn DecodeV2> {
    match codec {
        Codec::Bzip2 => Box::new(BzDecoder::new()),
        Codec::Xz => Box::new(Xz2Decoder::new(MAX_WINDOW_BYTES + XZ_EXTRA_BYTES)),
        Codec::Lz4 => Box::new(Lz4Decoder::new()),
        _ => Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(MAX_WINDOW_LOG)])),
    }
}

impl Streams {
    /// `codec` is [`Codec::Zstd`], [`Codec::Bzip2`], [`Codec::Xz`] or [`Codec::Lz4`].
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, decoder: decoder(codec), in_frame: false, begun: 0, pending: false, frames: 0 }
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Returns the number of frames begun.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn read(
        &mut self,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<usize, ObjectError> {
        loop {
            if !self.in_frame && !self.open_frame(input, refill)? {
                return Ok(0);
            }
            let count = self.decode(input, out, refill)?;
            if count > 0 {
                return Ok(count);
            }
        }
    }

    /// Checks the next frame's header. Returns false if the layer ends here.
    fn open_frame(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<bool, ObjectError> {
        self.skip_separators(input, refill)?;
        if !input.want(1, refill)? {
            return Ok(false);
        }
        self.check_header(input, refill)?;
        self.begun = input.position();
        if self.frames > 0 {
            let reset = self.decoder.reinit();
            reset.map_err(|error| self.damaged(input, &error))?;
        }
        self.frames += 1;
        self.in_frame = true;
        self.pending = false;
        Ok(true)
    }

    /// Skips what the format allows between frames: zstd's and LZ4's skippable frames
    /// (RFC 8878 section 3.1.2), xz's padding of four zero bytes
    /// (<https://tukaani.org/xz/xz-file-format.txt>, section 2.2).
    fn skip_separators(&mut self, input: &mut Input, refill: Refill<'_>) -> Result<(), ObjectError> {
        match self.codec {
            Codec::Zstd | Codec::Lz4 => {
                while input.want(4, refill)? && is_skippable(input.unused()) {
                    let length = le(&input.need(SKIPPABLE_BYTES, "a skippable frame", refill)?[4..8]);
                    input.skip(SKIPPABLE_BYTES as u64 + length, "a skippable frame", refill)?;
                }
                // Skippable frames are the same in both formats; the first other frame decides.
                if self.frames == 0 {
                    let other = if self.codec == Codec::Zstd { Codec::Lz4 } else { Codec::Zstd };
                    if input.unused().starts_with(magic(other)) {
                        *self = Self::new(other);
                    }
                }
            }
            Codec::Xz if self.frames > 0 => {
                while input.next_is(&[0; 4], refill)? {
                    input.consume(4);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_header(&self, input: &mut Input, refill: Refill<'_>) -> Result<(), ObjectError> {
        let Words { header, no_frame, .. } = words(self.codec);
        let magic = magic(self.codec);
        let has_magic = input.want(magic.len(), refill)?;
        let seen = &input.unused()[..magic.len().min(input.unused().len())];
        if !magic.starts_with(seen) {
            return Err(input.corrupt(no_frame));
        }
        if !has_magic {
            return Err(input.truncated(header));
        }
        match self.codec {
            Codec::Zstd => check_zstd(input, header, refill),
            Codec::Lz4 => {
                if input.need(7, header, refill)?[4] & 1 != 0 {
                    return Err(input.unsupported("an LZ4 frame that needs a dictionary", RECOMPRESS));
                }
                Ok(())
            }
            Codec::Xz => {
                // liblzma ignores checksums of unknown types.
                let checksum = input.need(12, header, refill)?[7];
                match checksum {
                    0 | 1 | 4 | 10 => Ok(()),
                    other => Err(input
                        .unsupported(format!("an xz stream with a checksum of type {other}"), RECOMPRESS)),
                }
            }
            _ => {
                let head = input.need(10, header, refill)?;
                let (level, block) = (head[3], &head[4..]);
                if !(b'1'..=b'9').contains(&level) || block != BZIP2_BLOCK && block != BZIP2_END {
                    return Err(input.corrupt(no_frame));
                }
                Ok(())
            }
        }
    }

    fn decode(
        &mut self,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<usize, ObjectError> {
        if !self.pending {
            input.need(1, words(self.codec).frame, refill)?;
        }
        let room = out.len();
        let mut output = WriteBuffer::new_initialized(out);
        let mut bytes = PartialBuffer::new(input.unused());
        let ended = self.decoder.decode(&mut bytes, &mut output);
        let (used, count) = (bytes.written_len(), output.written_len());
        let stuck = used == 0 && count == 0 && !input.unused().is_empty();
        match ended {
            Ok(true) => self.in_frame = false,
            Ok(false) if stuck => {
                return Err(self.damaged(input, &io::Error::other("no progress")));
            }
            Ok(false) => {}
            Err(error) => return Err(self.damaged(input, &error)),
        }
        input.consume(used);
        self.pending = count == room;
        Ok(count)
    }

    fn damaged(&self, input: &Input, error: &io::Error) -> ObjectError {
        let frame = words(self.codec).frame;
        let limit = error.get_ref().and_then(|error| error.downcast_ref::<liblzma::stream::Error>());
        if limit == Some(&liblzma::stream::Error::MemLimit) {
            return input.window_too_large(self.begun, frame, MAX_WINDOW_BYTES);
        }
        input.corrupt_at(self.begun, format!("{frame} that cannot be decoded ({error})"))
    }
}

const RECOMPRESS: &str = "compress the object again with ordinary options";

fn magic(codec: Codec) -> &'static [u8] {
    match codec {
        Codec::Bzip2 => b"BZh",
        Codec::Xz => XZ,
        Codec::Lz4 => LZ4,
        _ => ZSTD,
    }
}

/// Refuses frames whose window is above the limit or that need a dictionary: the frame header, RFC 8878 section 3.1.1.1.
fn check_zstd(input: &mut Input, header: &'static str, refill: Refill<'_>) -> Result<(), ObjectError> {
    let descriptor = input.need(6, header, refill)?[4];
    let single_segment = descriptor & 0x20 != 0;
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let dictionary = 5 + usize::from(!single_segment);
    if le(&input.need(dictionary + dictionary_bytes, header, refill)?[dictionary..]) != 0 {
        return Err(input.unsupported("a zstd frame that needs a dictionary", RECOMPRESS));
    }
    // A single segment has no window descriptor; its window is its content.
    let window = if single_segment {
        let size_bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
        let size = dictionary + dictionary_bytes;
        le(&input.need(size + size_bytes, header, refill)?[size..])
    } else {
        let (exponent, mantissa) = (input.unused()[5] >> 3, u64::from(input.unused()[5] & 7));
        let base = 1u64 << (10 + exponent);
        base + base / 8 * mantissa
    };
    if window > MAX_WINDOW_BYTES {
        return Err(input.window_too_large(input.position(), "a zstd frame", MAX_WINDOW_BYTES));
    }
    Ok(())
}
