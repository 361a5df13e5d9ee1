//! Reads a `names.json` entry by entry, so that the whole file is never in memory in another form.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use super::{
    entries::{EntriesSeed, FileEntry, Time, too_many_blocks},
    part::Part,
};
use crate::{
    limits::{MAX_CIDR_BLOCKS, MAX_NAME_BYTES, MAX_NAMES_BYTES},
    problems::ConfigError,
    text::quoted,
};

/// Receives the ids of a section with their entries, in the order of the file.
pub(super) trait Sink<T> {
    /// Takes the entries of an id. An error ends the reading.
    fn add(&mut self, part: Part, id: &str, entries: &mut Vec<T>) -> Result<(), String>;
}

/// A text that is borrowed from the file unless it has escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    pub(super) fn borrowed(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    pub(super) fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// The blocks of an entry, at most [`MAX_CIDR_BLOCKS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cidrs<'a>(pub(super) Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Cidrs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CidrsVisitor;
        impl<'de> Visitor<'de> for CidrsVisitor {
            type Value = Cidrs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of CIDR blocks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cidrs<'de>, A::Error> {
                let mut cidrs = Vec::new();
                while let Some(cidr) = list.next_element()? {
                    if cidrs.len() == MAX_CIDR_BLOCKS {
                        return Err(A::Error::custom(too_many_blocks()));
                    }
                    cidrs.push(cidr);
                }
                Ok(Cidrs(cidrs))
            }
        }
        deserializer.deserialize_seq(CidrsVisitor)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InterfaceFile<'a> {
    #[serde(borrow)]
    pub(super) description: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) subnet_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) vpc_id: Option<Text<'a>>,
    #[serde(default)]
    pub(super) provisional: bool,
    #[serde(borrow)]
    pub(super) source: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reader: Option<Text<'a>>,
    pub(super) from: Option<Time>,
    pub(super) until: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubnetFile<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) vpc_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) cidrs: Cidrs<'a>,
    #[serde(borrow)]
    pub(super) source: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reader: Option<Text<'a>>,
    pub(super) from: Option<Time>,
    pub(super) until: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VpcFile<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) source: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reader: Option<Text<'a>>,
    pub(super) from: Option<Time>,
    pub(super) until: Option<Time>,
}

impl FileEntry for InterfaceFile<'_> {
    fn validity(&self) -> (Option<&Time>, Option<&Time>) {
        (self.from.as_ref(), self.until.as_ref())
    }
}

impl FileEntry for SubnetFile<'_> {
    fn validity(&self) -> (Option<&Time>, Option<&Time>) {
        (self.from.as_ref(), self.until.as_ref())
    }

    fn blocks(&self) -> usize {
        self.cidrs.0.len()
    }
}

impl FileEntry for VpcFile<'_> {
    fn validity(&self) -> (Option<&Time>, Option<&Time>) {
        (self.from.as_ref(), self.until.as_ref())
    }
}

/// Returns the error for an id that a section has twice. Either one could be meant.
pub(super) fn duplicate(id: &str) -> String {
    format!("duplicate id {}", quoted(id))
}

/// Reads a file and checks its size and counts.
pub(super) fn read<'de, S>(json: &'de [u8], sink: &mut S) -> Result<(), ConfigError>
where
    S: Sink<InterfaceFile<'de>> + Sink<SubnetFile<'de>> + Sink<VpcFile<'de>>,
{
    if json.len() > MAX_NAMES_BYTES {
        return Err(ConfigError::of(format!(
            "has {} bytes: the limit is {MAX_NAMES_BYTES}; keep only ids that appear in the logs",
            json.len()
        )));
    }
    // A visitor of objects would report an array by its type only.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(ConfigError::of(
            "is not a JSON object; an example: {\"vpcs\":{\"vpc-1\":{\"name\":\"prod\"}}}".to_owned(),
        ));
    }
    let read = match std::str::from_utf8(json) {
        // Faster than to check each text.
        Ok(text) => read_with(serde_json::Deserializer::from_str(text), sink),
        Err(_) => read_with(serde_json::Deserializer::from_slice(json), sink),
    };
    read.map_err(|error| ConfigError::of(error.to_string().replace('\n', " ")))
}

fn read_with<'de, R, S>(mut deserializer: serde_json::Deserializer<R>, sink: &mut S) -> serde_json::Result<()>
where
    R: serde_json::de::Read<'de>,
    S: Sink<InterfaceFile<'de>> + Sink<SubnetFile<'de>> + Sink<VpcFile<'de>>,
{
    FileSeed(sink).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// A key of the file.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum SectionKey {
    Interfaces,
    Subnets,
    Vpcs,
}

struct FileSeed<'s, S>(&'s mut S);

impl<'de, S> DeserializeSeed<'de> for FileSeed<'_, S>
where
    S: Sink<InterfaceFile<'de>> + Sink<SubnetFile<'de>> + Sink<VpcFile<'de>>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S> Visitor<'de> for FileSeed<'_, S>
where
    S: Sink<InterfaceFile<'de>> + Sink<SubnetFile<'de>> + Sink<VpcFile<'de>>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(key) = map.next_key()? {
            let part = match key {
                SectionKey::Interfaces => Part::Interfaces,
                SectionKey::Subnets => Part::Subnets,
                SectionKey::Vpcs => Part::Vpcs,
            };
            if seen.contains(&part) {
                return Err(A::Error::custom(format!("duplicate field `{}`", part.name())));
            }
            seen.push(part);
            match part {
                Part::Interfaces => {
                    map.next_value_seed(SectionSeed::<_, InterfaceFile<'de>>::new(part, self.0))
                }
                Part::Subnets => map.next_value_seed(SectionSeed::<_, SubnetFile<'de>>::new(part, self.0)),
                Part::Vpcs => map.next_value_seed(SectionSeed::<_, VpcFile<'de>>::new(part, self.0)),
            }?;
        }
        Ok(())
    }
}

/// Reads a section. Its entries are of type `T`.
struct SectionSeed<'s, S, T> {
    part: Part,
    sink: &'s mut S,
    entries: PhantomData<T>,
}

impl<'s, S, T> SectionSeed<'s, S, T> {
    fn new(part: Part, sink: &'s mut S) -> Self {
        Self { part, sink, entries: PhantomData }
    }
}

impl<'de, S: Sink<T>, T: FileEntry + Deserialize<'de>> DeserializeSeed<'de> for SectionSeed<'_, S, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Sink<T>, T: FileEntry + Deserialize<'de>> Visitor<'de> for SectionSeed<'_, S, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with ids as keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut count, mut blocks) = (0, 0);
        let mut entries: Vec<T> = Vec::new();
        while let Some(id) = map.next_key::<Text<'de>>()? {
            if id.len() > MAX_NAME_BYTES {
                return Err(A::Error::custom(format!(
                    "the id {} has more than {MAX_NAME_BYTES} bytes",
                    quoted(&id)
                )));
            }
            entries.clear();
            let seed = EntriesSeed { part: self.part, id: &id, count: &mut count, blocks: &mut blocks };
            map.next_value_seed(seed.into_list(&mut entries))?;
            self.sink.add(self.part, &id, &mut entries).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
