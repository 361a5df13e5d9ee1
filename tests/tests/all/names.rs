//! `flowherd names`, and the names of rows at different times.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

use flowherd_shared::{config::Config, lookups::Lookups, pipeline::RunConfig};
use flowherd_tests::{
    command::{Ran, flowherd_in},
    local_cloud::LocalCloud,
    model::Model,
    objects::{convert, envelope, event, outcome},
    python_server::python,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::place::{PROGRAM, Place};

const CONFIG: &str = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"vpc-flow\", \
    fields = \"${interface-id} ${srcaddr} ${start}\" }\n";

/// 2026-02-18T00:00:00Z.
const MIDNIGHT: i64 = 1_771_372_800_000;

/// An interface that a load balancer gives to an instance and gets back, and two subnets that have an address in turn.
const MOVING: &str = r#"{
    "interfaces": {"eni-1": [
        {"description": "balancer", "subnet_id": "subnet-1", "until": "2026-02-18T06:00:00Z"},
        {"description": "web", "from": "2026-02-18T06:00:00Z", "until": "2026-02-18T18:00:00Z"},
        {"description": "balancer again", "from": "2026-02-18T19:00:00Z"}
    ]},
    "subnets": {
        "subnet-1": {"name": "public", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/16"]},
        "subnet-2": {"name": "old", "vpc_id": "vpc-1", "cidrs": ["10.0.7.0/24"], "until": "2026-02-18T06:00:00Z"},
        "subnet-3": {"name": "new", "vpc_id": "vpc-1", "cidrs": ["10.0.7.0/24"], "from": "2026-02-18T18:00:00Z"},
        "subnet-4": {"name": "apart", "vpc_id": "vpc-1", "cidrs": ["10.9.0.0/24"], "from": "2026-02-18T06:00:00Z"}
    },
    "vpcs": {"vpc-1": [{"name": "shop", "until": "2026-02-18T12:00:00Z"}, {"name": "store", "from": "2026-02-18T12:00:00Z"}]}
}"#;

fn plan(lookups: &str) -> RunConfig {
    RunConfig::new(Config::parse(CONFIG).unwrap(), Lookups::parse(lookups.as_bytes()).unwrap())
}

#[test]
fn a_row_has_the_names_of_its_own_time() {
    let hours = [0.0, 5.999, 6.0, 11.999, 12.0, 17.999, 18.0, 18.5, 19.0, 23.0];
    let time = |hour: &f64| MIDNIGHT + (hour * 3_600_000.0) as i64;
    let events: Vec<String> = hours
        .iter()
        .flat_map(|hour| [event(time(hour), "eni-1 10.0.7.9 1"), event(time(hour), "eni-1 10.9.0.1 1")])
        .collect();
    let (counts, outputs) = convert(envelope("g", &events).as_bytes(), "k", &plan(MOVING)).unwrap();
    let text = outputs[0].1.lines().map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        [&cells[..1], &cells[2..3], &cells[4..]].concat().join(",") + "\n"
    });
    insta::assert_snapshot!(text.collect::<String>());
    // Between the last two owners, and where the last subnet did not exist yet.
    assert_eq!((counts.rows, counts.named_by_guess), (20, 6));
    // A row without a time has the last name.
    let (counts, outputs) = convert(&b"eni-1 10.0.7.9 -\n"[..], "k", &plan(MOVING)).unwrap();
    assert!(
        outputs[0].1.ends_with("-,eni-1,10.0.7.9,-,balancer again,public,store,new,-\n"),
        "{}",
        outputs[0].1
    );
    assert_eq!(counts.named_by_guess, 1);
}

