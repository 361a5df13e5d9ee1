//! Tests of the merge: examples, and sequences of readings compared with what each of them read.

mod blocks;
mod forms;

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_NETWORKS;

const FIRST: i64 = 1_771_400_000_000;
const HOUR: i64 = 3_600_000;

fn reading(account: &str, parts: &[(Part, &[(&str, Named)])]) -> Reading {
    let ids =
        |ids: &[(&str, Named)]| ids.iter().map(|(id, named)| ((*id).to_owned(), named.clone())).collect();
    let parts = parts.iter().map(|(part, found)| (*part, ids(found))).collect();
    Reading { account: account.to_owned(), region: "eu-west-1".to_owned(), at_ms: FIRST, parts }
}

fn at(readings: &[Reading], at_ms: i64) -> Vec<Reading> {
    readings.iter().map(|reading| Reading { at_ms, ..reading.clone() }).collect()
}

fn owned_by(owner: &str, named: Named) -> Named {
    Named { owner: Some(owner.to_owned()), ..named }
}

fn subnet(name: &str, vpc: &str, cidr: &str) -> Named {
    Named { vpc_id: Some(vpc.to_owned()), cidrs: vec![cidr.to_owned()], ..named(name) }
}

/// Returns the text of the file after an id, with a short source.
fn line(file: &str, id: &str) -> String {
    let start = file.find(&format!("\"{id}\": ")).unwrap() + id.len() + 4;
    file[start..].lines().next().unwrap().trim_end_matches(',').replace("\"source\":\"1/eu-west-1\"", "…")
}

/// `from` or `until` of an entry, the hour of a reading.
fn time(key: &str, hour: i64) -> String {
    format!("\"{key}\":\"{}\"", timestamp::iso(FIRST + hour * HOUR).unwrap())
}

fn named(name: &str) -> Named {
    Named { name: name.to_owned(), ..Named::default() }
}

fn interfaces(ids: &[(&str, &str)]) -> Reading {
    let ids: Vec<(&str, Named)> = ids.iter().map(|(id, name)| (*id, named(name))).collect();
    reading("1", &[(Part::Interfaces, &ids)])
}

/// Merges the readings, an hour apart, and returns the last file.
fn history(readings: &[&[Reading]]) -> String {
    let mut former: Option<Vec<u8>> = None;
    for (hour, readings) in (0..).zip(readings) {
        let now = FIRST + hour * HOUR;
        former = Some(merge(former.as_deref(), &at(readings, now), now).unwrap().bytes);
    }
    String::from_utf8(former.unwrap()).unwrap()
}

#[test]
fn a_first_reading_gives_entries_that_begin_with_it() {
    let all = reading(
        "1",
        &[
            (
                Part::Interfaces,
                &[("eni-1", Named { subnet_id: Some("subnet-1".to_owned()), ..named("web \"1\"") })],
            ),
            (Part::Subnets, &[("subnet-1", subnet("a", "vpc-1", "10.0.0.0/24"))]),
            (Part::Vpcs, &[("vpc-1", named(""))]),
        ],
    );
    assert_eq!(
        history(&[&[all]]),
        r#"{
"interfaces": {
"eni-1": {"description":"web \"1\"","subnet_id":"subnet-1","source":"1/eu-west-1","from":"2026-02-18T07:33:20.000Z"}
},
"subnets": {
"subnet-1": {"name":"a","vpc_id":"vpc-1","cidrs":["10.0.0.0/24"],"source":"1/eu-west-1","from":"2026-02-18T07:33:20.000Z"}
},
"vpcs": {
"vpc-1": {"source":"1/eu-west-1","from":"2026-02-18T07:33:20.000Z"}
}
}
"#
    );
}

