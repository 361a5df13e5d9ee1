//! Builds the index of a `names.json` while its entries are read.

use std::{collections::BTreeMap, hash::BuildHasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use ipnet::IpNet;

use super::{
    cidr::parse_cidr,
    entries::{FileEntry, Owner, add_times},
    file::{self, InterfaceFile, Sink, SubnetFile, Text, VpcFile},
    part::Part,
    ranges::{Block, Ranges},
    records::{Addresses, Index, InterfaceRecord, Link, NameTexts, Section, SubnetRecord, VpcRecord},
    scan,
    timeline::{NO_NAME, NameId, NameRef, Period, Timelines, too_many_periods},
};
use crate::{
    interner::Interner,
    limits::MAX_NAME_BYTES,
    problems::{ConfigError, Problems},
    text::quoted,
};

/// Reads a file and builds its index.
pub(super) fn index(json: &[u8]) -> Result<Index, ConfigError> {
    let mut builder = Builder::default();
    let is_scanned = scan::read(json, &mut builder).is_ok();
    if !is_scanned {
        builder = Builder::default();
        file::read(json, &mut builder)?;
    }
    let index = builder.finish()?;
    Ok(Index { is_as_written: is_scanned && index.is_as_written, ..index })
}

/// The index so far. An id that others refer to has a record before the file defines it.
#[derive(Default)]
struct Builder {
    names: Names,
    timelines: Timelines,
    interfaces: Interfaces,
    subnets: Defined<SubnetRecord>,
    vpcs: Defined<VpcRecord>,
    /// By VPC.
    blocks: BTreeMap<Link, Blocks>,
    last_begin: Option<i64>,
    problems: Problems,
    /// Buffers of [`Builder::periods`].
    times: Vec<(i64, i64)>,
    periods: Vec<Period>,
}

impl<'a> Sink<InterfaceFile<'a>> for Builder {
    fn add(&mut self, _: Part, id: &str, entries: &mut Vec<InterfaceFile<'a>>) -> Result<(), String> {
        let owner = Owner { noun: "interface", id };
        let subnet_ids = entries.iter().map(|interface| interface.subnet_id.as_deref());
        let subnet = self.only_id(owner, "subnet_id", subnet_ids);
        let subnet = Link::from(subnet.map(|id| self.subnets.refer(id)));
        let vpc_ids = entries.iter().map(|interface| interface.vpc_id.as_deref());
        let vpc = self.only_id(owner, "vpc_id", vpc_ids);
        let vpc = Link::from(vpc.map(|id| self.vpcs.refer(id)));
        self.set_periods(owner, entries, |interface| interface.description.as_ref());
        let description = self.timelines.add(&self.periods);
        self.interfaces.define(id, InterfaceRecord { description, subnet, vpc })
    }
}

impl<'a> Sink<SubnetFile<'a>> for Builder {
    fn add(&mut self, _: Part, id: &str, entries: &mut Vec<SubnetFile<'a>>) -> Result<(), String> {
        let owner = Owner { noun: "subnet", id };
        let vpc_ids = entries.iter().map(|subnet| subnet.vpc_id.as_deref());
        let vpc = self.only_id(owner, "vpc_id", vpc_ids);
        let vpc = Link::from(vpc.map(|id| self.vpcs.refer(id)));
        self.set_periods(owner, entries, |subnet| subnet.name.as_ref());
        let number = self.subnets.refer(id);
        let blocks = self.blocks.entry(vpc).or_default();
        // Blocks of an entry whose times are wrong are checked too.
        let times = self.periods.iter().copied().map(Some).chain(std::iter::repeat(None));
        for (subnet, period) in entries.iter().zip(times) {
            for cidr in &subnet.cidrs.0 {
                match (parse_cidr(cidr), period) {
                    (Err(why), _) => self.problems.add(format!("{owner}: cidrs: {} {why}", quoted(cidr))),
                    (Ok(block), Some(period)) => blocks.add(block, period, number),
                    (Ok(_), None) => {}
                }
            }
        }
        let name = self.timelines.add(&self.periods);
        self.subnets.define(id, SubnetRecord { name, vpc })
    }
}

impl<'a> Sink<VpcFile<'a>> for Builder {
    fn add(&mut self, _: Part, id: &str, entries: &mut Vec<VpcFile<'a>>) -> Result<(), String> {
        self.set_periods(Owner { noun: "VPC", id }, entries, |vpc| vpc.name.as_ref());
        let name = self.timelines.add(&self.periods);
        self.vpcs.define(id, VpcRecord { name, space: Link::NONE })
    }
}

impl Builder {
    /// Sets the names of an id and their times. Sets none if the times are wrong.
    fn set_periods<T: FileEntry>(
        &mut self,
        owner: Owner<'_>,
        entries: &[T],
        name: impl Fn(&T) -> Option<&Text<'_>>,
    ) {
        let Self { times, periods, problems, .. } = self;
        times.clear();
        periods.clear();
        add_times(entries, owner, problems, times);
        for ((from, until), entry) in times.iter().copied().zip(entries) {
            let text = name(entry).map_or("", |name| &**name);
            let text = if text.len() > MAX_NAME_BYTES {
                problems.add(format!(
                    "{owner}: its name has {} bytes: the limit is {MAX_NAME_BYTES}, because every row repeats it",
                    text.len()
                ));
                ""
            } else {
                text
            };
            let mut period = Period { from, until, name: NO_NAME };
            let begin = period.is_open().then_some(from);
            period.name = self.names.add(text, begin, &mut self.timelines);
            if begin.is_some() && !text.is_empty() {
                self.last_begin = self.last_begin.max(begin);
            }
            periods.push(period);
        }
    }

    /// Returns the id that all entries of an id have in common. EC2 has no action that moves an interface to another subnet, or
    /// a subnet to another VPC
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySubnetAttribute.html>).
    fn only_id<'f>(
        &mut self,
        owner: Owner<'_>,
        key: &str,
        ids: impl Iterator<Item = Option<&'f str>>,
    ) -> Option<&'f str> {
        let mut only = None;
        for id in ids.flatten() {
            match only {
                None => only = Some(id),
                Some(other) if other != id => {
                    self.problems.add(format!(
                        "{owner}: its entries have {key} {} and {}; an id keeps the same one at all times",
                        quoted(other),
                        quoted(id)
                    ));
                    break;
                }
                Some(_) => {}
            }
        }
        only
    }

    /// Checks the references and the blocks, and returns the index.
    fn finish(mut self) -> Result<Index, ConfigError> {
        self.check_references();
        let spaces = self.spaces();
        let Self { names, mut timelines, interfaces, subnets, vpcs, last_begin, mut problems, .. } = self;
        let unambiguous = Addresses::unambiguous(&spaces, &mut timelines);
        if timelines.exceed_limit() {
            problems.add(too_many_periods());
        }
        problems.check()?;
        Ok(Index {
            names: names.finish(),
            timelines,
            is_as_written: interfaces.are_sorted,
            interfaces: interfaces.finish(),
            subnets: subnets.section,
            vpcs: vpcs.section,
            spaces,
            unambiguous,
            last_begin,
        })
    }

    /// Adds a problem for each reference to an id that the file does not define.
    fn check_references(&mut self) {
        let Self { interfaces, subnets, vpcs, problems, .. } = self;
        if subnets.are_complete() && vpcs.are_complete() {
            return;
        }
        let mut check = |owner: Owner<'_>, key: &str, id: Option<String>, section: &str| {
            if let Some(id) = id {
                problems.add(format!("{owner}: {key} {} is not in {section}; add it there", quoted(&id)));
            }
        };
        for (id, record) in subnets.iter() {
            let owner = Owner { noun: "subnet", id: &id };
            check(owner, "vpc_id", vpcs.missing(record.vpc), "vpcs");
        }
        for (id, record) in interfaces.iter() {
            let owner = Owner { noun: "interface", id: &id };
            check(owner, "vpc_id", vpcs.missing(record.vpc), "vpcs");
            check(owner, "subnet_id", subnets.missing(record.subnet), "subnets");
        }
    }

    /// Returns the addresses of each VPC that has subnets, and sets the space of these VPCs.
    fn spaces(&mut self) -> Vec<Addresses> {
        let Self { subnets, vpcs, timelines, problems, .. } = self;
        let mut clash = |[first, second]: [u32; 2], cidr: String| {
            let [id, other] = [second, first].map(|subnet| subnets.id(subnet));
            problems.add(format!(
                "subnet {id:?}: cidrs: subnet {other:?} of the same VPC has \"{cidr}\" too at that time; remove one of them"
            ));
        };
        let mut spaces = Vec::new();
        for (vpc, Blocks { v4, v6 }) in std::mem::take(&mut self.blocks) {
            if let Some(vpc) = vpc.number() {
                vpcs.section.records[vpc as usize].space = Link::from(Some(spaces.len() as u32));
            }
            spaces.push(Addresses {
                v4: Ranges::nested(v4, timelines, |first, second| {
                    clash([first.subnet, second.subnet], cidr_v4(first));
                }),
                v6: Ranges::nested(v6, timelines, |first, second| {
                    clash([first.subnet, second.subnet], cidr_v6(first));
                }),
            });
        }
        spaces
    }
}

