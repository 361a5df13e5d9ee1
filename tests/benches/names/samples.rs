//! The files that are measured.

use std::fmt::Write;

use maxminddb_writer::{Database, paths::IpAddrWithMask};
use serde_json::json;

/// Seconds since 1970 of 2026-01-01.
const YEAR: i64 = 1_767_225_600;
/// Addresses of a subnet.
const SUBNET_SIZE: u64 = 256;

/// Throws the same numbers each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A `names.json` as `flowherd names` writes it after a year of hourly refreshes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamesFile {
    pub(crate) interfaces: u64,
    pub(crate) subnets: u64,
    pub(crate) vpcs: u32,
    /// Whether entries have times. Every fifth interface then has two entries.
    pub(crate) has_history: bool,
}

pub(crate) fn interface_id(number: u64) -> String {
    format!("eni-{number:017x}")
}

/// Returns an address of the subnet of an interface. VPCs have the same blocks.
pub(crate) fn address(subnet: u64, vpcs: u64, host: u64) -> String {
    let block = subnet / vpcs;
    format!("10.{}.{}.{}", block >> 8 & 255, block & 255, host % SUBNET_SIZE)
}

impl NamesFile {
    pub(crate) fn json(self) -> String {
        let Self { interfaces, subnets, vpcs, .. } = self;
        let mut dice = Dice(1);
        let mut text = String::from("{\n\"interfaces\": {");
        for number in 0..interfaces {
            let subnet = number % subnets;
            let vpc = subnet % u64::from(vpcs);
            let separator = if number > 0 { "," } else { "" };
            write!(text, "{separator}\n\"{}\": ", interface_id(number)).unwrap();
            let references = format!(r#""subnet_id":"subnet-{subnet:017x}","vpc_id":"vpc-{vpc:017x}""#);
            let mut entry = |times: String| {
                // Most interfaces belong to services that repeat a name; others have a name of their own.
                let description = match dice.throw(10) {
                    0..6 => format!("ELB app/service-{}", dice.throw(2000)),
                    _ => format!("ip-10-0-0-1.worker-{number}"),
                };
                let source = if self.has_history { r#","source":"123456789012/eu-west-1""# } else { "" };
                format!(r#"{{"description":"{description}",{references}{source}{times}}}"#)
            };
            if !self.has_history {
                text += &entry(String::new());
            } else if number % 5 == 0 {
                let (first, second) = (entry(between(0, number % 4000)), entry(from(4000 + number % 4000)));
                write!(text, "[{first},{second}]").unwrap();
            } else {
                // Most exist since the first refresh.
                let hour = if number % 5 < 3 { 0 } else { number % 8000 };
                text += &entry(from(hour));
            }
        }
        text += "\n},\n\"subnets\": {";
        for subnet in 0..subnets {
            let separator = if subnet > 0 { "," } else { "" };
            let vpc = subnet % u64::from(vpcs);
            let block = address(subnet, vpcs.into(), 0);
            let times = if self.has_history { from(subnet % 100) } else { String::new() };
            write!(
                text,
                "{separator}\n\"subnet-{subnet:017x}\": {{\"name\":\"private-{subnet}\",\"vpc_id\":\"vpc-{vpc:017x}\",\"cidrs\":[\"{block}/24\"]{times}}}"
            )
            .unwrap();
        }
        text += "\n},\n\"vpcs\": {";
        for vpc in 0..vpcs {
            let separator = if vpc > 0 { "," } else { "" };
            let times = if self.has_history { from(0) } else { String::new() };
            write!(text, "{separator}\n\"vpc-{vpc:017x}\": {{\"name\":\"vpc {vpc}\"{times}}}").unwrap();
        }
        text + "\n}\n}\n"
    }
}

fn time(hour: u64) -> String {
    let time = jiff::Timestamp::from_second(YEAR + i64::try_from(hour).unwrap() * 3600).unwrap();
    time.to_string()
}

fn from(hour: u64) -> String {
    format!(r#","from":"{}""#, time(hour))
}

fn between(from_hour: u64, hours: u64) -> String {
    format!(r#"{},"until":"{}""#, from(from_hour), time(from_hour + hours + 1))
}

/// Returns a configuration with 20 tables, and their files: a database of countries and 19 lists of blocks.
pub(crate) fn enrichment_tables() -> (String, Vec<(String, Vec<u8>)>) {
    const ROWS: u64 = 25_000;
    let mut config = String::from("[[rule]]\nname = 'flow'\ntable = 't'\nformat = { kind = 'vpc-flow' }\n");
    config +=
        "[[enrich]]\nfile = 'countries.mmdb'\non = ['srcaddr']\ncolumns = { country = 'country.iso_code' }\n";
    let mut files = vec![("countries.mmdb".to_owned(), countries())];
    let mut dice = Dice(2);
    for table in 0..19 {
        write!(
            config,
            "[[enrich]]\nfile = 'list-{table}.csv'\nkey = 'block'\nmatch = 'cidr'\non = ['dstaddr']\ncolumns = {{ list_{table} = 'list', owner_{table} = 'owner' }}\n"
        )
        .unwrap();
        let mut text = String::from("block,list,owner\n");
        for row in 0..ROWS {
            let (high, low) = (row >> 8 & 255, row & 255);
            writeln!(text, "{}.{high}.{low}.0/24,list {},team {row}", 11 + table, dice.throw(40)).unwrap();
        }
        files.push((format!("list-{table}.csv"), text.into_bytes()));
    }
    (config, files)
}

/// Returns a database with a country for each /24 of 198.0.0.0/9.
pub(crate) fn countries() -> Vec<u8> {
    let mut database = Database::default();
    database.metadata.binary_format_major_version = 2;
    "countries".clone_into(&mut database.metadata.database_type);
    database.metadata.description.insert("en".to_owned(), "Countries of test addresses".to_owned());
    let countries: Vec<_> = ["DE", "FR", "NL", "US"]
        .iter()
        .map(|code| database.insert_value(json!({ "country": { "iso_code": code } })).unwrap())
        .collect();
    for block in 0..32_768_usize {
        let block_text: IpAddrWithMask =
            format!("198.{}.{}.0/24", block >> 8, block & 255).parse().expect("a block");
        database.insert_node(block_text, countries[block % countries.len()]);
    }
    database.write_to(Vec::new()).unwrap()
}
