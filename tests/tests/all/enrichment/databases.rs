//! MaxMind databases, which these tests build.

use maxminddb_writer::{Database, metadata::IpVersion, paths::IpAddrWithMask};
use serde_json::{Value, json};

use super::{RULES, load};
use crate::{place::Place, query_local::query};
use flowherd_tests::objects::{convert, envelope, event};

/// Builds a database of blocks and their records.
pub(super) fn database(blocks: &[(&str, Value)]) -> Vec<u8> {
    let mut database = Database::default();
    database.metadata.ip_version = IpVersion::V6;
    database.metadata.binary_format_major_version = 2;
    "Test".clone_into(&mut database.metadata.database_type);
    database.metadata.description.insert("en".to_owned(), "A database of a test".to_owned());
    for (block, record) in blocks {
        let data = database.insert_value(record).unwrap();
        // IPv4 addresses are in ::/96.
        let block = match block.split_once('/') {
            Some((address, length)) if !address.contains(':') => {
                format!("::{address}/{}", 96 + length.parse::<u8>().unwrap())
            }
            _ => (*block).to_owned(),
        };
        database.insert_node(block.parse::<IpAddrWithMask>().unwrap(), data);
    }
    database.write_to(Vec::new()).unwrap()
}

fn countries() -> Vec<u8> {
    let country = |code: &str, names: &[&str]| {
        json!({ "country": { "iso_code": code, "is_in_european_union": code == "DE" },
            "subdivisions": names.iter().map(|name| json!({ "names": { "en": name } })).collect::<Vec<_>>(),
            "location": { "latitude": 52.5, "accuracy_radius": 20 } })
    };
    database(&[
        ("198.51.100.0/24", country("DE", &["Berlin, city", "Mitte"])),
        ("203.0.113.0/25", country("US", &[])),
        ("203.0.113.128/26", json!({ "asn": 64_500 })),
        ("2001:db8::/32", json!({ "country": { "iso_code": 7 }, "asn": 4_294_967_295_u32 })),
    ])
}

const COUNTRIES: &str = r#"
[[enrich]]
file = "countries.mmdb"
on = ["srcaddr", "client_ip"]
[enrich.columns]
country = "country.iso_code"
region = "subdivisions.0.names.en"
district = "subdivisions.1.names.en"
eu = { path = "country.is_in_european_union", type = "boolean" }
latitude = { path = "location.latitude", type = "double" }
radius = { path = "location.accuracy_radius", type = "int" }
asn = { path = "asn", type = "int" }
asn64 = { path = "asn", type = "bigint" }
"#;

#[test]
fn rows_get_values_of_the_records_of_a_maxmind_database() {
    let countries = countries();
    let rules = format!("{RULES}{COUNTRIES}");
    let plan = load(&rules, "{}", &[("countries.mmdb", &countries)]).unwrap();
    let flows = ["198.51.100.9", "203.0.113.1", "203.0.113.200", "2001:db8::1", "::ffff:198.51.100.9", "-"];
    let dns = ["198.51.100.9", "198.51.100.9:443", "example.com"];
    let object = envelope("flow", &flows.map(|address| event(1, &format!("{address} 10.0.0.1 1"))))
        + &envelope("dns", &dns.map(|address| event(1, &format!("{{\"ip\":\"{address}\"}}"))));
    let (_, outputs) = convert(object.as_bytes(), "k", &plan).unwrap();
    let text: String = outputs.iter().map(|(_, text)| text.as_str()).collect();
    insta::assert_snapshot!(text);
}

#[test]
fn a_damaged_database_and_a_wrong_path_are_refused() {
    let countries = countries();
    let rules = format!("{RULES}{COUNTRIES}");
    let refused = |rules: &str, bytes: &[u8]| load(rules, "{}", &[("countries.mmdb", bytes)]).unwrap_err();
    let expected = "countries.mmdb: is not a complete MaxMind DB: ";
    for length in [0, 1, countries.len() / 2, countries.len() - 1] {
        let error = refused(&rules, &countries[..length]);
        assert!(error.starts_with(expected) && error.lines().count() == 1, "{length}: {error}");
    }
    // Without its middle, the metadata at its end is still there.
    let third = countries.len() / 3;
    let error = refused(&rules, &[&countries[..third], &countries[2 * third..]].concat());
    assert!(error.starts_with(expected), "{error}");
    let error = refused(&rules.replace("iso_code", "isocode"), &countries);
    assert_eq!(
        error,
        "countries.mmdb: columns: no record has a value of its type at \"country.isocode\"; correct the path or the type"
    );
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn questions_by_country_and_network_read_the_columns_of_the_databases() {
    let place = Place::new();
    let record = |country: &str, asn: u32| {
        json!({ "country": { "iso_code": country }, "autonomous_system_number": asn,
            "autonomous_system_organization": format!("Example {country}") })
    };
    let blocks = [("198.51.100.0/24", record("DE", 64_496)), ("203.0.113.0/24", record("US", 4_200_000_000))];
    place.file("geo.mmdb", &database(&blocks));
    let rules = r#"
        [[rule]]
        preset = "vpc-flow"
        match = {}
        [[enrich]]
        file = "geo.mmdb"
        on = ["srcaddr", "dstaddr"]
        columns = { country = "country.iso_code", asn = { path = "autonomous_system_number", type = "bigint" }, as_org = "autonomous_system_organization" }
    "#;
    let flow = |source: &str, destination: &str, bytes: u32, action: &str| {
        format!(
            "2 123456789012 eni-1 {source} {destination} 50000 443 6 1 {bytes} 1771372800 1771372860 {action} OK\n"
        )
    };
    let flows = [
        flow("10.0.0.1", "198.51.100.1", 100, "ACCEPT"),
        flow("198.51.100.1", "10.0.0.1", 7, "ACCEPT"),
        flow("198.51.100.2", "10.0.0.1", 1, "REJECT"),
        flow("10.0.0.1", "203.0.113.1", 40, "ACCEPT"),
        flow("10.0.0.1", "192.0.2.1", 5, "ACCEPT"),
        flow("10.0.0.1", "10.0.0.2", 9000, "ACCEPT"),
    ];
    place.object("k", flows.concat().as_bytes()).file("f.toml", rules.as_bytes());
    place.report_done(&["--config", place.path("f.toml").to_str().unwrap(), "--run", "r"]);
    let ask = |question: &str| {
        let ran = query(&place, &["--named", question, "--day", "2026-02-18", "--csv"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stdout.lines().map(|line| line.rsplitn(3, ',').last().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        ask("traffic-by-country"),
        [
            "country,bytes_out,bytes_in,addresses,rejected,flows",
            "DE,100,8,2,1,3",
            "US,40,,1,0,1",
            "unknown,5,,1,0,1"
        ]
    );
    assert_eq!(
        ask("traffic-by-network"),
        [
            "asn,as_org,bytes_out,bytes_in,addresses,rejected,flows",
            "64496,Example DE,100,8,2,1,3",
            "4200000000,Example US,40,,1,0,1",
            ",,5,,1,0,1"
        ]
    );
    let other = Place::new();
    other.object("k", flows.concat().as_bytes());
    other.report_done(&["--run", "r"]);
    let ran = query(&other, &["--named", "traffic-by-country"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(
        ran.stderr.contains(
            "traffic-by-country needs the columns dstaddr_country, srcaddr_country, which table vpc_flow does not have; \
             name another with --table, or add them with [[enrich]]"
        ),
        "{ran:?}"
    );
}
