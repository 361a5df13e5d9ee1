//! CPU time of an object of flow logs with and without names, their history and enrichment tables.

use std::io;

use flowherd_deflate::Deflater;
use flowherd_shared::{
    config::Config,
    enrichment::EnrichmentFile,
    names::NameIndex,
    pipeline::{self, RunConfig},
};

use crate::{
    cpu_seconds, median,
    samples::{Dice, NamesFile, address, countries, interface_id},
};

const ROUNDS: usize = 7;
const RECORDS: u64 = 375_000;
/// As many events are in an envelope of CloudWatch Logs.
const EVENTS: u64 = 500;
/// Milliseconds since 1970 of 2026-12-01, after all begins.
const DAY: u64 = 1_796_083_200_000;

const FLOW: &str = "[[rule]]\nname = 'flow'\ntable = 't'\nformat = { kind = 'vpc-flow' }\n";
/// A database and a list on two columns each.
const TABLES: &str = "[[enrich]]
file = 'countries.mmdb'
on = ['srcaddr', 'dstaddr']
columns = { country = 'country.iso_code' }
[[enrich]]
file = 'threats.csv'
key = 'block'
match = 'cidr'
on = ['srcaddr', 'dstaddr']
columns = { threat = 'list' }
";

/// Peers of a flow log.
#[derive(Clone, Copy)]
enum Peers {
    /// Mostly addresses that the caches do not have.
    Many,
    /// 1,000 addresses, which the caches soon have.
    Few,
}

/// Prints a line for each kind of names and tables, and of peers.
pub(crate) fn table() {
    let small = NamesFile { interfaces: 10_000, subnets: 500, vpcs: 10, has_history: false };
    let large = NamesFile { interfaces: 1_000_000, subnets: 50_000, vpcs: 1000, has_history: true };
    let names = |file: NamesFile| NameIndex::parse(file.json().as_bytes()).unwrap();
    let plain = |names: NameIndex| RunConfig::new(Config::parse(FLOW).unwrap(), names);
    let with_tables = |names: NameIndex| {
        let config = Config::parse(&format!("{FLOW}{TABLES}")).unwrap();
        RunConfig::load(config, names, &enrichment_files()).unwrap()
    };
    let history = NamesFile { has_history: true, ..small };
    let cases = [
        ("no names", plain(NameIndex::default())),
        ("10,000 interfaces without history", plain(names(small))),
        ("10,000 interfaces with history", plain(names(history))),
        ("1,000,000 interfaces with history", plain(names(large))),
        ("10,000 with history, and a database and a list on two columns", with_tables(names(history))),
    ];
    for (peers, noun) in [(Peers::Many, "many different peers"), (Peers::Few, "1,000 peers")] {
        measure(&cases, &object(small, peers), noun);
    }
}

fn measure(cases: &[(&str, RunConfig)], object: &[u8], peers: &str) {
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, run_config), times) in cases.iter().zip(&mut times) {
            let began = cpu_seconds();
            let finished = pipeline::run(object, "k", run_config, |_| Ok(io::sink())).unwrap();
            assert_eq!(finished.counts.rows, RECORDS);
            times.push((cpu_seconds() - began) * 1e9 / RECORDS as f64);
        }
    }
    println!("\n| names and tables, {peers} | ns a row | against no history |\n| --- | ---: | ---: |");
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    for ((name, _), time) in cases.iter().zip(&medians) {
        println!("| {name} | {time:.0} | {:.3} |", time / medians[1]);
    }
}

fn enrichment_files() -> [EnrichmentFile; 2] {
    let mut threats = String::from("block,list\n");
    for number in 0..50_000_u32 {
        let block = std::net::Ipv4Addr::from((198 << 24) + number * 64);
        threats += &format!("{block}/26,list {}\n", number % 40);
    }
    let file = |file: &str, bytes: Vec<u8>| EnrichmentFile { file: file.to_owned(), bytes: bytes.into() };
    [file("countries.mmdb", countries()), file("threats.csv", threats.into_bytes())]
}

/// Returns an object with an envelope for each of 750 interfaces. Few addresses have most of the traffic.
fn object(file: NamesFile, peers: Peers) -> Vec<u8> {
    let (mut dice, mut deflater, mut object) = (Dice(1), Deflater::default(), Vec::new());
    for envelope in 0..RECORDS / EVENTS {
        let interface = dice.throw(file.interfaces);
        let own = interface % file.subnets;
        let mut events = Vec::new();
        for event in 0..EVENTS {
            let start = DAY / 1000 + dice.throw(86_400);
            let peer = match (peers, dice.throw(20)) {
                (Peers::Few, _) => format!("198.0.{}.{}", dice.throw(4), dice.throw(250)),
                (_, 0) => format!("2001:db8::{:x}", dice.throw(65_536)),
                (_, 1..8) => address(dice.throw(file.subnets), file.vpcs.into(), dice.throw(256)),
                (_, 8..16) => format!("198.0.{}.7", dice.throw(250)),
                (Peers::Many, _) => {
                    format!("198.{}.{}.{}", dice.throw(100), dice.throw(256), dice.throw(256))
                }
            };
            let message = format!(
                "2 123456789012 {} {} {peer} {} 443 6 {} {} {start} {} ACCEPT OK",
                interface_id(interface),
                address(own, file.vpcs.into(), interface),
                32_768 + dice.throw(28_000),
                1 + dice.throw(30),
                40 + dice.throw(40_000),
                start + 60
            );
            let id = envelope * EVENTS + event;
            events.push(format!(r#"{{"id":"{id:056}","timestamp":{},"message":"{message}"}}"#, start * 1000));
        }
        let text = format!(
            r#"{{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"flow","logStream":"eni","subscriptionFilters":["f"],"logEvents":[{}]}}"#,
            events.join(",")
        );
        object.extend_from_slice(deflater.member(text.as_bytes()));
    }
    object
}
