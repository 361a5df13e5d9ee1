mod attachments;

use flowherd_shared::names::merge::{Named, Part, Reading, merge};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    changes::{Changes, Report},
    cloudtrail, config, merge_into, object,
    objects::has_items,
};

const ACCOUNT: &str = "123456789012";
/// 2026-03-01T00:00:00Z.
const NOW: i64 = 1_772_323_200_000;
/// 2026-02-18T00:00:00Z.
const MIDNIGHT: i64 = 1_771_372_800_000;
const MINUTE: i64 = 60_000;

/// Returns the time of a day in February 2026, given as `18T09:30`.
fn time(time: &str) -> String {
    format!("2026-02-{time}:00.000Z")
}

/// Returns a configuration item.
#[expect(clippy::needless_pass_by_value, reason = "the callers write the value in place")]
fn item(kind: &str, id: &str, at: &str, configuration: Value, name: Option<&str>) -> Value {
    let status = if configuration.is_null() { "ResourceDeleted" } else { "OK" };
    json!({
        "version": "1.3", "awsAccountId": ACCOUNT, "configurationItemCaptureTime": time(at),
        "configurationItemStatus": status, "resourceType": format!("AWS::EC2::{kind}"), "resourceId": id, "awsRegion": "eu-west-1",
        "tags": name.map_or(json!({}), |name| json!({ "Name": name })), "configuration": configuration,
    })
}

/// Returns the id of the attachment of an interface to an instance.
fn attachment(instance: &str) -> String {
    format!("eni-attach-{instance}")
}

fn attached(at: &str, interface: &str, instance: &str) -> Value {
    event(
        "AttachNetworkInterface",
        at,
        json!({ "networkInterfaceId": interface, "instanceId": instance, "deviceIndex": 1 }),
        json!({ "attachmentId": attachment(instance) }),
    )
}

fn detached(at: &str, instance: &str) -> Value {
    let request = json!({ "attachmentId": attachment(instance), "force": false });
    event("DetachNetworkInterface", at, request, json!({ "_return": true }))
}

fn interface(id: &str, at: &str, instance: Option<&str>) -> Value {
    let attachment = instance.map_or(
        Value::Null,
        |id| json!({ "attachmentId": attachment(id), "instanceId": id, "deleteOnTermination": false }),
    );
    let configuration = json!({
        "networkInterfaceId": id, "subnetId": "subnet-1", "vpcId": "vpc-1", "ownerId": ACCOUNT, "description": "spare",
        "interfaceType": "interface", "attachment": attachment,
    });
    item("NetworkInterface", id, at, configuration, None)
}

fn instance(id: &str, at: &str, name: &str) -> Value {
    item("Instance", id, at, json!({ "instanceId": id }), Some(name))
}

fn subnet(id: &str, at: &str, name: &str) -> Value {
    item(
        "Subnet",
        id,
        at,
        json!({ "subnetId": id, "vpcId": "vpc-1", "cidrBlock": "10.0.1.0/24", "ownerId": ACCOUNT }),
        Some(name),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "the callers write the values in place")]
fn event(name: &str, at: &str, request: Value, response: Value) -> Value {
    json!({
        "eventVersion": "1.08", "eventTime": format!("2026-02-{at}:00Z"), "eventSource": "ec2.amazonaws.com", "eventName": name,
        "awsRegion": "eu-west-1", "recipientAccountId": ACCOUNT, "requestParameters": request, "responseElements": response,
    })
}

fn reports(items: &[Value]) -> Vec<Report> {
    let read = |item: &Value| match item.get("eventName") {
        Some(_) => cloudtrail::report(item, NOW).unwrap(),
        None => config::report(item, NOW).unwrap(),
    };
    items.iter().flat_map(read).collect()
}

fn changes(reports: impl IntoIterator<Item = Report>) -> Changes {
    let mut changes = Changes::default();
    reports.into_iter().for_each(|report| changes.add(report));
    changes
}

fn merged(former: Option<&[u8]>, items: &[Value]) -> Vec<u8> {
    let changes = changes(reports(items));
    let merged = merge_into(former, &changes, NOW).unwrap().bytes;
    assert_eq!(
        merge_into(Some(&merged), &changes, NOW).unwrap().bytes,
        merged,
        "the same files again change nothing"
    );
    merged
}

