//! The address ranges of AWS, and the names of `names.json` for tables other than flow logs.

use flowherd_tests::objects::{convert, envelope, event};

use super::{RULES, load};

/// Excerpt in the form of <https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-syntax.html>, with documentation addresses.
const RANGES: &str = r#"{
    "syncToken": "1771372800", "createDate": "2026-02-18-00-00-00",
    "prefixes": [
        {"ip_prefix": "198.51.100.0/24", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"},
        {"ip_prefix": "198.51.100.0/24", "region": "eu-west-1", "service": "EC2", "network_border_group": "eu-west-1"},
        {"ip_prefix": "198.51.100.64/26", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"},
        {"ip_prefix": "198.51.100.64/26", "region": "eu-west-1", "service": "S3", "network_border_group": "eu-west-1-x"},
        {"ip_prefix": "198.51.100.64/26", "region": "eu-west-1", "service": "EC2", "network_border_group": "eu-west-1-x"},
        {"ip_prefix": "203.0.113.0/24", "region": "GLOBAL", "service": "AMAZON", "network_border_group": "GLOBAL"}
    ],
    "ipv6_prefixes": [
        {"ipv6_prefix": "2001:db8::/32", "region": "us-east-1", "service": "CLOUDFRONT", "network_border_group": "us-east-1"}
    ]
}"#;

const AWS: &str = r#"
[[enrich]]
file = "ip-ranges.json"
on = ["dstaddr"]
columns = { service = "service", region = "region", border = "network_border_group" }
"#;

#[test]
fn an_address_of_aws_has_the_services_and_region_of_its_longest_prefix() {
    let rules = format!("{RULES}{AWS}");
    let plan = load(&rules, "{}", &[("ip-ranges.json", RANGES.as_bytes())]).unwrap();
    let cases = [
        ("198.51.100.1", "EC2,eu-west-1,eu-west-1"),
        ("198.51.100.65", "EC2;S3,eu-west-1,eu-west-1;eu-west-1-x"),
        ("203.0.113.9", "AMAZON,GLOBAL,GLOBAL"),
        ("2001:db8:1::", "CLOUDFRONT,us-east-1,us-east-1"),
        ("192.0.2.1", "-,-,-"),
    ];
    let flows = cases.map(|(address, _)| event(1, &format!("10.0.0.1 {address} 1")));
    let (_, outputs) = convert(envelope("flow", &flows).as_bytes(), "k", &plan).unwrap();
    for ((address, expected), row) in cases.iter().zip(outputs[0].1.lines().skip(1)) {
        assert!(row.ends_with(&format!(",{expected}")), "{address}: {row}");
    }
    let error = load(&rules, "{}", &[("ip-ranges.json", b"{\"prefixes\": []}")]).unwrap_err();
    assert!(error.starts_with("ip-ranges.json: is not an ip-ranges.json of AWS: missing field"), "{error}");
    let host_bits = RANGES.replace("203.0.113.0/24", "203.0.113.1/24");
    let error = load(&rules, "{}", &[("ip-ranges.json", host_bits.as_bytes())]).unwrap_err();
    assert!(error.contains("prefix \"203.0.113.1/24\" has host bits set"), "{error}");
}

/// Two VPCs share 10.1.0.0/16 from 06:00 to 12:00, and one is renamed at 18:00.
const NAMES: &str = r#"{
    "subnets": {
        "subnet-1": {"name": "a", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/16", "10.1.0.0/16"]},
        "subnet-2": {"name": "b", "vpc_id": "vpc-2", "cidrs": ["10.1.0.0/16"],
            "from": "2026-02-18T06:00:00Z", "until": "2026-02-18T12:00:00Z"},
        "subnet-3": {"name": "c", "vpc_id": "vpc-2", "cidrs": ["10.2.0.0/16"]},
        "subnet-4": {"name": "d, e", "cidrs": ["10.3.0.0/16"]},
        "subnet-5": {"name": "f", "vpc_id": "vpc-3", "cidrs": ["10.4.0.0/16"]}
    },
    "vpcs": {
        "vpc-1": [{"name": "old", "until": "2026-02-18T18:00:00Z"}, {"name": "new", "from": "2026-02-18T18:00:00Z"}],
        "vpc-2": {"name": "other"},
        "vpc-3": [{"name": "first", "until": "2026-02-18T06:00:00Z"}, {"name": "second", "from": "2026-02-18T12:00:00Z"}]
    }
}"#;

#[test]
fn an_address_of_any_table_has_the_subnet_and_vpc_of_the_only_vpc_that_contains_it_at_that_time() {
    let entry = "[[enrich]]\nsource = \"names\"\non = [\"client_ip\"]\n\
        columns = { vpc = \"vpc_name\", subnet = \"subnet_name\" }\n";
    let plan = load(&format!("{RULES}{entry}"), NAMES, &[]).unwrap();
    let hour = |hour: i64| 1_771_372_800_000 + hour * 3_600_000;
    let cases = [
        ("10.0.0.1", 1, "old,a"),
        ("10.0.0.1", 19, "new,a"),
        ("10.1.0.1", 1, "old,a"),
        ("10.1.0.1", 7, "-,-"),
        ("10.1.0.1", 13, "old,a"),
        ("10.1.0.1", 20, "new,a"),
        ("10.2.0.1", 1, "other,c"),
        ("10.3.0.1", 1, "-,\"d, e\""),
        ("10.4.0.1", 1, "first,f"),
        // No name of the VPC is known for this time.
        ("10.4.0.1", 7, "first,f"),
        ("10.4.0.1", 13, "second,f"),
        ("192.0.2.1", 1, "-,-"),
        ("x", 1, "-,-"),
    ];
    let events = cases.map(|(address, at, _)| event(hour(at), &format!("{{\"ip\":\"{address}\"}}")));
    let (counts, outputs) = convert(envelope("dns", &events).as_bytes(), "k", &plan).unwrap();
    for ((address, hour, expected), row) in cases.iter().zip(outputs[0].1.lines().skip(1)) {
        assert!(row.ends_with(&format!(",{address},-,{expected}")), "{address} at {hour}: {row}");
    }
    assert_eq!((counts.rows, counts.named_by_guess), (13, 1));
}
