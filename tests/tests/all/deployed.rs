//! The stack with its functions, deployed to the local cloud by `cdk deploy`, and the commands that read its outputs.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use flowherd_aws::s3::Bucket;
use flowherd_shared::store::{Lister, Store};
use flowherd_tests::{
    command::{Ran, files_below, flowherd_in},
    ledger::outputs,
    local_cloud::{LocalCloud, wait_until},
    objects::{FLOW, gunzip},
    python_server::python,
};
use serde_json::{Value, json as value};

use super::{
    cloud::{COORDINATOR, WORKER},
    place::{PROGRAM, Place},
};

pub(crate) struct Deployed {
    pub(crate) cloud: LocalCloud,
    pub(crate) place: Place,
}

impl Deployed {
    fn new(objects: u32, records: u32) -> Self {
        Self::with(Place::synth(objects, records, &["--malformed", "3"]), &[])
    }

    /// Deploys the stack. The archive is `in/firehose`; `tables` are arguments of `flowherd sql`.
    pub(crate) fn with(place: Place, tables: &[&str]) -> Self {
        let names = format!("namesFile={}", place.path("in/names.json").display());
        Self::with_settings(place, tables, &[names])
    }

    /// Deploys the stack with more settings of the CDK.
    pub(crate) fn with_settings(place: Place, tables: &[&str], settings: &[String]) -> Self {
        let cloud = LocalCloud::start();
        let source = cloud.bucket("archive");
        for key in files_below(&place.path("in/firehose")) {
            let object = fs::read(place.path("in/firehose").join(&key)).unwrap();
            source.put(&format!("firehose/{key}"), &object).unwrap();
        }
        functions(&place);
        let deployed = Self { cloud, place };
        let tables = deployed.flowherd(&[&["sql", "--dialect", "glue"], tables].concat());
        assert_eq!(tables.status, 0, "{tables:?}");
        deployed.place.file("tables.json", tables.stdout.as_bytes());
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("cdk");
        // Where no app is, the command does not synthesize one first.
        deployed.cdk(&deployed.place.path(""), &["bootstrap", "aws://000000000000/us-east-1"]);
        let settings = deployed.settings().into_iter().chain(settings.iter().cloned());
        let settings: Vec<_> = settings.flat_map(|setting| ["-c".to_owned(), setting]).collect();
        let settings = settings.iter().map(String::as_str);
        let deploy = ["deploy", "--require-approval", "never"].into_iter().chain(settings);
        deployed.cdk(&app, &deploy.collect::<Vec<_>>());
        deployed
    }

    fn settings(&self) -> [String; 6] {
        let path = |name: &str| self.place.path(name).to_str().unwrap().to_owned();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        [
            "sourceBucket=archive".to_owned(),
            "prefixes=firehose/".to_owned(),
            "localCloud=true".to_owned(),
            format!("architecture={architecture}"),
            format!("artifacts={}", path("functions")),
            format!("tables={}", path("tables.json")),
        ]
    }

