//! Different texts with a number each, together in one buffer: millions of them take a fraction of the memory of separate ones.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Texts by their numbers. Together they have less than 4 GiB, because they come from files with a smaller limit.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    /// The end of each text. The next text begins there.
    ends: Vec<u32>,
}

impl Texts {
    /// Returns the text of a number.
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..self.ends[at] as usize]
    }

    /// Iterates over all texts in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len() as u32).map(|number| self.get(number))
    }

    /// Returns the number of texts.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the size of all texts.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, text: &[u8]) -> u32 {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
        self.ends.len() as u32 - 1
    }
}

/// Finds the number of a text.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    texts: Texts,
    numbers: HashTable<u32>,
    hasher: FixedState,
}

impl Interner {
    /// Adds a text that is not added yet. It is not found before [`Interner::index`].
    pub(crate) fn push(&mut self, text: &[u8]) {
        self.texts.push(text);
    }

    /// Makes pushed texts found. Faster than [`Interner::add`], which waits for memory at each text.
    pub(crate) fn index(&mut self) {
        if self.numbers.len() < self.texts.len() {
            self.rebuild(self.texts.len());
        }
    }

    /// Creates the table for this many texts. Reads all texts in order: a table that grows by itself reads them in the order of their
    /// hashes, and waits for memory at each of them.
    fn rebuild(&mut self, capacity: usize) {
        let Self { texts, numbers, hasher } = self;
        *numbers = HashTable::new();
        *numbers = HashTable::with_capacity(capacity);
        for number in 0..texts.len() as u32 {
            let hash = hasher.hash_one(texts.get(number));
            numbers.insert_unique(hash, number, |number| hasher.hash_one(texts.get(*number)));
        }
    }

    /// Returns the text that was added last.
    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.texts.len().checked_sub(1).map(|last| self.texts.get(last as u32))
    }

    /// Returns the number of a text, if it was added.
    pub(crate) fn find(&self, text: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.numbers.find(hash, |number| self.texts.get(*number) == text).copied()
    }

    /// Returns the number of a text. A new text gets the next number, counted from 0.
    pub(crate) fn add(&mut self, text: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(text);
        if let Some(number) = self.numbers.find(hash, |number| self.texts.get(*number) == text) {
            return *number;
        }
        if self.numbers.len() == self.numbers.capacity() {
            self.rebuild((2 * self.texts.len()).max(4));
        }
        let Self { texts, numbers, hasher } = self;
        let number = texts.push(text);
        numbers.insert_unique(hash, number, |number| hasher.hash_one(texts.get(*number)));
        number
    }

    /// Returns the texts.
    pub(crate) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Returns the texts without the means to find them.
    pub(crate) fn into_texts(self) -> Texts {
        self.texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushed_texts_are_found_after_they_are_indexed() {
        let mut interner = Interner::default();
        assert_eq!(interner.last(), None);
        for round in 0..3_u32 {
            for number in 0..100 {
                interner.push(format!("{round}-{number}").as_bytes());
            }
            assert_eq!(interner.last(), Some(format!("{round}-99").as_bytes()));
            interner.index();
            assert_eq!(interner.find(format!("{round}-7").as_bytes()), Some(round * 100 + 7));
        }
        assert_eq!((interner.add(b"0-0"), interner.add(b"x")), (0, 300));
    }

    #[test]
    fn equal_texts_have_one_number_and_each_number_its_text() {
        let mut interner = Interner::default();
        let texts: Vec<String> = (0..1000).map(|number| (number % 300).to_string()).collect();
        let numbers: Vec<u32> = texts.iter().map(|text| interner.add(text.as_bytes())).collect();
        assert_eq!(interner.texts().len(), 300);
        for (text, number) in texts.iter().zip(numbers) {
            assert_eq!(interner.find(text.as_bytes()), Some(number));
            assert_eq!(interner.texts().get(number), text.as_bytes());
        }
        assert_eq!(interner.find(b"300"), None);
        assert_eq!(interner.add(b""), 300);
        assert_eq!(interner.into_texts().iter().last(), Some(&b""[..]));
    }
}
