//! Rows of tables: their columns, names and guards.

use super::{
    Model, Outcome,
    enrich::ENRICHED,
    flow_logs, formats, json_path,
    keys::kind,
    records::{Origin, Record},
    rules::Row,
    values::{guarded, iso},
};

impl Model {
    pub(super) fn row(
        &self,
        rule: &toml::Table,
        record: &Record,
        row: Row,
        key: &str,
        outcome: &mut Outcome,
    ) {
        let Row { mut values, timestamp, is_repaired } = row;
        if kind(rule) == "vpc-flow" {
            outcome.named_by_guess += u64::from(self.enrich(&mut values, timestamp));
        }
        for name in metadata(rule) {
            let value = metadata_value(&name, &record.origin, key);
            values.insert(column_of(&name), value.unwrap_or("-".to_owned()));
        }
        values.insert("timestamp".to_owned(), timestamp.map_or("-".to_owned(), iso));
        self.enrich_from_files(rule, &mut values);
        let columns = self.columns(rule);
        let value = |column: &String| {
            let value = values.get(column).map_or("-", String::as_str);
            let value =
                if self.guards { guarded(value, self.is_text(rule, column)) } else { value.to_owned() };
            value.replace('\n', "\\n").replace('\r', "\\r").replace('\u{1}', "\\u0001")
        };
        let row = columns.iter().map(value).collect();
        outcome.read += 1;
        outcome.repaired += u64::from(is_repaired);
        self.table(rule, outcome).push(row);
    }

    pub(super) fn table<'o>(&self, rule: &toml::Table, outcome: &'o mut Outcome) -> &'o mut Vec<Vec<String>> {
        let name = rule["table"].as_str().unwrap().to_owned();
        outcome.tables.entry(name).or_insert_with(|| vec![self.columns(rule)])
    }

    /// Whether the rule's table has a column for each field of a header line, and no field is doubled.
    pub(super) fn has_columns_of(&self, rule: &toml::Table, names: &[String]) -> bool {
        let mut distinct = names.to_vec();
        distinct.sort();
        distinct.dedup();
        let columns = self.columns(rule);
        distinct.len() == names.len() && names.iter().all(|name| columns.contains(&name.replace('-', "_")))
    }

    /// The columns of a rule's table: the union over all rules that feed it.
    fn columns(&self, rule: &toml::Table) -> Vec<String> {
        let feeding: Vec<&toml::Table> =
            self.rules.iter().filter(|other| other.get("table") == rule.get("table")).collect();
        let mut columns = vec!["timestamp".to_owned()];
        columns.extend(base_columns(&feeding));
        if feeding.iter().any(|rule| kind(rule) == "vpc-flow") {
            columns.extend(ENRICHED.map(str::to_owned));
        }
        columns.extend(self.added_columns(&feeding).into_iter().map(|(name, _)| name));
        columns
    }

    /// Whether a column of the rule's table holds text. One rule with a type for it decides for all.
    fn is_text(&self, rule: &toml::Table, column: &str) -> bool {
        let mut feeding = self.rules.iter().filter(|other| other.get("table") == rule.get("table"));
        let all: Vec<&toml::Table> = feeding.clone().collect();
        let added = self.added_columns(&all);
        let is_typed = added.iter().any(|(name, is_text)| name == column && !is_text);
        !feeding.any(|rule| formats::typed_columns(rule).iter().any(|typed| typed == column))
            && column != "timestamp"
            && !is_typed
    }
}

/// The columns of metadata and formats of the rules that feed a table.
pub(super) fn base_columns(feeding: &[&toml::Table]) -> Vec<String> {
    let mut columns = Vec::new();
    for name in feeding.iter().flat_map(|rule| metadata(rule)).map(|name| column_of(&name)) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let mut format = Vec::new();
    for name in feeding.iter().flat_map(|rule| formats::columns(rule)) {
        if !format.contains(&name) {
            format.push(name);
        }
    }
    if feeding.len() > 1 {
        format.sort_by_key(|name| flow_logs::position(name));
    }
    columns.extend(format);
    columns
}

fn metadata(rule: &toml::Table) -> Vec<String> {
    let names = rule.get("metadata").map(|names| names.as_array().unwrap());
    names.into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// `extracted:source ip` is the column `extracted_source_ip`.
fn column_of(name: &str) -> String {
    name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect()
}

fn metadata_value(name: &str, origin: &Origin, key: &str) -> Option<String> {
    match name {
        "owner" => origin.owner.clone(),
        "log_group" => origin.log_group.clone(),
        "log_stream" => origin.log_stream.clone(),
        "event_id" => origin.event_id.clone(),
        "key" => Some(key.to_owned()),
        _ => {
            let field = name.strip_prefix("extracted:").unwrap();
            json_path::member_text(origin.extracted.as_deref()?, field)
        }
    }
}
