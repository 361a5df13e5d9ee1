//! One decoder for all codecs.

use std::fmt;

use super::{
    codec::{Codec, LayerCount},
    gzip::Gzip,
    input::{Input, Refill},
    snappy::{Blocks, Container, Framed},
    streams::Streams,
    zip::Zip,
};
use crate::error::ObjectError;

/// A compressed layer.
pub(super) struct Layer {
    pub(super) input: Input,
    pub(super) decoder: Decoder,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("count", &self.decoder.count()).finish_non_exhaustive()
    }
}

/// The decoder of a layer.
pub(super) enum Decoder {
    Gzip(Box<Gzip>),
    Streams(Streams),
    Framed(Box<Framed>),
    Blocks(Blocks),
    Zip(Box<Zip>),
}

impl Decoder {
    pub(super) fn new(codec: Codec, base: u64) -> Self {
        match codec {
            Codec::Gzip => Self::Gzip(Box::new(Gzip::new())),
            Codec::Zstd | Codec::Bzip2 | Codec::Xz | Codec::Lz4 => Self::Streams(Streams::new(codec)),
            Codec::Snappy => Self::Framed(Box::new(Framed::new())),
            Codec::SnappyHadoop => Self::Blocks(Blocks::new(Container::Hadoop)),
            Codec::SnappyJava => Self::Blocks(Blocks::new(Container::Java)),
            Codec::Zip => Self::Zip(Box::new(Zip::new(base))),
        }
    }

    pub(super) fn read(
        &mut self,
        input: &mut Input,
        out: &mut [u8],
        refill: Refill<'_>,
    ) -> Result<usize, ObjectError> {
        match self {
            Self::Gzip(gzip) => gzip.read(input, out, refill),
            Self::Streams(streams) => streams.read(input, out, refill),
            Self::Framed(framed) => framed.read(input, out, refill),
            Self::Blocks(blocks) => blocks.read(input, out, refill),
            Self::Zip(zip) => zip.read(input, out, refill),
        }
    }

    pub(super) fn count(&self) -> LayerCount {
        let (codec, units) = match self {
            Self::Gzip(gzip) => (Codec::Gzip, gzip.members()),
            Self::Streams(streams) => (streams.codec(), streams.frames()),
            Self::Framed(framed) => (Codec::Snappy, framed.chunks()),
            Self::Blocks(blocks) => match blocks.container() {
                Container::Hadoop => (Codec::SnappyHadoop, blocks.blocks()),
                Container::Java => (Codec::SnappyJava, blocks.blocks()),
            },
            Self::Zip(zip) => (Codec::Zip, zip.entries()),
        };
        LayerCount { codec, units }
    }
}
