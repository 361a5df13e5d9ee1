//! Interfaces that are attached to instances, and detached.

use super::*;

#[test]
fn an_interface_that_is_detached_loses_the_name_of_its_instance() {
    let of = |items: &[Value]| periods(&merged(None, items), "interfaces", "eni-1");
    let begin = [instance("i-web", "17T08:00", "web"), instance("i-db", "17T08:00", "database")];
    let spare = interface("eni-1", "18T06:00", None);
    let with = |items: &[Value]| of(&[&begin[..], items].concat());
    let from_events = [spare.clone(), attached("18T07:00", "eni-1", "i-web"), detached("18T08:00", "i-web")];
    let expected = ["spare 18T06:00 to 18T07:00", "web 18T07:00 to 18T08:00", "spare 18T08:00 to …"];
    assert_eq!(with(&from_events), expected);
    let from_config = [interface("eni-1", "18T07:00", Some("i-web")), detached("18T08:00", "i-web")];
    assert_eq!(with(&from_config), ["web 18T07:00 to 18T08:00", "spare 18T08:00 to …"]);
    // An event of an earlier attachment does not end the current one, even within the same second.
    let moved = [&from_events[..], &[attached("18T08:00", "eni-1", "i-db")]].concat();
    let expected = ["spare 18T06:00 to 18T07:00", "web 18T07:00 to 18T08:00", "database 18T08:00 to …"];
    assert_eq!(with(&moved), expected);
    // The deletion is the end, and attachments of others do not matter.
    let deleted = item("NetworkInterface", "eni-1", "18T07:30", Value::Null, None);
    let ended = [&from_events[..], &[deleted, detached("18T09:00", "i-db")]].concat();
    assert_eq!(with(&ended), ["spare 18T06:00 to 18T07:00", "web 18T07:00 to 18T07:30"]);
    // The interface of a new instance is no longer deleted with it.
    let nic = json!({
        "networkInterfaceId": "eni-1", "subnetId": "subnet-1", "vpcId": "vpc-1", "ownerId": ACCOUNT, "description": "spare",
        "attachment": { "attachmentId": attachment("i-web"), "deleteOnTermination": true },
    });
    let started = json!({ "ownerId": ACCOUNT, "instancesSet": { "items": [
        { "instanceId": "i-web", "networkInterfaceSet": { "items": [nic] } },
    ] } });
    let terminated = json!({ "instancesSet": { "items": [{ "instanceId": "i-web" }] } });
    let items = [
        event("RunInstances", "18T07:00", Value::Null, started),
        detached("18T08:00", "i-web"),
        event("TerminateInstances", "18T09:00", terminated, Value::Null),
    ];
    assert_eq!(of(&items), ["i-web 18T07:00 to 18T08:00", "spare 18T08:00 to …"]);
}

#[test]
fn a_detached_interface_whose_description_is_not_in_the_files_keeps_a_final_name() {
    let items = [
        instance("i-web", "17T08:00", "web"),
        attached("18T07:00", "eni-1", "i-web"),
        detached("18T08:00", "i-web"),
    ];
    let unnamed = ["web 18T07:00 to 18T08:00", "- provisional 18T08:00 to …"];
    assert_eq!(periods(&merged(None, &items), "interfaces", "eni-1"), unnamed);
    let former = refreshed(None, MIDNIGHT, Some("spare"));
    let named = ["spare 18T00:00 to 18T07:00", "web 18T07:00 to 18T08:00", "spare 18T08:00 to …"];
    assert_eq!(periods(&merged(Some(&former), &items), "interfaces", "eni-1"), named);
}

#[test]
fn a_detachment_ends_the_name_of_an_instance_that_a_refresh_has_read() {
    let items = [
        instance("i-web", "17T08:00", "web"),
        attached("18T07:00", "eni-1", "i-web"),
        detached("18T08:00", "i-web"),
    ];
    let at = |minutes: i64| MIDNIGHT + minutes * MINUTE;
    let attached = refreshed(None, at(7 * 60 + 30), Some("web"));
    let history = merged(Some(&attached), &items);
    let ended = ["web 18T07:00 to 18T08:00", "- provisional 18T08:00 to …"];
    assert_eq!(periods(&history, "interfaces", "eni-1"), ended);
    assert_eq!(periods(&merged(Some(&history), &items), "interfaces", "eni-1"), ended);
    let later = refreshed(Some(&attached), at(10 * 60), Some("spare"));
    let known = ["web 18T07:00 to 18T08:00", "spare 18T08:00 to …"];
    assert_eq!(periods(&merged(Some(&later), &items), "interfaces", "eni-1"), known);
    // The same if the refresh comes after the history.
    let refreshed = refreshed(Some(&history), at(10 * 60), Some("spare"));
    assert_eq!(periods(&refreshed, "interfaces", "eni-1"), known);
}

#[test]
fn an_item_that_is_recorded_during_a_detachment_does_not_undo_it() {
    let detaching = |at: &str, instance: &str| {
        let mut item = interface("eni-1", "18T08:00", Some(instance));
        item["configurationItemCaptureTime"] = at.into();
        item["configuration"]["attachment"]["status"] = "detaching".into();
        item["configuration"]["attachment"]["deleteOnTermination"] = true.into();
        item
    };
    let items = [
        instance("i-web", "17T08:00", "web"),
        instance("i-db", "17T08:00", "database"),
        interface("eni-1", "18T07:00", Some("i-web")),
        detached("18T08:00", "i-web"),
        detaching("2026-02-18T08:00:03.000Z", "i-web"),
        event(
            "TerminateInstances",
            "18T09:00",
            json!({ "instancesSet": { "items": [{ "instanceId": "i-web" }] } }),
            Value::Null,
        ),
    ];
    let of = |items: &[Value]| periods(&merged(None, items), "interfaces", "eni-1");
    let ended = ["web 18T07:00 to 18T08:00", "spare 18T08:00 to …"];
    assert_eq!(of(&items), ended);
    // Another attachment is not ended.
    let moved = [&items[..], &[interface("eni-1", "18T10:00", Some("i-db"))]].concat();
    assert_eq!(of(&moved), [ended[0], "spare 18T08:00 to 18T10:00", "database 18T10:00 to …"]);
}
