//! The text of a `names.json`, before it becomes an index.

use std::{collections::HashMap, fmt, hash::Hash, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use super::entries::{Entries, Time, Validity};
use crate::{
    limits::{MAX_LOOKUP_BLOCKS, MAX_LOOKUP_IDS, MAX_LOOKUP_NAME_BYTES, MAX_LOOKUPS_BYTES},
    problems::ConfigError,
    text::quoted,
};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    #[serde(deserialize_with = "unique")]
    pub(super) interfaces: HashMap<String, Entries<InterfaceFile>>,
    #[serde(deserialize_with = "unique")]
    pub(super) subnets: HashMap<String, Entries<SubnetFile>>,
    #[serde(deserialize_with = "unique")]
    pub(super) vpcs: HashMap<String, Entries<VpcFile>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InterfaceFile {
    pub(super) description: Option<String>,
    pub(super) subnet_id: Option<String>,
    pub(super) vpc_id: Option<String>,
    #[serde(default)]
    pub(super) provisional: bool,
    pub(super) source: Option<String>,
    pub(super) reader: Option<String>,
    pub(super) from: Option<Time>,
    pub(super) until: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubnetFile {
    pub(super) name: Option<String>,
    pub(super) vpc_id: Option<String>,
    #[serde(default)]
    pub(super) cidrs: Vec<String>,
    pub(super) source: Option<String>,
    pub(super) reader: Option<String>,
    pub(super) from: Option<Time>,
    pub(super) until: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VpcFile {
    pub(super) name: Option<String>,
    pub(super) source: Option<String>,
    pub(super) reader: Option<String>,
    pub(super) from: Option<Time>,
    pub(super) until: Option<Time>,
}

/// Gives an entry its times.
macro_rules! validity {
    ($($entry:ty),*) => {$(
        impl Validity for $entry {
            fn validity(&self) -> (Option<&Time>, Option<&Time>) {
                (self.from.as_ref(), self.until.as_ref())
            }
        }
    )*};
}
validity!(InterfaceFile, SubnetFile, VpcFile);

impl File {
    /// Parses the bytes and checks their size and counts.
    pub(super) fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        if json.len() > MAX_LOOKUPS_BYTES {
            return Err(ConfigError::of(format!(
                "has {} bytes: the limit is {MAX_LOOKUPS_BYTES}; keep only ids that appear in the logs",
                json.len()
            )));
        }
        // serde also reads a struct from an array, by position.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(ConfigError::of(
                "is not a JSON object; an example: {\"vpcs\":{\"vpc-1\":{\"name\":\"prod\"}}}".to_owned(),
            ));
        }
        let file: Self = serde_json::from_slice(json)
            .map_err(|error| ConfigError::of(error.to_string().replace('\n', " ")))?;
        let entries = [
            ("interfaces", count(&file.interfaces)),
            ("subnets", count(&file.subnets)),
            ("vpcs", count(&file.vpcs)),
        ];
        if let Some((part, entries)) = entries.into_iter().find(|(_, entries)| *entries > MAX_LOOKUP_IDS) {
            return Err(ConfigError::of(format!(
                "{part}: {entries} entries: the limit is {MAX_LOOKUP_IDS}; remove those that ended before your logs begin with \
                 flowherd names --forget-before"
            )));
        }
        let subnets = file.subnets.values().flat_map(Entries::as_slice);
        let blocks: usize = subnets.map(|subnet| subnet.cidrs.len()).sum();
        if blocks > MAX_LOOKUP_BLOCKS {
            return Err(ConfigError::of(format!(
                "cidrs: {blocks} blocks: the limit is {MAX_LOOKUP_BLOCKS}; keep only subnets that appear in the logs"
            )));
        }
        Ok(file)
    }
}

fn count<T>(ids: &HashMap<String, Entries<T>>) -> usize {
    ids.values().map(|entries| entries.as_slice().len()).sum()
}

/// Reads a map and refuses a key that appears twice, because either value could be meant.
fn unique<'de, D, K, V>(deserializer: D) -> Result<HashMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Eq + Hash + fmt::Debug + Clone + AsRef<str>,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);
    impl<'de, K, V> Visitor<'de> for Unique<K, V>
    where
        K: Deserialize<'de> + Eq + Hash + fmt::Debug + Clone + AsRef<str>,
        V: Deserialize<'de>,
    {
        type Value = HashMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with ids as keys")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut values = HashMap::new();
            while let Some((key, value)) = map.next_entry::<K, V>()? {
                let shown = quoted(key.as_ref());
                if key.as_ref().len() > MAX_LOOKUP_NAME_BYTES {
                    return Err(A::Error::custom(format!(
                        "the id {shown} has more than {MAX_LOOKUP_NAME_BYTES} bytes"
                    )));
                }
                if values.len() == MAX_LOOKUP_IDS {
                    return Err(A::Error::custom(format!(
                        "more than {MAX_LOOKUP_IDS} interfaces, subnets or VPCs, the last of them {shown}; keep only \
                         those that appear in the logs"
                    )));
                }
                if values.insert(key, value).is_some() {
                    return Err(A::Error::custom(format!("duplicate id {shown}")));
                }
            }
            Ok(values)
        }
    }
    deserializer.deserialize_map(Unique(PhantomData))
}
