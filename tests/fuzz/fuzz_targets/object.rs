//! Any bytes as an object, in any portions: no panic, counts that add up, and the same outcome whatever the portions.
#![no_main]

use std::sync::LazyLock;

use flowherd_shared::{config::Config, pipeline::Plan};
use flowherd_tests::objects::{Portions, convert};
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = r#"
[limits]
max_record_bytes = 200
max_envelope_bytes = 4096
[[rule]]
name = "waf"
match = { log_group = "w*" }
table = "waf"
format = { kind = "json", columns = [ { name = "a", path = "/a/0/b" }, { name = "c", path = "/c" } ] }
[[rule]]
name = "ids"
match = { log_group = "i*" }
table = "ids"
format = { kind = "regex", pattern = '^(?P<a>\w+) (?P<b>.*)$' }
[[rule]]
name = "vpc"
table = "vpc_flow"
metadata = ["owner", "log_group", "log_stream"]
format = { kind = "vpc-flow" }
"#;

static PLAN: LazyLock<Plan> =
    LazyLock::new(|| Plan { config: Config::parse(CONFIG).expect("valid"), ..Plan::default() });

fuzz_target!(|data: &[u8]| {
    let Some((portion, object)) = data.split_first() else { return };
    let whole = convert(object, "k", &PLAN);
    let dripped = convert(Portions::new(object, usize::from(*portion)), "k", &PLAN);
    match (whole, dripped) {
        (Ok(whole), Ok(dripped)) => {
            let counts = &whole.0;
            assert_eq!(counts.read, counts.rows + counts.rejected + counts.control);
            assert_eq!(whole, dripped);
        }
        (Err(_), Err(_)) => {}
        (whole, dripped) => panic!("{whole:?} but in portions {dripped:?}"),
    }
});
