//! The hot path over a small object, for counting its instructions: tests/benches/instructions.py runs it under
//! callgrind, which counts what happens inside [`counted`].
#![allow(clippy::expect_used)]

use std::{borrow::Cow, env, fmt::Write, hint::black_box, io, net::Ipv4Addr};

use flowherd_deflate::Deflater;
use flowherd_shared::{
    config::Config,
    enrichment::EnrichmentFile,
    names::NameIndex,
    pipeline::{self, RunConfig, layers::Layers, records::Records},
};
use maxminddb_writer::{Database, paths::IpAddrWithMask};
use serde::Deserialize;
use serde_json::json;

const RECORDS: u32 = 20_000;
/// Of one envelope.
const EVENTS: u32 = 500;

fn main() {
    let stage = env::args().nth(1).expect("a stage, such as flow");
    let (config, message): (_, fn(&mut Dice) -> String) = match &*stage {
        "regex" => (REGEX, ids),
        "json" | "gunzip-json" | "records-json" | "serde-json" => (JSON, waf),
        "waf" => (WAF, waf),
        "enriched" => (ENRICHED, flow),
        "cached" => (FLOW, repeating),
        "enriched-cached" => (ENRICHED, repeating),
        _ => (FLOW, flow),
    };
    let config = Config::parse(config).expect("valid");
    // With this stage, all names begin after the records.
    let begin = if stage == "flow-guess" { r#"{"from": "2027-01-01T00:00:00Z", "# } else { "{" };
    let names = NAMES
        .replace("{\"description", &format!("{begin}\"description"))
        .replace("{\"name", &format!("{begin}\"name"));
    let names = NameIndex::parse(names.as_bytes()).expect("valid");
    let plan = RunConfig::load(config, names, &enrichment_files()).expect("valid");
    counted(&stage, &object(message), &plan);
}

#[inline(never)]
fn counted(stage: &str, object: &[u8], plan: &RunConfig) {
    let limits = plan.config.limits;
    let layers = || Layers::open(object, limits).expect("readable");
    match stage {
        "gunzip" | "gunzip-json" => {
            let (mut layers, mut text) = (layers(), vec![0; 256 << 10]);
            while layers.read(&mut text).expect("good") > 0 {}
        }
        "records" | "records-json" => {
            let mut records = Records::new(layers(), limits);
            while let Some(record) = records.next().expect("good") {
                black_box(record.message());
            }
        }
        "serde" | "serde-json" => {
            let mut text = Vec::new();
            let (mut layers, mut piece) = (layers(), vec![0; 256 << 10]);
            loop {
                let count = layers.read(&mut piece).expect("good");
                if count == 0 {
                    break;
                }
                text.extend_from_slice(&piece[..count]);
            }
            for envelope in serde_json::Deserializer::from_slice(&text).into_iter::<Envelope>() {
                let envelope = envelope.expect("good");
                black_box((&envelope.message_type, &envelope.log_group));
                for event in &envelope.log_events {
                    black_box((event.timestamp, &event.message));
                }
            }
        }
        _ => {
            let finished = pipeline::run(object, "k", plan, |_| Ok(io::sink())).expect("good");
            assert_eq!(finished.counts.rows, u64::from(RECORDS));
        }
    }
}

/// The peer of our reader of envelopes (docs/decisions/0006-our-own-json-scanners.md).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    #[serde(borrow)]
    log_group: Cow<'a, str>,
    #[serde(borrow)]
    log_events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    timestamp: i64,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

const FLOW: &str = "[[rule]]\nname = 'flow'\ntable = 't'\nformat = { kind = 'vpc-flow' }";
const REGEX: &str = r"
[[rule]]
name = 'ids'
table = 't'
format = { kind = 'regex', pattern = '^(?P<level>\w+) (?P<src>\S+) -> (?P<dst>\S+)$' }";
const JSON: &str = "
[[rule]]
name = 'waf'
table = 't'
format = { kind = 'json', columns = [
  { name = 'action', path = '/action' }, { name = 'client', path = '/httpRequest/clientIp' },
  { name = 'uri', path = '/httpRequest/uri' }, { name = 'rule', path = '/ruleGroupList/0/ruleGroupId' } ] }";
const WAF: &str = "[[rule]]\npreset = 'waf'\nmatch = {}";
/// The flow logs with a database of countries and a list of blocks on both addresses.
const ENRICHED: &str = "
[[rule]]
name = 'flow'
table = 't'
format = { kind = 'vpc-flow' }
[[enrich]]
file = 'countries.mmdb'
on = ['srcaddr', 'dstaddr']
columns = { country = 'country.iso_code' }
[[enrich]]
file = 'threats.csv'
key = 'block'
match = 'cidr'
on = ['srcaddr', 'dstaddr']
columns = { threat = 'list' }";
const NAMES: &str = r#"{
    "interfaces": {"eni-00000000000000001": {"description": "a gateway", "subnet_id": "subnet-1", "vpc_id": "vpc-1"}},
    "subnets": {"subnet-1": {"name": "private", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/17", "2001:db8::/64"]}},
    "vpcs": {"vpc-1": {"name": "production"}}
}"#;

/// A country for each /24 of 198.51.0.0/16, and 50,000 blocks. The traffic matches a few of them.
fn enrichment_files() -> [EnrichmentFile; 2] {
    let mut database = Database::default();
    database.metadata.binary_format_major_version = 2;
    "countries".clone_into(&mut database.metadata.database_type);
    database.metadata.description.insert("en".to_owned(), "Countries of documentation addresses".to_owned());
    let countries: Vec<_> = ["DE", "FR", "NL", "US"]
        .iter()
        .map(|code| database.insert_value(json!({ "country": { "iso_code": code } })).expect("a value"))
        .collect();
    for third in 0..256 {
        let block: IpAddrWithMask = format!("198.51.{third}.0/24").parse().expect("a block");
        database.insert_node(block, countries[third % countries.len()]);
    }
    let mut threats = String::from("block,list\n");
    for number in 0..50_000_u32 {
        let block = Ipv4Addr::from((198 << 24 | 50 << 16) + number * 64);
        writeln!(threats, "{block}/26,list {}", number % 40).expect("room");
    }
    let file = |file: &str, bytes: Vec<u8>| EnrichmentFile { file: file.to_owned(), bytes: bytes.into() };
    let database = database.write_to(Vec::new()).expect("a database");
    [file("countries.mmdb", database), file("threats.csv", threats.into_bytes())]
}

/// Throws the same numbers each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn object(message: fn(&mut Dice) -> String) -> Vec<u8> {
    let (mut dice, mut deflater, mut object) = (Dice(1), Deflater::default(), Vec::new());
    for envelope in 0..RECORDS / EVENTS {
        let mut text = String::from(
            r#"{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"flow","logStream":"eni","subscriptionFilters":["f"],"logEvents":["#,
        );
        for event in 0..EVENTS {
            let comma = if event > 0 { "," } else { "" };
            let (id, ms) = (envelope * EVENTS + event, 1_771_372_800_000 + dice.throw(86_400_000));
            let message = message(&mut dice).replace('"', "\\\"");
            write!(text, r#"{comma}{{"id":"{id:056}","timestamp":{ms},"message":"{message}"}}"#)
                .expect("room");
        }
        text.push_str("]}");
        object.extend_from_slice(deflater.member(text.as_bytes()));
    }
    object
}

/// A flow log whose addresses hardly repeat.
fn flow(dice: &mut Dice) -> String {
    flow_of(dice, |dice| {
        let own = format!("10.0.{}.{}", dice.throw(200), dice.throw(256));
        let peer = match dice.throw(20) {
            0 => format!("2001:db8::{:x}", dice.throw(65_536)),
            1..8 => format!("10.0.{}.{}", dice.throw(200), dice.throw(256)),
            _ => format!("198.51.{}.{}", dice.throw(100), dice.throw(256)),
        };
        (own, peer)
    })
}

/// A flow log of ten addresses with 1,000 others, which caches soon have.
fn repeating(dice: &mut Dice) -> String {
    flow_of(dice, |dice| {
        let own = format!("10.0.7.{}", dice.throw(10));
        (own, format!("198.51.{}.{}", dice.throw(4), dice.throw(250)))
    })
}

fn flow_of(dice: &mut Dice, addresses: impl FnOnce(&mut Dice) -> (String, String)) -> String {
    let start = 1_771_372_800 + dice.throw(86_400);
    let (own, peer) = addresses(dice);
    format!(
        "2 123456789012 eni-00000000000000001 {own} {peer} {} 443 6 {} {} {start} {} ACCEPT OK",
        32_768 + dice.throw(28_000),
        1 + dice.throw(30),
        40 + dice.throw(40_000),
        start + 60
    )
}

fn ids(dice: &mut Dice) -> String {
    let level = ["notice", "warning", "alert"][dice.throw(3) as usize];
    format!("{level} 198.51.100.{}:{} -> 10.0.0.{}:443", dice.throw(256), dice.throw(65_536), dice.throw(256))
}

/// A record of a web ACL, about 800 bytes.
fn waf(dice: &mut Dice) -> String {
    let action = ["ALLOW", "BLOCK"][dice.throw(2) as usize];
    format!(
        r#"{{"timestamp":1771372800000,"formatVersion":1,"webaclId":"arn:aws:wafv2:us-east-1:123456789012:regional/webacl/shop/b1b2","terminatingRuleId":"Default_Action","terminatingRuleType":"REGULAR","action":"{action}","httpSourceName":"ALB","httpSourceId":"123456789012-app/shop/5d","ruleGroupList":[{{"ruleGroupId":"AWS#CommonRuleSet","terminatingRule":null,"nonTerminatingMatchingRules":[]}}],"rateBasedRuleList":[],"httpRequest":{{"clientIp":"203.0.113.{}","country":"NL","headers":[{{"name":"Host","value":"shop.example.com"}},{{"name":"User-Agent","value":"Mozilla/5.0 (X11; Linux x86_64)"}}],"uri":"/item/{}","args":"page={}","httpVersion":"HTTP/2.0","httpMethod":"GET","requestId":"1-{:08x}"}}}}"#,
        dice.throw(256),
        dice.throw(1000),
        dice.throw(17),
        dice.throw(65_536)
    )
}
