//! The values of `[[enrich]]` from CSV files and lists: each row compares every line of the file.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Model,
    enrich::holds,
    keys::{kind, text_of},
    tables::base_columns,
};

/// A column that an entry adds: its name, where its value is, and whether it is text.
type Added = (String, String, bool);

impl Model {
    /// The columns that the entries add to the table of these rules.
    pub(super) fn added_columns(&self, feeding: &[&toml::Table]) -> Vec<(String, bool)> {
        let inputs = base_columns(feeding);
        let of = |entry: &toml::Table, on: &str| -> Vec<(String, bool)> {
            added(entry).into_iter().map(|(name, _, is_text)| (format!("{on}_{name}"), is_text)).collect()
        };
        let entries = self.enrich.iter().filter(|entry| is_for(entry, feeding[0]));
        entries
            .flat_map(|entry| {
                let on = texts(entry, "on").into_iter().filter(|on| inputs.contains(on));
                on.flat_map(|on| of(entry, &on)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Adds the values of all entries for a row.
    pub(super) fn enrich_from_files(&self, rule: &toml::Table, values: &mut BTreeMap<String, String>) {
        for entry in self.enrich.iter().filter(|entry| is_for(entry, rule)) {
            for on in texts(entry, "on") {
                let value = values.get(&on).filter(|value| *value != "-").cloned();
                for (name, path, _) in added(entry) {
                    let found = value.as_ref().and_then(|value| self.look_up(entry, value, &path));
                    values.insert(format!("{on}_{name}"), found.unwrap_or("-".to_owned()));
                }
            }
        }
    }

    fn look_up(&self, entry: &toml::Table, value: &str, path: &str) -> Option<String> {
        let file = text_of(entry, "file").unwrap();
        let is_list = entry.contains_key("column");
        let mut lines = self.files[file].lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let header: Vec<&str> = if is_list { vec![] } else { lines.next().unwrap().split(',').collect() };
        let position = |name: &str| header.iter().position(|column| *column == name).unwrap_or(0);
        let key_at = position(text_of(entry, "key").unwrap_or_default());
        let matching = text_of(entry, "match").unwrap();
        let address = value.trim().parse().ok().map(|address: IpAddr| address.to_canonical());
        if matching != "value" && address.is_none() {
            return None;
        }
        let mut best: Option<(u32, Vec<&str>)> = None;
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let length = match (matching, address) {
                ("value", _) => (cells[key_at] == value).then_some(0),
                (_, Some(address)) => prefix_that_holds(cells[key_at], address),
                _ => None,
            };
            if length.is_some_and(|length| best.as_ref().is_none_or(|(longest, _)| length > *longest)) {
                best = Some((length.unwrap(), cells));
            }
        }
        if is_list {
            return Some(best.is_some().to_string());
        }
        best.map(|(_, cells)| cells[position(path)].to_owned()).filter(|cell| !cell.is_empty())
    }
}

fn prefix_that_holds(block: &str, address: IpAddr) -> Option<u32> {
    let single = |network: IpAddr| (network, if network.is_ipv4() { 32 } else { 128 });
    let (network, length) = block.split_once('/').map_or_else(
        || single(block.parse::<IpAddr>().unwrap().to_canonical()),
        |(network, length)| (network.parse().unwrap(), length.parse().unwrap()),
    );
    holds(network, length, address).then_some(length)
}

fn is_for(entry: &toml::Table, rule: &toml::Table) -> bool {
    let has_table = rule.contains_key("table") && !kind(rule).is_empty();
    has_table
        && (!entry.contains_key("tables")
            || texts(entry, "tables").contains(&rule["table"].as_str().unwrap().to_owned()))
}

fn texts(entry: &toml::Table, key: &str) -> Vec<String> {
    entry[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn added(entry: &toml::Table) -> Vec<Added> {
    if let Some(name) = text_of(entry, "column") {
        return vec![(name.to_owned(), String::new(), false)];
    }
    let of = |(name, column): (&String, &toml::Value)| match column {
        toml::Value::Table(column) => {
            let is_text = text_of(column, "type").is_none_or(|kind| kind == "string" || kind == "ip");
            (name.clone(), text_of(column, "path").unwrap().to_owned(), is_text)
        }
        path => (name.clone(), path.as_str().unwrap().to_owned(), true),
    };
    entry["columns"].as_table().unwrap().iter().map(of).collect()
}
