//! Every compression of objects: whole, in several units, nested, truncated, damaged and hostile.

use std::{fs, path::Path};

use flowherd_shared::{
    error::ObjectError,
    limits::{Limits, MAX_SNAPPY_BLOCK_BYTES},
    pipeline::layers::{LayerCount, Layers},
};
use flowherd_tests::{
    compress::{CODECS, Entry, UNCHECKED, archive, snappy_hadoop, snappy_raw, zip, zstd},
    objects::{Portions, gzip},
};
use proptest::{collection::vec, prelude::*, sample::Index};

const LINE: &str =
    "2 123456789012 eni-1 10.0.0.5 192.0.2.7 49152 443 6 20 4249 1580515200 1580515260 ACCEPT OK\n";

type Decoded = (Vec<u8>, Vec<Vec<LayerCount>>);

fn decode_with(object: &[u8], portion: usize, limits: Limits) -> Result<Decoded, ObjectError> {
    let mut layers = Layers::open(Portions::new(object, portion), limits)?;
    let (mut text, mut chunk) = (Vec::new(), vec![0; portion.clamp(7, 100_000)]);
    loop {
        match layers.read(&mut chunk)? {
            0 if layers.next_file()? => {}
            0 => return Ok((text, layers.counts())),
            count => text.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Returns the text, or the error. Text, and kind and position of an error, must not depend on the read size.
fn decode(object: &[u8]) -> Result<Vec<u8>, String> {
    let outcomes = [1, 13, usize::MAX].map(|portion| {
        decode_with(object, portion, Limits::default())
            .map(|(text, _)| text)
            .map_err(|error| error.to_string())
    });
    // A library's text about damage may depend on the number of bytes that it read.
    let comparable = |outcome: &Result<Vec<u8>, String>| {
        outcome.clone().map_err(|error| {
            let (before, rest) = error.split_once(" (").unwrap_or((&error, ""));
            format!("{before}{}", rest.split_once(") at ").map_or("", |(_, place)| place))
        })
    };
    assert_eq!(comparable(&outcomes[0]), comparable(&outcomes[2]), "byte by byte");
    assert_eq!(comparable(&outcomes[1]), comparable(&outcomes[2]), "in portions");
    outcomes.into_iter().next().unwrap()
}

fn is_zip(name: &str) -> bool {
    name == "zip"
}

#[test]
fn every_unit_of_every_codec_is_read_at_any_chunk_size() {
    let long = LINE.repeat(3000);
    for (name, compress) in CODECS {
        for units in [vec![LINE], vec!["one\n", "", "two\n"], vec![&long, LINE, &long]] {
            let object = units.iter().flat_map(|unit| compress(unit.as_bytes())).collect::<Vec<u8>>();
            assert_eq!(decode(&object).unwrap(), units.concat().as_bytes(), "{name}");
            let (_, counts) = decode_with(&object, usize::MAX, Limits::default()).unwrap();
            assert_eq!(counts.len(), 1);
            assert_eq!(counts[0][0].codec.names().0, name);
            assert!(
                counts[0][0].units >= units.iter().filter(|unit| !unit.is_empty()).count() as u64,
                "{name}"
            );
        }
    }
}

#[test]
fn every_codec_in_every_other_gives_the_same_text() {
    for (outer_name, outer) in CODECS {
        for (inner_name, inner) in CODECS {
            let object = outer(&[inner(LINE.as_bytes()), inner(LINE.as_bytes())].concat());
            let text =
                decode(&object).unwrap_or_else(|error| panic!("{inner_name} in {outer_name}: {error}"));
            assert_eq!(text, LINE.repeat(2).as_bytes(), "{inner_name} in {outer_name}");
        }
    }
}

fn layer() -> impl Strategy<Value = (usize, Vec<Index>)> {
    (0..CODECS.len(), vec(any::<Index>(), 0..3))
}

/// Compresses `bytes` in one unit more than there are cuts. A zip archive has one unit, because each entry is a file.
fn compressed(bytes: &[u8], (codec, cuts): &(usize, Vec<Index>)) -> Vec<u8> {
    let (name, compress) = CODECS[*codec];
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.retain(|_| !is_zip(name));
    places.push(bytes.len());
    places.sort_unstable();
    let mut before = 0;
    let units =
        places.into_iter().map(|place| compress(&bytes[std::mem::replace(&mut before, place)..place]));
    units.collect::<Vec<_>>().concat()
}

proptest! {
    #[test]
    fn any_nesting_of_codecs_in_any_units_gives_the_same_text(
        lines in vec("[ -~]{0,40}", 1..20),
        layers in vec(layer(), 0..4),
        portion in 1..2000usize,
    ) {
        // No layer begins with this line.
        let text = format!("first\n{}\n", lines.join("\n"));
        let object = layers.iter().fold(text.clone().into_bytes(), |bytes, layer| compressed(&bytes, layer));
        let (decoded, counts) = decode_with(&object, portion, Limits::default()).unwrap();
        prop_assert_eq!(decoded, text.into_bytes());
        let names: Vec<&str> = counts.iter().rev().map(|layer| layer[0].codec.names().0).collect();
        prop_assert_eq!(names, layers.iter().map(|(codec, _)| CODECS[*codec].0).collect::<Vec<_>>());
    }
}

#[test]
fn a_truncated_object_is_never_read_as_a_shorter_one() {
    for (name, compress) in CODECS {
        for text in [LINE.to_owned(), format!("{}{LINE}", "abc ".repeat(50))] {
            let object = compress(text.as_bytes());
            for length in 1..object.len() {
                // The first one to three letters of a bzip2 stream may also be a word.
                let is_word = length <= 3 && object[..length].iter().all(u8::is_ascii_graphic);
                match decode(&object[..length]) {
                    Ok(text) => assert!(is_word, "{name} cut at {length}: {text:?}"),
                    Err(error) => {
                        let place = format!("at byte {length} of layer 0");
                        let named = error.starts_with("truncated: ") && error.ends_with(&place);
                        // Hadoop's container is recognized only with its first block.
                        let unknown =
                            name == "Hadoop Snappy" && length < 13 && error.starts_with("not text: ");
                        assert!(named || unknown, "{name} cut at {length} of {}: {error}", object.len());
                    }
                }
            }
        }
    }
}

#[test]
fn any_changed_bit_of_a_codec_with_checksums_is_an_error_or_changes_nothing() {
    let text = format!("{LINE}{}{LINE}", "abc ".repeat(50));
    for (name, compress) in CODECS {
        if UNCHECKED.contains(&name) {
            continue;
        }
        let object = compress(text.as_bytes());
        for bit in 0..object.len() * 8 {
            let mut changed = object.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = decode(&changed) {
                assert!(decoded == text.as_bytes(), "{name}: bit {} of byte {}", bit % 8, bit / 8);
            }
        }
    }
}

#[test]
fn damage_names_the_codec_its_layer_and_its_byte() {
    let text = LINE.repeat(100);
    for (name, compress) in CODECS {
        let unit = compress(text.as_bytes());
        let short = compress(LINE.as_bytes());
        let first = unit.len();
        // A byte in the middle of the second unit's data.
        let mut damaged = [&unit[..], &unit].concat();
        damaged[first + unit.len() / 2] ^= 0x10;
        let cut = [&unit[..], &short[..short.len() - 1]].concat();
        let after = [&unit[..], b"garbage"].concat();
        for (what, object) in [("damaged", damaged), ("cut", cut), ("garbage", after)] {
            if what == "damaged" && UNCHECKED.contains(&name) {
                continue;
            }
            for (layer, object) in [(0, object.clone()), (1, gzip(&object))] {
                let error = decode(&object).unwrap_err();
                let (_, place) = error.rsplit_once(" at byte ").unwrap();
                let (at, of) = place.split_once(' ').unwrap();
                assert!(at.parse::<usize>().unwrap() >= first, "{name}, {what}: {error}");
                assert!(of.starts_with(&format!("of layer {layer}")), "{name}, {what}: {error}");
                let word =
                    name.replace("framed ", "").replace("Hadoop ", "").replace("snappy-java", "Snappy");
                assert!(error.contains(&word), "{name}, {what}: {error}");
            }
        }
    }
}

#[test]
fn skippable_frames_and_padding_are_skipped() {
    let skippable = |length: usize| {
        let magic = [0x53, 0x2a, 0x4d, 0x18];
        [&magic[..], &(length as u32).to_le_bytes(), &vec![0xaa; length]].concat()
    };
    for (name, compress) in CODECS {
        let unit = compress(LINE.as_bytes());
        let between = match name {
            "zstd" | "LZ4" => skippable(300),
            "xz" => vec![0; 8],
            "framed Snappy" => b"\xfe\x03\x00\x00pad".to_vec(),
            _ => continue,
        };
        let object = [&unit[..], &between, &unit, &between].concat();
        assert_eq!(decode(&object).unwrap(), LINE.repeat(2).as_bytes(), "{name}");
        if name == "zstd" || name == "LZ4" {
            // They may be longer than the bytes that recognition reads.
            for length in [0, 100, 10_000, 100_000] {
                let object = [&skippable(length)[..], &unit].concat();
                let (text, counts) = decode_with(&object, 999, Limits::default()).unwrap();
                assert_eq!((text, counts[0][0].codec.names().0), (LINE.as_bytes().to_vec(), name));
            }
        }
    }
    assert_eq!(decode(&skippable(9)).unwrap(), b"");
    let xz = CODECS[3].1(LINE.as_bytes());
    assert!(
        decode(&[&xz[..], &[0; 3]].concat())
            .unwrap_err()
            .contains("bytes after an xz stream that are not an xz stream")
    );
}

fn entry<'a>(name: &'a str, bytes: &'a [u8]) -> Entry<'a> {
    Entry { name, bytes, deflated: true, described: false }
}

#[test]
fn every_entry_of_a_zip_archive_is_a_file_of_its_own() {
    let without_end = LINE.trim_end().as_bytes();
    let compressed: Vec<Vec<u8>> = CODECS.iter().map(|(_, compress)| compress(without_end)).collect();
    let names = ["gz", "zst", "bz2", "xz", "lz4", "sz", "snappy", "sjava", "zip"];
    let mut entries = vec![
        Entry { deflated: false, ..entry("logs/", b"") },
        entry("logs/a.txt", without_end),
        entry("logs/empty", b""),
    ];
    entries.extend(names.iter().zip(&compressed).map(|(name, bytes)| entry(name, bytes)));
    entries.push(entry("last.txt", LINE.as_bytes()));
    let object = archive(&entries);
    // The layers add nothing between two files. The record stage ends the last line of each.
    let expected = [&without_end.repeat(10), LINE.as_bytes()].concat();
    assert_eq!(decode(&object).unwrap(), expected);
    let (_, counts) = decode_with(&object, usize::MAX, Limits::default()).unwrap();
    assert_eq!((counts[0][0].units, counts[1].len()), (12, 9));
    assert_eq!(decode(&[&object[..], &object].concat()).unwrap(), expected.repeat(2));
    assert_eq!(decode(&archive(&[])).unwrap(), b"");
    assert_eq!(decode(&[archive(&[]), object].concat()).unwrap(), expected);
    // One damaged file fails the archive. The position in its error counts the bytes of all files before it.
    let cut = &compressed[0][..20];
    let error = decode(&archive(&[entry("a", without_end), entry("b.gz", cut)])).unwrap_err();
    let at = without_end.len() + 20;
    assert_eq!(error, format!("truncated: a gzip member ends too soon at byte {at} of layer 1"));
}

#[test]
fn entries_stored_or_deflated_with_lengths_before_or_after_them_are_read() {
    for (deflated, described) in [(false, false), (true, false), (true, true)] {
        let one = Entry { name: "one", bytes: LINE.as_bytes(), deflated, described };
        let none = Entry { bytes: b"", ..one };
        let object = archive(&[one, none, one]);
        assert_eq!(decode(&object).unwrap(), LINE.repeat(2).as_bytes(), "{deflated} {described}");
    }
    let after = Entry { name: "one", bytes: LINE.as_bytes(), deflated: false, described: true };
    assert!(
        decode(&archive(&[after])).unwrap_err().starts_with("unsupported: a stored zip entry whose length")
    );
    assert_eq!(decode(&archive(&[Entry { bytes: b"", ..after }])).unwrap(), b"");
}

#[test]
fn archives_that_hide_or_encrypt_entries_fail() {
    let two = archive(&[entry("a", LINE.as_bytes()), entry("b", LINE.as_bytes())]);
    let directory = two.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let one_listed = 46 + 1;
    // The directory does not have the second entry, has it twice, or has it with another checksum.
    let without = [&two[..directory], &two[directory + one_listed..]].concat();
    let twice = [&two[..directory + one_listed], &two[directory..]].concat();
    let mut other = two.clone();
    other[directory + 16] ^= 1;
    for object in [without, twice, other] {
        assert!(decode(&object).unwrap_err().contains("whose directory lists"));
    }
    let mut encrypted = two.clone();
    encrypted[6] |= 1;
    assert!(
        decode(&encrypted)
            .unwrap_err()
            .starts_with("unsupported: an encrypted zip entry at byte 0 of layer 0; ")
    );
    let mut method = two;
    method[8] = 14;
    assert!(decode(&method).unwrap_err().starts_with("unsupported: a zip entry of compression method 14"));
}

#[test]
fn a_bomb_of_any_codec_is_refused() {
    let zeros = vec![b'0'; 80 << 20];
    let strict = Limits { max_decode_ratio: 10, ..Limits::default() };
    let small = Limits { max_decoded_bytes: 1 << 20, ..Limits::default() };
    for (name, compress) in CODECS {
        let bomb = compress(&zeros);
        for object in [bomb.clone(), zip(&bomb), zstd(&bomb)] {
            let error = decode_with(&object, usize::MAX, strict).unwrap_err();
            assert!(matches!(error, ObjectError::Bomb { .. }), "{name}: {error}");
        }
        let error = decode_with(&bomb, usize::MAX, small).unwrap_err();
        assert!(matches!(error, ObjectError::TooLarge { .. }), "{name}: {error}");
    }
    // Many files, each too small to be a bomb alone.
    let part = gzip(&zeros[..20 << 20]);
    let object = archive(&[entry("a", &part), entry("b", &part), entry("c", &part), entry("d", &part)]);
    assert!(matches!(decode_with(&object, usize::MAX, strict), Err(ObjectError::Bomb { .. })));
}

#[test]
fn too_many_layers_of_any_codecs_are_refused() {
    for (name, outermost) in CODECS {
        let three = gzip(&zstd(&zip(LINE.as_bytes())));
        let error = decode(&outermost(&three)).unwrap_err();
        assert_eq!(error, "too deep: more than 3 layers of compression (limits.max_layers)", "{name}");
    }
}

#[test]
fn windows_and_blocks_that_need_too_much_memory_are_refused_before_the_allocation() {
    // A frame with a window of 2^28 bytes, and one without a window and with content of that size.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 18 << 3][..], &[0; 20]].concat();
    let single = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &(1u32 << 28).to_le_bytes(), &[0; 20]].concat();
    // xz --lzma2=dict=256MiB.
    let xz = &b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01 \x00\x00\x00\x09\x88\xa5v\x01\x00\x04text\x0a\x00\x00\x00\x00\x1d+\xd2\x8a\xaf\x19L\xcd\x00\x01\x1d\x05\xb8-\x80\xaf\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ"[..];
    let hadoop =
        [&(MAX_SNAPPY_BLOCK_BYTES as u32 + 1).to_be_bytes()[..], &snappy_hadoop(LINE.as_bytes())[4..]]
            .concat();
    let after = [snappy_hadoop(LINE.as_bytes()), hadoop].concat();
    for object in [&window[..], &single, xz, &after[..]] {
        let error = decode(object).unwrap_err();
        assert!(error.starts_with("too large a window: "), "{error}");
    }
    let dictionary = [&[0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 5][..], &[0; 20]].concat();
    assert!(
        decode(&dictionary).unwrap_err().starts_with("unsupported: a zstd frame that needs a dictionary")
    );
}

#[test]
fn text_is_never_recognized_as_a_codec_or_a_format() {
    let starts = [
        "PK",
        "PAR1 2026-02-18",
        "ORCHESTRATOR started",
        "BZh9 is a magic number",
        "xzutils",
        "x^2",
        "Obj",
        "SEQ",
        "7z a.7z",
        "Rar!",
        "LZIP",
        "(µ/ý",
        "\u{feff}text",
        "x",
        "",
        "\n",
        "é",
        "ustar",
        "\t",
        "\u{1b}[31mred\u{1b}[0m",
        "{",
        "%P",
    ];
    for start in starts {
        for rest in ["", "\n", "\nmore lines\nof text\n"] {
            let text = format!("{start}{rest}");
            assert_eq!(decode(text.as_bytes()).unwrap(), text.as_bytes(), "{text:?}");
        }
    }
    // The letters of a tar header's magic number, at its position.
    let long = format!("{}ustar{}\n", "a".repeat(257), "b".repeat(500));
    assert_eq!(decode(long.as_bytes()).unwrap(), long.as_bytes());
}

#[test]
fn a_raw_snappy_block_is_recognized_with_any_content() {
    for text in [LINE.to_owned(), LINE.repeat(35), LINE.repeat(10_000), "x".repeat(300)] {
        let raw = snappy_raw(text.as_bytes());
        let error = decode(&raw).unwrap_err();
        assert!(error.starts_with("not text: this is a raw Snappy block"), "{} bytes: {error}", text.len());
    }
    // One literal, as a writer without compression makes it.
    let text = LINE.repeat(40);
    let (length, literal) = (text.len(), (text.len() - 1) as u16);
    let head = [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8, 61 << 2];
    let raw = [&head[..], &literal.to_le_bytes(), text.as_bytes()].concat();
    assert!(decode(&raw).unwrap_err().starts_with("not text: this is a raw Snappy block"));
}

#[test]
fn files_written_by_the_usual_tools_are_read() {
    // gzip, zstd, bzip2, xz, lz4, zip and Python's zipfile wrote them from three lines, to files and to pipes.
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/codecs");
    let files = [
        ("gzip", 3),
        ("gzip-line-feeds", 6),
        ("gzip-padded", 3),
        ("zstd", 3),
        ("zstd-two-frames", 6),
        ("zstd-19-long", 3),
        ("zstd-no-check", 3),
        ("bzip2", 6),
        ("bzip2-empty", 0),
        ("xz", 6),
        ("xz-none", 3),
        ("xz-crc32-bcj", 3),
        ("lz4", 6),
        ("lz4-independent", 3),
        ("lz4-linked-size", 3),
        ("skippable-lz4", 3),
        ("zip-python", 6),
        ("zip-python-stored", 6),
        ("zip-python-streamed", 6),
        ("zip-python-streamed-zip64", 6),
        ("zip-python-zip64", 6),
        ("zip-infozip", 3),
        ("zip-infozip-streamed", 3),
        ("snappy-hadoop", 6),
        ("snappy-java", 6),
    ];
    for (file, lines) in files {
        // The first two bytes choose a codec and a portion for the fuzz target.
        let object = &fs::read(corpus.join(file)).unwrap()[2..];
        let text = decode(object).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(text, LINE.repeat(lines).as_bytes(), "{file}");
    }
    let refused = [
        ("lz4-legacy", "not text: this is LZ4 in its legacy format (magic 02214C18 at byte 0 of layer 0)"),
        ("snappy-raw", "not text: this is a raw Snappy block"),
        ("zip-encrypted", "unsupported: an encrypted zip entry at byte "),
        ("zip-python-streamed-stored", "unsupported: a stored zip entry whose length follows it at byte 0"),
        ("utf-16", "not text: this is UTF-16 (byte order mark FFFE at byte 0 of layer 0)"),
        ("binary", "not text: this is binary data"),
    ];
    for (file, expected) in refused {
        let error = decode(&fs::read(corpus.join(file)).unwrap()[2..]).unwrap_err();
        assert!(error.starts_with(expected), "{file}: {error}");
    }
}
