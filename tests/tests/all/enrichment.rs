//! `[[enrich]]`: rows with values of CSV tables, lists, MaxMind databases, AWS's ranges and names.

mod databases;
mod files;
mod fleet;
mod networks;

use flowherd_shared::{config::Config, enrichment::EnrichmentFile, names::NameIndex, pipeline::RunConfig};
use flowherd_tests::{
    model::Model,
    objects::{convert, envelope, event, gzip, outcome},
};
use proptest::prelude::*;

/// A flow log with the account of its envelope, and JSON records.
const RULES: &str = r#"
[[rule]]
name = "flow"
match = { log_group = "flow" }
table = "flow"
metadata = ["owner"]
format = { kind = "vpc-flow", fields = "${srcaddr} ${dstaddr} ${start}" }
[[rule]]
name = "dns"
match = { log_group = "dns" }
table = "dns"
[rule.format]
kind = "json"
columns = [ { name = "client_ip", path = "/ip" }, { name = "domain", path = "/domain" } ]
"#;

const TABLES: &str = r#"
[[enrich]]
file = "threats.csv"
key = "indicator"
match = "cidr"
on = ["srcaddr", "client_ip"]
columns = { threat = "list", score = { path = "points", type = "double" } }
[[enrich]]
file = "accounts.csv.gz"
key = "account"
match = "value"
on = ["owner"]
columns = { name = "name" }
[[enrich]]
file = "hosts.csv"
key = "ip"
match = "address"
on = ["dstaddr"]
columns = { host = "host" }
tables = ["flow"]
[[enrich]]
file = "domains.txt"
match = "value"
column = "is_bad"
on = ["domain"]
[[enrich]]
file = "scanners.txt"
match = "cidr"
column = "scans"
on = ["srcaddr"]
"#;

const THREATS: &str = "indicator,list,points,note\n\
    # of a feed\n\
    198.51.100.0/24,\"scanners, known\",1.5,x\n\
    198.51.100.7,botnet,9,x\n\
    2001:db8::/32,=cmd,,x\n\
    203.0.113.9,-,-2,x\n";

fn load(rules: &str, names: &str, files: &[(&str, &[u8])]) -> Result<RunConfig, String> {
    let config = Config::parse(rules).map_err(|error| error.to_string())?;
    let file =
        |(file, bytes): &(&str, &[u8])| EnrichmentFile { file: (*file).to_owned(), bytes: (*bytes).into() };
    let files: Vec<EnrichmentFile> = files.iter().map(file).collect();
    let names = NameIndex::parse(names.as_bytes()).unwrap();
    RunConfig::load(config, names, &files).map_err(|error| error.to_string())
}

fn plan(more: &str) -> RunConfig {
    let accounts = gzip(b"account,name\n123456789012,\"Shop \"\"EU\"\"\"\n");
    let files: [(&str, &[u8]); 5] = [
        ("threats.csv", THREATS.as_bytes()),
        ("accounts.csv.gz", &accounts),
        ("hosts.csv", b"ip,host\r\n10.0.0.5,web\r\n2001:DB8:0::1,db\r\n::ffff:10.0.0.6,mapped\r\n"),
        ("domains.txt", b"# bad ones\nevil.example # since May\n\n  worse.example\nsome#thing\n"),
        ("scanners.txt", b"198.51.100.0/28\n192.0.2.1\n"),
    ];
    load(&format!("{RULES}{TABLES}{more}"), "{}", &files).unwrap()
}

fn rows(plan: &RunConfig) -> String {
    let flows = [
        "198.51.100.7 10.0.0.5 1",
        "198.51.100.8 10.0.0.6 1",
        "198.51.101.1 10.0.0.50 1",
        "2001:db8::9 2001:0db8::1 1",
        "::ffff:198.51.100.200 - 1",
        "203.0.113.9 - 1",
        "- - 1",
    ];
    let dns = [
        r#"{"ip":"198.51.100.9","domain":"evil.example"}"#,
        r#"{"ip":" 198.51.100.7 ","domain":"some#thing"}"#,
        r#"{"ip":"198.51.100.007","domain":"Evil.example"}"#,
        r#"{"ip":"unknown","domain":"worse.example"}"#,
        r#"{"ip":"-","domain":"-"}"#,
        r##"{"ip":null,"domain":"# bad ones"}"##,
        r#"{"ip":"192.0.2.1"}"#,
    ];
    let object = [("flow", flows), ("dns", dns)]
        .map(|(group, messages)| envelope(group, &messages.map(|message| event(1, message))));
    let (_, outputs) = convert(object.concat().as_bytes(), "k", plan).unwrap();
    outputs.into_iter().map(|(output, text)| format!("{}\n{text}\n", output.path)).collect()
}

