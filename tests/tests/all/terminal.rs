//! What a terminal gets: each warning once, no control sequences with `TERM=dumb`, and nothing hostile from names.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use flowherd_tests::{
    objects::{FLOW, envelope, event, gzip},
    on_terminal::{Shown, flowherd_on_terminal},
};

use super::place::{PROGRAM, Place};

const WIDE: (u16, &str) = (200, "xterm-256color");
const DUMB: (u16, &str) = (200, "dumb");

/// An object whose records are all rejected, which is a warning.
fn no_flow_logs() -> Vec<u8> {
    gzip(envelope("g", &[event(1, "GET / 200")]).as_bytes())
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_terminal_gets_each_warning_once() {
    let place = Place::new();
    place.object("other", &no_flow_logs());
    let out = place.path("out");
    let warning = "objects whose records were all rejected: 1";
    let report = ["report", "r", "--results", out.to_str().unwrap()].map(str::to_owned).to_vec();
    for (args, of_json) in [
        (place.convert_args(&["--run", "r"]), 0),
        (report.clone(), 0),
        ([report, vec!["--json".to_owned()]].concat(), 1),
    ] {
        let shown = flowherd_on_terminal(PROGRAM, WIDE, &args);
        let text = shown.text();
        assert_eq!((shown.status, text.matches(warning).count()), (0, 1), "{args:?}: {text}");
        assert_eq!(
            text.matches(&format!("flowherd: warning: {warning}")).count(),
            of_json,
            "{args:?}: {text}"
        );
    }
    // In a pipe the warning is a line of standard error too.
    let ran = place.convert(&[]);
    assert!(ran.stdout.contains(warning) && ran.stderr.contains(warning), "{ran:?}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_dumb_terminal_gets_no_control_sequences() {
    let place = Place::synth(3, 100, &["--malformed", "1"]);
    place.object("bad", b"\x1f\x8bdamaged");
    let out = place.path("out").to_str().unwrap().to_owned();
    let on_results =
        |args: &[&str]| args.iter().copied().chain(["--results", &out]).map(str::to_owned).collect();
    let mut commands: Vec<Vec<String>> = vec![place.convert_args(&["--run", "r"])];
    commands.push(vec!["--help".to_owned()]);
    commands.extend([&["runs"][..], &["status", "r"], &["report", "r"], &["verify", "r"]].map(on_results));
    let mut styled = 0;
    for args in &commands {
        let dumb = flowherd_on_terminal(PROGRAM, DUMB, args);
        let text = dumb.text();
        assert!(!text.is_empty() && !text.contains('\u{1b}'), "{args:?}: {text:?}");
        if args[0] == "convert" {
            fs::remove_dir_all(place.path("out")).unwrap();
        }
        styled += usize::from(flowherd_on_terminal(PROGRAM, WIDE, args).text().contains('\u{1b}'));
    }
    assert!(styled >= 4, "other terminals get colours: {styled}");
}

/// A name that would set a window's title, forge a line, and reverse text.
const HOSTILE: &[u8] = b"x\x1b]0;evil\x07\nforged\r\xe2\x80\xae\xe2\x81\xa6gpj";

fn assert_harmless(shown: &Shown, args: &[OsString]) {
    let text = std::str::from_utf8(&shown.bytes).unwrap_or_else(|_| panic!("{args:?}: {:?}", shown.text()));
    for hostile in ["\u{1b}]", "\u{7}", "\u{202e}", "\u{2066}"] {
        assert!(!text.contains(hostile), "{args:?}: {text:?}");
    }
    let is_forged = |line: &str| line.trim_start().starts_with("forged");
    assert!(!text.split(['\r', '\n']).any(is_forged), "{args:?}: {text:?}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn hostile_names_reach_no_terminal_as_they_are() {
    let place = Place::new();
    let hostile = OsStr::from_bytes(HOSTILE);
    let named = |name: &OsStr| -> PathBuf { place.path("").join(name) };
    let invalid = OsStr::from_bytes(b"invalid\xff\x1b]0;evil\x07");
    let source = named(&[OsStr::new("in"), hostile].join(OsStr::new("")));
    let out = named(&[OsStr::new("out"), hostile].join(OsStr::new("")));
    fs::create_dir(&source).unwrap();
    let good = gzip(envelope("g", &[event(1_580_515_200_000, FLOW)]).as_bytes());
    for (name, content) in [
        (&[hostile, OsStr::new("-good")][..], &good[..]),
        (&[hostile, OsStr::new("-cut")], &good[..20]),
        (&[hostile, OsStr::new("-rejected")], &no_flow_logs()),
        (&[invalid], &good),
    ] {
        fs::write(source.join(name.join(OsStr::new(""))), content).unwrap();
    }
    let rules = named(&[hostile, OsStr::new(".toml")].join(OsStr::new("")));
    fs::write(&rules, "[[rule]]\nname = \"\\u001b]0;evil\\u0007\"\ntable = \"t\"\n").unwrap();

    let of = |args: &[&dyn AsRef<OsStr>]| -> Vec<OsString> {
        args.iter().map(|argument| (*argument).as_ref().to_owned()).collect()
    };
    let cut = source.join([hostile, OsStr::new("-cut")].join(OsStr::new("")));
    let absent = named(&[OsStr::new("absent"), hostile].join(OsStr::new("")));
    let commands = [
        of(&[&"convert", &source, &out, &"--run", &"r"]),
        of(&[&"convert", &source, &out, &"--run", &"r", &"--resume"]),
        of(&[&"convert", &source, &out, &"--run", &hostile]),
        of(&[&"convert", &source, &out, &"--prefix", &hostile]),
        of(&[&"convert", &absent, &out]),
        of(&[&"convert", &cut, &absent, &"--config", &rules]),
        of(&[&"runs", &"--results", &out]),
        of(&[&"status", &"--results", &out]),
        of(&[&"status", &"r", &"--results", &out]),
        of(&[&"report", &"r", &"--results", &out]),
        of(&[&"report", &"r", &"--missing", &"--results", &out]),
        of(&[&"report", &hostile, &"--results", &out]),
        of(&[&"verify", &"r", &"--results", &out]),
        of(&[&"verify", &"r", &"--results", &absent]),
        of(&[&"query", &"SELECT 1", &"--local", &absent]),
        of(&[&"query", &"--named", &hostile]),
        of(&[&"explain", &cut]),
        of(&[&"explain", &absent]),
        of(&[&"suggest", &source]),
        of(&[&"suggest", &absent]),
        of(&[&"check", &rules]),
        of(&[&"check", &absent]),
        of(&[&"estimate", &source]),
        of(&[&"presets", &"show", &hostile]),
        of(&[&"sql", &"--layout", &hostile]),
        of(&[&"man", &"--dir", &rules.join("x")]),
        of(&[&"runs", &"--last", &hostile]),
        of(&[&hostile]),
    ];
    for term in [DUMB, WIDE, (40, "xterm")] {
        for args in &commands {
            assert_harmless(&flowherd_on_terminal(PROGRAM, term, args), args);
        }
    }
}