/// Returns name, begin and end of each entry of an id.
fn periods(file: &[u8], section: &str, id: &str) -> Vec<String> {
    let file: Value = serde_json::from_slice(file).unwrap();
    let entries = match &file[section][id] {
        Value::Array(entries) => entries.clone(),
        Value::Null => Vec::new(),
        entry => vec![entry.clone()],
    };
    let short = |time: &Value| {
        time.as_str().map_or("…", |time| &time["2026-02-".len().."2026-02-18T09:30".len()]).to_owned()
    };
    let period = |entry: &Value| {
        let name = entry["description"].as_str().or(entry["name"].as_str()).unwrap_or("-");
        let provisional = if entry["provisional"] == true { " provisional" } else { "" };
        format!("{name}{provisional} {} to {}", short(&entry["from"]), short(&entry["until"]))
    };
    entries.iter().map(period).collect()
}

/// Returns a file that a refresh at a time wrote.
fn refreshed(former: Option<&[u8]>, at_ms: i64, name: Option<&str>) -> Vec<u8> {
    let named = |name: &str| Named {
        name: name.to_owned(),
        subnet_id: Some("subnet-1".to_owned()),
        vpc_id: Some("vpc-1".to_owned()),
        ..Named::default()
    };
    let ids = name.map(|name| ("eni-1".to_owned(), named(name))).into_iter().collect();
    let reading = Reading {
        account: ACCOUNT.to_owned(),
        region: "eu-west-1".to_owned(),
        at_ms,
        parts: [(Part::Interfaces, ids)].into(),
    };
    merge(former, &[reading], at_ms).unwrap().bytes
}

/// An interface that two instances have in turn, and its deletion.
fn moving() -> Vec<Value> {
    vec![
        instance("i-web", "17T08:00", "web"),
        instance("i-db", "17T08:00", "database"),
        interface("eni-1", "18T06:00", Some("i-web")),
        interface("eni-1", "18T11:30", None),
        interface("eni-1", "18T12:00", Some("i-db")),
        item("NetworkInterface", "eni-1", "18T18:00", Value::Null, None),
    ]
}

#[test]
fn an_interface_that_changes_owners_twice_in_a_day_has_each_name_at_its_time() {
    let file = merged(None, &moving());
    insta::assert_snapshot!(String::from_utf8(file).unwrap());
}

#[test]
fn an_instance_that_is_renamed_renames_its_interface() {
    let items = [
        instance("i-1", "18T06:00", "blue"),
        interface("eni-1", "18T06:00", Some("i-1")),
        instance("i-1", "18T09:00", "green"),
        // A new security group.
        interface("eni-1", "18T10:00", Some("i-1")),
    ];
    let file = merged(None, &items);
    assert_eq!(periods(&file, "interfaces", "eni-1"), ["blue 18T06:00 to 18T09:00", "green 18T09:00 to …"]);
}

#[test]
fn gateways_endpoints_and_load_balancers_name_their_interfaces() {
    let plain = |id: &str, description: &str| {
        let configuration = json!({ "subnetId": "subnet-1", "vpcId": "vpc-1", "description": description });
        item("NetworkInterface", id, "18T06:00", configuration, None)
    };
    let nat = json!({ "natGatewayAddresses": [{ "networkInterfaceId": "eni-1" }] });
    let endpoint = json!({ "networkInterfaceIds": ["eni-2"], "serviceName": "com.amazonaws.eu-west-1.sqs" });
    let items = [
        plain("eni-1", "Interface for NAT Gateway nat-1"),
        plain("eni-2", "VPC Endpoint Interface vpce-1"),
        plain("eni-3", "ELB app/shop/50dc6c495c0c9188"),
        plain("eni-4", "Interface for NAT Gateway nat-2"),
        item("NatGateway", "nat-1", "18T06:00", nat, Some("exit")),
        item("VPCEndpoint", "vpce-1", "18T06:00", endpoint, None),
        // Not recorded as resources of EC2's networks.
        item("Volume", "vol-1", "18T06:00", json!({}), Some("disk")),
    ];
    let file = merged(None, &items);
    let name = |id: &str| periods(&file, "interfaces", id);
    assert_eq!(name("eni-1"), ["exit 18T06:00 to …"]);
    assert_eq!(name("eni-2"), ["vpce-1 com.amazonaws.eu-west-1.sqs 18T06:00 to …"]);
    assert_eq!(name("eni-3"), ["app/shop 18T06:00 to …"]);
    assert_eq!(name("eni-4"), ["Interface for NAT Gateway nat-2 provisional 18T06:00 to …"]);
}

