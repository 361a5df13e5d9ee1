//! Checks and compiles the rules of a `flowherd.toml`, and assigns their tables.

use std::collections::BTreeMap;

use super::{
    choice::Choice,
    file::{File, FormatFile, JsonColumnFile, Kind, Lines, RuleFile, TimestampFile},
    tables,
};
use crate::{
    flow_fields::FlowKind,
    limits::{MAX_ARRAY_STEPS, MAX_RULE_NAME_BYTES},
    pipeline::{
        records::{MAX_STEP_BYTES, RecordsPath},
        rules::{
            Action, FlowFormat, Format, JsonColumn, JsonFormat, JsonPath, Matches, RegexFormat, Rule, Source,
            TimeForm, TimeSource, W3cFormat, Writing, pointer_steps,
        },
    },
    problems::{ConfigError, Problems},
    table::{Column, ColumnType, Metadata, Table},
    text::quoted,
};

/// A rule's parts, before its table is known.
pub(super) struct Compiled<'a> {
    file: &'a RuleFile,
    name: &'a str,
    matches: Matches,
    source: Source,
    pub(super) action: CompiledAction<'a>,
}

#[expect(clippy::large_enum_variant, reason = "almost every rule writes rows")]
pub(super) enum CompiledAction<'a> {
    Drop,
    Decode,
    Write(CompiledWriting<'a>),
}

pub(super) struct CompiledWriting<'a> {
    pub(super) table: &'a str,
    pub(super) metadata: Vec<Metadata>,
    pub(super) format: Format,
    required: Vec<usize>,
    timestamp: Option<TimeSource>,
}

/// Returns the different valid paths of all `records`, in order of first appearance.
pub(super) fn arrays(file: &File) -> Vec<RecordsPath> {
    let mut paths: Vec<RecordsPath> = Vec::new();
    for path in file.rule.iter().filter_map(|rule| array_path(rule.records.as_ref()?).ok()) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

fn array_path(pointer: &str) -> Result<RecordsPath, String> {
    let example = "an example: \"/Records\", or \"\" for an object that is an array itself";
    let Some(path) = pointer_steps(pointer) else {
        return Err(format!("records = {}: is not a JSON Pointer; {example}", quoted(pointer)));
    };
    if path.len() > MAX_ARRAY_STEPS || path.iter().any(|step| step.len() > MAX_STEP_BYTES) {
        return Err(format!(
            "records = {}: has more than {MAX_ARRAY_STEPS} steps, or one of more than {MAX_STEP_BYTES} bytes; {example}",
            quoted(pointer)
        ));
    }
    Ok(path)
}

/// Compiles each rule, and adds its problems. Returns the rules without problems.
pub(super) fn compile<'a>(
    file: &'a File,
    arrays: &[RecordsPath],
    problems: &mut Problems,
) -> Vec<Compiled<'a>> {
    problems.extend(file.limits.problems());
    let mut compiled = Vec::new();
    for (at, rule) in file.rule.iter().enumerate().filter(|(_, rule)| !rule.has_unknown_preset) {
        let count = problems.count();
        let mut problem = |problem: String| problems.add(format!("rule {}: {problem}", rule.shown_name(at)));
        let name = rule.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            problem("name is missing; an example: name = \"waf\"".to_owned());
        } else if file.rule[..at].iter().any(|other| other.name == rule.name) {
            problem("another rule has the same name; rename one of them".to_owned());
        }
        if name.len() > MAX_RULE_NAME_BYTES {
            problem(format!("name has {} bytes: the limit is {MAX_RULE_NAME_BYTES}", name.len()));
        }
        rule.check_words(&mut problem);
        let matches =
            rule.matches.as_ref().map_or_else(Matches::default, |matches| matches.compile(&mut problem));
        let source = source(rule, arrays, &mut problem);
        let action = action(rule, &mut problem);
        if let Some(action) = action.filter(|_| problems.count() == count) {
            compiled.push(Compiled { file: rule, name, matches, source, action });
        }
    }
    compiled
}

