//! A known incident in a sample day, for queries to find.

use std::fmt::Write;

use super::world::{Interface, World};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
/// In RFC 2544's range, in a part that other traffic of the sample does not use.
const SCANNER: &str = "198.19.7.7";
const DROP: &str = "198.19.250.66";
const SCANNED_PORTS: u16 = 120;
/// Bytes of each flow of the exfiltration.
const LOOT_FLOWS: i64 = 50;
const LOOT_BYTES: u64 = 120_000_000;

/// A record as one interface sees it.
struct Seen<'a> {
    at: i64,
    interface: &'a Interface,
    message: String,
}

pub(super) struct Incident<'a> {
    records: Vec<Seen<'a>>,
    midnight: i64,
    entry: &'a Interface,
    second: &'a Interface,
    third: &'a Interface,
    doubled: &'a Interface,
}

struct Flow<'a> {
    from: &'a str,
    to: &'a str,
    ports: (u16, u16),
    packets: u64,
    bytes: u64,
    action: &'a str,
}

impl<'a> Incident<'a> {
    /// Returns the incident in the VPC that [`World::incident_vpc`] names.
    pub(super) fn new(world: &'a World, vpc: usize, midnight: i64) -> Self {
        let interface = |subnet, host| world.interface(vpc, subnet, host);
        let (entry, second, third, doubled) =
            (interface(0, 0), interface(2, 3), interface(3, 2), interface(1, 1));
        let mut incident = Self { records: Vec::new(), midnight, entry, second, third, doubled };
        let address = |interface: &Interface| interface.address.to_string();
        let (entry_ip, second_ip, third_ip) = (address(entry), address(second), address(third));

        // 02:14, the scan: two ports are open.
        for port in 1..=SCANNED_PORTS {
            let action = if matches!(port, 22 | 80) { "ACCEPT" } else { "REJECT" };
            let ports = (40_000 + port, port);
            let flow = Flow { from: SCANNER, to: &entry_ip, ports, packets: 1, bytes: 40, action };
            incident.see(&[entry], 2 * HOUR + 14 * MINUTE + i64::from(port) / 2, &flow);
        }
        // 02:40 to 05:10, the connection into the VPC stays open.
        for minute in 0..=150 {
            let ports = (51_515, 22);
            let flow =
                Flow { from: SCANNER, to: &entry_ip, ports, packets: 12, bytes: 2_400, action: "ACCEPT" };
            incident.see(&[entry], 2 * HOUR + 40 * MINUTE + minute * MINUTE, &flow);
        }
        // 03:05 and 03:30, from there to the second host and on to the third.
        let hops = [
            (3 * HOUR + 5 * MINUTE, (entry, &*entry_ip), (second, &*second_ip), 22),
            (3 * HOUR + 30 * MINUTE, (second, &*second_ip), (third, &*third_ip), 3389),
        ];
        for (at, (near, from), (far, to), port) in hops {
            for minute in 0..10 {
                let ports = (50_001, port);
                let flow = Flow { from, to, ports, packets: 30, bytes: 9_000, action: "ACCEPT" };
                incident.see(&[near, far], at + minute * MINUTE, &flow);
            }
        }
        // 04:00, the exfiltration.
        for minute in 0..LOOT_FLOWS {
            let ports = (42_000 + minute as u16, 443);
            let (packets, bytes) = (LOOT_BYTES / 1_400, LOOT_BYTES);
            let flow = Flow { from: &third_ip, to: DROP, ports, packets, bytes, action: "ACCEPT" };
            incident.see(&[third], 4 * HOUR + minute * MINUTE, &flow);
        }
        // 03:00, an hour in which AWS skipped the second host's records.
        for minute in 0..20 {
            let start = midnight + 3 * HOUR + 3 * minute * MINUTE;
            let end = start + MINUTE;
            let message =
                format!("2 {} {} - - - - - - - {start} {end} - SKIPDATA", second.account, second.id);
            incident.records.push(Seen { at: start, interface: second, message });
        }
        // 06:00, three records; the envelope that holds them is delivered twice.
        for number in 0..3 {
            let (from, to) = (address(doubled), "10.8.0.11".to_owned());
            let ports = (45_000 + number, 5432);
            let flow = Flow { from: &from, to: &to, ports, packets: 7, bytes: 4_200, action: "ACCEPT" };
            incident.see(&[doubled], 6 * HOUR + i64::from(number), &flow);
        }
        incident
    }

    /// Adds the flow as each of the interfaces records it.
    fn see(&mut self, by: &[&'a Interface], second: i64, flow: &Flow<'_>) {
        let at = self.midnight + second;
        let Flow { from, to, ports: (srcport, dstport), packets, bytes, action } = flow;
        for interface in by {
            let message = format!(
                "2 {} {} {from} {to} {srcport} {dstport} 6 {packets} {bytes} {at} {} {action} OK",
                interface.account,
                interface.id,
                at + MINUTE - 1
            );
            self.records.push(Seen { at, interface, message });
        }
    }

    /// Returns the envelopes of the incident within a time span, each of one interface.
    pub(super) fn envelopes(&self, begins: i64, lasts: i64) -> Vec<String> {
        let mut envelopes = Vec::new();
        for interface in [self.entry, self.second, self.third, self.doubled] {
            let is_here = |seen: &&Seen<'_>| {
                seen.interface.id == interface.id && (begins..begins + lasts).contains(&seen.at)
            };
            let records: Vec<&Seen<'_>> = self.records.iter().filter(is_here).collect();
            if records.is_empty() {
                continue;
            }
            let envelope = envelope(interface, &records);
            if interface.id == self.doubled.id {
                envelopes.push(envelope.clone());
            }
            envelopes.push(envelope);
        }
        envelopes
    }

    /// Returns the details of the incident, for people who want to check their queries.
    pub(super) fn description(&self) -> String {
        let (entry, second, third) = (self.entry.address, self.second.address, self.third.address);
        format!(
            "incident 02:14 {SCANNER} scans {SCANNED_PORTS} ports of {entry}; 22 and 80 are open\n         \
             02:40 to 05:10 {SCANNER} holds one connection to port 22 of {entry}\n         \
             03:05 {entry} reaches {second} by port 22, 03:30 {second} reaches {third} by port 3389\n         \
             03:00 AWS skips records of {second} for an hour ({})\n         \
             04:00 {third} sends {} to {DROP}, which nobody spoke to before\n         \
             06:00 three records of {} are delivered twice\n",
            self.second.id,
            indicatif::HumanBytes(LOOT_BYTES * LOOT_FLOWS as u64),
            self.doubled.id
        )
    }
}

fn envelope(interface: &Interface, records: &[&Seen<'_>]) -> String {
    let mut text = format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"{}","logGroup":"vpc-flow-logs","logStream":"{}-all","subscriptionFilters":["to-firehose"],"logEvents":["#,
        interface.account, interface.id
    );
    for (number, seen) in (0_i64..).zip(records) {
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"{comma}{{"id":"{:056}","timestamp":{}000,"message":"{}"}}"#,
            seen.at * 1000 + number,
            seen.at,
            seen.message
        );
    }
    text + "]}"
}