#[test]
fn receipt_report_and_summary_count_rows_named_by_guess() {
    let place = Place::new();
    let event = |hour: i64| event(MIDNIGHT + hour * 3_600_000, "eni-1 10.0.0.9 1");
    place.object("a", envelope("g", &[event(1), event(18)]).as_bytes());
    place.object("b", envelope("g", &[event(18), event(20)]).as_bytes());
    place.file("f.toml", CONFIG.as_bytes()).file("names", MOVING.as_bytes());
    let args = ["--config", "f.toml", "--names", "names"].map(|argument| {
        let path = place.path(argument);
        if path.exists() { path.to_str().unwrap().to_owned() } else { argument.to_owned() }
    });
    let args = args.each_ref().map(String::as_str);
    let report = place.report(&[&args[..], &["--run", "r"]].concat());
    assert_eq!(report["records"]["named_by_guess"], 2);
    let receipt = fs::read(place.path("out/runs/r/receipts/a.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&receipt).unwrap()["records"]["named_by_guess"], 1);
    let summary = place.convert(&args).stdout;
    assert!(
        summary.contains(
            "  control  named by guess\nrecords       4     4         0        0               2\n"
        ),
        "{summary}"
    );
}

/// Entries of an id that do not overlap: each key at most once, the times from a small range.
fn entries(keys: &'static str, times: impl IntoIterator<Item = i64>, begins: bool) -> Vec<Value> {
    let mut times: Vec<i64> = times.into_iter().collect();
    times.sort_unstable();
    times.dedup();
    let mut bounds: Vec<Option<i64>> = times.into_iter().map(Some).collect();
    if begins {
        bounds.insert(0, None);
    }
    if !bounds.len().is_multiple_of(2) {
        bounds.push(None);
    }
    let entry = |(number, pair): (usize, &[Option<i64>])| {
        let mut entry = json!({ keys: format!("name {number}") });
        for (key, time) in ["from", "until"].iter().zip(pair) {
            if let Some(time) = time {
                entry[*key] = flowherd_shared::timestamp::iso(*time).unwrap().into();
            }
        }
        entry
    };
    bounds.chunks(2).enumerate().map(entry).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn names_at_any_time_are_those_of_the_model(
        interfaces in proptest::collection::vec((proptest::collection::btree_set(0_i64..12, 0..5), any::<bool>()), 3),
        subnets in proptest::collection::vec(
            (proptest::collection::btree_set(0_i64..12, 0..5), any::<bool>(), 0_usize..3, 0_u32..4), 0..7),
        records in proptest::collection::vec((0_usize..4, 0_u32..4, 0_i64..13, any::<bool>()), 1..30),
    ) {
        let mut file = json!({ "interfaces": {}, "subnets": {}, "vpcs": { "vpc-1": { "name": "one" }, "vpc-2": {} } });
        for (number, (times, begins)) in interfaces.into_iter().enumerate() {
            let mut entries = entries("description", times, begins);
            if let Some(first) = entries.first_mut() {
                first["vpc_id"] = json!(["vpc-1", "vpc-2"][number % 2]);
                file["interfaces"][format!("eni-{number}")] = entries.into();
            }
        }
        let mut taken = std::collections::BTreeSet::new();
        for (number, (times, begins, vpc, block)) in subnets.into_iter().enumerate() {
            let mut entries = entries("name", times, begins);
            // A block of a VPC belongs to one of these subnets.
            if entries.is_empty() || !taken.insert((vpc, block)) {
                continue;
            }
            let cidr = ["10.0.0.0/16", "10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/24"][block as usize];
            for entry in &mut entries {
                entry["cidrs"] = json!([cidr]);
            }
            if vpc > 0 {
                entries[0]["vpc_id"] = format!("vpc-{vpc}").into();
            }
            file["subnets"][format!("subnet-{number}")] = entries.into();
        }
        let file = file.to_string();
        let line = |(interface, address, time, has_time): &(usize, u32, i64, bool)| {
            let address = ["10.0.0.1", "10.0.0.200", "10.0.1.1", "10.0.2.1"][*address as usize];
            let line = format!("eni-{interface} {address} {}", if *has_time { "0" } else { "-" });
            (*has_time, event(*time, &line), line)
        };
        let lines: Vec<_> = records.iter().map(line).collect();
        let events: Vec<String> =
            lines.iter().filter(|(has_time, ..)| *has_time).map(|(_, event, _)| event.clone()).collect();
        // Plain lines without a start have no time.
        let plain: String =
            lines.iter().filter(|(has_time, ..)| !has_time).map(|(.., line)| format!("{line}\n")).collect();
        let object = format!("{}\n{plain}", envelope("g", &events));
        let expected = Model::new(CONFIG, &file).convert(object.as_bytes(), "k");
        prop_assert_eq!(outcome(object.as_bytes(), usize::MAX, "k", &plan(&file)).ok(), expected);
    }
}

/// Creates and deletes resources with botocore. Prints the id of each.
const RESOURCES: &str = r"
import sys, botocore.session
ec2 = botocore.session.get_session().create_client(
    'ec2', region_name='us-east-1', endpoint_url=sys.argv[1], aws_access_key_id='test', aws_secret_access_key='test')
def named(kind, name):
    return [{'ResourceType': kind, 'Tags': [{'Key': 'Name', 'Value': name}]}]
if sys.argv[2] == 'delete':
    ec2.delete_network_interface(NetworkInterfaceId=sys.argv[3])
else:
    vpc = ec2.create_vpc(CidrBlock='10.7.0.0/16', TagSpecifications=named('vpc', 'prod'))['Vpc']['VpcId']
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock='10.7.1.0/24', TagSpecifications=named('subnet', 'public-a'))
    subnet = subnet['Subnet']['SubnetId']
    web = ec2.create_network_interface(SubnetId=subnet, Description='web')
    plain = ec2.create_network_interface(SubnetId=subnet, Description='AWS Lambda VPC ENI-f')
    ids = [eni['NetworkInterface']['NetworkInterfaceId'] for eni in (web, plain)]
    print(vpc, subnet, *ids)
";

fn resources(cloud: &LocalCloud, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(python());
    let ran = command.args(["-c", RESOURCES, &cloud.endpoint]).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

fn names(environment: impl IntoIterator<Item = (&'static str, String)>, file: &Path) -> Ran {
    // No credentials, profile or region of the machine.
    let nowhere = [("AWS_CONFIG_FILE", "/nonexistent"), ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")];
    let nowhere = nowhere.map(|(name, value)| (name, value.to_owned()));
    let args = ["names", "--output", file.to_str().unwrap()];
    flowherd_in(PROGRAM, environment.into_iter().chain(nowhere), args)
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
#[ignore = "needs .venv: make test installs it"]
fn names_come_from_the_local_cloud_and_keep_their_times() {
    let cloud = LocalCloud::start();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("names.json");
    let created = resources(&cloud, &["create"]);
    let [vpc, subnet, web, plain] = &created[..] else { panic!("{created:?}") };
    let ran = names(cloud.environment(), &file);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.contains("account"), "{ran:?}");
    let first = json_of(&file);
    assert_eq!(first["vpcs"][vpc]["name"], "prod");
    assert_eq!(first["subnets"][subnet]["name"], "public-a");
    assert_eq!(first["subnets"][subnet]["cidrs"], json!(["10.7.1.0/24"]));
    assert_eq!(first["interfaces"][web]["description"], "web");
    assert_eq!(first["interfaces"][plain]["description"], "AWS Lambda VPC ENI-f");
    assert_eq!(first["interfaces"][web].get("from"), None);

    let bytes = fs::read(&file).unwrap();
    let again = names(cloud.environment(), &file);
    assert!(again.stdout.ends_with("names.json: no changes\n"), "{again:?}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "the same names give the same bytes");

    resources(&cloud, &["delete", web]);
    let last = names(cloud.environment(), &file);
    assert!(last.stdout.ends_with("names.json: 1 id gone\n"), "{last:?}");
    assert!(json_of(&file)["interfaces"][web]["until"].is_string());
    assert_eq!(json_of(&file)["interfaces"][plain], first["interfaces"][plain]);
    let line = format!("{web} 10.7.1.9 1");
    let object = envelope("g", &[event(MIDNIGHT, &line)]);
    let names = String::from_utf8(fs::read(&file).unwrap()).unwrap();
    let (_, outputs) = convert(object.as_bytes(), "k", &plan(&names)).unwrap();
    assert!(outputs[0].1.ends_with(",web,public-a,prod,public-a,-\n"), "{}", outputs[0].1);
}

/// A request to a server: its action, head and body.
struct Request {
    action: String,
    head: String,
    body: String,
}

impl Request {
    /// Returns the access key that signed the request.
    fn key(&self) -> &str {
        self.head.split_once("Credential=").unwrap().1.split('/').next().unwrap()
    }
}

/// Starts a server that ends with the test process. Returns its address. `respond` receives an action.
fn server(respond: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    server_of_requests(move |request| respond(&request.action))
}

/// Starts a server as [`server`] does. `respond` receives the whole request.
fn server_of_requests(mut respond: impl FnMut(&Request) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.unwrap();
            let mut reader = BufReader::new(&connection);
            let (mut head, mut length, mut target) = (String::new(), 0, None);
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {
                let line = head.lines().last().unwrap();
                match line.split_once(':') {
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.trim().parse().unwrap();
                    }
                    Some((name, value)) if name.eq_ignore_ascii_case("x-amz-target") => {
                        target = value.trim().rsplit('.').next().map(str::to_owned);
                    }
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let body = String::from_utf8(body).unwrap();
            let of_form = || body.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(str::to_owned);
            let action = target.or_else(of_form).unwrap();
            let (status, body) = respond(&Request { action, head, body });
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = (&connection).write_all((head + &body).as_bytes());
        }
    });
    endpoint
}

/// Returns the response of an account that has nothing.
fn nothing(action: &str, account: &str) -> String {
    let set = match action {
        "DescribeInstances" => "reservationSet",
        "DescribeNatGateways" => "natGatewaySet",
        "DescribeVpcEndpoints" => "vpcEndpointSet",
        "DescribeNetworkInterfaces" => "networkInterfaceSet",
        "DescribeSubnets" => "subnetSet",
        _ => "vpcSet",
    };
    format!("<R><Account>{account}</Account><{set}/></R>")
}

fn environment(endpoint: &str) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

#[test]
fn names_that_cannot_be_read_stay_as_they_were() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("names.json");
    let eni = |id: &str, instance: &str| {
        format!(
            "<item><networkInterfaceId>{id}</networkInterfaceId><ownerId>123456789012</ownerId><description>d</description>\
             <attachment><instanceId>{instance}</instanceId></attachment></item>"
        )
    };
    let page = move |action: &str| {
        let content = match action {
            "GetCallerIdentity" => "<Account>123456789012</Account>".to_owned(),
            "DescribeInstances" => "<reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><tagSet><item>\
                <key>Name</key><value>web</value></item></tagSet></item></instancesSet></item></reservationSet>"
                .to_owned(),
            "DescribeNatGateways" => "<natGatewaySet/>".to_owned(),
            "DescribeVpcEndpoints" => "<vpcEndpointSet/>".to_owned(),
            "DescribeNetworkInterfaces" => format!("<networkInterfaceSet>{}</networkInterfaceSet>", eni("eni-1", "i-1")),
            "DescribeSubnets" => "<subnetSet><item><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><cidrBlock>10.0.0.0/24\
                </cidrBlock></item></subnetSet>"
                .to_owned(),
            _ => "<vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet>".to_owned(),
        };
        format!("<{action}Response>{content}</{action}Response>")
    };
    let all = server(move |action| (200, page(action)));
    let ran = names(environment(&all), &file);
    assert_eq!(ran.status, 0, "{ran:?}");
    let first = fs::read(&file).unwrap();

    // Subnets and instances are denied. The interface would be "i-1", and the subnet gone.
    let denied = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>";
    let some = server(move |action| match action {
        "DescribeSubnets" | "DescribeInstances" => (403, denied.to_owned()),
        _ => (200, page(action)),
    });
    let ran = names(environment(&some), &file);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert_eq!(String::from_utf8(fs::read(&file).unwrap()), String::from_utf8(first.clone()));
    let place = "flowherd: account 123456789012, region eu-west-1, environment: cannot read";
    let why = |action: &str| format!("{action} is refused: UnauthorizedOperation: no.");
    let expected = format!(
        "{place} instances: {} Their interfaces keep the former names\n{place} subnets: {} The former names stay\n",
        why("DescribeInstances"),
        why("DescribeSubnets")
    );
    assert_eq!(ran.stderr, expected);
    assert!(
        ran.stdout.contains("123456789012  eu-west-1  environment           1        -     1\n"),
        "{}",
        ran.stdout
    );

    // Nothing can be read.
    let ran = names(environment(&server(move |_| (403, denied.to_owned()))), &file);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.stderr.ends_with(&format!("nothing could be read; {} is unchanged\n", file.display())),
        "{ran:?}"
    );
    assert_eq!(fs::read(&file).unwrap(), first);
}

#[test]
fn a_given_profile_wins_over_the_keys_of_the_environment() {
    let dir = TempDir::new().unwrap();
    let (file, profiles) = (dir.path().join("names.json"), dir.path().join("config"));
    let profile =
        |name: &str| format!("[profile {name}]\naws_access_key_id = KEY{name}\naws_secret_access_key = s\n");
    fs::write(&profiles, profile("one") + &profile("two")).unwrap();
    // The key is the account.
    let endpoint = server_of_requests(|request| (200, nothing(&request.action, request.key())));
    let environment = environment(&endpoint).into_iter();
    let environment = environment.chain([("AWS_CONFIG_FILE", profiles.to_str().unwrap().to_owned())]);
    let args = ["names", "--output", file.to_str().unwrap(), "--profile", "one", "--profile", "two"];
    let ran = flowherd_in(PROGRAM, environment.clone(), args);
    assert_eq!(ran.status, 0, "{ran:?}");
    let sources = json_of(&file)["sources"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(sources, ["KEYone/eu-west-1", "KEYtwo/eu-west-1"]);
    let args = ["names", "--output", file.to_str().unwrap(), "--profile", "none"];
    let ran = flowherd_in(PROGRAM, environment, args);
    assert_eq!((ran.status, ran.stderr.lines().count()), (1, 2), "{ran:?}");
    assert!(
        ran.stderr.contains("profile none: cannot load the credentials; check the profile and the role"),
        "{ran:?}"
    );
}

#[test]
fn a_former_file_with_a_mistake_is_refused_before_any_request() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("names.json");
    fs::write(&file, r#"{"vpcs": {"vpc-1": {"from": "yesterday"}}}"#).unwrap();
    let endpoint = server(|action| panic!("{action}"));
    let ran = names(environment(&endpoint), &file);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert_eq!(
        ran.stderr,
        format!(
            "flowherd: {}: VPC \"vpc-1\": from \"yesterday\" is not a time in UTC; an example: \"2026-02-18T03:00:00Z\"\n",
            file.display()
        )
    );
}

#[test]
fn the_active_accounts_of_an_organization_are_read_with_a_role_in_each() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("names.json");
    let account = |id: &str, state: &str| {
        let arn = format!("arn:aws:organizations::111111111111:account/o-exampleorgid/{id}");
        json!({ "Id": id, "Arn": arn, "State": state })
    };
    // The page in the middle is empty, and the last one is throttled once.
    let mut listed = 0;
    let endpoint = server_of_requests(move |request| {
        let is_signed = |scope: &str| assert!(request.head.contains(scope), "{}", request.head);
        match &*request.action {
            "ListAccounts" => {
                is_signed("/us-east-1/organizations/aws4_request");
                let token = serde_json::from_str::<Value>(&request.body).unwrap()["NextToken"].clone();
                listed += 1;
                match (token.as_str(), listed) {
                    (None, _) => {
                        let own = [account("111111111111", "ACTIVE"), account("444444444444", "SUSPENDED")];
                        (200, json!({ "Accounts": own, "NextToken": "one" }).to_string())
                    }
                    (Some("one"), _) => (200, json!({ "Accounts": [], "NextToken": "two" }).to_string()),
                    (Some("two"), 3) => (400, r#"{"__type": "TooManyRequestsException"}"#.to_owned()),
                    (Some("two"), _) => {
                        let others = [account("333333333333", "ACTIVE"), account("222222222222", "ACTIVE")];
                        (200, json!({ "Accounts": others, "NextToken": null }).to_string())
                    }
                    other => panic!("{other:?}"),
                }
            }
            "AssumeRole" if request.body.contains("iam%3A%3A222222222222%3Arole%2Freader") => {
                let credentials = "<AccessKeyId>222222222222</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                    <SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>";
                let result =
                    format!("<AssumeRoleResult><Credentials>{credentials}</Credentials></AssumeRoleResult>");
                (200, format!("<AssumeRoleResponse>{result}</AssumeRoleResponse>"))
            }
            "AssumeRole" => {
                let error = "<Error><Code>AccessDenied</Code><Message>not allowed</Message></Error>";
                (403, format!("<ErrorResponse>{error}</ErrorResponse>"))
            }
            action => {
                is_signed("/eu-west-1/");
                (200, nothing(action, request.key()))
            }
        }
    });
    let environment = environment(&endpoint).into_iter().map(|(name, value)| {
        let key = name == "AWS_ACCESS_KEY_ID";
        (name, if key { "111111111111".to_owned() } else { value })
    });
    let environment: Vec<_> = environment.collect();
    let args = ["names", "--output", file.to_str().unwrap(), "--organization", "--role-name", "reader"];
    let ran = flowherd_in(PROGRAM, environment.clone(), args);
    assert_eq!((ran.status, ran.stderr.lines().count()), (1, 1), "{ran:?}");
    let why = "flowherd: account 333333333333, region ?, role reader: cannot load the credentials";
    assert!(ran.stderr.starts_with(why), "{ran:?}");
    assert!(
        ran.stderr.contains("not allowed") && ran.stderr.ends_with(". Its former names stay\n"),
        "{ran:?}"
    );
    let sources = json_of(&file)["sources"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(sources, ["111111111111/eu-west-1", "222222222222/eu-west-1"]);

    let twice = ["names", "--organization", "--role-arn", "arn:aws:iam::222222222222:role/r"];
    assert_eq!(flowherd_in(PROGRAM, environment, twice).status, 2);
    let denied = r#"{"__type": "com.amazonaws.organizations#AccessDeniedException", "Message": "no"}"#;
    let endpoint = server_of_requests(move |request| match &*request.action {
        "ListAccounts" => (400, denied.to_owned()),
        action => (200, nothing(action, "111111111111")),
    });
    let ran = flowherd_in(PROGRAM, self::environment(&endpoint), args);
    let expected = "flowherd: cannot list the accounts of the organization; nothing was read: ListAccounts is refused: \
        AccessDeniedException: no\n";
    assert_eq!((ran.status, &*ran.stderr), (1, expected));
}