/// The names so far. Equal names with the same begin have one number.
struct Names {
    texts: Interner,
    /// By the number of a text: its first name.
    first: Vec<NameId>,
    /// By [`NameId`]: the number of its text, and its begin or [`i64::MIN`].
    all: Vec<(u32, i64)>,
    /// The names that are not the first ones of their texts. Most texts have one name.
    others: HashTable<NameId>,
    hasher: FixedState,
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self {
            texts: Interner::default(),
            first: Vec::new(),
            all: Vec::new(),
            others: HashTable::new(),
            hasher: FixedState::default(),
        };
        names.number("", None);
        names
    }
}

impl Names {
    /// Returns the number of a name that begins at a time, if it never ends.
    fn add(&mut self, text: &str, begin: Option<i64>, timelines: &mut Timelines) -> NameId {
        let before = self.all.len();
        let name = self.number(text, begin);
        if self.all.len() > before
            && let Some(begin) = begin
        {
            timelines.set_begin(name, begin);
        }
        name
    }

    fn number(&mut self, text: &str, begin: Option<i64>) -> NameId {
        let Self { texts, first, all, others, hasher } = self;
        let name = (texts.add(text.as_bytes()), begin.unwrap_or(i64::MIN));
        let id = all.len() as NameId;
        match first.get(name.0 as usize) {
            Some(first) if all[*first as usize] == name => return *first,
            Some(_) => {
                let hash = hasher.hash_one(name);
                if let Some(id) = others.find(hash, |id| all[*id as usize] == name) {
                    return *id;
                }
                others.insert_unique(hash, id, |id| hasher.hash_one(all[*id as usize]));
            }
            None => first.push(id),
        }
        all.push(name);
        id
    }

