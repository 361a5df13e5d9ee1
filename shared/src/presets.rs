//! Presets: rules for the log types that Flowherd knows. A rule with `preset = "waf"` starts from the file
//! `shared/presets/waf.toml`.

use crate::text::quoted;

/// The rule of one log type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name that a rule gives in `preset`, which is also the file's name.
    pub name: &'static str,
    /// The file: comments, then one `[[rule]]`.
    pub text: &'static str,
}

macro_rules! presets {
    ($($name:literal)*) => {
        /// All presets, sorted by name.
        pub const PRESETS: &[Preset] =
            &[$(Preset { name: $name, text: include_str!(concat!("../presets/", $name, ".toml")) }),*];
    };
}

presets! {
    "alb"
    "alb-connection"
    "api-gateway"
    "cloudfront"
    "cloudtrail"
    "cloudtrail-s3"
    "cloudwatch-awslogs"
    "cloudwatch-http"
    "eks-audit"
    "elb"
    "firehose-errors"
    "guardduty"
    "guardduty-eventbridge"
    "lambda-platform-report"
    "lambda-report"
    "network-firewall-alert"
    "network-firewall-flow"
    "network-firewall-tls"
    "nlb"
    "rds-audit"
    "route53-resolver"
    "s3-access"
    "suricata-eve"
    "tgw-flow"
    "vpc-flow"
    "waf"
}

/// Characters of a name for each edit by which an unknown name may differ from it.
const CHARS_PER_EDIT: usize = 4;

/// Returns the file of the preset with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|preset| preset.name == name).map(|preset| preset.text)
}

/// Returns the error for a name that [`find`] does not know. It suggests names that resemble it.
#[must_use]
pub fn unknown(name: &str) -> String {
    let near: Vec<String> = nearest(name).iter().map(|near| format!("\"{near}\"")).collect();
    let near = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) };
    format!("no preset {}; {near}list all with `flowherd presets`", quoted(name))
}

/// Returns the names that resemble an unknown one, the nearest first.
fn nearest(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let mut found: Vec<(usize, &'static str)> = PRESETS
        .iter()
        .filter_map(|preset| {
            // Someone who writes `firewall` or `trail` looks for a name with this part.
            let has_part = name.len() > 2 && (preset.name.contains(&name) || name.contains(preset.name));
            let edits = if has_part { 1 } else { strsim::levenshtein(&name, preset.name) };
            let limit = (preset.name.len() / CHARS_PER_EDIT).max(1);
            (edits <= limit).then_some((edits, preset.name))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, name)| name).collect()
}

impl Preset {
    /// Returns the title and the description: the two parts of the first line, `# Title: description.`.
    #[must_use]
    pub fn heading(&self) -> (&'static str, &'static str) {
        let line = self.text.lines().next().unwrap_or_default();
        let line = line.trim_start_matches("# ").trim_end_matches('.');
        line.split_once(": ").unwrap_or((line, ""))
    }

    /// Returns the pages that define the columns: the lines `# Columns: URL`.
    pub fn sources(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().filter_map(|line| line.strip_prefix("# Columns: "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_finds_the_names_that_resemble_it() {
        assert_eq!(nearest("vpcflow"), ["vpc-flow"]);
        assert_eq!(nearest("VPC_FLOW"), ["vpc-flow"]);
        assert_eq!(
            nearest("firewall"),
            ["network-firewall-alert", "network-firewall-flow", "network-firewall-tls"]
        );
        assert_eq!(nearest("vpc"), ["vpc-flow"]);
        assert_eq!(nearest("s3_acess"), ["s3-access"]);
        assert_eq!(nearest("something-else"), [""; 0]);
        assert_eq!(nearest(&"x".repeat(1000)), [""; 0]);
        assert_eq!(unknown("x"), "no preset \"x\"; list all with `flowherd presets`");
        let near = "no preset \"vpcflow\"; did you mean \"vpc-flow\"? list all with `flowherd presets`";
        assert_eq!(unknown("vpcflow"), near);
    }
}
