//! Tests of names, their times and the addresses of subnets.

use proptest::prelude::*;

use super::*;

const OVERLAPPING: &str = r#"{
    "interfaces": {"eni-1": {"description": "web, front", "subnet_id": "subnet-a", "vpc_id": "vpc-1"}},
    "subnets": {
        "subnet-a": {"name": "a", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24", "2001:db8::/64"]},
        "subnet-a2": {"name": "a-inner", "vpc_id": "vpc-1", "cidrs": ["10.0.0.128/25"]},
        "subnet-b": {"name": "b", "vpc_id": "vpc-2", "cidrs": ["10.0.0.0/25", "10.9.0.0/16"]},
        "subnet-c": {"vpc_id": "vpc-3", "cidrs": ["0.0.0.0/0", "ffff:ffff:ffff:ffff::/64"]}
    },
    "vpcs": {"vpc-1": {"name": "one"}, "vpc-2": {"name": "two"}, "vpc-3": {}}
}"#;

fn name(names: &NameIndex, vpc: &str, address: &str) -> String {
    let name = names.address(names.vpc(vpc.as_bytes()), address.parse().unwrap());
    names.name(name.id()).to_owned()
}

#[test]
fn an_address_resolves_by_the_longest_prefix_of_the_records_own_vpc() {
    let names = NameIndex::parse(OVERLAPPING.as_bytes()).unwrap();
    assert_eq!(name(&names, "vpc-1", "10.0.0.1"), "a");
    assert_eq!(name(&names, "vpc-1", "10.0.0.200"), "a-inner");
    assert_eq!(name(&names, "vpc-2", "10.0.0.1"), "b");
    assert_eq!(name(&names, "vpc-1", "2001:db8::ffff"), "a");
    assert_eq!(name(&names, "vpc-1", "2001:db8:0:1::"), "");
}

#[test]
fn outside_its_vpc_an_address_has_a_name_only_if_exactly_one_vpc_contains_it() {
    let all = NameIndex::parse(OVERLAPPING.as_bytes()).unwrap();
    assert_eq!(name(&all, "vpc-1", "10.9.0.1"), "", "vpc-2 and vpc-3 contain it");
    let without_the_third = OVERLAPPING.replace("\"0.0.0.0/0\", ", "");
    let names = NameIndex::parse(without_the_third.as_bytes()).unwrap();
    assert_eq!(name(&names, "vpc-1", "10.9.0.1"), "b");
    assert_eq!(name(&names, "no vpc", "10.0.0.1"), "", "two VPCs contain it");
    assert_eq!(name(&names, "no vpc", "10.0.0.200"), "a-inner");
    assert_eq!(name(&names, "no vpc", "10.0.1.0"), "");
    assert_eq!(
        name(&names, "vpc-3", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        "",
        "a subnet without a name"
    );
}

#[test]
fn all_problems_are_reported_together() {
    let wrong = r#"{
        "interfaces": {"eni-1": {"subnet_id": "subnet-9", "vpc_id": "vpc-9"}},
        "subnets": {
            "subnet-1": {"name": "x", "vpc_id": "vpc-1", "cidrs": ["10.0.0.1/24", "10.0.0.0/33", "10.0.0.0", "x/8"]},
            "subnet-2": {"vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24"]},
            "subnet-3": {"vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24"]}
        },
        "vpcs": {"vpc-1": {}}
    }"#;
    let times = r#"{
        "interfaces": {
            "eni-1": [
                {"until": "2026-02-18T12:00:00Z"},
                {"from": "2026-02-18T11:59:59.999Z", "until": "2026-02-18"},
                {"from": "2026-02-18T12:00:00Z", "until": "2026-02-18T12:00:00Z"}
            ],
            "eni-2": [{}, {"from": "2026-02-18T12:00:00+01:00"}],
            "eni-3": [{}, {}],
            "eni-4": [],
            "eni-5": [{"until": "2026-02-18T12:00:00Z", "vpc_id": "vpc-1"}, {"from": "2026-02-18T12:00:00Z", "vpc_id": "vpc-2"}]
        },
        "subnets": {
            "subnet-1": {"vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24"], "until": "2026-02-18T12:00:00.001Z"},
            "subnet-2": {"vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24", "2001:db8::/64"], "from": "2026-02-18T12:00:00Z"},
            "subnet-3": {"vpc_id": "vpc-1", "cidrs": ["2001:db8::/64"]}
        },
        "vpcs": {"vpc-1": {}, "vpc-2": {}}
    }"#;
    let cases = [
        wrong,
        times,
        "{",
        "[]",
        r#"{"interface":{}}"#,
        r#"{"vpcs":{"vpc-1":{"nam":"x"}}}"#,
        r#"{"vpcs":{"vpc-1":{},"vpc-1":{}}}"#,
        r#"{"vpcs":{"vpc-1":[["x"]]}}"#,
        r#"{"vpcs":{"vpc-1":[{"name":"x"},{"nam":"x"}]}}"#,
        r#"{"two\nlines":{}}"#,
    ];
    let reported: Vec<String> =
        cases.iter().map(|json| format!("{}\n", NameIndex::parse(json.as_bytes()).unwrap_err())).collect();
    insta::assert_snapshot!(reported.concat());
}

