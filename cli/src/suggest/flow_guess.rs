//! Flow logs of a custom format without a header line: which fields each word of a line may be.

use std::{collections::BTreeMap, net::IpAddr};

use flowherd_shared::flow_fields::{FLOW_FIELDS, FieldKind};

use super::clusters::Record;

/// Minimum words of a line that can be a flow log.
const MIN_WORDS: usize = 4;
/// Maximum fields that are listed for one word.
const MAX_CANDIDATES: usize = 4;

/// Returns the text of `fields` with all candidates of each word, if most records look like flow logs of one format. Records with
/// another number of words, such as cut lines, do not count.
pub(super) fn guess(records: &[Record]) -> Option<String> {
    let lines: Vec<Vec<&str>> = records.iter().map(|record| record.message.split(' ').collect()).collect();
    let (count, lines) = of_most_frequent_length(lines)?;
    if count < MIN_WORDS || count > FLOW_FIELDS.len() {
        return None;
    }
    let columns: Vec<Vec<&str>> = (0..count)
        .map(|at| lines.iter().map(|line| line[at]).filter(|word| *word != "-").collect())
        .collect();
    let all =
        |words: &[&str], test: fn(&str) -> bool| !words.is_empty() && words.iter().all(|word| test(word));
    let has_address = columns.iter().any(|words| all(words, is_address));
    let has_mark = columns.iter().any(|words| {
        all(words, |word| word.starts_with("eni-"))
            || all(words, |word| matches!(word, "ACCEPT" | "REJECT"))
            || all(words, |word| matches!(word, "OK" | "NODATA" | "SKIPDATA"))
    });
    if !has_address || !has_mark {
        return None;
    }
    let fields: Vec<String> = columns.iter().map(|words| candidates(words)).collect();
    Some(fields.join(" "))
}

/// Returns the number of words that more than half of the lines have, and these lines.
fn of_most_frequent_length(mut lines: Vec<Vec<&str>>) -> Option<(usize, Vec<Vec<&str>>)> {
    let total = lines.len();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    lines.iter().for_each(|line| *counts.entry(line.len()).or_default() += 1);
    let (words, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    lines.retain(|line| line.len() == words);
    (count * 2 > total).then_some((words, lines))
}

fn is_address(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok()
}

/// A condition of a word.
type Test = fn(&str) -> bool;

/// Returns the fields that hold all of these words: `${srcaddr|dstaddr}`.
fn candidates(words: &[&str]) -> String {
    let all = |test: Test| !words.is_empty() && words.iter().all(|word| test(word));
    let by_prefix =
        [("eni-", "interface-id"), ("vpc-", "vpc-id"), ("subnet-", "subnet-id"), ("i-", "instance-id")];
    for (prefix, field) in by_prefix {
        if !words.is_empty() && words.iter().all(|word| word.starts_with(prefix)) {
            return format!("${{{field}}}");
        }
    }
    let by_words: [(Test, &str); 6] = [
        (|word| matches!(word, "ACCEPT" | "REJECT"), "action"),
        (|word| matches!(word, "OK" | "NODATA" | "SKIPDATA"), "log-status"),
        (|word| matches!(word, "ingress" | "egress"), "flow-direction"),
        (|word| matches!(word, "IPv4" | "IPv6" | "EFA"), "type"),
        (|word| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_digit()), "account-id"),
        (|word| matches!(word.parse::<u64>(), Ok(1_000_000_000..4_000_000_000)), "start|end"),
    ];
    if let Some((_, field)) = by_words.iter().find(|(test, _)| all(*test)) {
        return format!("${{{field}}}");
    }
    let is_number = all(|word| word.parse::<u64>().is_ok());
    let is_address = all(is_address);
    let fits = FLOW_FIELDS.iter().filter(|field| match field.kind {
        FieldKind::Int | FieldKind::BigInt => is_number,
        FieldKind::Address => is_address,
        FieldKind::Seconds => false,
        FieldKind::Text | FieldKind::Tag => !is_number && !is_address,
    });
    let names: Vec<&str> = fits.map(|field| field.name).collect();
    let more = if names.len() > MAX_CANDIDATES { "|…" } else { "" };
    format!("${{{}{more}}}", names[..names.len().min(MAX_CANDIDATES)].join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess_of(lines: &[&str]) -> Option<String> {
        let record = |line: &&str| Record {
            message: (*line).to_owned(),
            stream: String::new(),
            file: 0,
            is_first: false,
        };
        guess(&lines.iter().map(record).collect::<Vec<_>>())
    }

    #[test]
    fn each_word_of_a_custom_flow_log_lists_the_fields_that_it_may_be() {
        assert_eq!(
            guess_of(&["vpc-01 - 192.0.2.1 1771372800 ACCEPT", "vpc-01 i-1 192.0.2.2 1771372801 REJECT"])
                .unwrap(),
            "${vpc-id} ${instance-id} ${srcaddr|dstaddr|pkt-srcaddr|pkt-dstaddr} ${start|end} ${action}"
        );
    }

    #[test]
    fn a_cut_line_at_any_position_does_not_hide_the_format() {
        for at in 0..3 {
            let mut lines = vec!["vpc-01 443 192.0.2.1 ACCEPT", "vpc-01 80 192.0.2.2 REJECT"];
            lines.insert(at, "vpc-01 44");
            let fields = guess_of(&lines).unwrap();
            assert!(fields.starts_with("${vpc-id} ${") && fields.ends_with(" ${action}"), "{fields}");
        }
    }

    #[test]
    fn other_lines_are_no_flow_logs() {
        for lines in [&["a b c d"][..], &["192.0.2.1 - - GET"], &["192.0.2.1 x ACCEPT OK", "x"], &[]] {
            assert_eq!(guess_of(lines), None);
        }
    }
}