#[test]
fn events_of_cloudtrail_begin_name_and_end_resources() {
    let tags = |name: &str| json!({ "items": [{ "key": "Name", "value": name }] });
    let nic = json!({
        "networkInterfaceId": "eni-1", "subnetId": "subnet-1", "vpcId": "vpc-1", "ownerId": ACCOUNT,
        "attachment": { "deleteOnTermination": true },
    });
    let started = json!({ "ownerId": ACCOUNT, "instancesSet": { "items": [
        { "instanceId": "i-1", "tagSet": tags("web"), "networkInterfaceSet": { "items": [nic] } },
    ] } });
    let created = json!({ "networkInterface": {
        "networkInterfaceId": "eni-2", "subnetId": "subnet-1", "vpcId": "vpc-1", "ownerId": ACCOUNT, "description": "spare",
    } });
    let subnet = json!({ "subnet": { "subnetId": "subnet-1", "vpcId": "vpc-1", "cidrBlock": "10.0.1.0/24", "tagSet": tags("a") } });
    let vpc = json!({ "vpc": { "vpcId": "vpc-1", "cidrBlock": "10.0.0.0/16" } });
    let of = |id: &str| json!({ "items": [{ "resourceId": id }, { "resourceId": "sg-1" }] });
    let instances = json!({ "instancesSet": { "items": [{ "instanceId": "i-1" }] } });
    let refused = |mut event: Value| {
        event["errorCode"] = json!("Client.DryRunOperation");
        event
    };
    let items = [
        event("CreateVpc", "18T05:00", json!({ "cidrBlock": "10.0.0.0/16" }), vpc),
        event(
            "CreateTags",
            "18T05:01",
            json!({ "resourcesSet": of("vpc-1"), "tagSet": tags("prod") }),
            json!({ "_return": true }),
        ),
        event("CreateSubnet", "18T05:02", json!({ "vpcId": "vpc-1" }), subnet),
        event("RunInstances", "18T06:00", Value::Null, started),
        event("CreateNetworkInterface", "18T07:00", json!({ "subnetId": "subnet-1" }), created),
        event(
            "AttachNetworkInterface",
            "18T08:00",
            json!({ "networkInterfaceId": "eni-2", "instanceId": "i-1" }),
            Value::Null,
        ),
        event(
            "CreateTags",
            "18T09:00",
            json!({ "resourcesSet": of("i-1"), "tagSet": tags("web-2") }),
            Value::Null,
        ),
        refused(event("TerminateInstances", "18T09:30", instances.clone(), Value::Null)),
        event("TerminateInstances", "18T10:00", instances, Value::Null),
        event(
            "DeleteNetworkInterface",
            "18T11:00",
            json!({ "networkInterfaceId": "eni-2" }),
            json!({ "_return": true }),
        ),
        event("DeleteSubnet", "18T12:00", json!({ "subnetId": "subnet-1" }), json!({ "_return": true })),
        event("DescribeInstances", "18T13:00", Value::Null, Value::Null),
    ];
    let file = merged(None, &items);
    let web = ["web 18T06:00 to 18T09:00", "web-2 18T09:00 to 18T10:00"];
    assert_eq!(periods(&file, "interfaces", "eni-1"), web);
    let attached = ["spare 18T07:00 to 18T08:00", "web 18T08:00 to 18T09:00", "web-2 18T09:00 to 18T11:00"];
    assert_eq!(periods(&file, "interfaces", "eni-2"), attached);
    assert_eq!(periods(&file, "subnets", "subnet-1"), ["a 18T05:02 to 18T12:00"]);
    assert_eq!(periods(&file, "vpcs", "vpc-1"), ["- 18T05:00 to 18T05:01", "prod 18T05:01 to …"]);
}

