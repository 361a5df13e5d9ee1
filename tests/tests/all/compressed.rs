//! Compressed objects and binary objects in the whole pipeline.

use flowherd_shared::{error::Verdict, pipeline::RunConfig};
use flowherd_tests::{
    compress::{CODECS, Entry, archive, snappy_raw},
    objects::{FLOW, convert, envelope, event, gzip},
};
use serde_json::{Value, json};

use super::{place::Place, promises::within};

fn good() -> String {
    envelope("g", &[event(1, FLOW), event(2, FLOW)])
}

fn error(object: &[u8]) -> String {
    let error = convert(object, "k", &RunConfig::default()).unwrap_err();
    assert_eq!(error.verdict(), Verdict::Permanent);
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[test]
fn envelopes_and_lines_of_every_codec_become_rows_and_the_name_of_the_object_does_not_matter() {
    for (name, compress) in CODECS {
        for text in [good(), format!("{FLOW}\n{FLOW}\n")] {
            for key in ["a.gz", "b.txt", "c"] {
                let (counts, _) =
                    convert(&compress(text.as_bytes())[..], key, &RunConfig::default()).unwrap();
                assert_eq!((counts.rows, counts.read), (2, 2), "{name}");
                assert_eq!(counts.layers[0][0].codec.names().0, name);
            }
        }
    }
}

#[test]
fn records_that_are_gzipped_one_by_one_with_a_line_feed_after_each_are_all_read() {
    let member = gzip(good().as_bytes());
    let object = [&member[..], b"\n", &member, b"\n"].concat();
    assert_eq!(convert(&object[..], "k", &RunConfig::default()).unwrap().0.rows, 4);
    let padded = [&member[..], &[0; 1000]].concat();
    assert_eq!(convert(&padded[..], "k", &RunConfig::default()).unwrap().0.rows, 2);
}

#[test]
fn the_last_line_of_a_zip_entry_is_not_joined_with_the_first_of_the_next() {
    let entry = |name, bytes| Entry { name, bytes, deflated: true, described: true };
    let line = FLOW.as_bytes();
    let compressed = gzip(line);
    let object = archive(&[entry("a", line), entry("b.gz", &compressed), entry("c", line)]);
    let (counts, _) = convert(&object[..], "k", &RunConfig::default()).unwrap();
    assert_eq!((counts.rows, counts.read), (3, 3));
}

/// Returns an archive with these files in this order.
fn zip_of(files: &[&[u8]]) -> Vec<u8> {
    let entry = |bytes| Entry { name: "log", bytes, deflated: true, described: true };
    archive(&files.iter().map(|bytes| entry(*bytes)).collect::<Vec<_>>())
}

#[test]
fn each_zip_entry_is_a_file_of_its_own() {
    let plan = RunConfig::default();
    // A header line applies to its own file only, and a file may begin with one of a single word.
    let with_header = "dstaddr srcaddr start\n192.0.2.9 10.0.0.9 1580515200\n";
    let one_word = "srcaddr\n192.0.2.9\n";
    for (files, rows) in
        [([with_header, FLOW], 2), ([FLOW, with_header], 2), (["", with_header], 1), ([FLOW, one_word], 2)]
    {
        let (counts, outputs) = convert(&zip_of(&files.map(str::as_bytes))[..], "k", &plan).unwrap();
        assert_eq!((counts.rows, counts.read), (rows, rows));
        assert!(!files.contains(&FLOW) || outputs[0].1.contains("10.0.0.5,192.0.2.7"), "{outputs:?}");
    }
    // A byte order mark begins each of them.
    let marked = format!("\u{feff}{}", good());
    let (counts, _) = convert(&zip_of(&[marked.as_bytes(); 3])[..], "k", &plan).unwrap();
    assert_eq!((counts.rows, counts.read), (6, 6));
    // An item ends with its file.
    let (front, back) = marked.split_at(40);
    for files in [[front, back], [front, &marked], ["{\"a\":", "1}"]] {
        assert!(error(&zip_of(&files.map(str::as_bytes))).starts_with("truncated: "), "{files:?}");
    }
}

#[test]
fn every_codec_decodes_within_the_memory_of_one_object() {
    // 100 MB each, as one line. Only codec and window keep bytes of it.
    let place = Place::new();
    for (name, compress) in CODECS {
        let unit = compress(FLOW.repeat(11_000).as_bytes());
        place.object(name, &unit.repeat(100));
    }
    place.file("f.toml", b"[limits]\nmax_decode_ratio = 1000000\nmax_reject_percent = 100\n");
    let config = place.path("f.toml");
    let args = ["--jobs", "1", "--json", "--config", config.to_str().unwrap()];
    let output = within(64 << 10, &place.convert_args(&args));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&report["state"], &report["objects"]["done"]), (&"done".into(), &9.into()), "{report}");
    // Each zip entry is a file with its own line, which is not too long.
    assert_eq!(report["rejects"], json!({ "too-long": 8, "field-count": 100 }), "{report}");
    assert!(report["bytes"]["decoded_in"].as_u64().unwrap() > 700_000_000, "{report}");
}

