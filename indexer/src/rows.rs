//! Reads the rows of a `csv.gz`: all gzip members, and CSV of RFC 4180 with line feeds.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use async_compression::tokio::bufread::GzipDecoder;
use csv_core::{ReadRecordResult, Reader};
use flowherd_shared::limits::MAX_ROW_BYTES;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader, ReadBuf};

/// Bytes of the buffer of decompressed text.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of a usual row's values. A row keeps this memory.
const ROW_BYTES: usize = 4 << 10;

/// Why an object has no further rows.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The object cannot be read.
    #[error("cannot read the object")]
    Read(#[source] io::Error),
    /// The object is not gzip, or is damaged or truncated.
    #[error("the object is not complete gzip: {0}")]
    Damaged(io::Error),
    /// The object is not the CSV of its table.
    #[error("the object is not the CSV of its table: {0}")]
    Columns(String),
}

/// One row. The next row reuses its memory.
#[derive(Debug)]
pub struct Row {
    text: Vec<u8>,
    /// The end of each value in `text`.
    ends: Vec<usize>,
    text_len: usize,
    count: usize,
}

impl Default for Row {
    fn default() -> Self {
        Self { text: vec![0; ROW_BYTES], ends: vec![0; 64], text_len: 0, count: 0 }
    }
}

impl Row {
    /// Returns the values in the order of the columns.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends[..self.count].iter().map(move |end| {
            let value = &self.text[start..*end];
            start = *end;
            value
        })
    }

    /// Returns the first value.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        if self.count == 0 { &[] } else { &self.text[..self.ends[0]] }
    }

    fn clear(&mut self) {
        (self.text_len, self.count) = (0, 0);
        // Releases the memory of an unusually long row.
        if self.text.len() > 64 * ROW_BYTES {
            self.text.truncate(ROW_BYTES);
            self.text.shrink_to_fit();
        }
    }
}

/// Reads rows one at a time. Memory use is independent of object size.
pub struct Rows<R> {
    input: BufReader<GzipDecoder<Source<R>>>,
    parser: Reader,
    columns: usize,
    /// Rows read, without the header.
    count: u64,
    is_at_end: bool,
}

impl<R> std::fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<R: AsyncBufRead + Unpin> Rows<R> {
    /// Reads the header and compares it with the columns of the table.
    pub async fn open(object: R, columns: &[String], row: &mut Row) -> Result<Self, RowsError> {
        let mut decoder = GzipDecoder::new(Source { inner: object, failed: false });
        decoder.multiple_members(true);
        let input = BufReader::with_capacity(BUFFER_BYTES, decoder);
        let mut rows =
            Self { input, parser: Reader::new(), columns: columns.len(), count: 0, is_at_end: false };
        if !rows.read(row).await? {
            return Err(RowsError::Columns("it has no header".to_owned()));
        }
        if !row.values().eq(columns.iter().map(String::as_bytes)) {
            return Err(RowsError::Columns(difference(row, columns)));
        }
        Ok(rows)
    }

    /// Reads the next row. Returns its number, from 1, or `None` after the last.
    pub async fn next(&mut self, row: &mut Row) -> Result<Option<u64>, RowsError> {
        if !self.read(row).await? {
            return Ok(None);
        }
        self.count += 1;
        if row.count != self.columns {
            let (number, values, columns) = (self.count, row.count, self.columns);
            return Err(RowsError::Columns(format!(
                "row {number} has {values} values, and the header {columns} columns"
            )));
        }
        Ok(Some(self.count))
    }