#[test]
fn rows_get_the_values_of_the_files_in_columns_after_all_others() {
    insta::assert_snapshot!(rows(&plan("")));
    let guarded = rows(&plan("[csv]\nguard_formulas = true\n"));
    assert!(guarded.contains(",'=cmd,-\n") || guarded.contains(",'=cmd,-,"), "{guarded}");
    assert!(guarded.contains(",-,-2"), "a number is no formula: {guarded}");
}

/// A block below `10.0.0.0/8` or `fd00::/8`, from few bits, so that blocks are nested and equal.
fn block() -> impl Strategy<Value = String> {
    let v4 = (0_u32..256, 8_u32..=32).prop_map(|(bits, length)| {
        let address = 10 << 24 | bits << 16 | bits << 8 | bits;
        let network = address & u32::MAX << (32 - length);
        format!("{}/{length}", std::net::Ipv4Addr::from(network))
    });
    let v6 = (0_u128..16, 8_u32..=128).prop_map(|(bits, length)| {
        let address = 0xfd << 120 | bits << 100 | bits;
        let network = address & u128::MAX << (128 - length);
        format!("{}/{length}", std::net::Ipv6Addr::from(network))
    });
    let single = address();
    prop_oneof![4 => v4, 2 => v6, 1 => single]
}

fn address() -> impl Strategy<Value = String> {
    let v4 = (0_u32..256, 0_u32..4).prop_map(|(bits, last)| {
        std::net::Ipv4Addr::from((10 << 24 | bits << 16 | bits << 8 | bits) ^ last).to_string()
    });
    let v6 = (0_u128..16, 0_u128..3).prop_map(|(bits, last)| {
        std::net::Ipv6Addr::from((0xfd << 120 | bits << 100 | bits) ^ last).to_string()
    });
    let mapped = (0_u32..256).prop_map(|bits| format!("::ffff:10.{bits}.{bits}.{bits}"));
    prop_oneof![4 => v4, 2 => v6, 1 => mapped]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_longest_block_wins_as_in_a_comparison_with_every_line(
        blocks in proptest::collection::btree_map(block(), "[a-c=]{0,2}", 1..60),
        hosts in proptest::collection::btree_set(address(), 1..20),
        words in proptest::collection::btree_map("[a-c]{1,2}", "[0-9]{1,3}", 1..9),
        flows in proptest::collection::vec((address(), address()), 1..30),
        records in proptest::collection::vec(("[a-c]{1,2}|-", prop_oneof![address(), Just("x".to_owned())]), 1..10),
        guard in any::<bool>(),
    ) {
        // The same block in two spellings is one key.
        let key = |block: &String| match block.parse::<std::net::IpAddr>() {
            Ok(address) => ipnet::IpNet::from(address.to_canonical()),
            Err(_) => block.parse().unwrap(),
        };
        let mut unique = std::collections::BTreeMap::new();
        for (block, value) in &blocks {
            unique.entry(key(block)).or_insert((block, value));
        }
        let blocks: String =
            unique.values().map(|(block, value)| format!("{value},{block}\n")).collect();
        let words: String = words.iter().map(|(word, number)| format!("{word},{number}\n")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let files = [
            ("blocks.csv", format!("value,block\n{blocks}")),
            ("hosts.txt", hosts.join("\n")),
            ("words.csv", format!("word,number\n{words}")),
        ];
        let rules = format!("{RULES}\n[csv]\nguard_formulas = {guard}\n") + r#"
            [[enrich]]
            file = "blocks.csv"
            key = "block"
            match = "cidr"
            on = ["srcaddr", "dstaddr", "client_ip"]
            columns = { value = "value", block = "block" }
            [[enrich]]
            file = "hosts.txt"
            match = "address"
            column = "is_host"
            on = ["dstaddr"]
            [[enrich]]
            file = "words.csv"
            key = "word"
            match = "value"
            on = ["domain"]
            columns = { number = { path = "number", type = "int" } }
            tables = ["dns"]
        "#;
        let flow = |(source, destination): &(String, String)| event(1, &format!("{source} {destination} 1"));
        let dns = |(word, address): &(String, String)| {
            event(1, &format!("{{\"domain\":\"{word}\",\"ip\":\"{address}\"}}"))
        };
        let object = envelope("flow", &flows.iter().map(flow).collect::<Vec<_>>())
            + &envelope("dns", &records.iter().map(dns).collect::<Vec<_>>());
        let texts = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        let expected = Model::new(&rules, "{}").with_files(&texts).convert(object.as_bytes(), "k");
        let bytes = files.each_ref().map(|(name, text)| (*name, text.as_bytes()));
        let plan = load(&rules, "{}", &bytes).unwrap();
        prop_assert_eq!(outcome(object.as_bytes(), usize::MAX, "k", &plan).ok(), expected);
    }
}