fn source(rule: &RuleFile, arrays: &[RecordsPath], problem: &mut impl FnMut(String)) -> Source {
    let records = rule.records.as_ref().and_then(|pointer| {
        let path = array_path(pointer).map_err(&mut *problem).ok()?;
        arrays.iter().position(|other| *other == path)
    });
    let export_lines = rule.lines.as_ref().and_then(Choice::known).is_some_and(|Lines::Export| true);
    if export_lines && rule.records.is_some() {
        problem("lines = \"export\" and records: a line has no array; remove one of them".to_owned());
    }
    if rule.comments.as_ref().is_some_and(String::is_empty) {
        problem("comments is empty; an example: comments = \"#\"".to_owned());
    }
    let time_path = rule.timestamp.as_ref().and_then(|timestamp| timestamp.path.as_deref());
    let unwrap = rule.unwrap.as_deref().and_then(|pointer| {
        let pointers: Vec<&str> = std::iter::once(pointer).chain(time_path).collect();
        let compiled = JsonFormat::hidden_only(&pointers);
        compiled.map_err(|wrong| wrong.into_iter().for_each(|wrong| problem(format!("unwrap: {wrong}")))).ok()
    });
    Source { comments: rule.comments.clone(), export_lines, records, unwrap }
}

/// Returns what the rule does; `None` if it has problems.
fn action<'a>(rule: &'a RuleFile, problem: &mut impl FnMut(String)) -> Option<CompiledAction<'a>> {
    let is_drop = rule.drop == Some(true);
    if is_drop || rule.decode.is_some() {
        let what = if is_drop { "drop = true" } else { "decode" };
        let needless = [
            ("table", rule.table.is_some()),
            ("format", rule.format.is_some()),
            ("metadata", rule.metadata.is_some()),
            ("required", rule.required.is_some()),
            ("timestamp", rule.timestamp.is_some()),
        ];
        let decode_needless = [
            ("decode", is_drop && rule.decode.is_some()),
            ("unwrap", is_drop && rule.unwrap.is_some()),
            ("records", is_drop && rule.records.is_some()),
        ];
        for (key, _) in needless.into_iter().chain(decode_needless).filter(|(_, given)| *given) {
            let why = if is_drop { "writes no rows" } else { "writes no rows; other rules take its records" };
            problem(format!("{key}: a rule with {what} {why}; remove it"));
        }
        return Some(if is_drop { CompiledAction::Drop } else { CompiledAction::Decode });
    }
    let table = rule.table.as_deref();
    match table {
        Some(table) => tables::check_name(table, problem),
        None => problem("table is missing; an example: table = \"waf\"".to_owned()),
    }
    let Some(format) = &rule.format else {
        problem("format is missing; an example: format = { kind = \"vpc-flow\" }".to_owned());
        return None;
    };
    let hidden = match &rule.timestamp {
        Some(TimestampFile { path: Some(path), .. }) if rule.unwrap.is_none() => Some(&**path),
        _ => None,
    };
    let compiled = compile_format(format, hidden);
    let format = compiled.map_err(|wrong| wrong.into_iter().for_each(&mut *problem)).ok()?;
    let metadata: Vec<Metadata> = rule.metadata.iter().flatten().filter_map(Choice::known).cloned().collect();
    tables::check_columns(&metadata, &format, problem);
    let required = required(rule, &format, problem);
    let timestamp =
        rule.timestamp.as_ref().and_then(|timestamp| time_source(timestamp, rule, &format, problem));
    Some(CompiledAction::Write(CompiledWriting { table: table?, metadata, format, required, timestamp }))
}

