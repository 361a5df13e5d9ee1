//! Keys of a rule's table.

pub(super) fn kind(rule: &toml::Table) -> &str {
    rule["format"]["kind"].as_str().unwrap()
}

pub(super) fn text_of<'r>(rule: &'r toml::Table, name: &str) -> Option<&'r str> {
    rule.get(name).map(|value| value.as_str().unwrap())
}
