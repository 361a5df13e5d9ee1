//! Compressed objects, and objects that are no text, through the whole pipeline.

use flowherd_shared::{error::Verdict, pipeline::RunConfig};
use flowherd_tests::{
    compress::{CODECS, Entry, archive, snappy_raw},
    objects::{FLOW, convert, envelope, event, gzip},
};

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
fn records_that_are_gzipped_one_by_one_with_a_line_feed_behind_each_are_all_read() {
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
    let formats: [(&[u8], &str); 17] = [
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
        // Under any compression.
        for (_, compress) in CODECS {
            let named = named.replace("layer 0", "layer 1");
            assert!(error(&compress(object)).starts_with(&named));
        }
    }
}

#[test]
fn records_with_hostile_bytes_never_make_text_binary() {
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
