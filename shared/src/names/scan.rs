//! Reads a `names.json` in the form that `flowherd names` writes, in a fraction of the time that serde takes.

use super::{
    entries::{FileEntry, Time},
    file::{Cidrs, InterfaceFile, Sink, SubnetFile, Text, VpcFile},
    part::Part,
};
use crate::limits::{MAX_CIDR_BLOCKS, MAX_NAME_BYTES, MAX_NAMES_BYTES};

/// Why the scan of a file ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The file has another form, such as a value `null`, a mistake or too many entries.
    OtherForm,
    /// The sink returned this error.
    Sink(String),
}

/// Reads a file. After [`Stop::OtherForm`], [`super::file::read`] must read it from its begin, into another sink. It accepts each file
/// that this function accepts, and reads the same entries.
pub(super) fn read<'a, S>(json: &'a [u8], sink: &mut S) -> Result<(), Stop>
where
    S: Sink<InterfaceFile<'a>> + Sink<SubnetFile<'a>> + Sink<VpcFile<'a>>,
{
    if json.len() > MAX_NAMES_BYTES {
        return Err(Stop::OtherForm);
    }
    let text = std::str::from_utf8(json).map_err(|_| Stop::OtherForm)?;
    let mut scanner = Scanner { text, at: 0, sink_error: None };
    scanner.file(sink).ok_or_else(|| scanner.sink_error.map_or(Stop::OtherForm, Stop::Sink))
}

/// An entry whose fields are scanned.
trait ScannedEntry<'a>: FileEntry + Default {
    /// Reads the value of a key. Returns the number of the field.
    fn read(&mut self, key: &str, scanner: &mut Scanner<'a>) -> Option<u32>;
}

impl<'a> ScannedEntry<'a> for InterfaceFile<'a> {
    fn read(&mut self, key: &str, scanner: &mut Scanner<'a>) -> Option<u32> {
        let (number, field) = match key {
            "description" => (0, &mut self.description),
            "subnet_id" => (1, &mut self.subnet_id),
            "vpc_id" => (2, &mut self.vpc_id),
            "source" => (3, &mut self.source),
            "reader" => (4, &mut self.reader),
            "provisional" => {
                self.provisional = scanner.boolean()?;
                return Some(5);
            }
            _ => return scanner.time(key, &mut self.from, &mut self.until),
        };
        *field = Some(scanner.string()?);
        Some(number)
    }
}

impl<'a> ScannedEntry<'a> for SubnetFile<'a> {
    fn read(&mut self, key: &str, scanner: &mut Scanner<'a>) -> Option<u32> {
        let (number, field) = match key {
            "name" => (0, &mut self.name),
            "vpc_id" => (1, &mut self.vpc_id),
            "source" => (2, &mut self.source),
            "reader" => (3, &mut self.reader),
            "cidrs" => {
                self.cidrs = scanner.cidrs()?;
                return Some(4);
            }
            _ => return scanner.time(key, &mut self.from, &mut self.until),
        };
        *field = Some(scanner.string()?);
        Some(number)
    }
}

impl<'a> ScannedEntry<'a> for VpcFile<'a> {
    fn read(&mut self, key: &str, scanner: &mut Scanner<'a>) -> Option<u32> {
        let (number, field) = match key {
            "name" => (0, &mut self.name),
            "source" => (1, &mut self.source),
            "reader" => (2, &mut self.reader),
            _ => return scanner.time(key, &mut self.from, &mut self.until),
        };
        *field = Some(scanner.string()?);
        Some(number)
    }
}

/// A position in a text. Each method returns `None` if something else follows.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// The error of the sink, which ends the scan.
    sink_error: Option<String>,
}