/// `hidden` is the pointer to a record's time. The error has all problems of the format.
fn compile_format(file: &FormatFile, hidden: Option<&str>) -> Result<Format, Vec<String>> {
    let kind = match &file.kind {
        Some(Choice::Known(kind)) => *kind,
        // Reported with the other words.
        Some(Choice::Unknown { .. }) => return Err(Vec::new()),
        None => return Err(vec!["format has no kind; an example: kind = \"vpc-flow\"".to_owned()]),
    };
    let mut problems = other_keys(file, kind);
    // A column with an unknown type still exists.
    let types = file.types.iter().flatten().map(|(name, kind)| (name.clone(), known_type(kind)));
    let types: BTreeMap<String, ColumnType> = types.collect();
    let missing = |key: &str, example: &str| vec![format!("{key} is missing; an example: {example}")];
    let format = match kind {
        Kind::VpcFlow | Kind::TgwFlow => {
            let flow = if kind == Kind::VpcFlow { FlowKind::Vpc } else { FlowKind::TransitGateway };
            match &file.fields {
                None => Ok(FlowFormat::new(flow)),
                Some(fields) => FlowFormat::parse(flow, fields, file.unknown_fields.is_some()),
            }
            .map(Format::Flow)
        }
        Kind::Regex => match &file.pattern {
            None => Err(missing("pattern", "pattern = '^(?P<level>\\w+) (?P<text>.*)$'")),
            Some(pattern) => RegexFormat::new(pattern, &types).map(Format::Regex),
        },
        Kind::Json => match &file.columns {
            None => Err(missing("columns", "columns = [ { name = \"action\", path = \"/action\" } ]")),
            Some(columns) => json_format(columns, hidden),
        },
        Kind::W3c => match &file.fields {
            None => Err(missing("fields", "fields = \"date time c-ip cs(User-Agent)\"")),
            Some(fields) => {
                let delimiter = file.delimiter.as_ref().and_then(Choice::known).copied().unwrap_or_default();
                W3cFormat::new(fields, delimiter, &types).map(Format::W3c)
            }
        },
    };
    match format {
        Ok(format) if problems.is_empty() => Ok(format),
        Ok(_) => Err(problems),
        Err(wrong) => {
            problems.extend(wrong);
            Err(problems)
        }
    }
}

fn known_type(kind: &Choice<ColumnType>) -> ColumnType {
    kind.known().copied().unwrap_or_default()
}

/// Returns a problem for each key that is not valid for this kind of format.
fn other_keys(file: &FormatFile, kind: Kind) -> Vec<String> {
    let is_flow = matches!(kind, Kind::VpcFlow | Kind::TgwFlow);
    let keys = [
        ("fields", file.fields.is_some(), is_flow || kind == Kind::W3c),
        ("unknown_fields", file.unknown_fields.is_some(), is_flow),
        ("pattern", file.pattern.is_some(), kind == Kind::Regex),
        ("types", file.types.is_some(), matches!(kind, Kind::Regex | Kind::W3c)),
        ("columns", file.columns.is_some(), kind == Kind::Json),
        ("delimiter", file.delimiter.is_some(), kind == Kind::W3c),
    ];
    let wrong = keys.into_iter().filter(|(_, is_given, is_valid)| *is_given && !is_valid);
    wrong.map(|(key, ..)| format!("format.{key}: not for kind = {:?}; remove it", kind.name())).collect()
}

