//! The codecs of layers.

/// The compression of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Gzip members.
    Gzip,
    /// Zstandard frames.
    Zstd,
    /// Bzip2 streams.
    Bzip2,
    /// Xz streams.
    Xz,
    /// LZ4 frames.
    Lz4,
    /// Snappy's framing format.
    Snappy,
    /// Snappy blocks in Hadoop's container.
    SnappyHadoop,
    /// Snappy blocks in snappy-java's container.
    SnappyJava,
    /// The entries of a zip archive.
    Zip,
}

impl Codec {
    /// Returns its name and the name of its units, e.g. `gzip` and `members`.
    #[must_use]
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Gzip => ("gzip", "members"),
            Self::Zstd => ("zstd", "frames"),
            Self::Bzip2 => ("bzip2", "streams"),
            Self::Xz => ("xz", "streams"),
            Self::Lz4 => ("LZ4", "frames"),
            Self::Snappy => ("framed Snappy", "chunks"),
            Self::SnappyHadoop => ("Hadoop Snappy", "blocks"),
            Self::SnappyJava => ("snappy-java", "blocks"),
            Self::Zip => ("zip", "entries"),
        }
    }
}

/// The units read of one layer with one codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCount {
    /// The codec.
    pub codec: Codec,
    /// Members, frames, streams, chunks, blocks or entries begun.
    pub units: u64,
}
