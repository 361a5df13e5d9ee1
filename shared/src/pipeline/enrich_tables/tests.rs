//! Objects with more different values than the caches hold.

use std::{io::Read, ops::Range};

use serde_json::json;

use crate::{
    config::Config,
    enrichment::EnrichmentFile,
    names::NameIndex,
    pipeline::{self, RunConfig},
};

/// The sources of flow logs and the clients of DNS share a cache. Destinations have another one.
const RULES: &str = r#"
[[rule]]
name = "flow"
match = { log_group = "flow" }
table = "flow"
format = { kind = "vpc-flow", fields = "${srcaddr} ${dstaddr} ${start}" }
[[rule]]
name = "dns"
match = { log_group = "dns" }
table = "dns"
format = { kind = "json", columns = [ { name = "client_ip", path = "/ip" } ] }
[[enrich]]
file = "hosts.csv"
key = "ip"
match = "address"
on = ["srcaddr", "client_ip"]
columns = { host = "host" }
[[enrich]]
file = "services.csv"
key = "ip"
match = "address"
on = ["dstaddr"]
columns = { service = "service" }
"#;

const HOSTS: usize = 3000;

/// About 900 bytes.
fn host(number: usize) -> String {
    format!("host-{number}-{}", "x".repeat(890))
}

fn address(number: usize) -> String {
    format!("10.0.{}.{}", number / 250, number % 250)
}

fn run_config() -> RunConfig {
    let hosts = (0..HOSTS).map(|number| format!("{},{}\n", address(number), host(number)));
    let hosts: String = std::iter::once("ip,host\n".to_owned()).chain(hosts).collect();
    let services = "ip,service\n192.0.2.0,s0\n192.0.2.1,s1\n".to_owned();
    let files = [("hosts.csv", hosts), ("services.csv", services)];
    let file = |(file, text): (&str, String)| EnrichmentFile {
        file: file.to_owned(),
        bytes: text.into_bytes().into(),
    };
    RunConfig::load(Config::parse(RULES).unwrap(), NameIndex::default(), &files.map(file)).unwrap()
}

/// Converts rows of the hosts with these numbers, and compares each row with the files.
fn check_rows(run_config: &RunConfig, parts: &[(&str, Range<usize>)]) {
    let (mut dns, mut flow) = (Vec::new(), Vec::new());
    let mut object = String::new();
    for (group, numbers) in parts {
        let message = |number: usize| {
            let number = number % HOSTS;
            let (ip, service) = (address(number), number % 3);
            if *group == "dns" {
                dns.push(format!(",{ip},{}", host(number)));
                return json!({ "ip": ip }).to_string();
            }
            let name = if service < 2 { format!("s{service}") } else { "-".to_owned() };
            flow.push(format!(",{},{name}", host(number)));
            format!("{ip} 192.0.2.{service} 1")
        };
        let messages: Vec<String> = numbers.clone().map(message).collect();
        let event = |message| json!({ "id": "1", "timestamp": 1, "message": message });
        let events: Vec<serde_json::Value> = messages.into_iter().map(event).collect();
        let envelope = json!({
            "messageType": "DATA_MESSAGE", "owner": "1", "logGroup": group, "logStream": "s", "subscriptionFilters": [],
            "logEvents": events,
        });
        object += &envelope.to_string();
    }
    let finished = pipeline::run(object.as_bytes(), "k", run_config, |_| Ok(Vec::new())).unwrap();
    for (table, expected) in [("dns", dns), ("flow", flow)].into_iter().filter(|(_, rows)| !rows.is_empty()) {
        let is_of_table = |path: &str| path.contains(&format!("/{table}/"));
        let (_, bytes) = finished.outputs.iter().find(|(output, _)| is_of_table(&output.path)).unwrap();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(rows.len(), expected.len(), "{table}");
        for (number, (row, expected)) in rows.iter().zip(&expected).enumerate() {
            assert!(row.ends_with(expected), "row {number} of {table}: {row}\n{expected}");
        }
    }
}

#[test]
fn rows_have_their_own_values_after_their_table_has_filled_a_cache() {
    let run_config = run_config();
    for table in ["flow", "dns"] {
        check_rows(&run_config, &[(table, 0..HOSTS), (table, 500..HOSTS)]);
    }
}

#[test]
fn rows_have_their_own_values_after_another_table_has_filled_the_cache() {
    let run_config = run_config();
    for [first, second] in [["flow", "dns"], ["dns", "flow"]] {
        // The first table has rows with the first numbers of values. The second one fills the cache, and its next values get these
        // numbers. The first table then has rows with them too.
        let round = |start: usize| {
            [
                (first, start..start + 500),
                (second, start + 500..start + 1800),
                (first, start + 1560..start + 1800),
            ]
        };
        let rounds: Vec<(&str, Range<usize>)> = (0..3).flat_map(|number| round(number * 700)).collect();
        check_rows(&run_config, &rounds);
    }
}