fn json_format(columns: &[JsonColumnFile], hidden: Option<&str>) -> Result<Format, Vec<String>> {
    let mut problems = Vec::new();
    let mut compiled = Vec::new();
    for column in columns {
        let path = match (&column.path, &column.jsonpath) {
            (Some(path), None) => JsonPath::Pointer(path),
            (None, Some(query)) => JsonPath::Query(query),
            (given, _) => {
                let what = if given.is_some() { "has path and jsonpath" } else { "has no path" };
                problems.push(format!(
                    "column {}: {what}; give one of them, for example path = \"/action\"",
                    quoted(&column.name)
                ));
                continue;
            }
        };
        compiled.push(JsonColumn { name: &column.name, path, kind: known_type(&column.kind) });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    JsonFormat::new(compiled, hidden.as_slice()).map(Format::Json)
}

/// Returns the positions of a rule's required columns in its format. Also checks `bad_text`, which the same formats have.
fn required(rule: &RuleFile, format: &Format, problem: &mut impl FnMut(String)) -> Vec<usize> {
    let required = rule.required.as_deref().unwrap_or_default();
    if let Some(kind) = format.flow_kind() {
        let kind = kind.name();
        if !required.is_empty() {
            problem(format!("required: not for kind = {kind:?}, whose lines contain all fields; remove it"));
        }
        if rule.bad_text.is_some() {
            problem(format!("bad_text: not for kind = {kind:?}, which rejects invalid text; remove it"));
        }
        return Vec::new();
    }
    let columns = format.columns();
    let position = |name: &String| {
        let position = columns.iter().position(|column| column.name == *name);
        if position.is_none() {
            problem(format!("required: {}", no_column(name, &columns, "required")));
        }
        position
    };
    required.iter().filter_map(position).collect()
}

/// Returns the problem of a name in the list `key` that is not one of the columns.
fn no_column(name: &str, columns: &[Column], key: &str) -> String {
    let problem = format!("the format has no column {}", quoted(name));
    match columns.first() {
        Some(column) => format!("{problem}; an example: {key} = [{}]", quoted(&column.name)),
        None => problem,
    }
}

fn time_source(
    file: &TimestampFile,
    rule: &RuleFile,
    format: &Format,
    problem: &mut impl FnMut(String),
) -> Option<TimeSource> {
    let form = match (&file.unit, &file.format) {
        (Some(unit), None) => unit.known().map(|unit| TimeForm::Unit(*unit)),
        (None, Some(format)) => TimeForm::of_format(format).map_err(&mut *problem).ok(),
        (given, _) => {
            let what = if given.is_some() { "has unit and format" } else { "has no unit" };
            problem(format!(
                "timestamp {what}; give one of them, for example unit = \"ms\" or format = \"%Y-%m-%d %H:%M:%S\""
            ));
            None
        }
    };
    if let Some(kind) = format.flow_kind()
        && (rule.unwrap.is_none() || file.path.is_none())
    {
        // The position of a column depends on the header line of each file.
        problem(format!(
            "timestamp: a line of kind = {:?} has the time of its field start; remove it, or give a path with unwrap",
            kind.name()
        ));
        return None;
    }
    let columns = format.value_columns();
    let (is_outer, cells) = match (&file.path, &file.columns) {
        (Some(_), None) if rule.unwrap.is_some() => (true, vec![1]),
        (Some(_), None) if matches!(format, Format::Json(_)) => (false, vec![columns.len()]),
        (Some(_), None) => {
            problem(
                "timestamp.path: only JSON records have one; name columns of the format, for example columns = [\"date\", \
                 \"time\"]"
                    .to_owned(),
            );
            return None;
        }
        (None, Some(names)) => {
            let mut cells = Vec::new();
            for name in names {
                match columns.iter().position(|column| column.name == *name) {
                    Some(at) => cells.push(at),
                    None => {
                        problem(format!("timestamp.columns: {}", no_column(name, &columns, "columns")));
                    }
                }
            }
            if names.is_empty() {
                problem("timestamp.columns is empty; name the columns that hold the time".to_owned());
            }
            (false, cells)
        }
        (given, _) => {
            let what = if given.is_some() { "has path and columns" } else { "has no path" };
            problem(format!(
                "timestamp {what}; give one of them, for example path = \"/timestamp\" or columns = [\"time\"]"
            ));
            return None;
        }
    };
    Some(TimeSource { is_outer, cells, form: form? })
}

impl Compiled<'_> {
    pub(super) fn into_rule(self, number: usize, tables: &[Table]) -> Result<Rule, ConfigError> {
        let Self { file, name, matches, source, action } = self;
        let action = match action {
            CompiledAction::Drop => Action::Drop,
            CompiledAction::Decode => Action::Decode,
            CompiledAction::Write(writing) => Action::Write(writing.into_writing(name, tables)?),
        };
        Ok(Rule {
            number,
            name: name.to_owned(),
            matches,
            on_mismatch: file.on_mismatch.as_ref().and_then(Choice::known).copied().unwrap_or_default(),
            source,
            action,
            bad_text: file.bad_text.as_ref().and_then(Choice::known).copied().unwrap_or_default(),
        })
    }
}

impl CompiledWriting<'_> {
    fn into_writing(self, rule: &str, tables: &[Table]) -> Result<Writing, ConfigError> {
        let Self { table: name, metadata, format, required, timestamp } = self;
        let position = tables.iter().position(|table| table.name == name);
        let table = position.ok_or_else(|| {
            let (table, rule) = (quoted(name), quoted(rule));
            ConfigError::bug(&format!("table {table} of rule {rule} is not found"))
        })?;
        let metadata = tables[table].metadata.iter().map(|column| metadata.contains(column)).collect();
        let value_columns = format.value_columns();
        let cells = tables[table].positions_in(&value_columns);
        let in_order = format.is_in_order(&cells);
        Ok(Writing {
            table,
            metadata,
            columns: value_columns.len(),
            cells,
            in_order,
            format,
            required,
            timestamp,
        })
    }
}
