//! The traffic of one interface during a time span, as an envelope of version 2 flow-log records.

use std::fmt::Write;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::world::{Interface, World};

/// Aggregation interval of a flow log, in seconds.
const INTERVAL: i64 = 60;
const NODATA_PERCENT: u32 = 2;
const SERVICES: [u16; 10] = [443, 443, 443, 443, 80, 53, 5432, 6379, 8080, 123];
const PROBED: [u16; 6] = [22, 23, 445, 3389, 1433, 5900];

#[derive(Debug)]
pub(super) struct Traffic<'a> {
    world: &'a World,
    interface: &'a Interface,
    begins: i64,
    lasts: i64,
    malformed: f64,
    random: &'a mut ChaCha8Rng,
}

/// Returns an event id of 56 digits. In CloudWatch Logs the leading digits change slowly; here they are constant.
pub(super) fn event_id(random: &mut ChaCha8Rng) -> String {
    format!(
        "3{:017}{:019}{:019}",
        85_300_000_000_000_u64,
        random.random_range(0..10_u64.pow(18)),
        random.random_range(0..10_u64.pow(18))
    )
}

impl<'a> Traffic<'a> {
    pub(super) fn new(
        world: &'a World,
        begins: i64,
        lasts: i64,
        malformed: f64,
        random: &'a mut ChaCha8Rng,
    ) -> Self {
        let interface = &world.interfaces[random.random_range(0..world.interfaces.len())];
        Self { world, interface, begins, lasts, malformed, random }
    }

    pub(super) fn envelope(&mut self, events: u32) -> String {
        let Interface { id, account, .. } = self.interface;
        let mut text = format!(
            r#"{{"messageType":"DATA_MESSAGE","owner":"{account}","logGroup":"vpc-flow-logs","logStream":"{id}-all","subscriptionFilters":["to-firehose"],"logEvents":["#,
        );
        // The ids of one envelope share their leading digits and increase by 1.
        let id = event_id(self.random);
        let (front, back) = id.split_at(id.len() - 6);
        let first: u32 = back.parse().unwrap_or(0);
        for event in 0..events {
            let comma = if event == 0 { "" } else { "," };
            let start = self.begins + self.random.random_range(0..self.lasts);
            let mut ms = start * 1000;
            let message = if self.random.random_bool(self.malformed) {
                let (message, malformed_ms) = self.malformed_record(start);
                ms = malformed_ms.unwrap_or(ms);
                serde_json::Value::from(message).to_string()
            } else {
                format!("\"{}\"", self.record(start))
            };
            let number = (first + event) % 1_000_000;
            let _ =
                write!(text, r#"{comma}{{"id":"{front}{number:06}","timestamp":{ms},"message":{message}}}"#);
        }
        text.push_str("]}");
        text
    }

    fn record(&mut self, start: i64) -> String {
        let Interface { id, account, .. } = self.interface;
        let end = start + INTERVAL - self.random.random_range(0..4);
        if self.random.random_ratio(NODATA_PERCENT, 100) {
            return format!("2 {account} {id} - - - - - - - {start} {end} - NODATA");
        }
        let random = &mut *self.random;
        let (own, peer) = match random.random_range(0..100) {
            0..5 => {
                let peer = self.world.neighbour(self.interface, random);
                match (self.interface.address_v6, peer.address_v6) {
                    (Some(own), Some(peer)) => (own.to_string(), peer.to_string()),
                    _ => (self.interface.address.to_string(), peer.address.to_string()),
                }
            }
            5..45 => (
                self.interface.address.to_string(),
                self.world.neighbour(self.interface, random).address.to_string(),
            ),
            _ => {
                // Two draws favour the first peers, so that a few peers cause most of the traffic.
                let among = random.random_range(1..=self.world.outside.len());
                let peer = self.world.outside[random.random_range(0..among)];
                (self.interface.address.to_string(), peer.to_string())
            }
        };
        let rejected = random.random_ratio(1, 20);
        let port = if rejected {
            PROBED[random.random_range(0..PROBED.len())]
        } else {
            SERVICES[random.random_range(0..SERVICES.len())]
        };
        let high = random.random_range(32_768..=60_999);
        let inbound = rejected || random.random();
        let (src, dst) = if inbound { (peer, own) } else { (own, peer) };
        // A request and its response are two flows.
        let (srcport, dstport) = if rejected || random.random() { (high, port) } else { (port, high) };
        let protocol = if matches!(port, 53 | 123) { 17 } else { 6 };
        let packets =
            if rejected { 1 } else { 1 + random.random_range(0..12_u32) * random.random_range(1..4_u32) };
        let bytes = packets * if rejected { 40 } else { random.random_range(60..1400) };
        let action = if rejected { "REJECT" } else { "ACCEPT" };
        format!(
            "2 {account} {id} {src} {dst} {srcport} {dstport} {protocol} {packets} {bytes} {start} {end} {action} OK"
        )
    }

    /// Returns a malformed message, or a good one with a malformed timestamp.
    fn malformed_record(&mut self, start: i64) -> (String, Option<i64>) {
        let mut record = self.record(start);
        match self.random.random_range(0..5) {
            0 => record.truncate(record.len() / 2),
            1 => record.push_str(" 443 extra"),
            2 => record = format!("agent: \"restarted\"\n\tby ops, {start} \u{1f500} C:\\temp"),
            3 => record = record.replacen(' ', "  ", 1),
            _ => return (record, Some(-1)),
        }
        (record, None)
    }
}

impl World {
    /// Returns a random interface of the same VPC, which may be `interface` itself.
    fn neighbour(&self, interface: &Interface, random: &mut ChaCha8Rng) -> &Interface {
        let of_vpc = &self.vpcs[interface.vpc].interfaces;
        &self.interfaces[of_vpc.start + random.random_range(0..of_vpc.len())]
    }
}
