//! Files in other forms than that of `flowherd names`.

use serde_json::{Map, Value};

use super::*;

/// Returns the same file with its ids in the order of `keys` and, if `adds_nulls`, a value `null` for each missing `source`.
fn in_another_form(file: &[u8], keys: &[u8], adds_nulls: bool) -> Vec<u8> {
    let file: BTreeMap<String, Map<String, Value>> = serde_json::from_slice(file).unwrap();
    let section = |(part, ids): (String, Map<String, Value>)| {
        let mut ids: Vec<(usize, (String, Value))> = ids.into_iter().enumerate().collect();
        ids.sort_by_key(|(number, _)| keys[number % keys.len()]);
        let id = |(_, (id, mut entries)): (usize, (String, Value))| {
            let list = match &mut entries {
                Value::Array(list) => &mut **list,
                one => std::slice::from_mut(one),
            };
            for entry in list.iter_mut().filter_map(Value::as_object_mut).filter(|_| adds_nulls) {
                entry.entry("source").or_insert(Value::Null);
            }
            format!("{}:{entries}", Value::from(id))
        };
        format!("\"{part}\":{{{}}}", ids.into_iter().map(id).collect::<Vec<_>>().join(","))
    };
    format!("{{{}}}", file.into_iter().rev().map(section).collect::<Vec<_>>().join(",")).into_bytes()
}

/// Ids of a person, between those of readings.
const OF_A_PERSON: &[u8] = br#"{"interfaces":{"eni-0-00":{"description":"p","subnet_id":"subnet-1"},"eni-1":{},
    "eni-2":[{"description":"q","until":"2026-02-18T07:40:00Z"},{"from":"2026-02-18T07:40:00Z"}]},
    "subnets":{"subnet-1":{"name":"s","vpc_id":"vpc-1","cidrs":["10.0.0.0/24"]}},"vpcs":{"vpc-1":{},"vpc-2":{"name":"v"}}}"#;

proptest! {
    #[test]
    fn a_file_in_any_order_and_form_has_the_same_result(
        states in states(),
        keys in proptest::collection::vec(any::<u8>(), 7),
        adds_nulls in any::<bool>(),
        forget_hour in 0_i64..9,
    ) {
        let mut file = OF_A_PERSON.to_vec();
        for (hour, states) in (0..).zip(&states) {
            let now = FIRST + hour * HOUR;
            let readings = at(&readings(states), now);
            let merged = merge(Some(&file), &readings, now).unwrap();
            let other = in_another_form(&file, &keys, adds_nulls);
            if adds_nulls {
                prop_assert!(!NameIndex::parse(&other).unwrap().is_as_written());
            }
            prop_assert_eq!(&merge(Some(&other), &readings, now).unwrap(), &merged);
            prop_assert!(NameIndex::parse(&merged.bytes).unwrap().is_as_written());
            file = merged.bytes;
        }
        let other = in_another_form(&file, &keys, adds_nulls);
        let before = FIRST + forget_hour * HOUR;
        let kept = forget_before(&file, before).unwrap();
        prop_assert_eq!(&forget_before(&other, before).unwrap(), &kept);
        prop_assert!(NameIndex::parse(&kept.0).unwrap().is_as_written());
    }
}

#[test]
fn ids_in_another_order_are_not_as_written() {
    let is_as_written =
        |keys: &[u8]| NameIndex::parse(&in_another_form(OF_A_PERSON, keys, false)).unwrap().is_as_written();
    assert!(is_as_written(&[0]));
    assert!(!is_as_written(&[1, 0]));
}