#[test]
fn binary_formats_fail_the_object_by_name() {
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let utf_16_be = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let utf_32 = |text: &str| text.chars().flat_map(|char| (char as u32).to_le_bytes()).collect::<Vec<u8>>();
    let line = format!("{FLOW}\n");
    let mut tar = vec![0; 512];
    tar[..7].copy_from_slice(b"log.txt");
    tar[257..262].copy_from_slice(b"ustar");
    let sum: u32 = tar.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(line.as_bytes());
    let mut tar_7 = vec![0; 512];
    tar_7[..7].copy_from_slice(b"log.txt");
    tar_7[100..107].copy_from_slice(b"000644 ");
    tar_7[124..135].copy_from_slice(b"00000000124");
    let sum: u32 = tar_7.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    tar_7[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar_7.extend_from_slice(line.as_bytes());
    let formats: [(&[u8], &str); 21] = [
        (&tar_7, "a tar archive (a valid header checksum at byte 148 of layer 0)"),
        (b"\xa1\xb2\xc3\xd4\0\x02\0\x04", "a packet capture (magic A1B2C3D4 at byte 0"),
        (b"\x4d\x3c\xb2\xa1\x02\0\x04\0", "a packet capture (magic 4D3CB2A1 at byte 0"),
        (b"\xa1\xb2\x3c\x4d\0\x02\0\x04", "a packet capture (magic A1B23C4D at byte 0"),
        (b"PAR1\x15\x04\x15\x10\x15\x14L\x15\x02\x15\0\0\0", "Parquet (magic PAR1 at byte 0 of layer 0)"),
        (b"ORC\n\x03\0\0\x12\x14\x08", "ORC (magic ORC at byte 0 of layer 0)"),
        (b"Obj\x01\x04\x16avro.schema", "Avro (magic Obj and 01 at byte 0 of layer 0)"),
        (
            b"\xf3\x89\x9a\xc2\n\x01a\x1a\x07\x08",
            "an aggregate of the Kinesis Producer Library (magic F3899AC2 at",
        ),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive (magic 377ABCAF271C at byte 0"),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive (magic Rar! at byte 0"),
        (&tar, "a tar archive (magic ustar at byte 257 of layer 0)"),
        (&[&b"\xff\xfe"[..], &utf_16(&line)].concat(), "UTF-16 (byte order mark FFFE at byte 0"),
        (&[&b"\xfe\xff"[..], &utf_16_be(&line)].concat(), "UTF-16 (byte order mark FEFF at byte 0"),
        (&utf_16(&line), "UTF-16 (zero bytes between ASCII characters at byte 0"),
        (&utf_16_be(&line), "UTF-16 (zero bytes between ASCII characters at byte 0"),
        (&utf_32(&line), "UTF-32 (zero bytes between ASCII characters at byte 0"),
        (&[&b"\xff\xfe\0\0"[..], &utf_32(&line)].concat(), "UTF-32 (byte order mark FFFE0000 at byte 0"),
        (&snappy_raw(line.repeat(9).as_bytes()), "a raw Snappy block (its length and elements at byte 0"),
        (b"x\x9c\x4b\x04\0\0\x62\0\x62", "zlib (bytes 789C at byte 0"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0",
            "binary data (bytes that no text has at byte 0",
        ),
        (&[0; 100], "binary data (bytes that no text has at byte 0"),
    ];
    for (object, expected) in formats {
        let text = error(object);
        let (named, todo) = text.split_once(", which Flowherd does not read; ").unwrap();
        assert!(named.starts_with(&format!("not text: this is {expected}")), "{named}");
        assert!(todo.len() > 20, "{todo}");
        // With any compression.
        for (_, compress) in CODECS {
            let named = named.replace("layer 0", "layer 1");
            assert!(error(&compress(object)).starts_with(&named));
        }
    }
}

#[test]
fn text_with_hostile_bytes_is_not_recognized_as_binary() {
    let attack = "\u{1}\u{2}\0\u{7f}\u{16}\u{3}\u{1}".repeat(40);
    let hostile = [
        format!("{FLOW}\n{attack}\n"),
        format!("{attack}\n{}", format!("{FLOW}\n").repeat(4)),
        format!("2026-02-18T00:00:00Z GET /{attack}\n").repeat(50),
    ];
    for text in hostile {
        let (counts, _) = convert(text.as_bytes(), "k", &RunConfig::default()).unwrap();
        assert_eq!(counts.read, text.lines().count() as u64);
    }
}