/// A subnet of the properties below in one period.
#[derive(Clone, Debug)]
struct Entry {
    vpc: usize,
    id: String,
    bits: u32,
    first: u32,
    name: String,
    from: i64,
    until: i64,
}

impl Entry {
    fn is_at(&self, time: i64) -> bool {
        self.from <= time && time < self.until
    }

    fn contains(&self, address: u32) -> bool {
        address >> self.bits == self.first >> self.bits
    }

    fn json(&self, has_times: bool) -> String {
        let Self { vpc, bits, first, name, from, until, .. } = self;
        let time = |key: &str, ms: i64| match crate::timestamp::iso(ms) {
            Some(time) if has_times => format!(", \"{key}\": \"{time}\""),
            _ => String::new(),
        };
        let cidr = format!("10.0.0.{first}/{}", 32 - bits);
        let times = time("from", *from) + &time("until", *until);
        format!(r#"{{"name": "{name}", "vpc_id": "vpc-{vpc}", "cidrs": ["{cidr}"]{times}}}"#)
    }
}

fn file<'e>(entries: impl Iterator<Item = &'e Entry>, has_times: bool) -> NameIndex {
    let mut subnets: std::collections::BTreeMap<&str, Vec<String>> = std::collections::BTreeMap::new();
    for entry in entries {
        subnets.entry(&entry.id).or_default().push(entry.json(has_times));
    }
    let subnets: Vec<String> =
        subnets.iter().map(|(id, entries)| format!("\"{id}\": [{}]", entries.join(", "))).collect();
    let vpcs = r#"{"vpc-0": {}, "vpc-1": {}, "vpc-2": {}}"#;
    NameIndex::parse(format!("{{\"subnets\": {{{}}}, \"vpcs\": {vpcs}}}", subnets.join(", ")).as_bytes())
        .unwrap()
}

