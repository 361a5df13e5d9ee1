//! `flowherd check`, `completions` and `man`.

use std::{collections::HashSet, fs, process::Command};

use flowherd_tests::command::{files_below, flowherd};

use super::place::{PROGRAM, Place};

/// Returns the commands that the help lists.
fn commands() -> Vec<String> {
    let help = flowherd(PROGRAM, ["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let names = commands.lines().take_while(|line| !line.is_empty());
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn check_prints_the_rules_and_tables_of_a_configuration_or_all_its_mistakes() {
    let place = Place::new();
    place.file(
        "flowherd.toml",
        b"[[rule]]\npreset = \"waf\"\non_mismatch = \"next\"\n[[rule]]\nname = \"noise\"\nmatch = { log_group = \"n\" }\n\
          drop = true\n[[rule]]\nname = \"ids\"\ntable = \"ids\"\n[rule.format]\nkind = \"regex\"\n\
          pattern = '^(?P<id>\\d+) (?P<text>.*)$'\ntypes = { id = \"bigint\" }\n",
    );
    let file = place.path("flowherd.toml");
    let ran = flowherd(PROGRAM, ["check", file.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:?}");
    insta::assert_snapshot!(ran.stdout.replace(file.to_str().unwrap(), "FILE"));

    place.file("wrong.toml", b"[[rule]]\nname = \"a\"\ntable = \"A\"\nformat = { kind = \"vpc-flow\" }\n[[rule]]\nname = \"a\"\ndrop = true\n");
    place.file("names.json", b"{");
    let (wrong, names) = (place.path("wrong.toml"), place.path("names.json"));
    let args = ["check", wrong.to_str().unwrap(), "--names", names.to_str().unwrap()];
    let ran = flowherd(PROGRAM, args);
    assert_eq!((ran.status, &*ran.stdout), (2, ""), "{ran:?}");
    assert!(ran.stderr.lines().count() > 1 && ran.stderr.contains("names.json: "), "{ran:?}");
}

#[test]
fn completions_name_every_command_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = flowherd(PROGRAM, ["completions", shell]);
        assert_eq!(ran.status, 0, "{ran:?}");
        let is_part = |character: char| character.is_alphanumeric() || "-_".contains(character);
        let words: HashSet<&str> = ran.stdout.split(|character| !is_part(character)).collect();
        for command in commands() {
            assert!(words.contains(&*command), "{shell}: {command}");
        }
        let flag = if shell == "fish" { "resume" } else { "--resume" };
        assert!(words.contains(flag), "{shell}");
    }
    let ran = flowherd(PROGRAM, ["completions", "cmd"]);
    assert!(ran.status == 2 && ran.stderr.contains("possible values: bash"), "{ran:?}");
}

#[test]
#[ignore = "needs bash; run `make test`"]
fn bash_parses_its_completions() {
    let place = Place::new();
    let parse = |name: &str, text: &str| {
        place.file(name, text.as_bytes());
        Command::new("bash").arg("-n").arg(place.path(name)).output().expect("bash starts")
    };
    let text = flowherd(PROGRAM, ["completions", "bash"]).stdout;
    let parsed = parse("completions", &text);
    assert!(parsed.status.success() && parsed.stderr.is_empty(), "{parsed:?}");
    assert!(!parse("cut", &text[..text.len() / 2]).status.success(), "bash notices a cut file");
}

#[test]
fn no_help_text_has_markdown() {
    let mut commands: Vec<Vec<String>> = commands().into_iter().map(|command| vec![command]).collect();
    commands.push(vec!["presets".to_owned(), "show".to_owned()]);
    commands.push(Vec::new());
    for command in commands.iter().filter(|command| command.first().is_none_or(|name| name != "help")) {
        let help = flowherd(PROGRAM, command.iter().map(String::as_str).chain(["--help"]));
        assert_eq!(help.status, 0, "{help:?}");
        assert!(!help.stdout.contains(['`', '*']), "{command:?}: {}", help.stdout);
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let page = flowherd(PROGRAM, ["man"]);
    assert_eq!(page.status, 0, "{page:?}");
    assert!(page.stdout.contains(".TH flowherd 1"), "{}", page.stdout);
    let place = Place::new();
    let dir = place.path("man1");
    let ran = flowherd(PROGRAM, ["man", "--dir", dir.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stdout), (0, ""), "{ran:?}");
    let pages = files_below(&dir);
    assert!(pages.contains(&"flowherd.1".to_owned()), "{pages:?}");
    for command in commands().iter().filter(|command| *command != "help") {
        assert!(pages.contains(&format!("flowherd-{command}.1")), "{command}: {pages:?}");
    }
    let convert = fs::read_to_string(dir.join("flowherd-convert.1")).unwrap();
    assert!(convert.contains("\\-\\-names"), "{convert}");
}
