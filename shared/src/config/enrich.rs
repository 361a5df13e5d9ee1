//! Checks the entries of `[[enrich]]`.

use super::{
    choice::Choice,
    enrich_file::{EnrichFile, MatchWord},
};
use crate::{
    enrichment::{
        AWS_RANGES_COLUMNS, Enrichment, EnrichmentColumn, EnrichmentSource, Matching, NAME_COLUMNS,
    },
    problems::Problems,
    table::ColumnType,
    text::quoted,
};

/// The format of a source, from the name of its file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    MaxMind,
    Table,
    List,
    AwsRanges,
    /// No file.
    Names,
}

impl Format {
    fn of(file: &str) -> Option<Self> {
        let name = file.to_ascii_lowercase();
        let (plain, is_compressed) = name.strip_suffix(".gz").map_or((&*name, false), |plain| (plain, true));
        match plain.rsplit_once('.')?.1 {
            "mmdb" if !is_compressed => Some(Self::MaxMind),
            "csv" => Some(Self::Table),
            "txt" => Some(Self::List),
            "json" => Some(Self::AwsRanges),
            _ => None,
        }
    }

    /// Returns the noun for a source of this format in errors.
    const fn noun(self) -> &'static str {
        match self {
            Self::MaxMind => "a MaxMind DB",
            Self::Table => "a CSV",
            Self::List => "a list",
            Self::AwsRanges => "an ip-ranges.json",
            Self::Names => "source = \"names\"",
        }
    }
}

/// Checks each entry and adds its problems. Returns the entries without problems.
pub(super) fn compile(entries: &[EnrichFile], problems: &mut Problems) -> Vec<Enrichment> {
    let mut compiled = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        let count = problems.count();
        let mut problem = |problem: String| problems.add(format!("enrich {number}: {problem}"));
        check_on(entry, &mut problem);
        let enrichment = format(entry, &mut problem).and_then(|format| {
            check_keys(entry, format, &mut problem);
            let columns = columns(entry, format, &mut problem);
            let source = source(entry, format)?;
            Some(Enrichment { source, on: entry.on.clone(), columns, tables: entry.tables.clone() })
        });
        compiled.extend(enrichment.filter(|_| problems.count() == count));
    }
    compiled
}

fn check_on(entry: &EnrichFile, problem: &mut impl FnMut(String)) {
    if entry.on.is_empty() {
        problem(
            "on is missing; name the columns to look up, for example on = [\"srcaddr\", \"dstaddr\"]"
                .to_owned(),
        );
    }
    for (at, on) in entry.on.iter().enumerate() {
        if entry.on[..at].contains(on) {
            problem(format!("on: {} appears twice; remove one of them", quoted(on)));
        }
    }
    if entry.tables.as_ref().is_some_and(Vec::is_empty) {
        problem("tables is empty; remove it for all tables".to_owned());
    }
}

fn format(entry: &EnrichFile, problem: &mut impl FnMut(String)) -> Option<Format> {
    match (&entry.file, &entry.source) {
        (Some(file), None) => {
            let format = Format::of(file);
            if format.is_none() {
                problem(format!(
                    "file = {}: use a name that ends with .mmdb (MaxMind DB), .csv, .txt (a list) or .json (ip-ranges.json of \
                     AWS), or with .gz after one of the last three",
                    quoted(file)
                ));
            }
            format
        }
        (None, Some(source)) => {
            source.problem("source", "source = \"names\"").into_iter().for_each(&mut *problem);
            source.known().map(|_| Format::Names)
        }
        (file, _) => {
            let what = if file.is_some() { "has file and source" } else { "has no file" };
            problem(format!("{what}; give one of them, for example file = \"threats.csv\""));
            None
        }
    }
}

/// Checks which keys are given: each format needs its own.
fn check_keys(entry: &EnrichFile, format: Format, problem: &mut impl FnMut(String)) {
    let is_list = format == Format::List;
    let keys = [
        ("key", entry.key.is_some(), format == Format::Table, "key = \"indicator\""),
        ("match", entry.matches.is_some(), is_list || format == Format::Table, "match = \"cidr\""),
        ("column", entry.column.is_some(), is_list, "column = \"on_threat_list\""),
        ("columns", !entry.columns.0.is_empty(), !is_list, example(format)),
    ];
    for (key, is_given, is_needed, example) in keys {
        if is_given && !is_needed {
            problem(format!("{key}: not for {}; remove it", format.noun()));
        } else if is_needed && !is_given {
            problem(format!("{key} is missing; an example: {example}"));
        }
    }
    if let Some(matches) = &entry.matches {
        matches.problem("match", "match = \"cidr\"").into_iter().for_each(&mut *problem);
    }
}

/// Returns an example of `columns`.
const fn example(format: Format) -> &'static str {
    match format {
        Format::MaxMind => "columns = { country = \"country.iso_code\" }",
        Format::Table | Format::List => "columns = { threat = \"list_name\" }",
        Format::AwsRanges => "columns = { aws_service = \"service\" }",
        Format::Names => "columns = { subnet_name = \"subnet_name\" }",
    }
}

fn columns(entry: &EnrichFile, format: Format, problem: &mut impl FnMut(String)) -> Vec<EnrichmentColumn> {
    if let (Format::List, Some(name)) = (format, &entry.column) {
        let kind = ColumnType::Boolean;
        return vec![EnrichmentColumn { name: name.clone(), path: String::new(), kind }];
    }
    let only: Option<&[&str]> = match format {
        Format::AwsRanges => Some(&AWS_RANGES_COLUMNS),
        Format::Names => Some(&NAME_COLUMNS),
        Format::MaxMind | Format::Table | Format::List => None,
    };
    let mut columns = Vec::new();
    for (name, column) in &entry.columns.0 {
        let key = format!("columns: {}", quoted(name));
        let path = column.path.clone().unwrap_or_default();
        if path.is_empty() || format == Format::MaxMind && path.split('.').any(str::is_empty) {
            problem(format!("{key} has no valid path; an example: {}", example(format)));
        }
        if let Some(only) = only.filter(|only| !only.contains(&&*path)) {
            problem(format!("{key}: {} has no {}; it has {}", format.noun(), quoted(&path), only.join(", ")));
        }
        column.kind.problem(&format!("{key}: type"), "type = \"bigint\"").into_iter().for_each(&mut *problem);
        let kind = column.kind.known().copied().unwrap_or_default();
        if kind == ColumnType::Timestamp || only.is_some() && kind != ColumnType::String {
            problem(format!("{key}: a column of {} cannot have this type; remove it", format.noun()));
        }
        columns.push(EnrichmentColumn { name: name.clone(), path, kind });
    }
    columns
}

fn source(entry: &EnrichFile, format: Format) -> Option<EnrichmentSource> {
    if format == Format::Names {
        return Some(EnrichmentSource::Names);
    }
    let file = entry.file.clone()?;
    let matching = || {
        entry.matches.as_ref().and_then(Choice::known).map(|word| match word {
            MatchWord::Cidr => Matching::Cidr,
            MatchWord::Address => Matching::Address,
            MatchWord::Value => Matching::Value,
        })
    };
    Some(match format {
        Format::MaxMind => EnrichmentSource::MaxMind { file },
        Format::Table => EnrichmentSource::Table { file, key: entry.key.clone()?, matching: matching()? },
        Format::List => EnrichmentSource::List { file, matching: matching()? },
        Format::AwsRanges => EnrichmentSource::AwsRanges { file },
        Format::Names => EnrichmentSource::Names,
    })
}
