//! One object of AWS Config or CloudTrail. Only one of its items is in memory at a time.

use std::{
    fmt,
    io::{self, BufReader, Read},
};

use flowherd_shared::{
    error::{ObjectError, error_chain},
    limits::Limits,
    pipeline::layers::Layers,
};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{changes::Report, cloudtrail, config};

/// Reads the changes of an item.
type ReadItem = fn(&Value, i64) -> Result<Vec<Report>, String>;

/// The member that holds the items of a file, and what reads them.
const FORMATS: [(&str, ReadItem); 2] =
    [("configurationItems", config::report), ("Records", cloudtrail::report)];

/// Reads an object to its end and returns its changes.
///
/// # Errors
/// Why the object is damaged, or not a file of AWS Config or CloudTrail.
pub(super) fn reports(object: impl Read, now_ms: i64) -> Result<Vec<Report>, String> {
    let layers = Layers::open(object, Limits::default()).map_err(|error| error_chain(&error))?;
    let mut text = Text { layers, error: None };
    let mut reports = Vec::new();
    let read = read_document(BufReader::with_capacity(1 << 16, &mut text), &mut reports, now_ms);
    if let Some(error) = text.error {
        return Err(error_chain(&error));
    }
    match read {
        Ok(true) => Ok(reports),
        Ok(false) => Err(foreign()),
        // A value that is no object, or no JSON at all.
        Err(error) if error.to_string().contains(EXPECTED) => Err(foreign()),
        Err(error) if error.is_syntax() && error.line() == 1 && error.column() <= 1 => Err(foreign()),
        Err(error) if error.is_eof() => Err(format!("it is truncated: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

/// What a document must be.
const EXPECTED: &str = "an object with configurationItems or Records";

fn foreign() -> String {
    "it is not a file of AWS Config or CloudTrail: it has neither configurationItems nor Records".to_owned()
}

/// Returns whether the document has items.
fn read_document(text: impl Read, reports: &mut Vec<Report>, now_ms: i64) -> Result<bool, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_reader(text);
    if !json.deserialize_map(Document { reports, now_ms })? {
        return Ok(false);
    }
    json.end()?;
    Ok(true)
}

/// Keeps the error of the layers, which `serde_json` would turn into text.
struct Text<R> {
    layers: Layers<R>,
    error: Option<ObjectError>,
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.layers.read(out).map_err(|error| {
            self.error = Some(error);
            io::Error::other("the object cannot be read")
        })
    }
}

struct Document<'r> {
    reports: &'r mut Vec<Report>,
    now_ms: i64,
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut has_items = false;
        while let Some(key) = members.next_key::<String>()? {
            if let Some((name, read)) = FORMATS.into_iter().find(|(name, _)| *name == key) {
                members.next_value_seed(Items { name, read, reports: self.reports, now_ms: self.now_ms })?;
                has_items = true;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(has_items)
    }
}

struct Items<'r> {
    name: &'static str,
    read: ReadItem,
    reports: &'r mut Vec<Report>,
    now_ms: i64,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list in {}", self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut number = 0_u64;
        while let Some(item) = items.next_element::<Value>()? {
            number += 1;
            let reports = (self.read)(&item, self.now_ms);
            let reports =
                reports.map_err(|why| A::Error::custom(format!("{} {number}: {why}", self.name)))?;
            self.reports.extend(reports);
        }
        Ok(())
    }
}
