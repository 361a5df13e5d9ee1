//! Input that is not a log, or that is made to break the command or its output.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use flowherd_tests::{
    command::flowherd,
    objects::{FLOW, envelope, event, gzip},
};
use serde_json::Value;

use super::{super::promises::within, PROGRAM, Place, convert_with, converts_all, suggest, suggested};

/// Kibibytes of memory that the command may take: 32 MiB of text, and what is kept of its records.
const MEMORY_KIB: u32 = 192 << 10;

/// Runs the command with bounded memory, and returns its status, standard output and standard error.
fn suggest_in_bounded_memory(place: &Place) -> (Option<i32>, String, String) {
    let args = ["suggest".to_owned(), place.path("in").to_str().unwrap().to_owned()];
    let output = within(MEMORY_KIB, &args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn files_that_are_no_logs_end_with_a_message_each_and_status_1() {
    let place = Place::new();
    let good = gzip(FLOW.repeat(1000).as_bytes());
    place.object("cut.gz", &good[..good.len() - 10]);
    place.object("picture", b"PAR1\x00\x00\x00\x00\x01\x02\x03\x04");
    place.object("line", &b"x".repeat(20 << 20));
    let (status, stdout, stderr) = suggest_in_bounded_memory(&place);
    assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
    for message in [
        "in/cut.gz: truncated: ",
        "in/line: its first record has more than 8388608 bytes, so it is not in the sample",
        "in/picture: not text: this is Parquet",
        "no records found: ",
    ] {
        assert!(stderr.contains(message), "{message}: {stderr}");
    }
    assert!(stderr.lines().all(|line| line.starts_with("flowherd: ")), "{stderr}");
}

#[test]
fn a_damaged_file_does_not_affect_others() {
    let place = Place::new();
    let good = gzip(format!("{FLOW}\n").repeat(10).as_bytes());
    place.object("flow/cut.gz", &good[..good.len() - 10]).object("flow/good.gz", &good);
    let ran = suggest(&place);
    assert!(ran.status == 0 && ran.stdout.contains("preset = \"vpc-flow\""), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("cut.gz: truncated: "), "{}", ran.stderr);
}

#[test]
fn memory_is_bounded_whatever_the_sample() {
    let many_members: String = (0..200_000).map(|member| format!("\"m{member}\":{member},")).collect();
    let place = Place::new();
    place.object("members", format!("{{{many_members}\"x\":1}}\n").as_bytes());
    place.object("deep", format!("{}{}\n", "{\"a\":".repeat(1000), "[".repeat(1000)).as_bytes());
    place.object("flat", b"{\"a\":1}".repeat(1 << 17).as_slice());
    let groups: Vec<String> = (0..3000)
        .map(|number| envelope(&format!("/group/{number:x}-{}", "x".repeat(400)), &[event(1, "text")]))
        .collect();
    place.object("groups", groups.concat().as_bytes());
    for number in 0..300 {
        place.object(
            &format!("many/{number}"),
            &gzip(format!("{{\"text\":\"{}\"}}\n", "x".repeat(1 << 17)).as_bytes()),
        );
    }
    let (status, stdout, stderr) = suggest_in_bounded_memory(&place);
    assert!(status == Some(0) && !stdout.is_empty(), "{stderr}");
    let is_part = stderr.contains(" of 304 files") && !stderr.contains("sampled 304");
    assert!(is_part, "{stderr}");
}

#[test]
fn an_object_with_more_than_a_thousand_members_gets_a_hundred_columns() {
    let members: Vec<String> = (0..2000).map(|member| format!("\"m{member}\":{member}")).collect();
    let place = Place::new();
    place.object("members/a", format!("{{{}}}\n", members.join(",")).as_bytes());
    let (rules, _) = converts_all(&place);
    assert!(rules.contains(": JSON objects with 100 of more than 1000 members as columns: "), "{rules}");
    assert_eq!(rules.matches("  { name = ").count(), 100, "{rules}");
}

#[test]
fn hostile_names_are_strings_of_the_output_and_nothing_else() {
    let place = Place::new();
    let group = Value::from("a\"]\n[[rule]]\nname = \"evil\"\u{202e}'''").to_string();
    let text =
        envelope(group.trim_matches('"'), &[event(1, "{\"a\\u0000\\\"]\\n[x]\":1,\"\\u202e\":2,\"\":3}")]);
    place.object("q\"]\n[[rule]]/x'y", text.as_bytes());
    place.object("q\"]\n[[rule]]/x'z", b"{\"b\":1}\n");
    let (rules, report) = converts_all(&place);
    assert_eq!(report["records"]["rows"], 2);
    assert_eq!(rules.matches("\n[[rule]]\n").count(), 2, "{rules}");
    assert!(!rules.contains('\u{202e}') && !rules.contains("\nname = \"evil\""), "{rules}");
}

#[test]
fn a_name_that_is_not_utf8_is_reported() {
    let place = Place::new();
    place.object("good", b"{\"a\":1}\n");
    fs::write(place.path("in").join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"{\"a\":1}\n").unwrap();
    let ran = suggest(&place);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("its name is not UTF-8; rename it"), "{}", ran.stderr);
}

#[test]
fn paths_that_are_neither_files_nor_directories_are_usage_errors() {
    let place = Place::new();
    let missing = place.path("nowhere");
    for (path, message) in
        [(missing.as_path(), "No such file"), (Path::new("/dev/null"), "neither a file nor a directory")]
    {
        let ran = flowherd(PROGRAM, [Path::new("suggest"), path]);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
    }
    assert_eq!(flowherd(PROGRAM, ["suggest"]).status, 2);
}

#[test]
fn a_single_file_is_sampled_by_its_name() {
    let place = Place::new();
    place.object("only.json", b"{\"a\":1}\n{\"a\":2}\n");
    let ran = flowherd(PROGRAM, [Path::new("suggest"), &place.path("in/only.json")]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(convert_with(&place, &ran.stdout)["records"]["rows"], 2);
    assert!(suggested(&place).contains("table = \"logs\"\n"));
}