#[test]
fn history_begins_before_the_first_refresh_and_its_entries_end_with_a_later_one() {
    let first = refreshed(None, MIDNIGHT + 24 * 60 * MINUTE, Some("web"));
    let items = [
        instance("i-1", "17T08:00", "web"),
        interface("eni-1", "17T08:00", None),
        interface("eni-1", "18T06:00", Some("i-1")),
    ];
    let file = merged(Some(&first), &items);
    let until_refresh = ["spare 17T08:00 to 18T06:00", "web 18T06:00 to …"];
    assert_eq!(periods(&file, "interfaces", "eni-1"), until_refresh);
    let later = refreshed(Some(&file), MIDNIGHT + 25 * 60 * MINUTE, None);
    assert_eq!(
        periods(&later, "interfaces", "eni-1"),
        ["spare 17T08:00 to 18T06:00", "web 18T06:00 to 19T01:00"]
    );
    // The exact time of the deletion replaces that of the refresh.
    let deleted = [&items[..], &[item("NetworkInterface", "eni-1", "19T00:20", Value::Null, None)]].concat();
    let exact = merged(Some(&later), &deleted);
    assert_eq!(
        periods(&exact, "interfaces", "eni-1"),
        ["spare 17T08:00 to 18T06:00", "web 18T06:00 to 19T00:20"]
    );
}

#[test]
fn a_provisional_name_of_the_history_replaces_no_final_one() {
    // The instance itself was not recorded.
    let items = [interface("eni-1", "17T08:00", Some("i-1")), interface("eni-1", "19T08:00", Some("i-1"))];
    assert_eq!(periods(&merged(None, &items), "interfaces", "eni-1"), ["i-1 provisional 17T08:00 to …"]);
    let former = refreshed(None, MIDNIGHT, Some("web"));
    assert_eq!(periods(&merged(Some(&former), &items), "interfaces", "eni-1"), ["web 17T08:00 to …"]);
}

#[test]
fn entries_that_a_person_wrote_stay() {
    let person = br#"{"interfaces": {"eni-1": {"description": "mine"}}, "vpcs": {"vpc-1": {}}}"#;
    let file = merged(
        Some(person),
        &[interface("eni-1", "17T08:00", None), item("VPC", "vpc-1", "17T08:00", json!({}), Some("prod"))],
    );
    assert_eq!(periods(&file, "interfaces", "eni-1"), ["mine … to …"]);
    // An empty entry only keeps subnets apart.
    assert_eq!(periods(&file, "vpcs", "vpc-1"), ["prod 17T08:00 to …"]);
}

#[test]
fn a_subnet_whose_deletion_is_missing_ends_where_another_one_has_its_block() {
    let items = [subnet("subnet-1", "17T08:00", "old"), subnet("subnet-2", "18T08:00", "new")];
    let merged = merge_into(None, &changes(reports(&items)), NOW).unwrap();
    assert_eq!(
        merged.notes,
        [
            r#"subnet "subnet-1" ends at 2026-02-18T08:00:00.000Z: subnet "subnet-2" of the same VPC has 10.0.1.0/24 then"#
        ]
    );
    assert_eq!(periods(&merged.bytes, "subnets", "subnet-1"), ["old 17T08:00 to 18T08:00"]);
    assert_eq!(periods(&merged.bytes, "subnets", "subnet-2"), ["new 18T08:00 to …"]);
}

fn error(object: &[u8]) -> String {
    object::reports(object, NOW).unwrap_err()
}

#[test]
fn damaged_and_foreign_files_are_named_as_such() {
    let gzip = |text: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let whole =
        json!({ "fileVersion": "1.0", "configurationItems": moving(), "configSnapshotId": "x" }).to_string();
    assert_eq!(object::reports(&*gzip(&whole), NOW).unwrap().len(), 6);
    let compressed = gzip(&whole);
    let cut = error(&compressed[..compressed.len() - 20]);
    assert!(cut.contains("truncated"), "{cut}");
    let cut = error(&whole.as_bytes()[..300]);
    assert!(cut.contains("it is truncated"), "{cut}");
    let foreign =
        "it is not a file of AWS Config or CloudTrail: it has neither configurationItems nor Records";
    assert_eq!(error(b"{\"logEvents\": []}"), foreign);
    assert_eq!(error(b"2 123456789012 eni-1 ACCEPT OK\n"), foreign);
    let of = |item: Value| error(json!({ "configurationItems": [{}, item] }).to_string().as_bytes());
    let mut untimed = interface("eni-1", "18T06:00", None);
    untimed["configurationItemCaptureTime"] = json!("yesterday");
    let message = of(untimed);
    assert!(
        message.starts_with(
            r#"configurationItems 2: eni-1: configurationItemCaptureTime "yesterday" is not a time"#
        ),
        "{message}"
    );
    let mut future = interface("eni-1", "18T06:00", None);
    future["configurationItemCaptureTime"] = json!("2027-01-01T00:00:00.000Z");
    let message = of(future);
    assert!(message.contains("is in the future; correct the clock of this machine"), "{message}");
}