    async fn read(&mut self, row: &mut Row) -> Result<bool, RowsError> {
        row.clear();
        loop {
            let is_empty = self.input.buffer().is_empty();
            if is_empty && !self.is_at_end {
                self.is_at_end = self.fill().await?;
            }
            let buffer = self.input.buffer();
            let (result, read, written, ended) =
                self.parser.read_record(buffer, &mut row.text[row.text_len..], &mut row.ends[row.count..]);
            self.input.consume(read);
            row.text_len += written;
            row.count += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if row.text.len() > MAX_ROW_BYTES => {
                    let number = self.count + 1;
                    return Err(RowsError::Columns(format!(
                        "row {number} has more than {MAX_ROW_BYTES} bytes"
                    )));
                }
                ReadRecordResult::OutputFull => {
                    row.text.resize((row.text.len() * 2).min(MAX_ROW_BYTES + 1), 0);
                }
                // A row of separators has no text.
                ReadRecordResult::OutputEndsFull if row.ends.len() > self.columns => {
                    let number = self.count + 1;
                    return Err(RowsError::Columns(format!(
                        "row {number} has more than {} values",
                        self.columns
                    )));
                }
                ReadRecordResult::OutputEndsFull => row.ends.resize(row.ends.len() * 2, 0),
                ReadRecordResult::Record => return Ok(true),
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    /// Fills the buffer. Returns whether the object is at its end.
    async fn fill(&mut self) -> Result<bool, RowsError> {
        let filled = self.input.fill_buf().await.map(<[u8]>::is_empty);
        filled.map_err(|error| {
            if self.input.get_ref().get_ref().failed {
                RowsError::Read(error)
            } else {
                RowsError::Damaged(error)
            }
        })
    }
}

/// Describes the first difference between a header and the columns of the table.
fn difference(header: &Row, columns: &[String]) -> String {
    let mut names = header.values();
    for (position, column) in (1..).zip(columns) {
        match names.next() {
            Some(name) if name == column.as_bytes() => {}
            Some(name) => {
                let name = String::from_utf8_lossy(&name[..name.len().min(100)]);
                return format!("column {position} is {name:?}, and {column:?} in the configuration");
            }
            None => return format!("column {position}, {column:?}, is missing"),
        }
    }
    format!("it has {} columns, and the configuration {}", header.count, columns.len())
}

/// Remembers whether reading the object failed, to distinguish it from damage.
struct Source<R> {
    inner: R,
    failed: bool,
}

impl<R: AsyncRead + Unpin> AsyncRead for Source<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.failed |= matches!(polled, Poll::Ready(Err(_)));
        polled
    }
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Source<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_fill_buf(context);
        this.failed |= matches!(polled, Poll::Ready(Err(_)));
        polled
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.inner).consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use flowherd_deflate::Deflater;

    use super::*;

    const HEADER: &str = "timestamp,srcaddr,bytes\n";

    fn gzip(texts: &[&str]) -> Vec<u8> {
        let mut deflater = Deflater::default();
        texts.iter().flat_map(|text| deflater.member(text.as_bytes()).to_vec()).collect()
    }

    async fn all(object: impl AsyncBufRead + Unpin) -> Result<Vec<Vec<String>>, RowsError> {
        let columns = ["timestamp", "srcaddr", "bytes"].map(str::to_owned);
        let (mut row, mut found) = (Row::default(), Vec::new());
        let mut rows = Rows::open(object, &columns, &mut row).await?;
        while let Some(number) = rows.next(&mut row).await? {
            found.push(row.values().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect());
            assert_eq!(number, found.len() as u64);
        }
        Ok(found)
    }

    fn read(object: Vec<u8>) -> Result<Vec<Vec<String>>, RowsError> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(all(Cursor::new(object)))
    }

    #[test]
    fn rows_of_all_members_are_read_also_across_members() {
        let object = gzip(&[HEADER, "t1,10.0.0.1,1\nt2,\"a, ", "\"\"b\"\"\",2\n", "t3,-,-\n"]);
        let rows = read(object).unwrap();
        assert_eq!(rows, [["t1", "10.0.0.1", "1"], ["t2", "a, \"b\"", "2"], ["t3", "-", "-"]]);
    }

    #[test]
    fn an_object_without_rows_has_none() {
        assert!(read(gzip(&[HEADER])).unwrap().is_empty());
    }

    #[test]
    fn another_header_is_not_the_table() {
        for (header, difference) in [
            ("timestamp,src,bytes\n", "column 2 is \"src\", and \"srcaddr\" in the configuration"),
            ("timestamp,srcaddr\n", "column 3, \"bytes\", is missing"),
            ("timestamp,srcaddr,bytes,more\n", "it has 4 columns, and the configuration 3"),
            ("", "it has no header"),
        ] {
            match read(gzip(&[header])) {
                Err(RowsError::Columns(found)) => assert_eq!(found, difference),
                other => panic!("{header:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_row_with_another_number_of_values_is_not_of_the_table() {
        let error = read(gzip(&[HEADER, "t1,a,1\nt2,b\n"])).unwrap_err();
        assert!(error.to_string().contains("row 2 has 2 values"), "{error}");
    }

    #[test]
    fn a_row_of_separators_ends_at_the_number_of_columns() {
        for object in [gzip(&[&",".repeat(1 << 20)]), gzip(&[HEADER, &",".repeat(1 << 20)])] {
            let error = read(object).unwrap_err();
            assert!(error.to_string().contains("has more than"), "{error}");
        }
    }

    #[test]
    fn a_truncated_object_is_damaged() {
        let object = gzip(&[HEADER, &"t1,10.0.0.1,1\n".repeat(1000)]);
        for end in [object.len() - 1, object.len() - 8, object.len() - 9, 40, 5] {
            let damaged = read(object[..end].to_vec());
            assert!(matches!(damaged, Err(RowsError::Damaged(_))), "{end}: {damaged:?}");
        }
        let mut flipped = object;
        let middle = flipped.len() - 6;
        flipped[middle] ^= 1;
        assert!(matches!(read(flipped), Err(RowsError::Damaged(_))));
    }

    #[test]
    fn text_that_is_not_gzip_is_damaged() {
        assert!(matches!(read(HEADER.into()), Err(RowsError::Damaged(_))));
    }

    #[test]
    fn a_failed_read_is_not_damage() {
        struct Broken;
        impl AsyncRead for Broken {
            fn poll_read(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Poll::Ready(Err(io::Error::other("reset")))
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(all(BufReader::new(Broken))).unwrap_err();
        assert!(matches!(error, RowsError::Read(_)), "{error:?}");
    }

    #[test]
    fn a_row_has_a_limit_of_bytes() {
        let long = "x".repeat(MAX_ROW_BYTES * 2);
        let error = read(gzip(&[HEADER, "t1,", &long, ",1\n"])).unwrap_err();
        assert!(error.to_string().contains("has more than 25165824 bytes"), "{error}");
        let fits = "x".repeat(1 << 20);
        assert_eq!(read(gzip(&[HEADER, "t1,", &fits, ",1\n"])).unwrap()[0][1], fits);
    }
}
