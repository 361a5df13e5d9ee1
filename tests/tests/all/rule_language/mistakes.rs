//! Mistakes in rules are reported together, each with its correction.

use std::fmt::Write;

use flowherd_shared::config::Config;

/// A rule for text with other keys.
fn rule(keys: &str) -> String {
    format!(
        "[[rule]]\nname = \"r\"\ntable = \"t\"\n{keys}\nformat = {{ kind = \"regex\", pattern = '(?P<a>.)' }}\n"
    )
}

fn json(columns: &str) -> String {
    format!(
        "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = {{ kind = \"json\", columns = [ {columns} ] }}\n"
    )
}

fn format(format: &str) -> String {
    format!("[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = {{ {format} }}\n")
}

#[test]
fn each_mistake_in_a_rule_is_reported_with_what_is_right() {
    let mistakes = [
        rule("match = []"),
        rule("match = [ { log_grup = \"g\" } ]"),
        rule("match = { message = '(' }"),
        rule("match = { message = '' }"),
        rule("on_mismatch = \"continue\""),
        rule("drop = true"),
        rule("drop = false"),
        rule("metadata = [\"id\"]"),
        rule("metadata = [\"extracted:\"]"),
        rule("metadata = [\"extracted:a b\", \"extracted:a-b\"]"),
        rule("metadata = [\"key\", \"key\"]"),
        rule("comments = \"\""),
        rule("lines = \"plain\""),
        rule("lines = \"export\"\nrecords = \"/Records\""),
        rule("records = \"Records\""),
        rule("unwrap = \"message\""),
        rule("unwrap = \"\""),
        rule("decode = \"base64\""),
        rule("decode = \"gzip\""),
        rule("timestamp = { path = \"/t\", unit = \"ms\" }"),
        rule("timestamp = { columns = [\"b\"], format = \"%Y-%m-%d\" }"),
        rule("timestamp = { columns = [\"a\"], unit = \"minutes\" }"),
        rule("timestamp = { columns = [\"a\"], format = \"%Q\" }"),
        rule("timestamp = { columns = [\"a\"], format = \"%H:%M\" }"),
        rule("timestamp = { columns = [\"a\"], path = \"/t\", unit = \"s\" }"),
        rule("timestamp = { columns = [\"a\"] }"),
        rule("timestamp = { columns = [\"a\"], unit = \"s\", format = \"%Y\" }"),
        rule("required = [\"b\"]"),
        rule("bad_text = \"keep\""),
        rule("preset = \"wafs\""),
        json("{ name = \"a\", path = \"/a\", type = \"number\" }"),
        format("kind = \"w3c\", fields = \"date\", types = { date = \"day\" }"),
        json("{ name = \"a\" }"),
        json("{ name = \"a\", path = \"/a\", jsonpath = \"$.a\" }"),
        json("{ name = \"a\", jsonpath = \"headers[0]\" }"),
        json("{ name = \"a\", jsonpath = \"$.headers[?\" }"),
        json("{ name = \"timestamp\", path = \"/t\" }"),
        format("kind = \"vpc-flow\", fields = \"${start} ${next-year}\""),
        format("kind = \"vpc-flow\", fields = \"${tgw-id} ${start}\""),
        format("kind = \"vpc-flow\", fields = \"all\""),
        format("kind = \"vpc-flow\", unknown_fields = \"drop\""),
        format("kind = \"tgw-flow\", fields = \"${interface-id}\""),
        format("kind = \"w3c\""),
        format("kind = \"w3c\", fields = \"\""),
        format("kind = \"w3c\", fields = \"date cs(A) cs-a\""),
        format("kind = \"w3c\", fields = \"date\", delimiter = \",\""),
        format("kind = \"w3c\", fields = \"date\", types = { time = \"int\" }"),
        format("kind = \"csv\""),
        "[[rule]]\nname = \"r\"\n".to_owned(),
        "[[rule]]\nname = \"r\"\ntable = \"t\"\n".to_owned(),
        "[[rule]]\nname = \"r\"\ndecode = \"base64\"\nrequired = [\"a\"]\n".to_owned(),
        "[[rule]]\npreset = \"waf\"\ndrop = true\n".to_owned(),
    ];
    let mut text = String::new();
    for mistake in &mistakes {
        let shown = mistake.replace("[[rule]]\nname = \"r\"\ntable = \"t\"\n", "").replace('\n', "; ");
        let shown = shown.replace("; format = { kind = \"regex\", pattern = '(?P<a>.)' }; ", "");
        match Config::parse(mistake) {
            Ok(_) => writeln!(text, "{shown}\n  is taken").unwrap(),
            Err(error) => {
                let error = error.to_string().replace('\n', "\n  ");
                writeln!(text, "{shown}\n  {error}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn all_mistakes_of_a_file_are_reported_together() {
    let text = rule(
        "comments = \"\"\nrequired = [\"b\"]\nmatch = { message = '(' }\non_mismatch = \"continue\"\nbad_text = \"keep\"\n\
         metadata = [\"id\"]\nrecords = \"Records\"\ntimestamp = { columns = [\"a\"], unit = \"minutes\" }",
    ) + "[[rule]]\npreset = \"wafs\"\n[[rule]]\npreset = \"waf\"\nmatch = []\n"
        + &json(
            "{ name = \"a\", jsonpath = \"headers[0]\", type = \"number\" }, { name = \"b\", path = \"b\" }",
        )
        .replace("\"r\"", "\"s\"")
        + &format("kind = \"w3c\", fields = \"date\", types = { time = \"int\" }").replace("\"r\"", "\"u\"");
    let text = text
        + &format("kind = \"csv\"").replace("\"r\"", "\"v\"")
        // These two disagree.
        + &json("{ name = \"a\", path = \"/a\", type = \"int\" }").replace("\"r\"", "\"x\"")
        + &json("{ name = \"a\", path = \"/a\" }").replace("\"r\"", "\"y\"");
    insta::assert_snapshot!(Config::parse(&text).unwrap_err());
}
