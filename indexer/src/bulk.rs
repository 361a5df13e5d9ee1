//! The documents of one request. A bulk keeps the row of each document, so single documents can be sent again.

use crate::document::{Encoder, NoDocument};

/// Documents in the format of `_bulk`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    lines: Vec<u8>,
    documents: Vec<Position>,
}

/// A document in [`Bulk::lines`]. It ends where the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    row: u64,
    /// Offset of the action line.
    start: usize,
    /// Offset of the source line.
    source: usize,
}

impl Bulk {
    /// Creates a bulk that holds `bytes` without reallocation.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { lines: Vec::with_capacity(bytes), documents: Vec::new() }
    }

    /// Appends the document of a row, of at most `limit` bytes.
    pub fn append<'v>(
        &mut self,
        encoder: &mut Encoder<'_>,
        row: u64,
        values: impl Iterator<Item = &'v [u8]>,
        limit: usize,
    ) -> Result<(), NoDocument> {
        let (start, capacity) = (self.lines.len(), self.lines.capacity());
        match encoder.append(row, values, limit, &mut self.lines) {
            Ok(source) => {
                self.documents.push(Position { row, start, source });
                Ok(())
            }
            Err(error) => {
                // Releases the memory of an unusually large document.
                self.lines.shrink_to(capacity);
                Err(error)
            }
        }
    }

    /// Returns the text of all documents.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Returns the number of documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Returns whether there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Returns the row of the document at a position.
    #[must_use]
    pub fn row(&self, position: usize) -> u64 {
        self.documents[position].row
    }

    /// Returns the source of the document at a position, without the line feed.
    #[must_use]
    pub fn source(&self, position: usize) -> &[u8] {
        &self.lines[self.documents[position].source..self.end(position) - 1]
    }

    /// Removes the last document, and releases the memory that the others do not need.
    pub fn pop(&mut self) {
        if let Some(last) = self.documents.pop() {
            self.lines.truncate(last.start);
            self.lines.shrink_to_fit();
        }
    }

    /// Returns a bulk of the documents at these positions.
    #[must_use]
    pub fn select(&self, positions: impl IntoIterator<Item = usize>) -> Self {
        let mut selected = Self::default();
        selected.extend(self, positions);
        selected
    }

    /// Appends the documents of another bulk at these positions.
    pub fn extend(&mut self, other: &Self, positions: impl IntoIterator<Item = usize>) {
        for position in positions {
            let Position { row, start, source } = other.documents[position];
            let new = self.lines.len();
            self.lines.extend_from_slice(&other.lines[start..other.end(position)]);
            self.documents.push(Position { row, start: new, source: new + (source - start) });
        }
    }

    /// Removes the documents from this position on and returns them. The capacity stays.
    #[must_use]
    pub fn split_off(&mut self, position: usize) -> Self {
        let tail = self.select(position..self.len());
        if position < self.len() {
            self.lines.truncate(self.documents[position].start);
            self.documents.truncate(position);
        }
        tail
    }

    fn end(&self, position: usize) -> usize {
        self.documents.get(position + 1).map_or(self.lines.len(), |next| next.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        document::Origin,
        index_name::IndexName,
        schema::{DocumentSchema, Field, FieldKind},
    };

    fn bulk(rows: u64) -> Bulk {
        let schema =
            DocumentSchema { fields: vec![Some(Field { name: "@timestamp".into(), kind: FieldKind::Date })] };
        let index = IndexName::Fixed("flows".into());
        let origin = Origin { key: "k", etag: "e", run: "r" };
        let mut encoder = Encoder::new(&schema, &index, origin);
        let mut bulk = Bulk::default();
        for row in 1..=rows {
            let time = format!("2026-02-18T10:00:00.{row:03}Z");
            bulk.append(&mut encoder, row, std::iter::once(time.as_bytes()), 1000).unwrap();
        }
        bulk
    }

    #[test]
    fn selected_documents_are_the_same_bytes_with_their_rows() {
        let all = bulk(5);
        let some = all.select([0, 2, 4]);
        assert_eq!((some.row(0), some.row(1), some.row(2), some.len()), (1, 3, 5, 3));
        for (position, original) in [(0, 0), (1, 2), (2, 4)] {
            assert_eq!(some.source(position), all.source(original));
        }
        assert_eq!(some.lines().split(|byte| *byte == b'\n').count(), 7);
        assert_eq!(all.select(0..5), all);
    }

    #[test]
    fn split_bulks_contain_each_document_once() {
        let mut head = bulk(7);
        let tail = head.split_off(3);
        assert_eq!((head.len(), tail.len()), (3, 4));
        assert_eq!([head.lines(), tail.lines()].concat(), bulk(7).lines());
        assert!(head.split_off(3).is_empty());
    }

    #[test]
    fn a_removed_document_leaves_the_others() {
        let mut shorter = bulk(3);
        shorter.pop();
        assert_eq!(shorter, bulk(2));
    }
}