#[test]
fn files_of_other_resource_types_are_not_read() {
    let below = |name: &str| format!("AWSLogs/123456789012/Config/eu-west-1/2026/2/18/{name}");
    let history = |kind: &str| {
        below(&format!(
            "ConfigHistory/123456789012_Config_eu-west-1_ConfigHistory_AWS::{kind}_20260218T000000Z_20260218T060000Z_1.json.gz"
        ))
    };
    assert!(has_items(&history("EC2::NetworkInterface")));
    assert!(!has_items(&history("EC2::NetworkInsightsPath")));
    assert!(!has_items(&history("S3::Bucket")));
    assert!(has_items(&below(
        "ConfigSnapshot/123456789012_Config_eu-west-1_ConfigSnapshot_20260218T183939Z_x.json.gz"
    )));
    assert!(!has_items("AWSLogs/123456789012/Config/ConfigWritabilityCheckFile"));
    assert!(has_items(
        "AWSLogs/123456789012/CloudTrail/eu-west-1/2026/02/18/123456789012_CloudTrail_eu-west-1_20260218T0210Z_x.json.gz"
    ));
    assert!(!has_items("AWSLogs/123456789012/CloudTrail-Digest/eu-west-1/2026/02/18/x.json.gz"));
}

#[test]
fn changes_are_counted_once() {
    let mut changes = Changes::default();
    for _ in 0..2 {
        reports(&moving()).into_iter().for_each(|report| changes.add(report));
    }
    assert!(changes.exceed(5) && !changes.exceed(6));
}

/// Items at random times in an hour, in which interfaces, instances and subnets appear, change and disappear.
fn items() -> impl Strategy<Value = Vec<Value>> {
    let at = (0..60_u8).prop_map(|minute| format!("18T06:{minute:02}"));
    let item = (at, 0..3_u8, 0..4_u8, 0..10_u8).prop_map(|(at, id, other, kind)| {
        let (eni, i, subnet_id) = (format!("eni-{id}"), format!("i-{id}"), format!("subnet-{id}"));
        let tags = json!({ "items": [{ "key": "Name", "value": format!("tag-{other}") }] });
        match kind {
            0 | 1 => interface(&eni, &at, Some(&*format!("i-{other}"))),
            2 => interface(&eni, &at, None),
            3 => item("NetworkInterface", &eni, &at, Value::Null, None),
            4 => instance(&i, &at, &format!("name-{other}")),
            5 => subnet(&subnet_id, &at, &format!("subnet-{other}")),
            6 => item("Subnet", &subnet_id, &at, Value::Null, None),
            7 => attached(&at, &eni, &format!("i-{other}")),
            8 => detached(&at, &format!("i-{other}")),
            _ => event(
                "CreateTags",
                &at,
                json!({ "resourcesSet": { "items": [{ "resourceId": eni }] }, "tagSet": tags }),
                Value::Null,
            ),
        }
    });
    proptest::collection::vec(item, 1..20)
}

proptest! {
    #[test]
    fn the_order_of_the_files_does_not_matter_and_they_can_be_read_again(
        items in items(), order in any::<proptest::sample::Index>(), refresh in proptest::option::of(0..90_i64),
    ) {
        let former = refresh.map(|minute| refreshed(None, MIDNIGHT + (360 + minute) * MINUTE, Some("refreshed")));
        let merge = |former: Option<&[u8]>, items: &[Value]| merge_into(former, &changes(reports(items)), NOW).unwrap().bytes;
        let expected = merge(former.as_deref(), &items);
        let mut other = items.clone();
        other.rotate_left(order.index(items.len()));
        other.reverse();
        other.push(items[0].clone());
        prop_assert_eq!(&merge(former.as_deref(), &other), &expected);
        prop_assert_eq!(&merge(Some(&expected), &items), &expected);
    }
}
