//! Tests of the merge: examples, and sequences of readings compared with what each of them read.

use proptest::prelude::*;

use super::*;

const FIRST: i64 = 1_771_400_000_000;
const HOUR: i64 = 3_600_000;

fn reading(account: &str, parts: &[(Part, &[(&str, Named)])]) -> Reading {
    let ids =
        |ids: &[(&str, Named)]| ids.iter().map(|(id, named)| ((*id).to_owned(), named.clone())).collect();
    let parts = parts.iter().map(|(part, found)| (*part, ids(found))).collect();
    Reading { account: account.to_owned(), region: "eu-west-1".to_owned(), parts }
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
        former = Some(merge(former.as_deref(), readings, FIRST + hour * HOUR).unwrap().bytes);
    }
    String::from_utf8(former.unwrap()).unwrap()
}

#[test]
fn a_first_reading_gives_entries_without_times() {
    let subnet =
        Named { vpc_id: Some("vpc-1".to_owned()), cidrs: vec!["10.0.0.0/24".to_owned()], ..named("a") };
    let all = reading(
        "1",
        &[
            (
                Part::Interfaces,
                &[("eni-1", Named { subnet_id: Some("subnet-1".to_owned()), ..named("web \"1\"") })],
            ),
            (Part::Subnets, &[("subnet-1", subnet)]),
            (Part::Vpcs, &[("vpc-1", named(""))]),
        ],
    );
    assert_eq!(
        history(&[&[all]]),
        r#"{
"sources": {"1/eu-west-1":["interfaces","subnets","vpcs"]},
"interfaces": {
"eni-1": {"description":"web \"1\"","subnet_id":"subnet-1","source":"1/eu-west-1"}
},
"subnets": {
"subnet-1": {"name":"a","vpc_id":"vpc-1","cidrs":["10.0.0.0/24"],"source":"1/eu-west-1"}
},
"vpcs": {
"vpc-1": {"source":"1/eu-west-1"}
}
}
"#
    );
}