impl<'a> Scanner<'a> {
    fn file<S>(&mut self, sink: &mut S) -> Option<()>
    where
        S: Sink<InterfaceFile<'a>> + Sink<SubnetFile<'a>> + Sink<VpcFile<'a>>,
    {
        let mut seen = [false; Part::ALL.len()];
        self.list(b'{', b'}', |scanner| {
            let name = scanner.key()?;
            let number = Part::ALL.iter().position(|part| part.name() == &*name)?;
            if std::mem::replace(&mut seen[number], true) {
                return None;
            }
            match Part::ALL[number] {
                part @ Part::Interfaces => scanner.section::<InterfaceFile<'a>, S>(part, sink),
                part @ Part::Subnets => scanner.section::<SubnetFile<'a>, S>(part, sink),
                part @ Part::Vpcs => scanner.section::<VpcFile<'a>, S>(part, sink),
            }
        })?;
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    fn section<T: ScannedEntry<'a>, S: Sink<T>>(&mut self, part: Part, sink: &mut S) -> Option<()> {
        let (mut count, mut blocks) = (0, 0);
        let mut entries: Vec<T> = Vec::new();
        self.list(b'{', b'}', |scanner| {
            let id = scanner.key()?;
            if id.len() > MAX_NAME_BYTES {
                return None;
            }
            entries.clear();
            let mut add = |entry: T| {
                count += 1;
                blocks += entry.blocks();
                entries.push(entry);
                (count <= part.limit() && blocks <= MAX_CIDR_BLOCKS).then_some(())
            };
            if scanner.peek()? == b'[' {
                scanner.list(b'[', b']', |scanner| add(scanner.entry()?))?;
            } else {
                add(scanner.entry()?)?;
            }
            if entries.is_empty() {
                return None;
            }
            let added = sink.add(part, &id, &mut entries);
            added.map_err(|error| scanner.sink_error = Some(error)).ok()
        })
    }

    fn entry<T: ScannedEntry<'a>>(&mut self) -> Option<T> {
        let (mut entry, mut seen) = (T::default(), 0_u32);
        self.list(b'{', b'}', |scanner| {
            let key = scanner.key()?;
            let bit = 1_u32 << entry.read(&key, scanner)?;
            let is_new = seen & bit == 0;
            seen |= bit;
            is_new.then_some(())
        })?;
        Some(entry)
    }

    /// Reads one of the times that all entries have.
    fn time(&mut self, key: &str, from: &mut Option<Time>, until: &mut Option<Time>) -> Option<u32> {
        let (number, field) = match key {
            "from" => (30, from),
            "until" => (31, until),
            _ => return None,
        };
        *field = Some(Time::from(&*self.string()?));
        Some(number)
    }

    fn cidrs(&mut self) -> Option<Cidrs<'a>> {
        let mut cidrs = Vec::new();
        self.list(b'[', b']', |scanner| {
            cidrs.push(scanner.string()?);
            (cidrs.len() <= MAX_CIDR_BLOCKS).then_some(())
        })?;
        Some(Cidrs(cidrs))
    }

    fn boolean(&mut self) -> Option<bool> {
        self.skip_space();
        let rest = &self.text.as_bytes()[self.at..];
        let value = rest.starts_with(b"true");
        if !value && !rest.starts_with(b"false") {
            return None;
        }
        self.at += if value { "true".len() } else { "false".len() };
        Some(value)
    }

    /// Reads what is between brackets, separated by commas.
    #[inline]
    fn list(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(open)?;
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            item(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                byte if byte == close => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Reads the key of an object and its colon.
    #[inline]
    fn key(&mut self) -> Option<Text<'a>> {
        let key = self.string()?;
        self.expect(b':')?;
        Some(key)
    }

    #[inline]
    fn string(&mut self) -> Option<Text<'a>> {
        self.expect(b'"')?;
        let start = self.at;
        self.find_mark()?;
        if self.text.as_bytes()[self.at] != b'"' {
            return self.escaped(start);
        }
        let string = self.text.get(start..self.at)?;
        self.at += 1;
        Some(Text::borrowed(string))
    }

    /// Reads the remaining string, which began at `start` and has an escape here.
    #[cold]
    fn escaped(&mut self, start: usize) -> Option<Text<'a>> {
        loop {
            match self.text.as_bytes()[self.at] {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => return None,
            }
            self.find_mark()?;
        }
        self.at += 1;
        let string: String = serde_json::from_str(self.text.get(start - 1..self.at)?).ok()?;
        Some(Text::from(string))
    }

    /// Moves to the next quote, backslash or control character.
    #[inline]
    fn find_mark(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        while let Some(word) = bytes.get(self.at..self.at + 8) {
            let marks = marks(u64::from_le_bytes(word.try_into().ok()?));
            if marks != 0 {
                self.at += marks.trailing_zeros() as usize / 8;
                return Some(());
            }
            self.at += 8;
        }
        let rest = bytes.get(self.at..)?;
        self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        Some(())
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        found.then_some(())
    }

    /// Returns the next byte that is no white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
    }
}

