//! Enriched flow-log rows as Flowherd writes them.

use std::{
    fmt::Write,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use flowherd_deflate::Deflater;
use flowherd_indexer::{
    index_name::NameLayout,
    job::Target,
    schema::{DocumentSchema, Naming},
};
use flowherd_shared::config::Config;

pub(crate) const KEY: &str = "csv/vpc_flow/firehose/2026/02/18/09/vpc-flow-logs-1-2026-02-18-09-00-12-5d1c9a0e-1111-2222-3333-444455556666.gz.csv.gz";
pub(crate) const ETAG: &str = "9b2cf535f27731c974343645a3985328";

/// Text of a gzip member, as Flowherd writes them.
const MEMBER_BYTES: usize = 1 << 20;

pub(crate) fn target() -> Target {
    let config = Config::default();
    let table = &config.tables[0];
    Target {
        columns: table.columns.iter().map(|column| column.name.clone()).collect(),
        schema: DocumentSchema::new(table, Naming::Columns).unwrap(),
        index: NameLayout::default().of_table(&table.name),
    }
}

/// Writes an object with this many rows.
pub(crate) fn write(path: &Path, count: u64) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut deflater = Deflater::default();
    let mut text = target().columns.join(",");
    text.push('\n');
    let mut random = Random(7);
    for number in 0..count {
        row(number, &mut random, &mut text);
        if text.len() >= MEMBER_BYTES || number + 1 == count {
            file.write_all(deflater.member(text.as_bytes())).unwrap();
            text.clear();
        }
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Appends a row. Its columns are those of version 2 with names.
fn row(number: u64, random: &mut Random, text: &mut String) {
    let interface = random.below(500);
    let subnet = interface % 12;
    let second = number / 500 % 600;
    let start = 1_771_405_200 + second;
    let (packets, port) = (1 + random.below(40), 1024 + random.below(60_000));
    let service = [443, 80, 53, 22, 5432][random.below(5) as usize];
    let action = if random.below(10) == 0 { "REJECT" } else { "ACCEPT" };
    writeln!(
        text,
        "2026-02-18T09:{:02}:{:02}.000Z,2,123456789012,eni-0{interface:016x},10.0.{subnet}.{},{}.{}.{}.{},{port},{service},6,\
         {packets},{},{start},{},{action},OK,web server {interface},private-{},prod,private-{},-",
        second / 60,
        second % 60,
        interface % 250,
        random.below(200) + 1,
        random.below(256),
        random.below(256),
        random.below(256),
        packets * (40 + random.below(1400)),
        start + 60,
        subnet,
        subnet,
    )
    .unwrap();
}