    fn finish(self) -> NameTexts {
        let of_names = self.all.iter().map(|(text, _)| *text).collect();
        NameTexts { texts: self.texts.into_texts(), of_names }
    }
}

/// The interfaces so far. Nothing refers to them.
struct Interfaces {
    section: Section<InterfaceRecord>,
    /// Whether each id is greater than the one before it, as `flowherd names` writes them. They are then different, and are indexed
    /// together at the end.
    are_sorted: bool,
}

impl Default for Interfaces {
    fn default() -> Self {
        Self { section: Section::default(), are_sorted: true }
    }
}

impl Interfaces {
    fn define(&mut self, id: &str, record: InterfaceRecord) -> Result<(), String> {
        let Section { ids, records } = &mut self.section;
        self.are_sorted &= ids.last().is_none_or(|last| last < id.as_bytes());
        if self.are_sorted {
            ids.push(id.as_bytes());
        } else {
            ids.index();
            if ids.find(id.as_bytes()).is_some() {
                return Err(file::duplicate(id));
            }
            ids.add(id.as_bytes());
        }
        records.push(record);
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = (String, InterfaceRecord)> {
        let ids = self.section.ids.texts().iter().map(|id| String::from_utf8_lossy(id).into_owned());
        ids.zip(self.section.records.iter().copied())
    }

    fn finish(mut self) -> Section<InterfaceRecord> {
        self.section.ids.index();
        self.section
    }
}

/// A section whose ids may not all be defined yet.
struct Defined<T> {
    section: Section<T>,
    /// By the number of an id: whether the file has defined it.
    definitions: Vec<bool>,
    count: usize,
}

impl<T> Default for Defined<T> {
    fn default() -> Self {
        Self { section: Section::default(), definitions: Vec::new(), count: 0 }
    }
}

/// A record of an id that is not defined yet.
trait Undefined {
    const UNDEFINED: Self;
}

impl Undefined for SubnetRecord {
    const UNDEFINED: Self = Self { name: NameRef::NONE, vpc: Link::NONE };
}

impl Undefined for VpcRecord {
    const UNDEFINED: Self = Self { name: NameRef::NONE, space: Link::NONE };
}

impl<T: Copy + Undefined> Defined<T> {
    /// Returns the number of an id, whether it is defined or not.
    fn refer(&mut self, id: &str) -> u32 {
        let number = self.section.ids.add(id.as_bytes());
        if self.definitions.len() <= number as usize {
            self.definitions.push(false);
            self.section.records.push(T::UNDEFINED);
        }
        number
    }

