//! Blocks of subnets that overlap those of others.

use super::*;

#[test]
fn a_subnet_that_has_the_block_of_another_one_ends_it() {
    let read = |id: &str| {
        reading("2", &[(Part::Subnets, &[(id, owned_by("1", subnet("", "vpc-1", "10.0.0.0/24")))])])
    };
    // The participant also loses the share of the second one. The owner is never read.
    let unread = read("subnet-1");
    let other =
        reading("3", &[(Part::Subnets, &[("subnet-2", owned_by("1", subnet("", "vpc-1", "10.0.0.0/24")))])]);
    let file = merge(None, std::slice::from_ref(&unread), FIRST).unwrap().bytes;
    let merged = merge(Some(&file), &at(&[other], FIRST + HOUR), FIRST + HOUR).unwrap();
    assert_eq!(merged.changes, Changes { new: 1, gone: 1, ..Changes::default() });
    assert_eq!(
        merged.notes,
        [
            "subnet \"subnet-1\" ends at 2026-02-18T08:33:20.000Z: subnet \"subnet-2\" of the same VPC has 10.0.0.0/24 now"
        ]
    );
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(
        line(&text, "subnet-1").ends_with(&format!("{},{}}}", time("from", 0), time("until", 1))),
        "{text}"
    );
    // The same account sees only the second one.
    let text = history(&[&[unread], &[read("subnet-2")]]);
    assert!(line(&text, "subnet-1").ends_with(&format!("{}}}", time("until", 1))), "{text}");
    // An entry that a person wrote.
    let person = r#"{"subnets": {"subnet-1": {"name": "mine", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24"]}}, "vpcs": {"vpc-1": {}}}"#;
    let merged = merge(Some(person.as_bytes()), &[read("subnet-2")], FIRST).unwrap();
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(line(&text, "subnet-1").ends_with(&format!("{}}}", time("until", 0))), "{text}");
}

#[test]
fn a_subnet_that_overlaps_a_subnet_that_was_read_ends_unless_a_person_wrote_it() {
    let read = |account: &str, id: &str, vpc: &str, cidr: &str| {
        reading(account, &[(Part::Subnets, &[(id, owned_by("1", subnet("", vpc, cidr)))])])
    };
    let file = merge(None, &[read("2", "subnet-1", "vpc-1", "10.0.0.0/24")], FIRST).unwrap().bytes;
    let merged = |file: &[u8], vpc: &str, cidr: &str| {
        let next = [read("3", "subnet-2", vpc, cidr)];
        merge(Some(file), &at(&next, FIRST + HOUR), FIRST + HOUR).unwrap()
    };
    for (vpc, cidr, ends) in [
        ("vpc-1", "10.0.0.128/25", true),
        ("vpc-1", "10.0.0.0/16", true),
        ("vpc-1", "10.0.1.0/24", false),
        ("vpc-2", "10.0.0.128/25", false),
    ] {
        let merged = merged(&file, vpc, cidr);
        assert_eq!((merged.changes.gone, merged.notes.len()), (u64::from(ends), usize::from(ends)), "{cidr}");
        let text = String::from_utf8(merged.bytes).unwrap();
        assert_eq!(line(&text, "subnet-1").contains("until"), ends, "{text}");
    }
    let person = r#"{"subnets": {"subnet-1": {"name": "a part", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/28"]}}, "vpcs": {"vpc-1": {}}}"#;
    let merged = merged(person.as_bytes(), "vpc-1", "10.0.0.0/24");
    assert_eq!((merged.changes.gone, merged.notes.len()), (0, 0));
}

#[test]
fn the_blocks_of_others_are_not_added_to_the_entry_of_a_person() {
    let person = r#"{"subnets": {"subnet-2": {"name": "mine"}}}"#;
    let read = |id: &str| reading("1", &[(Part::Subnets, &[(id, subnet("a", "vpc-1", "10.0.0.0/24"))])]);
    let file = merge(Some(person.as_bytes()), &[read("subnet-1")], FIRST).unwrap().bytes;
    let later = at(&[read("subnet-2")], FIRST + HOUR);
    let text = String::from_utf8(merge(Some(&file), &later, FIRST + HOUR).unwrap().bytes).unwrap();
    assert_eq!(line(&text, "subnet-2"), r#"{"name":"mine","vpc_id":"vpc-1"}"#);
}
