//! Text whose fields a line `#Fields:` names. A limited part of the lines may not fit.

use super::{
    text_shape::{TextFormat, type_name},
    toml_text::string,
    values::Values,
};

/// Returns the format that a line `#Fields: date time c-ip` names for the lines after it. At most `max_unfit` percent of them have
/// another number of fields.
pub(super) fn w3c(preambles: &[&str], lines: &[&str], max_unfit: usize) -> Option<TextFormat> {
    let headers_of = |lines: &[&'_ str]| -> Vec<Vec<String>> {
        let headers = lines.iter().filter_map(|line| line.strip_prefix("#Fields:"));
        headers.map(|header| header.split_whitespace().map(str::to_owned).collect()).collect()
    };
    // A malformed line may come before the header.
    let mut headers =
        Some(headers_of(preambles)).filter(|found| !found.is_empty()).unwrap_or_else(|| headers_of(lines));
    headers.dedup();
    let [names] = &headers[..] else { return None };
    if names.is_empty() {
        return None;
    }
    let records: Vec<&&str> = lines.iter().filter(|line| !line.starts_with('#')).collect();
    let fitting = |split: char| -> Vec<&str> {
        let fits = |line: &&str| line.split(split).count() == names.len();
        records.iter().map(|line| **line).filter(fits).collect()
    };
    let (delimiter, split, records) = [("tab", '\t'), ("space", ' ')]
        .into_iter()
        .map(|(name, split)| (name, split, fitting(split)))
        .find(|(.., fitting)| (records.len() - fitting.len()) * 100 <= records.len() * max_unfit)?;
    let mut types = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let mut values = Values::default();
        let cells = records.iter().filter_map(|line| line.split(split).nth(at)).filter(|cell| *cell != "-");
        cells.for_each(|cell| values.add_text(cell));
        let column = w3c_column(name);
        if let Some(name) = type_name(values.column_type()) {
            types.push(format!("{column} = \"{name}\""));
        }
    }
    let types =
        if types.is_empty() { String::new() } else { format!("types = {{ {} }}\n", types.join(", ")) };
    let has_time = ["date", "time"].iter().all(|part| names.iter().any(|name| name == part));
    let timestamp =
        has_time.then(|| "{ columns = [\"date\", \"time\"], format = \"%Y-%m-%d %H:%M:%S\" }".to_owned());
    let format = format!(
        "kind = \"w3c\"\nfields = {}\ndelimiter = \"{delimiter}\"\n{types}",
        string(&names.join(" "))
    );
    Some(TextFormat { what: "lines with a header `#Fields:`".to_owned(), comments: None, timestamp, format })
}

/// Returns the column that a rule of `kind = "w3c"` gives a field.
fn w3c_column(field: &str) -> String {
    let character = |character: char| {
        if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '_' }
    };
    field.trim_end_matches(')').chars().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_w3c_header_names_the_fields() {
        let preambles = ["#Version: 1.0", "#Fields: date time c-ip cs(User-Agent) sc-bytes"];
        let format = w3c(&preambles, &["2026-02-18 00:00:01 192.0.2.1 x 12", "# x"], 0).unwrap();
        assert_eq!(
            format.format,
            "kind = \"w3c\"\nfields = \"date time c-ip cs(User-Agent) sc-bytes\"\ndelimiter = \"space\"\ntypes = { sc_bytes = \"bigint\" }\n"
        );
        assert_eq!(w3c(&preambles, &["2026-02-18 00:00:01"], 10), None);
        assert_eq!(w3c(&["#Fields: a b", "#Fields: b a"], &["1 2"], 10), None);
    }
}