/// Sets the highest bit of each byte that is a quote, a backslash or a control character. Bytes after the first such byte may be
/// marked too (<https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord>).
fn marks(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (is(b'"') | is(b'\\') | below(word, 0x20)) & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::file;

    /// All entries that were read, as text.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Read(Vec<String>);

    impl<T: std::fmt::Debug> Sink<T> for Read {
        fn add(&mut self, part: Part, id: &str, entries: &mut Vec<T>) -> Result<(), String> {
            self.0.push(format!("{part:?} {id:?} {entries:?}"));
            Ok(())
        }
    }

    fn scanned(json: &str) -> Option<Read> {
        let mut entries = Read::default();
        read(json.as_bytes(), &mut entries).ok().map(|()| entries)
    }

    fn by_serde(json: &str) -> Option<Read> {
        let mut entries = Read::default();
        file::read(json.as_bytes(), &mut entries).ok().map(|()| entries)
    }

    /// Each form of each field.
    const FILE: &str = r#"{
"interfaces": {
"eni-1": {"description":"a \"b\" \\ \u0007 é","subnet_id":"subnet-1","vpc_id":"vpc-1","provisional":true,"source":"1/eu-west-1","reader":"2/eu-west-1","from":"2026-02-18T07:33:20.000Z"},
"eni-2": [{"description":"12345678","provisional": false,"until":"2026-02-18T07:33:20Z"},{"description":"","from":"2026-02-18T07:33:20.5Z"}],
"eni-\"3": {}
},
"subnets": {
"subnet-1": {"name":"a","vpc_id":"vpc-1","cidrs":["10.0.0.0/24","2001:db8::/64"],"source":"1/eu-west-1","from":"yesterday"},
"subnet-2": {"cidrs":[]}
},
"vpcs": {
"vpc-1": {"name":"v","source":"1/eu-west-1"}
}
}
"#;

    #[test]
    fn a_file_of_flowherd_names_is_scanned() {
        assert_eq!(scanned(FILE).unwrap(), by_serde(FILE).unwrap());
        assert_eq!(scanned(FILE).unwrap().0.len(), 6);
        for file in ["{}", " { \"vpcs\" : { \"v\" : { } } } ", r#"{"subnets":{},"interfaces":{}}"#] {
            assert_eq!(scanned(file).unwrap(), by_serde(file).unwrap(), "{file}");
        }
    }

    /// Refuses each id after the first.
    #[derive(Default)]
    struct Refusing(usize);

    impl<T> Sink<T> for Refusing {
        fn add(&mut self, _: Part, id: &str, _: &mut Vec<T>) -> Result<(), String> {
            self.0 += 1;
            if self.0 > 1 { Err(format!("{id} is refused")) } else { Ok(()) }
        }
    }

    #[test]
    fn the_first_error_of_a_sink_ends_the_scan_and_is_returned() {
        let mut sink = Refusing::default();
        let stop = read(FILE.as_bytes(), &mut sink).unwrap_err();
        assert_eq!((stop, sink.0), (Stop::Sink("eni-2 is refused".to_owned()), 2));
        let other = read(br#"{"vpcs":{"vpc-1":{"name":null}}}"#, &mut Refusing::default());
        assert_eq!(other, Err(Stop::OtherForm));
    }

    #[test]
    fn other_files_are_left_to_serde() {
        for entry in [
            r#"{"name":null}"#,
            r#"{"name":"a","name":"a"}"#,
            r#"{"name":"a",}"#,
            r#"{"owner":"a"}"#,
            r#"{"name":"a\x"}"#,
            "{\"name\":\"a\u{1f}\"}",
            "[]",
            "[{},]",
            "null",
        ] {
            assert_eq!(scanned(&format!(r#"{{"vpcs":{{"vpc-1":{entry}}}}}"#)), None, "{entry}");
        }
        for file in ["", "[]", "{", "{}{}", r#"{"vpcs":{},"vpcs":{}}"#, r#"{"vpcs":{"v":{}"#, r#"{"a":{}}"#] {
            assert_eq!(scanned(file), None, "{file}");
        }
    }

    proptest! {
        #[test]
        fn serde_reads_the_same_from_a_file_that_is_scanned(
            changes in proptest::collection::vec(
                (any::<proptest::sample::Index>(), 0..3_usize, "[{}\\[\\],:\"\\\\ntf0eu \\x00é]{0,2}"), 0..4),
        ) {
            let mut file: Vec<char> = FILE.chars().collect();
            for (at, removed, added) in changes {
                let at = at.index(file.len());
                let end = (at + removed).min(file.len());
                file.splice(at..end, added.chars());
            }
            let file: String = file.into_iter().collect();
            if let Some(read) = scanned(&file) {
                prop_assert_eq!(Some(read), by_serde(&file));
            }
        }

        #[test]
        fn the_first_mark_of_a_word_is_found(bytes: [u8; 8]) {
            let first = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            let found = marks(u64::from_le_bytes(bytes));
            prop_assert_eq!((found != 0).then(|| found.trailing_zeros() as usize / 8), first);
        }
    }
}
