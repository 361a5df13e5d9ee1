//! Writes a file: one line for each id.

use serde_json::Error;

use super::{Ids, Part, entry::Entry};

/// A file as far as it is written. Sections and ids must be added in order.
#[derive(Debug, Default)]
pub(super) struct Document {
    bytes: Vec<u8>,
    /// Whether the current section has an id.
    has_id: bool,
}

impl Document {
    /// Begins a section, and ends the one before it.
    pub(super) fn begin(&mut self, part: Part) {
        let before = if self.bytes.is_empty() { "{" } else { "\n}," };
        self.text(before);
        self.text("\n\"");
        self.text(part.name());
        self.text("\": {");
        self.has_id = false;
    }

    /// Adds an id with its entries.
    pub(super) fn add(&mut self, id: &str, entries: &[Entry]) -> Result<(), Error> {
        self.text(if self.has_id { ",\n" } else { "\n" });
        self.has_id = true;
        serde_json::to_writer(&mut self.bytes, id)?;
        self.text(": ");
        match entries {
            [only] => serde_json::to_writer(&mut self.bytes, only),
            several => serde_json::to_writer(&mut self.bytes, several),
        }
    }

    /// Adds a section.
    pub(super) fn add_all(&mut self, part: Part, ids: &Ids) -> Result<(), Error> {
        self.begin(part);
        ids.iter().try_for_each(|(id, entries)| self.add(id, entries))
    }

    /// Ends the last section, and returns the file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.text("\n}\n}\n");
        self.bytes
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }
}
