//! Reads one output to its end, with constant memory.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;
use flowherd_shared::checksum::Crc64;

use crate::words::counted;

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Maximum length of a header that is kept. A longer one is none of Flowherd's.
const MAX_HEADER_BYTES: usize = 1 << 20;

/// What an output has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Examined {
    /// Compressed size.
    pub(super) bytes: u64,
    /// Checksum of the compressed bytes.
    pub(super) crc64nvme: String,
    /// Its text, or why it is damaged.
    pub(super) text: Result<Text, String>,
}

/// The text of an output.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// The header line without its line feed; empty for rejects.
    pub(super) header: Vec<u8>,
    /// Rows without the header; for rejects, records.
    pub(super) rows: u64,
}

/// Reads an output. Calls `renew` after each read.
///
/// # Errors
/// If the output cannot be read. Damage is no error.
pub(super) fn examine(body: impl Read, is_table: bool, renew: &dyn Fn()) -> io::Result<Examined> {
    let source = Observed { body, bytes: 0, checksum: Crc64::default(), error: None, renew };
    let mut gzip = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, source));
    let text = decode(&mut gzip, is_table);
    let mut source = gzip.into_inner().into_inner();
    if let Some(error) = source.error.take() {
        return Err(error);
    }
    // After damage, the size and the checksum of all bytes still say more.
    io::copy(&mut source, &mut io::sink())?;
    Ok(Examined { bytes: source.bytes, crc64nvme: source.checksum.text(), text })
}

fn decode(gzip: &mut impl Read, is_table: bool) -> Result<Text, String> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut csv, mut lines, mut last) = (CsvShape::default(), 0_u64, b'\n');
    loop {
        let count = match gzip.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("its gzip is damaged or cut off: {error}")),
        };
        let text = &buffer[..count];
        if is_table {
            csv.add(text);
        } else {
            lines += text.split(|byte| *byte == b'\n').count() as u64 - 1;
        }
        last = text[count - 1];
    }
    if is_table {
        csv.finish()
    } else if last == b'\n' {
        Ok(Text { header: Vec::new(), rows: lines })
    } else {
        Err("its last line has no end".to_owned())
    }
}

/// The rows and columns of CSV (RFC 4180) that arrives in pieces.
#[derive(Debug, Default)]
struct CsvShape {
    /// A doubled quote closes and opens again.
    in_quotes: bool,
    in_row: bool,
    commas: u64,
    rows: u64,
    header: Vec<u8>,
    header_commas: u64,
    /// The first row with another number of columns than the header, and that number.
    uneven: Option<(u64, u64)>,
}

impl CsvShape {
    fn add(&mut self, text: &[u8]) {
        for byte in text {
            if self.rows == 0 && self.header.len() < MAX_HEADER_BYTES && (self.in_quotes || *byte != b'\n') {
                self.header.push(*byte);
            }
            self.in_row = true;
            match byte {
                b'"' => self.in_quotes = !self.in_quotes,
                b',' if !self.in_quotes => self.commas += 1,
                b'\n' if !self.in_quotes => self.end_row(),
                _ => {}
            }
        }
    }

    fn end_row(&mut self) {
        if self.rows == 0 {
            self.header_commas = self.commas;
        } else if self.commas != self.header_commas && self.uneven.is_none() {
            self.uneven = Some((self.rows, self.commas + 1));
        }
        (self.rows, self.commas, self.in_row) = (self.rows + 1, 0, false);
    }

    fn finish(self) -> Result<Text, String> {
        if self.rows == 0 {
            return Err("it has no header".to_owned());
        }
        if self.in_row {
            return Err(format!("it ends within row {}", self.rows));
        }
        if let Some((row, columns)) = self.uneven {
            let expected = self.header_commas + 1;
            return Err(format!(
                "row {row} has {}, and the header has {expected}",
                counted(columns, "column", "columns")
            ));
        }
        Ok(Text { header: self.header, rows: self.rows - 1 })
    }
}

/// Counts the bytes that are read, and keeps an error of the store apart from those of the decoder.
struct Observed<'a, R> {
    body: R,
    bytes: u64,
    checksum: Crc64,
    error: Option<io::Error>,
    renew: &'a dyn Fn(),
}

impl<R: Read> Read for Observed<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = match self.body.read(out) {
            Ok(count) => count,
            Err(error) => {
                let seen = io::Error::new(error.kind(), "the output cannot be read");
                self.error = Some(error);
                return Err(seen);
            }
        };
        (self.renew)();
        self.bytes += count as u64;
        self.checksum.add(&out[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    }

    fn text(bytes: &[u8], is_table: bool) -> Result<(String, u64), String> {
        let examined = examine(bytes, is_table, &|| ()).unwrap();
        assert_eq!(examined.bytes, bytes.len() as u64);
        let mut checksum = Crc64::default();
        checksum.add(bytes);
        assert_eq!(examined.crc64nvme, checksum.text());
        examined.text.map(|text| (String::from_utf8(text.header).unwrap(), text.rows))
    }

    #[test]
    fn rows_are_counted_over_all_members_and_line_feeds_in_quotes() {
        let members =
            [gzip(b"a,\"b\"\"\nc\"\n1,\"x\n"), gzip(b"\"\"y\"\n"), gzip(b""), gzip(b"2,-\n")].concat();
        assert_eq!(text(&members, true), Ok(("a,\"b\"\"\nc\"".to_owned(), 2)));
        assert_eq!(text(&gzip(b"{}\n{}\n"), false), Ok((String::new(), 2)));
        assert_eq!(text(&gzip(b"a\n"), true), Ok(("a".to_owned(), 0)));
    }

    #[test]
    fn damage_is_named_and_all_bytes_are_counted() {
        let whole = gzip(b"a,b\n1,2\n");
        let damaged = |bytes: &[u8]| text(bytes, true).unwrap_err();
        for cut in 0..whole.len() {
            assert!(damaged(&whole[..cut]).starts_with("its gzip is damaged or cut off: "), "{cut}");
        }
        let mut longer = whole.clone();
        longer.resize(longer.len() + 200_000, b'x');
        assert!(damaged(&longer).starts_with("its gzip is damaged"));
        assert_eq!(damaged(&gzip(b"")), "it has no header");
        assert_eq!(damaged(&gzip(b"a,b\n1,2\n3")), "it ends within row 2");
        assert_eq!(damaged(&gzip(b"a,b\n1,\"2\n")), "it ends within row 1");
        assert_eq!(damaged(&gzip(b"a,b\n1,2\n1\n1,2,3\n")), "row 2 has 1 column, and the header has 2");
        assert_eq!(text(&gzip(b"{}\n{"), false).unwrap_err(), "its last line has no end");
    }

    #[test]
    fn an_error_of_the_store_is_no_damage() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
            }
        }
        let body = gzip(b"a\n1\n");
        let error = examine(body[..12].chain(Broken), true, &|| ()).unwrap_err();
        assert_eq!(error.to_string(), "no answer");
    }
}