    fn cdk(&self, directory: &Path, args: &[&str]) {
        let path = |name: &str| self.place.path(name).to_str().unwrap().to_owned();
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("cdk/node_modules/.bin/cdk");
        assert!(program.exists(), "no {}: `make test` installs it", program.display());
        let output = Command::new(program)
            .args(args)
            .args(["--ci", "--no-notices", "--output", &path("cdk.out")])
            .current_dir(directory)
            .envs(self.cloud.environment())
            .env("CDK_HOME", path("cdk-home"))
            .env("CDK_DISABLE_CLI_TELEMETRY", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn flowherd(&self, args: &[&str]) -> Ran {
        flowherd_in(PROGRAM, self.cloud.environment(), args)
    }

    /// Returns the results bucket, whose name a run's report contains.
    pub(crate) fn results(&self, run: &str) -> Bucket {
        let report = self.flowherd(&["report", run]);
        let (_, rest) = report.stdout.split_once("s3://").unwrap_or_else(|| panic!("{report:?}"));
        self.cloud.aws().bucket(rest.split('/').next().unwrap(), None)
    }

    /// Returns all outputs of the fleet.
    pub(crate) fn outputs(&self, run: &str) -> BTreeMap<String, Vec<u8>> {
        outputs(&self.results(run))
    }
}

/// Writes both functions below `functions/`, as the setting `artifacts` expects them.
pub(crate) fn functions(place: &Place) {
    for (name, program) in [("coordinator", COORDINATOR), ("worker", WORKER)] {
        let directory = place.path(&format!("functions/flowherd-{name}"));
        fs::create_dir_all(&directory).unwrap();
        let stripped = Command::new("strip").arg("-o").arg(directory.join("bootstrap")).arg(program).status();
        assert!(stripped.expect("strip starts").success());
    }
}

pub(crate) fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_deployed_stack_runs_a_day_by_its_step_loop_and_answers_queries() {
    let deployed = Deployed::new(20, 50);
    let ran = deployed.flowherd(&["run", "--prefix", "firehose/", "--run", "monday", "--watch", "--json"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let names = deployed.place.path("in/names.json");
    let local = deployed.place.report_done(&["--prefix", "firehose/", "--names", names.to_str().unwrap()]);
    for part in ["objects", "records", "tables", "rejects", "bytes"] {
        assert_eq!(json(&ran)[part], local[part], "{part}");
    }
    assert!(
        deployed.outputs("monday") == deployed.place.results(),
        "the outputs differ from those of convert"
    );

    let answer = deployed.flowherd(&["query", "--json", "SELECT count(*) AS flows FROM vpc_flow_text"]);
    assert_eq!((answer.status, &json(&answer)[0]["flows"]), (0, &local["records"]["rows"]), "{answer:?}");
    let csv = deployed.flowherd(&["query", "--csv", "SELECT 'a,b' AS x, '-' AS y"]);
    assert_eq!(csv.stdout, "x,y\n\"a,b\",-\n");
    let wrong = deployed.flowherd(&["query", "SELECT nothing FROM nowhere"]);
    assert_eq!(wrong.status, 1);
    assert!(wrong.stderr.contains("nowhere") && wrong.stderr.contains("query "), "{wrong:?}");

    // Before the step loop, because the resumed run decides the fleet.
    let refused = deployed.flowherd(&["run", "--resume", "tuesday", "--watch"]);
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(refused.stderr.contains("no run named \"tuesday\""), "{refused:?}");
    refused_runs_are_explained(&deployed);
    let unknown = deployed.flowherd(&["status", "--stack", "Nobody"]);
    assert_eq!(unknown.status, 2);
    assert!(unknown.stderr.contains("no stack \"Nobody\""), "{unknown:?}");
}

/// Without --watch too: the command waits for the begin, and `status` and `report` ask the execution.
fn refused_runs_are_explained(deployed: &Deployed) {
    let args = ["run", "--resume", "monday", "--prefix", "firehose/other/", "--run", "refused"];
    let refused = deployed.flowherd(&args);
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("the run is refused: run monday has prefix \"firehose/\""),
        "{refused:?}"
    );
    for command in ["status", "report"] {
        let explained = deployed.flowherd(&[command, "refused"]);
        assert_eq!(explained.status, 2, "{explained:?}");
        assert!(
            explained.stderr.contains("run refused was refused: run monday has prefix \"firehose/\""),
            "{explained:?}"
        );
    }
    for name in ["monday", "refused"] {
        let taken = deployed.flowherd(&["run", "--prefix", "firehose/", "--run", name]);
        assert_eq!(taken.status, 2, "{taken:?}");
        assert!(taken.stderr.contains(&format!("run name \"{name}\" is taken")), "{taken:?}");
    }
    let begun = deployed.flowherd(&["run", "--prefix", "firehose/", "--run", "wednesday"]);
    assert_eq!(begun.status, 0, "{begun:?}");
    assert!(begun.stdout.starts_with("run wednesday has begun: "), "{begun:?}");
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_deployed_stack_reports_a_damaged_object_and_processes_it_after_repair_and_redrive() {
    let deployed = Deployed::new(5, 20);
    let source = deployed.cloud.aws().bucket("archive", None);
    let key = source.page("firehose/", None).unwrap().entries[0].key.clone();
    let whole = Store::get(&source, &key).unwrap().unwrap();
    source.put(&key, &whole[..whole.len() - 3]).unwrap();
    let ran = deployed.flowherd(&["run", "--prefix", "firehose/", "--run", "monday", "--watch", "--json"]);
    assert_eq!((ran.status, &json(&ran)["objects"]["failed"]), (1, &1.into()), "{ran:?}");
    source.put(&key, &whole).unwrap();
    // The report needs only the failure. Its message becomes a dead-letter message some deliveries later.
    wait_until("the dead letter is there", || {
        deployed.flowherd(&["status"]).stdout.contains(" 0 in flight, 1 dead-letter message\n")
    });
    let ran = deployed.flowherd(&["redrive", "--watch", "--json"]);
    assert_eq!((ran.status, &json(&ran)["objects"]["done"]), (0, &5.into()), "{ran:?}");
}

/// Creates an account's role with the template for member accounts and a network interface in each account, or invokes the
/// coordinator with the input of the schedule. Prints JSON.
const NAMES: &str = r"
import json, sys, botocore.session
def client(service, key='test'):
    return botocore.session.get_session().create_client(
        service, region_name='us-east-1', endpoint_url=sys.argv[1], aws_access_key_id=key, aws_secret_access_key='test')
if sys.argv[2] == 'create':
    interfaces = []
    for key in ['test', '210987654321']:
        ec2 = client('ec2', key)
        vpc = ec2.create_vpc(CidrBlock='10.7.0.0/16')['Vpc']['VpcId']
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock='10.7.1.0/24')['Subnet']['SubnetId']
        interface = ec2.create_network_interface(SubnetId=subnet, Description='of ' + key)
        interfaces.append(interface['NetworkInterface']['NetworkInterfaceId'])
    stack = client('cloudformation').describe_stacks(StackName='Flowherd')['Stacks'][0]
    outputs = {output['OutputKey']: output['OutputValue'] for output in stack['Outputs']}
    trusted = {'ParameterKey': 'TrustedPrincipal', 'ParameterValue': outputs['CoordinatorRole']}
    client('cloudformation', '210987654321').create_stack(
        StackName='names', TemplateBody=open(sys.argv[3]).read(), Parameters=[trusted], Capabilities=['CAPABILITY_NAMED_IAM'])
    client('iam', '210987654321').get_role(RoleName='flowherd-names')
    print(json.dumps(interfaces))
else:
    scheduler = client('scheduler')
    [schedule] = scheduler.list_schedules()['Schedules']
    target = scheduler.get_schedule(Name=schedule['Name'])['Target']
    answer = client('lambda').invoke(FunctionName=target['Arn'], Payload=target['Input'])
    print(answer['Payload'].read().decode())
";

fn names(deployed: &Deployed, arguments: &[&str]) -> Value {
    let mut command = Command::new(python());
    let ran = command.args(["-c", NAMES, &deployed.cloud.endpoint]).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_deployed_stack_refreshes_the_names_of_two_accounts_and_runs_use_them() {
    let role = "arn:aws:iam::210987654321:role/flowherd-names";
    let settings = ["namesRefresh=true".to_owned(), format!("namesRoleArns={role}")];
    let deployed = Deployed::with_settings(Place::synth(1, 1, &[]), &[], &settings);
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("cdk/member-role.yaml");
    let interfaces = names(&deployed, &["create", template.to_str().unwrap()]);
    let lines =
        interfaces.as_array().unwrap().iter().map(|id| FLOW.replace("eni-1", id.as_str().unwrap()) + "\n");
    let source = deployed.cloud.aws().bucket("archive", None);
    source.put("firehose/mine/flows", lines.collect::<String>().as_bytes()).unwrap();
    let run = |name: &str| {
        let ran =
            deployed.flowherd(&["run", "--prefix", "firehose/mine/", "--run", name, "--watch", "--json"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        (json(&ran), ran.stderr)
    };
    let (report, stderr) = run("before");
    assert_eq!(report["warnings"], value!([{ "kind": "names-not-read", "count": 2 }]));
    assert!(stderr.contains("rows without names: 2. names/names.json did not exist"), "{stderr}");

    let answer = names(&deployed, &["refresh"]);
    assert_eq!((&answer["failures"], &answer["written"]), (&value!([]), &true.into()), "{answer}");
    let accounts: Vec<&Value> =
        answer["sources"].as_array().unwrap().iter().map(|source| &source["account"]).collect();
    assert_eq!(accounts, ["000000000000", "210987654321"], "{answer}");
    let again = names(&deployed, &["refresh"]);
    assert_eq!(again["written"], false, "{again}");

    let (report, _) = run("after");
    assert_eq!(report["warnings"], value!([]));
    let outputs = deployed.outputs("after");
    let rows = outputs.iter().find(|(path, _)| path.ends_with("firehose/mine/flows.csv.gz")).unwrap().1;
    let rows = String::from_utf8(gunzip(rows)).unwrap();
    assert!(rows.contains(",of test,") && rows.contains(",of 210987654321,"), "{rows}");
}

const ENRICHED: &str = r#"
[[rule]]
name = "flow"
table = "vpc_flow"
format = { kind = "vpc-flow" }
[[enrich]]
file = "lists/hosts.csv"
key = "block"
match = "cidr"
on = ["srcaddr"]
columns = { host = "name" }
[[enrich]]
file = "s3://lists/bad.txt"
match = "cidr"
on = ["dstaddr"]
column = "is_bad"
"#;

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_deployed_stack_has_the_enrichment_files_that_its_configuration_names() {
    let place = Place::synth(1, 1, &[]);
    let config = place.path("flowherd.toml");
    place.file("flowherd.toml", ENRICHED.as_bytes());
    place.file("lists/hosts.csv", b"block,name\n10.1.0.0/16,everyone\n10.1.2.0/24,web\n");
    let settings = [format!("configFile={}", config.display())];
    let deployed = Deployed::with_settings(place, &["--config", config.to_str().unwrap()], &settings);
    deployed.cloud.bucket("lists").put("bad.txt", b"192.0.2.0/24\n").unwrap();
    let flows = [("10.1.2.3", "192.0.2.9"), ("10.1.3.3", "198.51.100.1")].map(|(from, to)| {
        format!("2 123456789012 eni-1 {from} {to} 1 2 6 1 40 1771372800 1771372860 ACCEPT OK\n")
    });
    let source = deployed.cloud.aws().bucket("archive", None);
    source.put("firehose/mine/flows", flows.concat().as_bytes()).unwrap();
    let ran = deployed.flowherd(&["run", "--prefix", "firehose/mine/", "--run", "r", "--watch", "--json"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let outputs = deployed.outputs("r");
    let rows = outputs.iter().find(|(path, _)| path.ends_with("firehose/mine/flows.csv.gz")).unwrap().1;
    let rows = String::from_utf8(gunzip(rows)).unwrap();
    let ends: Vec<Vec<&str>> = rows.lines().skip(1).map(|row| row.rsplit(',').take(2).collect()).collect();
    assert_eq!(ends, [["true", "web"], ["false", "everyone"]], "{rows}");
}