/// Returns the periods between pairs of times. The first may begin at any time, and the last may never end.
fn periods(mut times: Vec<i64>, begins: bool) -> Vec<(i64, i64)> {
    times.sort_unstable();
    times.dedup();
    if begins {
        times.insert(0, i64::MIN);
    }
    if !times.len().is_multiple_of(2) {
        times.push(i64::MAX);
    }
    times.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

/// Returns the name of an address in a file without times; empty if it has none.
fn in_snapshot(entries: &[Entry], vpc: usize, address: u32, time: i64) -> String {
    let snapshot = file(entries.iter().filter(|entry| entry.is_at(time)), false);
    name(&snapshot, &format!("vpc-{vpc}"), &format!("10.0.0.{address}"))
}

/// Returns the expected name by files that have only the subnets of one moment each.
fn by_snapshots(entries: &[Entry], vpc: usize, address: u32, time: i64) -> (String, bool) {
    let now = in_snapshot(entries, vpc, address, time);
    if !now.is_empty() {
        return (now, false);
    }
    let ever: Vec<&Entry> = entries.iter().filter(|entry| entry.contains(address)).collect();
    let only =
        ever.first().filter(|first| ever.iter().all(|entry| entry.vpc == first.vpc)).map(|entry| entry.vpc);
    let holder = if ever.iter().any(|entry| entry.vpc == vpc) { Some(vpc) } else { only };
    let Some(holder) = holder else { return (String::new(), false) };
    let of_holder: Vec<Entry> = ever.into_iter().filter(|entry| entry.vpc == holder).cloned().collect();
    let last = of_holder.iter().map(|entry| entry.until).filter(|until| *until <= time).max();
    let first = of_holder.iter().map(|entry| entry.from).min();
    let moment = last.map(|last| last - 1).or(first).unwrap();
    (in_snapshot(&of_holder, holder, address, moment), true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn names_by_intervals_are_those_of_the_snapshot_of_their_time(
        blocks in proptest::collection::btree_map(
            (0_usize..3, 0_u32..=4, 0_u32..32), (proptest::collection::vec(1_i64..16, 1..6), any::<bool>()), 0..8),
        questions in proptest::collection::vec((0_usize..3, 0_u32..40, 0_i64..18), 1..24),
    ) {
        let mut entries: Vec<Entry> = Vec::new();
        for ((vpc, bits, at), (times, begins)) in blocks {
            let first = at >> bits << bits;
            if entries.iter().any(|entry| (entry.vpc, entry.bits, entry.first) == (vpc, bits, first)) {
                continue;
            }
            for (number, (from, until)) in periods(times, begins).into_iter().enumerate() {
                // Two subnets have the block in turn.
                let id = format!("subnet-{vpc}-{bits}-{first}-{}", number % 2);
                let name = format!("{id}-{number}");
                entries.push(Entry { vpc, id, bits, first, name, from, until });
            }
        }
        let names = file(entries.iter(), true);
        for (vpc, address, time) in questions {
            let own = names.vpc(format!("vpc-{vpc}").as_bytes());
            let ip = format!("10.0.0.{address}").parse().unwrap();
            let (id, is_guess) = names.address_at(own, ip, Some(time));
            let found = (names.name(id).to_owned(), is_guess);
            let expected = by_snapshots(&entries, vpc, address, time);
            prop_assert_eq!(&found, &expected, "vpc-{} 10.0.0.{} at {}", vpc, address, time);
            // A name that does not depend on the time is found without it.
            let name = names.address(own, ip);
            prop_assert!(name == NameRef::BY_TIME || names.name(name.id()) == expected.0);
        }
    }

    #[test]
    fn an_id_has_the_name_of_its_period_or_else_the_name_before_it(
        times in proptest::collection::vec(1_i64..40, 0..10),
        begins in any::<bool>(),
        questions in proptest::collection::vec(0_i64..42, 1..20),
    ) {
        let periods = periods(times, begins);
        prop_assume!(!periods.is_empty());
        let entry = |(number, (from, until)): (usize, &(i64, i64))| {
            let time = |key: &str, ms: i64| {
                crate::timestamp::iso(ms).map_or(String::new(), |time| format!(", \"{key}\": \"{time}\""))
            };
            format!(r#"{{"description": "{number}"{}{}}}"#, time("from", *from), time("until", *until))
        };
        let entries: Vec<String> = periods.iter().enumerate().map(entry).collect();
        let json = format!(r#"{{"interfaces": {{"eni-1": [{}]}}}}"#, entries.join(", "));
        let names = NameIndex::parse(json.as_bytes()).unwrap();
        let description = names.interface(b"eni-1").unwrap().description;
        for time in questions {
            let exact = periods.iter().position(|(from, until)| *from <= time && time < *until);
            let before = periods.iter().rposition(|(_, until)| *until <= time);
            let (id, is_guess) = names.name_at(description, Some(time));
            let expected = exact.or(before).unwrap_or(0);
            prop_assert_eq!((names.name(id), is_guess), (&*expected.to_string(), exact.is_none()));
        }
        let (id, is_guess) = names.name_at(description, None);
        prop_assert_eq!(names.name(id), (periods.len() - 1).to_string());
        prop_assert_eq!(is_guess, periods != [(i64::MIN, i64::MAX)]);
    }
}

#[test]
fn names_of_blocks_that_overlap_at_too_many_times_are_refused() {
    // A chain of nested blocks. Each has its periods and those of all blocks around it.
    let subnet = |length: i64| {
        let period = |number: i64| {
            let at = |ms: i64| crate::timestamp::iso(ms + length).unwrap();
            let (from, until) = (at(number * 1000), at(number * 1000 + 1));
            format!(r#"{{"cidrs": ["2001:db8::/{length}"], "from": "{from}", "until": "{until}"}}"#)
        };
        let periods: Vec<String> = (0..500).map(period).collect();
        format!("\"subnet-{length}\": [{}]", periods.join(", "))
    };
    let file = |lengths: std::ops::Range<i64>| {
        let subnets: Vec<String> = lengths.map(subnet).collect();
        NameIndex::parse(format!("{{\"subnets\": {{{}}}}}", subnets.join(", ")).as_bytes())
    };
    file(32..64).unwrap();
    let error = file(32..128).unwrap_err().to_string();
    assert!(error.contains("at different times need more than 4000000 periods"), "{error}");
}