    fn define(&mut self, id: &str, record: T) -> Result<(), String> {
        let number = self.refer(id) as usize;
        if std::mem::replace(&mut self.definitions[number], true) {
            return Err(file::duplicate(id));
        }
        self.section.records[number] = record;
        self.count += 1;
        Ok(())
    }

    fn are_complete(&self) -> bool {
        self.count == self.definitions.len()
    }

    fn id(&self, number: u32) -> String {
        String::from_utf8_lossy(self.section.ids.texts().get(number)).into_owned()
    }

    /// Returns the id of a link if it is not defined.
    fn missing(&self, link: Link) -> Option<String> {
        let number = link.number().filter(|number| !self.definitions[*number as usize])?;
        Some(self.id(number))
    }

    /// Iterates over the defined ids and their records.
    fn iter(&self) -> impl Iterator<Item = (String, T)> {
        let defined = (0..).zip(&self.definitions).filter(|(_, is_defined)| **is_defined);
        defined.map(|(number, _)| (self.id(number), self.section.records[number as usize]))
    }
}

/// The blocks of one VPC.
#[derive(Default)]
struct Blocks {
    v4: Vec<Block<u32>>,
    v6: Vec<Block<u128>>,
}

impl Blocks {
    fn add(&mut self, block: IpNet, period: Period, subnet: u32) {
        match block {
            IpNet::V4(block) => {
                let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
                self.v4.push(Block { first, last, period, subnet });
            }
            IpNet::V6(block) => {
                let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
                self.v6.push(Block { first, last, period, subnet });
            }
        }
    }
}

fn cidr_v4(block: &Block<u32>) -> String {
    let length = 32 - (block.last - block.first).count_ones();
    format!("{}/{length}", std::net::Ipv4Addr::from(block.first))
}

fn cidr_v6(block: &Block<u128>) -> String {
    let length = 128 - (block.last - block.first).count_ones();
    format!("{}/{length}", std::net::Ipv6Addr::from(block.first))
}
