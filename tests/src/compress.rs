//! Writers of every codec that the pipeline reads, with the checksums of each format.

use std::io::Write;

use compression_codecs::{
    BzEncoder, EncodeV2, Lz4Encoder, XzEncoder, ZstdEncoder,
    bzip2::params::Bzip2EncoderParams,
    core::{
        Level,
        util::{PartialBuffer, WriteBuffer},
    },
    lz4::params::EncoderParams,
    zstd::params::CParameter,
};
use flate2::{Compression, Crc, write::DeflateEncoder};

use crate::objects::gzip;

/// Compresses one unit: a member, a frame, a stream, some blocks, or an archive of one entry. Units can be concatenated.
pub type Compress = fn(&[u8]) -> Vec<u8>;

/// Every codec by its name in errors and in `explain`.
pub const CODECS: [(&str, Compress); 9] = [
    ("gzip", gzip),
    ("zstd", zstd),
    ("bzip2", bzip2),
    ("xz", xz),
    ("LZ4", lz4),
    ("framed Snappy", snappy),
    ("Hadoop Snappy", snappy_hadoop),
    ("snappy-java", snappy_java),
    ("zip", zip),
];

/// Codecs without checksums: a changed bit in a literal goes unnoticed.
pub const UNCHECKED: [&str; 2] = ["Hadoop Snappy", "snappy-java"];

/// A zstd frame with a checksum of its content.
#[must_use]
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    encode(&mut ZstdEncoder::new_with_params(3, &[CParameter::checksum_flag(true)]), bytes)
}

/// A bzip2 stream.
#[must_use]
pub fn bzip2(bytes: &[u8]) -> Vec<u8> {
    encode(&mut BzEncoder::new(Bzip2EncoderParams::from(Level::Default), 0), bytes)
}

/// An xz stream with CRC-64.
#[must_use]
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    encode(&mut XzEncoder::new(Level::Fastest), bytes)
}

/// An LZ4 frame with checksums of its blocks and its content.
#[must_use]
pub fn lz4(bytes: &[u8]) -> Vec<u8> {
    let params = EncoderParams::default().content_checksum(true).block_checksum(true);
    encode(&mut Lz4Encoder::new(params), bytes)
}

fn encode(encoder: &mut dyn EncodeV2, bytes: &[u8]) -> Vec<u8> {
    let (mut all, mut room) = (Vec::new(), vec![0; 1 << 20]);
    let mut input = PartialBuffer::new(bytes);
    while !input.unwritten().is_empty() {
        let mut output = WriteBuffer::new_initialized(&mut room);
        encoder.encode(&mut input, &mut output).unwrap();
        all.extend_from_slice(output.written());
    }
    loop {
        let mut output = WriteBuffer::new_initialized(&mut room);
        let done = encoder.finish(&mut output).unwrap();
        all.extend_from_slice(output.written());
        if done {
            return all;
        }
    }
}

/// A stream of Snappy's framing format; empty for empty input.
#[must_use]
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.into_inner().unwrap()
}

/// Hadoop's container: blocks of up to 256 KiB, each of chunks.
#[must_use]
pub fn snappy_hadoop(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for block in bytes.chunks(256 << 10) {
        all.extend_from_slice(&(block.len() as u32).to_be_bytes());
        // Writers use one chunk, but the format allows more.
        for chunk in block.chunks(100 << 10) {
            let raw = snappy_raw(chunk);
            all.extend_from_slice(&(raw.len() as u32).to_be_bytes());
            all.extend_from_slice(&raw);
        }
    }
    all
}

/// snappy-java's container: blocks of 32 KiB; empty for empty input.
#[must_use]
pub fn snappy_java(bytes: &[u8]) -> Vec<u8> {
    let mut all = if bytes.is_empty() { Vec::new() } else { b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec() };
    for block in bytes.chunks(32 << 10) {
        let raw = snappy_raw(block);
        all.extend_from_slice(&(raw.len() as u32).to_be_bytes());
        all.extend_from_slice(&raw);
    }
    all
}

/// A raw Snappy block, which has no end mark.
#[must_use]
pub fn snappy_raw(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// An archive of one deflated entry, with its lengths before the data.
#[must_use]
pub fn zip(bytes: &[u8]) -> Vec<u8> {
    archive(&[Entry { name: "log.txt", bytes, deflated: true, described: false }])
}

/// An entry of a zip archive.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its name; a directory's ends with a slash.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
    /// Whether the entry is deflated instead of stored.
    pub deflated: bool,
    /// Whether lengths and checksum are after the data, as writers without seek write them.
    pub described: bool,
}

/// A zip archive.
#[must_use]
pub fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut all, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let data = if entry.deflated { deflate(entry.bytes) } else { entry.bytes.to_vec() };
        let mut crc = Crc::new();
        crc.update(entry.bytes);
        let lengths = [crc.sum(), data.len() as u32, entry.bytes.len() as u32].map(u32::to_le_bytes).concat();
        let mut head =
            vec![20, 0, u8::from(entry.described) * 8, 0, u8::from(entry.deflated) * 8, 0, 0, 0, 0x21, 0];
        head.extend_from_slice(if entry.described { &[0; 12] } else { &lengths });
        head.extend_from_slice(&[entry.name.len() as u8, 0, 0, 0]);
        let offset = (all.len() as u32).to_le_bytes();
        all.extend_from_slice(b"PK\x03\x04");
        all.extend_from_slice(&head);
        all.extend_from_slice(entry.name.as_bytes());
        all.extend_from_slice(&data);
        if entry.described {
            all.extend_from_slice(b"PK\x07\x08");
            all.extend_from_slice(&lengths);
        }
        head[10..22].copy_from_slice(&lengths);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&head);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset);
        directory.extend_from_slice(entry.name.as_bytes());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let at = [directory.len() as u32, all.len() as u32].map(u32::to_le_bytes).concat();
    all.extend_from_slice(&directory);
    all.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    all.extend_from_slice(&[count, count].concat());
    all.extend_from_slice(&at);
    all.extend_from_slice(&[0, 0]);
    all
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
