//! Digests of the outputs of a fixed corpus: every record format and every codec. The snapshot shows which formats a change
//! of code affects.

use std::fmt::Write;

use flowherd_shared::{
    config::Config,
    names::NameIndex,
    pipeline::{self, Output, RunConfig},
};
use flowherd_tests::{
    compress::CODECS,
    objects::{FLOW, NAMES, envelope, envelope_of, event},
};
use sha2::{Digest, Sha256};

use super::generate::CONFIG;

/// Keys that select each record format of `CONFIG`.
const KEYS: [&str; 5] = ["plain/x", "json/x", "strict/x", "text/x", "firehose/x"];

/// An object whose output takes several gzip members. It is read by one rule and in one codec.
const MANY_MEMBERS: &str = "many-members";

/// An output: its path, its row count, and its gzipped bytes.
type Written = (String, u64, Vec<u8>);

fn plan() -> RunConfig {
    // Most records are rejected on purpose.
    let config = format!("{CONFIG}\n[limits]\nmax_reject_percent = 100\n");
    RunConfig::new(Config::parse(&config).unwrap(), NameIndex::parse(NAMES.as_bytes()).unwrap())
}

/// Lines and messages that rules accept, repair or reject.
fn messages() -> Vec<String> {
    let texts = [
        FLOW,
        "2 123456789012 eni-1 2001:db8::5 2001:db8:ffff::7 34892 53 6 54 8855 1580515200 1580515260 ACCEPT OK",
        "2 123456789012 eni-3 - - - - - - - 1580515200 1580515260 - NODATA",
        "2 unknown eni-9 10.0.0.5 10.1.0.1 1 2 6 1 40 1580515200 1580515260 ACCEPT OK",
        "vpc-2 subnet-3 eni-1 10.1.2.9 10.0.0.1 1580515200 egress 8",
        r#"{"action":"BLOCK","httpRequest":{"clientIp":"192.0.2.9","headers":[{"name":"User-Agent","value":"a \"quoted\", one"}]},"labels":null}"#,
        r#"{"action":"ALLOW","httpRequest":{"clientIp":"2001:db8::9"},"timestamp":1580515200000}"#,
        r#"{"action":"a,b\nc\u0000d","httpRequest":{"clientIp":"=1+1"}}"#,
        r#"{"httpRequest":{}}"#,
        r#"{"action":1,"action":2}"#,
        r#"{"action":"lone \ud800 surrogate"}"#,
        "WARN 10.0.0.1 -> evil.example:443",
        "INFO a,b -> \"c\"",
        "WARN too many words here",
        "2 123456789012 eni-1 10.0.0.5",
        "",
        "\u{e9}\u{4e2d}\u{1f500} = \t,\"",
    ];
    texts.map(str::to_owned).to_vec()
}

/// Objects by name, uncompressed.
fn objects() -> Vec<(&'static str, Vec<u8>)> {
    let messages = messages();
    let groups = ["vpc-flow-logs-a", "vpc-five", "aws-waf-logs-x", "/ids/suricata", "no-rule"];
    let events = |from: i64| -> Vec<String> {
        (from..).zip(&messages).map(|(at, message)| event(1_580_515_200_000 + at, message)).collect()
    };
    let envelopes: String =
        groups.iter().zip(0..).map(|(group, at)| envelope(group, &events(at * 100))).collect();
    let control = envelope_of("CONTROL_MESSAGE", "", &[event(1, "CWL CONTROL MESSAGE: Checking health")]);
    let lines: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let broken = b"\xff\xfe broken \xc3\n{\"action\":\"\xff\"}\nWARN \xff -> b\n";
    let header = format!(
        "interface-id dstaddr srcaddr start end action\neni-2 10.1.2.3 10.0.0.1 1580515200 1580515260 ACCEPT\n{FLOW}\n"
    );
    let many: Vec<String> = (0_i64..40_000)
        .map(|at| {
            let [packets, port] = [at * 7919 % 1000, 1024 + at * 104_729 % 60_000];
            let flow = FLOW.replacen("49152", &port.to_string(), 1).replacen(
                "20 4249",
                &format!("{packets} {}", at * 31),
                1,
            );
            event(1_580_515_200_000 + at, &flow)
        })
        .collect();
    vec![
        ("empty", Vec::new()),
        ("envelopes", (envelopes.clone() + &control).into_bytes()),
        ("lines", lines.clone().into_bytes()),
        ("flow-log-with-header", header.into_bytes()),
        ("invalid-utf8", [lines.as_bytes(), broken].concat()),
        ("mixture", [lines.as_bytes(), envelopes.as_bytes(), b"\n", broken, envelopes.as_bytes()].concat()),
        (MANY_MEMBERS, envelope("vpc-flow-logs-a", &many).into_bytes()),
    ]
}

/// Returns the outputs, or the kind of the error.
fn convert(object: &[u8], key: &str, plan: &RunConfig) -> Result<Vec<Written>, String> {
    let finished = pipeline::run(object, key, plan, |_| Ok(Vec::new()))
        .map_err(|error| error.to_string().split(':').next().unwrap_or_default().to_owned())?;
    let written = |(output, bytes): (Output, Vec<u8>)| (output.path, output.rows, bytes);
    Ok(finished.outputs.into_iter().map(written).collect())
}

#[test]
fn outputs_of_the_fixed_corpus_keep_their_digests_under_every_codec() {
    let plan = plan();
    let mut digests = String::new();
    for (name, object) in objects() {
        let is_large = name == MANY_MEMBERS;
        for key in if is_large { &KEYS[4..] } else { &KEYS } {
            let written = convert(&object, key, &plan);
            for (codec, compress) in if is_large { &CODECS[..1] } else { &CODECS } {
                let layer = compress(&object);
                assert_eq!(convert(&layer, key, &plan), written, "{name} as {codec} under {key}");
            }
            match written {
                Ok(outputs) => {
                    for (path, rows, bytes) in outputs {
                        let digest = Sha256::digest(&bytes);
                        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                        writeln!(digests, "{name} {path} {rows} {digest}").unwrap();
                    }
                }
                Err(kind) => writeln!(digests, "{name} {key} fails: {kind}").unwrap(),
            }
        }
    }
    insta::assert_snapshot!(digests);
}