#[test]
fn an_id_that_is_gone_ends_a_new_one_begins_and_one_that_returns_has_two_entries() {
    let text = history(&[
        &[interfaces(&[("eni-1", "a"), ("eni-2", "b"), ("eni-3", "c")])],
        &[interfaces(&[("eni-1", "a"), ("eni-3", "other"), ("eni-4", "d")])],
        &[interfaces(&[("eni-1", "a"), ("eni-2", "b"), ("eni-3", "other")])],
    ]);
    let [from, until] = ["from", "until"].map(|key| move |hour| time(key, hour));
    assert_eq!(line(&text, "eni-1"), format!(r#"{{"description":"a",…,{}}}"#, from(0)));
    assert_eq!(
        line(&text, "eni-2"),
        format!(r#"[{{"description":"b",…,{},{}}},{{"description":"b",…,{}}}]"#, from(0), until(1), from(2))
    );
    assert_eq!(
        line(&text, "eni-3"),
        format!(
            r#"[{{"description":"c",…,{},{}}},{{"description":"other",…,{}}}]"#,
            from(0),
            until(1),
            from(1)
        )
    );
    assert_eq!(line(&text, "eni-4"), format!(r#"{{"description":"d",…,{},{}}}"#, from(1), until(2)));
}

#[test]
fn the_order_and_the_form_of_a_file_do_not_matter() {
    let written =
        r#"{"interfaces":{"eni-1":{"description":"a"},"eni-2":{"description":"b"}},"vpcs":{"vpc-1":{}}}"#;
    let reordered = r#"{"vpcs":{"vpc-1":{"name":null}},"interfaces":{"eni-2":{"description":"b"},"eni-1":{"description":"a"}}}"#;
    let readings = [interfaces(&[("eni-0", "x"), ("eni-11", "y"), ("eni-2", "b"), ("eni-3", "z")])];
    let merged = |file: &str| merge(Some(file.as_bytes()), &readings, FIRST).unwrap();
    assert_eq!(merged(reordered), merged(written));
    assert_eq!(merged(written).changes, Changes { new: 3, ..Changes::default() });
    let text = String::from_utf8(merged(written).bytes).unwrap();
    let ids: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("\"eni-")?.split('"').next()).collect();
    assert_eq!(ids, ["0", "1", "11", "2", "3"]);
    let forgotten = |file: &str| forget_before(file.as_bytes(), FIRST).unwrap();
    assert_eq!(forgotten(reordered), forgotten(written));
    let names = NameIndex::parse(reordered.as_bytes()).unwrap();
    let name = |id: &str| names.name(names.interface(id.as_bytes()).unwrap().description.id()).to_owned();
    assert_eq!((name("eni-1"), name("eni-2")), ("a".to_owned(), "b".to_owned()));
    let twice = reordered.replace("\"eni-1\"", "\"eni-2\"");
    let error = NameIndex::parse(twice.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("duplicate id \"eni-2\""), "{error}");
}

#[test]
fn changes_are_counted() {
    let first = [interfaces(&[("eni-1", "a"), ("eni-2", "b"), ("eni-3", "c")])];
    let first = merge(None, &first, FIRST).unwrap();
    assert_eq!(first.changes, Changes { new: 3, ..Changes::default() });
    let next = at(&[interfaces(&[("eni-1", "x"), ("eni-4", "d")])], FIRST + HOUR);
    let next = merge(Some(&first.bytes), &next, FIRST + HOUR).unwrap();
    assert_eq!(next.changes, Changes { new: 1, changed: 1, gone: 2, returned: 0 });
    let last = at(&[interfaces(&[("eni-1", "x"), ("eni-2", "b"), ("eni-4", "d")])], FIRST + 2 * HOUR);
    let last = merge(Some(&next.bytes), &last, FIRST + 2 * HOUR).unwrap();
    assert_eq!(last.changes, Changes { returned: 1, ..Changes::default() });
}

#[test]
fn parts_and_accounts_that_were_not_read_keep_their_names() {
    let vpcs = |account: &str, id: &str| reading(account, &[(Part::Vpcs, &[(id, named("v"))])]);
    let first = [interfaces(&[("eni-1", "a")]), vpcs("1", "vpc-1"), vpcs("2", "vpc-2")];
    let before = merge(None, &first, FIRST).unwrap().bytes;
    // The second account was not read, and the first one's interfaces neither.
    let later = at(&[vpcs("1", "vpc-1")], FIRST + HOUR);
    let after = merge(Some(&before), &later, FIRST + HOUR).unwrap();
    assert_eq!(after.bytes, before);
    assert_eq!(after.changes, Changes::default());
    let nothing = merge(Some(&before), &[], FIRST + HOUR).unwrap();
    assert_eq!(nothing.bytes, before);
}

#[test]
fn each_reading_gives_its_own_time() {
    let vpcs = |account: &str, ids: &[(&str, Named)], at_ms: i64| Reading {
        at_ms,
        ..reading(account, &[(Part::Vpcs, ids)])
    };
    let first =
        [vpcs("1", &[("vpc-1", named("a"))], FIRST), vpcs("2", &[("vpc-2", named("b"))], FIRST + HOUR)];
    let file = merge(None, &first, FIRST).unwrap().bytes;
    let second = [vpcs("1", &[], FIRST + 2 * HOUR), vpcs("2", &[], FIRST + 3 * HOUR)];
    let file = String::from_utf8(merge(Some(&file), &second, FIRST + 2 * HOUR).unwrap().bytes).unwrap();
    assert_eq!(line(&file, "vpc-1"), format!(r#"{{"name":"a",…,{},{}}}"#, time("from", 0), time("until", 2)));
    assert!(line(&file, "vpc-2").ends_with(&format!("{},{}}}", time("from", 1), time("until", 3))));
}

#[test]
fn entries_of_a_person_keep_their_name_and_never_end() {
    let file = r#"{"interfaces": {"eni-1": {"description": "payment gateway"}, "eni-2": {"description": "b"}},
        "subnets": {"subnet-1": {"name": "mine", "vpc_id": "vpc-1"}}, "vpcs": {"vpc-1": {}}}"#;
    // AWS has no name for the first, another one for the second, and a block for the subnet.
    let all = |ids: &[(&str, Named)], subnets: &[(&str, Named)]| {
        reading("1", &[(Part::Interfaces, ids), (Part::Subnets, subnets)])
    };
    let unnamed = Named { subnet_id: Some("subnet-1".to_owned()), ..named("") };
    let first = all(
        &[("eni-1", unnamed), ("eni-2", named("i-2"))],
        &[("subnet-1", subnet("aws", "vpc-1", "10.0.0.0/24"))],
    );
    let mut text = file.to_owned();
    for reading in [first, all(&[], &[])] {
        text = String::from_utf8(merge(Some(text.as_bytes()), &[reading], FIRST).unwrap().bytes).unwrap();
        assert_eq!(line(&text, "eni-1"), r#"{"description":"payment gateway","subnet_id":"subnet-1"}"#);
        assert_eq!(line(&text, "eni-2"), r#"{"description":"b"}"#);
        assert_eq!(line(&text, "subnet-1"), r#"{"name":"mine","vpc_id":"vpc-1","cidrs":["10.0.0.0/24"]}"#);
    }
}

#[test]
fn a_provisional_name_does_not_replace_a_known_one() {
    let provisional = |name: &str| {
        let named = Named { is_provisional: true, ..named(name) };
        reading("1", &[(Part::Interfaces, &[("eni-1", named.clone()), ("eni-2", named)])])
    };
    let text = history(&[&[interfaces(&[("eni-1", "web")])], &[provisional("i-1")], &[provisional("i-1")]]);
    assert_eq!(line(&text, "eni-1"), format!(r#"{{"description":"web",…,{}}}"#, time("from", 0)));
    assert_eq!(
        line(&text, "eni-2"),
        format!(r#"{{"description":"i-1","provisional":true,…,{}}}"#, time("from", 1))
    );
}

#[test]
fn a_final_name_replaces_a_provisional_one_at_all_its_times() {
    let provisional = Named { is_provisional: true, ..named("i-1") };
    let provisional = reading("1", &[(Part::Interfaces, &[("eni-1", provisional)])]);
    let text = history(&[&[provisional], &[interfaces(&[("eni-1", "web")])]]);
    assert_eq!(line(&text, "eni-1"), format!(r#"{{"description":"web",…,{}}}"#, time("from", 0)));
}

#[test]
fn of_two_readings_of_an_account_the_final_name_counts() {
    let provisional = Named { is_provisional: true, ..named("a") };
    let provisional = reading("1", &[(Part::Interfaces, &[("eni-1", provisional)])]);
    let read = interfaces(&[("eni-1", "web")]);
    let text = history(&[&[provisional.clone(), read.clone()]]);
    assert_eq!(text, history(&[&[read, provisional]]));
    assert_eq!(line(&text, "eni-1"), format!(r#"{{"description":"web",…,{}}}"#, time("from", 0)));
}

#[test]
fn a_shared_subnet_has_the_name_that_its_owner_gave_it() {
    let owner = reading("1", &[(Part::Subnets, &[("subnet-1", owned_by("1", named("shared")))])]);
    let participant = reading("2", &[(Part::Subnets, &[("subnet-1", owned_by("1", named("")))])]);
    let both = history(&[&[owner.clone(), participant.clone()]]);
    assert_eq!(history(&[&[participant.clone(), owner.clone()]]), both);
    let named_by_owner = format!(r#"{{"name":"shared",…,{}}}"#, time("from", 0));
    assert_eq!(line(&both, "subnet-1"), named_by_owner);
    // The participant alone neither renames it nor ends it.
    let only = std::slice::from_ref(&participant);
    let without = [reading("2", &[(Part::Subnets, &[])])];
    assert_eq!(line(&history(&[std::slice::from_ref(&owner), only, &without]), "subnet-1"), named_by_owner);
    // An account that is never read has its subnets from the participant, which also ends them.
    let unread = line(&history(&[only]), "subnet-1");
    assert_eq!(unread, format!(r#"{{…,"reader":"2/eu-west-1",{}}}"#, time("from", 0)));
    assert!(line(&history(&[only, &without]), "subnet-1").ends_with(&format!("{}}}", time("until", 1))));
    // The owner's first reading names it at all times.
    assert_eq!(line(&history(&[only, &[owner]]), "subnet-1"), named_by_owner);
}

#[test]
fn an_interface_in_a_shared_subnet_follows_the_account_that_sees_it_until_its_owner_is_read() {
    let seen_by = |reader: &str, names: &[(&str, &str)]| {
        let ids: Vec<(&str, Named)> =
            names.iter().map(|(id, name)| (*id, owned_by("2", named(name)))).collect();
        reading(reader, &[(Part::Interfaces, &ids)])
    };
    let read = |name: &str| seen_by("1", &[("eni-1", name)]);
    let changed = history(&[&[read("i-1")], &[read("i-2")], &[seen_by("1", &[])]]);
    let source = r#""source":"2/eu-west-1","reader":"1/eu-west-1""#;
    let entry = |name: &str, hour| {
        format!(r#"{{"description":"{name}",{source},{},{}}}"#, time("from", hour), time("until", hour + 1))
    };
    assert_eq!(line(&changed, "eni-1"), format!("[{},{}]", entry("i-1", 0), entry("i-2", 1)));
    let owned = format!(r#"{{"description":"web","source":"2/eu-west-1",{}}}"#, time("from", 0));
    let named_by_owner = [&[read("i-1")][..], &[seen_by("2", &[("eni-1", "web")])], &[read("i-2")]];
    assert_eq!(line(&history(&named_by_owner), "eni-1"), owned);
}

#[test]
fn a_clock_that_is_behind_the_file_is_refused() {
    let file = merge(None, &[interfaces(&[("eni-1", "a")])], FIRST).unwrap().bytes;
    merge(Some(&file), &[], FIRST).unwrap();
    for (readings, now) in [(vec![], FIRST - 1000), (at(&[interfaces(&[])], FIRST - 1000), FIRST + HOUR)] {
        assert_eq!(
            merge(Some(&file), &readings, now).unwrap_err().to_string(),
            "the clock is at 2026-02-18T07:33:19.000Z, but the file has names of 2026-02-18T07:33:20.000Z; correct the clock \
             of this machine, or the times in the file"
        );
    }
    // People may write names of the future.
    let person = r#"{"vpcs": {"vpc-1": {"name": "x", "from": "2040-01-01T00:00:00Z"}}}"#;
    merge(Some(person.as_bytes()), &[], FIRST).unwrap();
}

#[test]
fn entries_that_ended_before_a_time_are_forgotten() {
    let text = history(&[
        &[interfaces(&[("eni-1", "a"), ("eni-2", "b")])],
        &[interfaces(&[("eni-1", "other")])],
        &[interfaces(&[("eni-1", "other"), ("eni-3", "c")])],
        &[interfaces(&[("eni-1", "other")])],
    ]);
    let (bytes, removed) = forget_before(text.as_bytes(), FIRST + HOUR).unwrap();
    assert_eq!(removed, 2);
    let kept = String::from_utf8(bytes).unwrap();
    assert_eq!(line(&kept, "eni-1"), format!(r#"{{"description":"other",…,{}}}"#, time("from", 1)));
    assert!(!kept.contains("eni-2") && kept.contains("eni-3"), "{kept}");
}

#[test]
fn a_file_near_its_limit_is_reported_and_one_beyond_it_is_refused() {
    let ids = |count: usize| {
        let vpcs: BTreeMap<String, Named> =
            (0..count).map(|number| (format!("vpc-{number:06}"), named(""))).collect();
        Reading { parts: [(Part::Vpcs, vpcs)].into(), ..reading("1", &[]) }
    };
    let merged = merge(None, &[ids(MAX_NETWORKS)], FIRST).unwrap();
    assert_eq!(
        merged.notes,
        [format!(
            "the file has {MAX_NETWORKS} vpcs of at most {MAX_NETWORKS}; remove the entries that ended before your logs \
             begin with flowherd names --forget-before"
        )]
    );
    // The former ids end, so that the file has too many.
    let next = [Reading { at_ms: FIRST + HOUR, ..reading("1", &[(Part::Vpcs, &[("vpc-x", named(""))])]) }];
    let error = merge(Some(&merged.bytes), &next, FIRST + HOUR).unwrap_err().to_string();
    assert!(error.contains("--forget-before"), "{error}");
}

#[test]
fn subnets_of_vpcs_that_cannot_be_read_stay_apart() {
    let subnets: &[(&str, Named)] = &[
        ("subnet-1", subnet("one", "vpc-1", "10.0.0.0/24")),
        ("subnet-2", subnet("two", "vpc-2", "10.0.0.0/24")),
    ];
    let only_subnets = reading("1", &[(Part::Subnets, subnets)]);
    let vpcs: &[(&str, Named)] = &[("vpc-1", named("prod")), ("vpc-2", named(""))];
    let both = reading("1", &[(Part::Subnets, subnets), (Part::Vpcs, vpcs)]);
    let unread = history(&[std::slice::from_ref(&only_subnets)]);
    assert!(unread.contains("\"vpc-1\": {},\n\"vpc-2\": {}\n"), "{unread}");
    // The first reading of the VPCs names them. Before it, the name is a guess.
    let read = history(&[&[only_subnets], &[both]]);
    assert_eq!(line(&read, "vpc-1"), format!(r#"{{"name":"prod",…,{}}}"#, time("from", 1)));
}

/// What one account has at one time: the names of interfaces, or `None` if they could not be read.
type State = Option<BTreeMap<u8, u8>>;

fn states() -> impl Strategy<Value = Vec<[State; 2]>> {
    let state = || {
        prop_oneof![
            4 => proptest::collection::btree_map(0_u8..4, 0_u8..3, 0..4).prop_map(Some),
            1 => Just(None),
        ]
    };
    proptest::collection::vec([state(), state()], 1..8)
}

fn readings(states: &[State; 2]) -> Vec<Reading> {
    let reading = |(account, state): (usize, &State)| {
        let names = state
            .as_ref()?
            .iter()
            .map(|(id, name)| (format!("eni-{account}-{id}"), named(&format!("n{name}"))));
        let parts = [(Part::Interfaces, names.collect())].into();
        let region = "eu-west-1".to_owned();
        Some(Reading { account: account.to_string(), region, at_ms: FIRST, parts })
    };
    states.iter().enumerate().filter_map(reading).collect()
}

proptest! {
    #[test]
    fn each_time_has_the_names_that_were_read_then(states in states()) {
        let mut file: Option<Vec<u8>> = None;
        for (hour, states) in (0..).zip(&states) {
            let now = FIRST + hour * HOUR;
            let readings = at(&readings(states), now);
            let merged = merge(file.as_deref(), &readings, now).unwrap().bytes;
            // Again, in another order, and later without a change.
            let reversed: Vec<Reading> = readings.iter().rev().cloned().collect();
            prop_assert_eq!(&merge(file.as_deref(), &reversed, now).unwrap().bytes, &merged);
            prop_assert_eq!(&merge(Some(&merged), &readings, now).unwrap().bytes, &merged);
            let later = at(&readings, now + 1);
            prop_assert_eq!(&merge(Some(&merged), &later, now + 1).unwrap().bytes, &merged);
            prop_assert!(NameIndex::parse(&merged).unwrap().is_as_written());
            file = Some(merged);
        }
        let names = NameIndex::parse(&file.unwrap()).unwrap();
        for account in 0..2 {
            // The state that was read last, by hour.
            let mut last = None;
            for (hour, states) in (0..).zip(&states) {
                last = states[account].as_ref().or(last);
                let Some(state) = last else { continue };
                for id in 0..4_u8 {
                    let Some(interface) = names.interface(format!("eni-{account}-{id}").as_bytes()) else {
                        prop_assert!(!state.contains_key(&id));
                        continue;
                    };
                    let time = FIRST + hour * HOUR;
                    let name = |time| {
                        let (name, is_guess) = names.name_at(interface.description, Some(time));
                        (names.name(name).to_owned(), is_guess)
                    };
                    // Until the next reading, the names are those of this one.
                    for time in [time, time + HOUR / 2] {
                        match state.get(&id) {
                            Some(expected) => prop_assert_eq!(name(time), (format!("n{expected}"), false)),
                            None => prop_assert!(name(time).1),
                        }
                    }
                }
            }
            // Before the first reading, every name is a guess.
            for id in 0..4_u8 {
                if let Some(interface) = names.interface(format!("eni-{account}-{id}").as_bytes()) {
                    prop_assert!(names.name_at(interface.description, Some(FIRST - 1)).1);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn readings_of_owners_and_participants_always_give_a_valid_file(
        hours in proptest::collection::vec(
            (proptest::array::uniform2(proptest::option::of((0_u8..3, 0_u8..2))), 0_u8..8, any::<u8>()), 1..9),
    ) {
        let mut file: Option<Vec<u8>> = None;
        for (hour, (blocks, readers, shares)) in (0..).zip(&hours) {
            let now = FIRST + hour * HOUR;
            // Each block of the VPC has at most one subnet, and each subnet keeps its block.
            let world = (0_u8..).zip(blocks).filter_map(|(block, subnet_of_block)| {
                let (number, name) = (*subnet_of_block)?;
                let found = subnet(&format!("n{name}"), "vpc-1", &format!("10.0.{block}.0/24"));
                Some((block, format!("subnet-{block}-{number}"), owned_by("1", found)))
            });
            let world: Vec<(u8, String, Named)> = world.collect();
            // Account 1 owns all of them. The others see shared ones, without names.
            let read = |account: u8| {
                let sees = |block: u8| account == 1 || shares >> (2 * block + account - 2) & 1 == 1;
                let name = |named: &Named| if account == 1 { named.name.clone() } else { String::new() };
                let ids = world.iter().filter(|(block, ..)| sees(*block));
                let ids: Vec<(&str, Named)> =
                    ids.map(|(_, id, named)| (&**id, Named { name: name(named), ..named.clone() })).collect();
                Reading { at_ms: now, ..reading(&account.to_string(), &[(Part::Subnets, &ids)]) }
            };
            let is_read = |account: &u8| readers >> (account - 1) & 1 == 1;
            let readings: Vec<Reading> = (1..4).filter(is_read).map(read).collect();
            let merged = merge(file.as_deref(), &readings, now).unwrap().bytes;
            prop_assert_eq!(&merge(file.as_deref(), readings.iter().rev(), now).unwrap().bytes, &merged);
            prop_assert_eq!(&merge(Some(&merged), &readings, now).unwrap().bytes, &merged);
            let names = NameIndex::parse(&merged).unwrap();
            prop_assert!(names.is_as_written());
            if is_read(&1) {
                for (_, id, named) in &world {
                    let (name, is_guess) = names.name_at(names.subnet(id.as_bytes()).unwrap().name, Some(now));
                    prop_assert_eq!((names.name(name), is_guess), (&*named.name, false));
                }
            }
            file = Some(merged);
        }
    }
}
