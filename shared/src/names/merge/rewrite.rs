//! Reads a file and writes it with other entries. There may be a million interfaces, so only the current one is in memory.

use std::collections::BTreeMap;

use super::{Ids, Part, document::Document, entry::Entry};
use crate::{
    interner::Interner,
    names::{
        NameIndex,
        file::{self, Sink},
        scan::{self, Stop},
    },
    problems::ConfigError,
};

/// Changes the ids of a section in their order.
pub(super) trait EditIds {
    /// Returns the next new id before another one, or before the end, with its entries.
    fn next_new(&mut self, before: Option<&str>) -> Option<(&str, Vec<Entry>)>;

    /// Changes the entries of an id. An id without entries is removed.
    fn edit(&mut self, id: &str, entries: &mut Vec<Entry>);
}

/// The number of entries in each section.
type EntryCounts = [(Part, usize); 3];

/// A file whose interfaces are written, and whose subnets and VPCs may still change.
#[derive(Debug)]
pub(super) struct Rewritten {
    document: Document,
    /// The entries of all interfaces.
    pub(super) interfaces: usize,
    pub(super) subnets: Ids,
    pub(super) vpcs: Ids,
    /// The subnets and VPCs to which interfaces refer.
    references: [Interner; 2],
    /// The latest time of an entry of the former file that was read from AWS.
    pub(super) last_time: Option<i64>,
}

/// A file without mistakes.
#[derive(Debug)]
pub(super) enum Checked<'f> {
    /// As [`rewrite`] writes it: it can be scanned, and its interfaces are in the order of their ids.
    Written(&'f [u8]),
    /// The entries of a file in another form. A person may have written it.
    Collected(Collected),
}

impl<'f> Checked<'f> {
    /// Checks a file.
    ///
    /// # Errors
    /// All problems of the file.
    pub(super) fn new(json: &'f [u8]) -> Result<Self, ConfigError> {
        if NameIndex::parse(json)?.is_as_written() {
            return Ok(Self::Written(json));
        }
        let mut parts = Collected::default();
        file::read(json, &mut parts)?;
        Ok(Self::Collected(parts))
    }

    /// Passes the entries to `rewriter`, the interfaces in the order of their ids.
    fn read<E: EditIds>(self, rewriter: &mut Rewriter<'_, E>) -> Result<(), ConfigError> {
        let read = match self {
            Self::Written(json) => scan::read(json, rewriter).map_err(|stop| match stop {
                Stop::OtherForm => "a file that was scanned cannot be scanned again".to_owned(),
                Stop::Sink(why) => why,
            }),
            Self::Collected(Collected(parts)) => parts.into_iter().try_for_each(|(part, ids)| {
                ids.into_iter().try_for_each(|(id, mut entries)| rewriter.add(part, &id, &mut entries))
            }),
        };
        read.map_err(|why| ConfigError::bug(&why))
    }
}

/// Writes the interfaces of a file.
pub(super) fn rewrite<E: EditIds>(
    former: Option<Checked<'_>>,
    edit: &mut E,
) -> Result<Rewritten, ConfigError> {
    let mut document = Document::default();
    document.begin(Part::Interfaces);
    let rewritten = Rewritten {
        document,
        interfaces: 0,
        subnets: Ids::new(),
        vpcs: Ids::new(),
        references: [Interner::default(), Interner::default()],
        last_time: None,
    };
    let mut rewriter = Rewriter { edit, entries: Vec::new(), rewritten };
    if let Some(former) = former {
        former.read(&mut rewriter)?;
    }
    rewriter.add_new(None).map_err(|error| ConfigError::bug(&error))?;
    Ok(rewriter.rewritten)
}

impl Rewritten {
    /// Returns the file, and the number of entries in each section. Adds an entry without a name for each id that others refer to,
    /// so that subnets of different VPCs stay apart although the VPCs could not be read.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, EntryCounts), ConfigError> {
        let [subnets, vpcs] = self.references;
        add_missing(&mut self.subnets, ids(&subnets));
        add_missing(&mut self.vpcs, ids(&vpcs));
        let of_subnets = self.subnets.values().flatten().filter_map(|entry| entry.vpc_id.as_deref());
        add_missing(&mut self.vpcs, of_subnets);
        let count = |ids: &Ids| ids.values().map(Vec::len).sum();
        let counts = [
            (Part::Interfaces, self.interfaces),
            (Part::Subnets, count(&self.subnets)),
            (Part::Vpcs, count(&self.vpcs)),
        ];
        let mut document = self.document;
        let written = document.add_all(Part::Subnets, &self.subnets);
        let written = written.and_then(|()| document.add_all(Part::Vpcs, &self.vpcs));
        written.map_err(|error| ConfigError::bug(&error))?;
        Ok((document.finish(), counts))
    }

    fn add(&mut self, id: &str, entries: &[Entry]) -> Result<(), serde_json::Error> {
        self.interfaces += entries.len();
        for entry in entries {
            for (ids, id) in self.references.iter_mut().zip([&entry.subnet_id, &entry.vpc_id]) {
                if let Some(id) = id {
                    ids.add(id.as_bytes());
                }
            }
        }
        self.document.add(id, entries)
    }
}

fn ids(references: &Interner) -> impl Iterator<Item = &str> {
    references.texts().iter().filter_map(|id| std::str::from_utf8(id).ok())
}

fn add_missing<'i>(section: &mut Ids, references: impl Iterator<Item = &'i str>) {
    for id in references {
        if !section.contains_key(id) {
            section.insert(id.to_owned(), vec![Entry::default()]);
        }
    }
}

struct Rewriter<'e, E> {
    edit: &'e mut E,
    /// A buffer.
    entries: Vec<Entry>,
    rewritten: Rewritten,
}

impl<E: EditIds> Rewriter<'_, E> {
    fn add_new(&mut self, before: Option<&str>) -> Result<(), serde_json::Error> {
        while let Some((id, entries)) = self.edit.next_new(before) {
            self.rewritten.add(id, &entries)?;
        }
        Ok(())
    }

    fn read<T: Into<Entry>>(&mut self, entries: &mut Vec<T>) {
        self.entries.clear();
        self.entries.extend(entries.drain(..).map(Into::into));
        let last = self.entries.iter().filter_map(Entry::last_time).max();
        self.rewritten.last_time = self.rewritten.last_time.max(last);
    }
}

impl<T: Into<Entry>, E: EditIds> Sink<T> for Rewriter<'_, E> {
    fn add(&mut self, part: Part, id: &str, entries: &mut Vec<T>) -> Result<(), String> {
        self.read(entries);
        let section = match part {
            Part::Interfaces => {
                let written = self.add_new(Some(id)).and_then(|()| {
                    self.edit.edit(id, &mut self.entries);
                    if self.entries.is_empty() { Ok(()) } else { self.rewritten.add(id, &self.entries) }
                });
                return written.map_err(|error| error.to_string());
            }
            Part::Subnets => &mut self.rewritten.subnets,
            Part::Vpcs => &mut self.rewritten.vpcs,
        };
        section.insert(id.to_owned(), std::mem::take(&mut self.entries));
        Ok(())
    }
}

/// All entries of a file.
#[derive(Debug, Default)]
pub(super) struct Collected(BTreeMap<Part, Ids>);

impl<T: Into<Entry>> Sink<T> for Collected {
    fn add(&mut self, part: Part, id: &str, entries: &mut Vec<T>) -> Result<(), String> {
        let entries = entries.drain(..).map(Into::into).collect();
        self.0.entry(part).or_default().insert(id.to_owned(), entries);
        Ok(())
    }
}
