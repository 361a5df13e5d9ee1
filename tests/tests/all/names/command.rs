//! `flowherd names`: what it reads, and the file that it replaces.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    thread,
};

use flowherd_tests::{
    command::{Ran, flowherd_in},
    local_cloud::LocalCloud,
    objects::{convert, envelope, event},
    python_server::python,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{MIDNIGHT, PROGRAM, plan};

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

pub(super) fn json_of(file: &Path) -> Value {
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
    let row = ran.stdout.lines().find(|line| line.starts_with("000000000000  us-east-1  environment"));
    assert!(row.is_some_and(|row| row.split_whitespace().nth(3) == Some("2")), "{ran:?}");
    let first = json_of(&file);
    assert_eq!(first["vpcs"][vpc]["name"], "prod");
    assert_eq!(first["subnets"][subnet]["name"], "public-a");
    assert_eq!(first["subnets"][subnet]["cidrs"], json!(["10.7.1.0/24"]));
    assert_eq!(first["interfaces"][web]["description"], "web");
    assert_eq!(first["interfaces"][plain]["description"], "AWS Lambda VPC ENI-f");
    assert!(first["interfaces"][web]["from"].is_string());

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
    let (counts, outputs) = convert(object.as_bytes(), "k", &plan(&names)).unwrap();
    assert!(outputs[0].1.ends_with(",web,public-a,prod,public-a,-\n"), "{}", outputs[0].1);
    // The row is older than all readings.
    assert_eq!(counts.named_by_guess, 1);
}

/// A request to a server: its action, head and body.
pub(super) struct Request {
    pub(super) action: String,
    pub(super) head: String,
    pub(super) body: String,
}

impl Request {
    /// Returns the access key that signed the request.
    pub(super) fn key(&self) -> &str {
        self.head.split_once("Credential=").unwrap().1.split('/').next().unwrap()
    }
}

/// Starts a server that ends with the test process. Returns its address. `respond` receives an action.
fn server(respond: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    server_of_requests(move |request| respond(&request.action))
}

/// Starts a server as [`server`] does. `respond` receives the whole request.
pub(super) fn server_of_requests(
    mut respond: impl FnMut(&Request) -> (u16, String) + Send + 'static,
) -> String {
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

/// Returns an empty list, or the account.
pub(super) fn empty(action: &str, account: &str) -> String {
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

pub(super) fn environment(endpoint: &str) -> [(&'static str, String); 4] {
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
        "{place} instances: {} Interfaces keep their former names; those of new interfaces are provisional\n{place} subnets: {} The former names stay\n",
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
    let profile = |name: &str, account: &str| {
        format!("[profile {name}]\naws_access_key_id = {account}\naws_secret_access_key = s\n")
    };
    fs::write(&profiles, profile("one", "111111111111") + &profile("two", "222222222222")).unwrap();
    // The key is the account.
    let endpoint = server_of_requests(|request| (200, empty(&request.action, request.key())));
    let environment = environment(&endpoint).into_iter();
    let environment = environment.chain([("AWS_CONFIG_FILE", profiles.to_str().unwrap().to_owned())]);
    let args = ["names", "--output", file.to_str().unwrap(), "--profile", "one", "--profile", "two"];
    let ran = flowherd_in(PROGRAM, environment.clone(), args);
    assert_eq!(ran.status, 0, "{ran:?}");
    for row in ["111111111111  eu-west-1  profile one", "222222222222  eu-west-1  profile two"] {
        assert!(ran.stdout.contains(row), "{ran:?}");
    }
    let args = ["names", "--output", file.to_str().unwrap(), "--profile", "none"];
    let ran = flowherd_in(PROGRAM, environment, args);
    assert_eq!((ran.status, ran.stderr.lines().count()), (1, 2), "{ran:?}");
    assert!(
        ran.stderr.contains("profile none: cannot load the credentials; check the profile and the role"),
        "{ran:?}"
    );
}

/// Returns a response with the credentials of an assumed role, whose key is its account
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).
fn assumed_role() -> String {
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
        <AccessKeyId>333333333333</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
        <Expiration>2040-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::333333333333:\
        assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
        .to_owned()
}

#[test]
fn a_profile_assumes_its_role_in_its_region() {
    let dir = TempDir::new().unwrap();
    let (file, profiles) = (dir.path().join("names.json"), dir.path().join("config"));
    let config = "[profile member]\nrole_arn = arn:aws:iam::333333333333:role/r\nsource_profile = base\nregion = eu-north-1\n\
        [profile base]\naws_access_key_id = 111111111111\naws_secret_access_key = s\n";
    fs::write(&profiles, config).unwrap();
    let endpoint = server_of_requests(|request| {
        let action = &*request.action;
        let (_, scope) = request.head.split_once("Credential=").unwrap();
        let scope: Vec<&str> = scope.split('/').collect();
        let expected = if action == "AssumeRole" { "111111111111" } else { "333333333333" };
        assert_eq!((scope[0], scope[2]), (expected, "eu-north-1"), "{action}");
        (200, if action == "AssumeRole" { assumed_role() } else { empty(action, scope[0]) })
    });
    // Without a region in the environment.
    let environment = environment(&endpoint).into_iter().filter(|(name, _)| *name != "AWS_REGION");
    let environment = environment.chain([("AWS_CONFIG_FILE", profiles.to_str().unwrap().to_owned())]);
    let args = ["names", "--output", file.to_str().unwrap(), "--profile", "member"];
    let ran = flowherd_in(PROGRAM, environment, args);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.contains("333333333333  eu-north-1  profile member"), "{ran:?}");
}

#[test]
fn the_region_is_that_of_the_command_or_else_of_the_environment_or_else_of_the_profile() {
    let dir = TempDir::new().unwrap();
    let (file, profiles) = (dir.path().join("names.json"), dir.path().join("config"));
    let config = "[default]\nregion = eu-north-1\n[profile plain]\naws_access_key_id = test\naws_secret_access_key = s\n";
    fs::write(&profiles, config).unwrap();
    // Runs the command on a server that accepts requests of one region only.
    let names = |expected: &'static str, of_environment: Option<&str>, args: &[&str]| {
        let endpoint = server_of_requests(move |request| {
            let (_, scope) = request.head.split_once("Credential=").unwrap();
            assert_eq!(scope.split('/').nth(2), Some(expected), "{}", request.action);
            (200, empty(&request.action, "123456789012"))
        });
        let environment = environment(&endpoint).into_iter().filter(|(name, _)| *name != "AWS_REGION");
        let region = of_environment.map(|region| ("AWS_REGION", region.to_owned()));
        let more = [
            ("AWS_CONFIG_FILE", profiles.to_str().unwrap().to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        let args = ["names", "--output", file.to_str().unwrap()].into_iter().chain(args.iter().copied());
        flowherd_in(PROGRAM, environment.chain(more).chain(region), args)
    };
    for (expected, of_environment, args) in [
        ("ap-south-1", Some("eu-west-1"), &["--region", "ap-south-1"][..]),
        ("eu-west-1", Some("eu-west-1"), &[]),
        ("eu-north-1", None, &[]),
        ("eu-west-1", Some("eu-west-1"), &["--profile", "plain"]),
    ] {
        let ran = names(expected, of_environment, args);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stdout.contains(&format!("123456789012  {expected}  ")), "{ran:?}");
    }
    // A profile does not take the region of another one.
    let ran = names("none", None, &["--profile", "plain"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    let reason = "no region; add --region, such as --region eu-west-1, or set AWS_REGION";
    assert!(ran.stderr.contains(reason), "{ran:?}");
}

/// A server whose account has a VPC.
fn server_with_a_vpc(before: impl Fn() + Send + 'static) -> String {
    server(move |action| {
        before();
        let vpc = "<R><vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet></R>";
        (200, if action == "DescribeVpcs" { vpc.to_owned() } else { empty(action, "123456789012") })
    })
}

#[test]
fn a_linked_file_is_replaced_where_it_is_and_keeps_its_mode() {
    let dir = TempDir::new().unwrap();
    let [target, link] = ["target.json", "link.json"].map(|name| dir.path().join(name));
    fs::write(&target, "{}").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&target, &link).unwrap();
    let ran = names(environment(&server_with_a_vpc(|| {})), &link);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(link.is_symlink());
    assert!(json_of(&target)["vpcs"]["vpc-1"].is_object());
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file remains");
    // A link to a file that does not exist.
    fs::remove_file(&target).unwrap();
    let ran = names(environment(&server(|action| panic!("{action}"))), &link);
    assert_eq!(ran.status, 2, "{ran:?}");
}

#[test]
fn a_file_that_another_process_changes_meanwhile_is_not_replaced() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("names.json");
    let changed = file.clone();
    let endpoint = server_with_a_vpc(move || fs::write(&changed, "{\"vpcs\": {}}").unwrap());
    let ran = names(environment(&endpoint), &file);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("another process changed it while the names were read; run the command again"),
        "{ran:?}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"vpcs\": {}}");
}

#[test]
fn a_file_that_cannot_be_replaced_is_refused_before_any_request() {
    let dir = TempDir::new().unwrap();
    let absent = dir.path().join("absent").join("names.json");
    let ran = names(environment(&server(|action| panic!("{action}"))), &absent);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.starts_with(&format!("flowherd: cannot write {}: ", absent.display())), "{ran:?}");
    // Names of a time after that of the clock.
    let file = dir.path().join("names.json");
    fs::write(&file, r#"{"vpcs": {"vpc-1": {"source": "1/r", "from": "2100-01-01T00:00:00Z"}}}"#).unwrap();
    let ran = names(environment(&server(|action| panic!("{action}"))), &file);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.contains("but the file has names of 2100-01-01T00:00:00.000Z"), "{ran:?}");
}

#[test]
fn entries_that_ended_before_the_given_time_are_removed() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("names.json");
    let ended =
        |id: &str, until: &str| format!(r#""{id}": {{"source": "1/r", "until": "{until}T00:00:00Z"}}"#);
    let [old, new] = [ended("vpc-8", "2024-01-01"), ended("vpc-9", "2024-01-03")];
    fs::write(&file, format!(r#"{{"vpcs": {{{old}, {new}}}}}"#)).unwrap();
    let environment = environment(&server_with_a_vpc(|| {})).into_iter();
    let args = ["names", "--output", file.to_str().unwrap(), "--forget-before", "2024-01-02"];
    let ran = flowherd_in(PROGRAM, environment, args);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.ends_with("names.json: 1 id new, 1 entry removed\n"), "{ran:?}");
    let ids = json_of(&file)["vpcs"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids, ["vpc-1", "vpc-9"]);
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