#[test]
fn what_is_gone_ends_what_is_new_begins_and_what_returns_has_two_entries() {
    let text = history(&[
        &[interfaces(&[("eni-1", "a"), ("eni-2", "b"), ("eni-3", "c")])],
        &[interfaces(&[("eni-1", "a"), ("eni-3", "other"), ("eni-4", "d")])],
        &[interfaces(&[("eni-1", "a"), ("eni-2", "b"), ("eni-3", "other")])],
    ]);
    let line = |id: &str| {
        let start = text.find(&format!("\"{id}\": ")).unwrap() + id.len() + 4;
        text[start..].lines().next().unwrap().trim_end_matches(',').replace("\"source\":\"1/eu-west-1\"", "…")
    };
    assert_eq!(line("eni-1"), r#"{"description":"a",…}"#);
    assert_eq!(
        line("eni-2"),
        r#"[{"description":"b",…,"until":"2026-02-18T08:33:20.000Z"},{"description":"b",…,"from":"2026-02-18T09:33:20.000Z"}]"#
    );
    assert_eq!(
        line("eni-3"),
        r#"[{"description":"c",…,"until":"2026-02-18T08:33:20.000Z"},{"description":"other",…,"from":"2026-02-18T08:33:20.000Z"}]"#
    );
    assert_eq!(
        line("eni-4"),
        r#"{"description":"d",…,"from":"2026-02-18T08:33:20.000Z","until":"2026-02-18T09:33:20.000Z"}"#
    );
}

#[test]
fn changes_are_counted() {
    let first = merge(None, &[interfaces(&[("eni-1", "a"), ("eni-2", "b"), ("eni-3", "c")])], FIRST).unwrap();
    assert_eq!(first.changes, Changes { new: 3, ..Changes::default() });
    let next = [interfaces(&[("eni-1", "x"), ("eni-4", "d")])];
    let next = merge(Some(&first.bytes), &next, FIRST + HOUR).unwrap();
    assert_eq!(next.changes, Changes { new: 1, changed: 1, gone: 2, returned: 0 });
    let last = [interfaces(&[("eni-1", "x"), ("eni-2", "b"), ("eni-4", "d")])];
    let last = merge(Some(&next.bytes), &last, FIRST + 2 * HOUR).unwrap();
    assert_eq!(last.changes, Changes { returned: 1, ..Changes::default() });
}

#[test]
fn parts_and_accounts_that_were_not_read_keep_their_names() {
    let vpcs = |account: &str, id: &str| reading(account, &[(Part::Vpcs, &[(id, named("v"))])]);
    let first = [interfaces(&[("eni-1", "a")]), vpcs("1", "vpc-1"), vpcs("2", "vpc-2")];
    let before = merge(None, &first, FIRST).unwrap().bytes;
    // The second account was not read, and the first one's interfaces neither.
    let after = merge(Some(&before), &[vpcs("1", "vpc-1")], FIRST + HOUR).unwrap();
    assert_eq!(after.bytes, before);
    assert_eq!(after.changes, Changes::default());
    let nothing = merge(Some(&before), &[], FIRST + HOUR).unwrap();
    assert_eq!(nothing.bytes, before);
}

#[test]
fn entries_of_a_person_never_end() {
    let file = r#"{"interfaces": {"eni-1": {"description": "by hand"}, "eni-2": {"description": "b"}}}"#;
    let merged = merge(Some(file.as_bytes()), &[interfaces(&[("eni-2", "b")])], FIRST).unwrap();
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(text.contains("\"eni-1\": {\"description\":\"by hand\"},\n"), "{text}");
    assert!(text.contains("\"eni-2\": {\"description\":\"b\",\"source\":\"1/eu-west-1\"}\n"), "{text}");
}

#[test]
fn a_provisional_name_does_not_replace_a_known_one() {
    let provisional = |name: &str| {
        let named = Named { is_provisional: true, ..named(name) };
        reading("1", &[(Part::Interfaces, &[("eni-1", named.clone()), ("eni-2", named)])])
    };
    let before = merge(None, &[interfaces(&[("eni-1", "web")])], FIRST).unwrap().bytes;
    let after = merge(Some(&before), &[provisional("i-1")], FIRST + HOUR).unwrap();
    let text = String::from_utf8(after.bytes).unwrap();
    assert!(text.contains("\"eni-1\": {\"description\":\"web\","), "{text}");
    assert!(text.contains("\"eni-2\": {\"description\":\"i-1\","), "{text}");
}

#[test]
fn a_shared_subnet_has_the_name_that_its_owner_gave_it() {
    let of_owner = Named { owner: Some("1".to_owned()), ..named("shared") };
    let of_participant = Named { name: String::new(), ..of_owner.clone() };
    let owner = reading("1", &[(Part::Subnets, &[("subnet-1", of_owner)])]);
    let participant = reading("2", &[(Part::Subnets, &[("subnet-1", of_participant)])]);
    let both = history(&[&[owner.clone(), participant.clone()]]);
    assert_eq!(history(&[&[participant.clone(), owner.clone()]]), both);
    assert!(both.contains("\"subnet-1\": {\"name\":\"shared\",\"source\":\"1/eu-west-1\"}"), "{both}");
    // The participant alone neither renames it nor ends it.
    let only = std::slice::from_ref(&participant);
    let later = history(&[&[owner], only, &[reading("2", &[(Part::Subnets, &[])])]]);
    assert!(later.contains("\"subnet-1\": {\"name\":\"shared\",\"source\":\"1/eu-west-1\"}"), "{later}");
    // An account that is never read has its subnets from the participant.
    assert!(history(&[&[participant]]).contains("\"subnet-1\": {\"source\":\"1/eu-west-1\"}"));
}

#[test]
fn subnets_of_vpcs_that_cannot_be_read_stay_apart() {
    let subnet = |vpc: &str| Named {
        vpc_id: Some(vpc.to_owned()),
        cidrs: vec!["10.0.0.0/24".to_owned()],
        ..named(vpc)
    };
    let subnets: &[(&str, Named)] = &[("subnet-1", subnet("vpc-1")), ("subnet-2", subnet("vpc-2"))];
    let only_subnets = reading("1", &[(Part::Subnets, subnets)]);
    let vpcs: &[(&str, Named)] = &[("vpc-1", named("prod")), ("vpc-2", named(""))];
    let both = reading("1", &[(Part::Subnets, subnets), (Part::Vpcs, vpcs)]);
    let unread = history(&[std::slice::from_ref(&only_subnets)]);
    assert!(unread.contains("\"vpc-1\": {},\n\"vpc-2\": {}\n"), "{unread}");
    // The first reading of the VPCs names them at all times.
    let read = history(&[&[only_subnets], &[both]]);
    assert!(read.contains("\"vpc-1\": {\"name\":\"prod\",\"source\":\"1/eu-west-1\"},\n"), "{read}");
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
        Some(Reading { account: account.to_string(), region: "eu-west-1".to_owned(), parts })
    };
    states.iter().enumerate().filter_map(reading).collect()
}

proptest! {
    #[test]
    fn each_time_has_the_names_that_were_read_then(states in states()) {
        let mut file: Option<Vec<u8>> = None;
        for (hour, states) in (0..).zip(&states) {
            let readings = readings(states);
            let at = FIRST + hour * HOUR;
            let merged = merge(file.as_deref(), &readings, at).unwrap().bytes;
            // Again, in another order, and later without a change.
            let reversed: Vec<Reading> = readings.iter().rev().cloned().collect();
            prop_assert_eq!(&merge(file.as_deref(), &reversed, at).unwrap().bytes, &merged);
            prop_assert_eq!(&merge(Some(&merged), &readings, at).unwrap().bytes, &merged);
            prop_assert_eq!(&merge(Some(&merged), &readings, at + 1).unwrap().bytes, &merged);
            file = Some(merged);
        }
        let lookups = Lookups::parse(&file.unwrap()).unwrap();
        for account in 0..2 {
            // The state that was read last, by hour.
            let mut last = None;
            for (hour, states) in (0..).zip(&states) {
                last = states[account].as_ref().or(last);
                let Some(state) = last else { continue };
                for id in 0..4_u8 {
                    let Some(interface) = lookups.interface(format!("eni-{account}-{id}").as_bytes()) else {
                        prop_assert!(!state.contains_key(&id));
                        continue;
                    };
                    let time = FIRST + hour * HOUR;
                    let (name, is_guess) = lookups.name_at(interface.description, Some(time));
                    match state.get(&id) {
                        Some(expected) => {
                            prop_assert_eq!((lookups.name(name), is_guess), (&*format!("n{expected}"), false));
                        }
                        None => prop_assert!(is_guess),
                    }
                }
            }
        }
    }
}
