//! The rules of the suggested file: names, tables, `match`, and their order.

use std::{cmp::Reverse, collections::BTreeSet};

use flowherd_shared::limits::{MAX_EXAMPLE_CHARS, MAX_REGEXES, MAX_RULES, MAX_TABLES};

use super::{
    clusters::{Record, Source},
    draft::{Draft, time_key},
    found::Found,
    names,
    preset_rule::PresetRule,
    toml_text::{comment, commented, string},
};

/// Log groups and folders that a comment or a `match` lists.
const MAX_LISTED: usize = 20;

/// One rule of the file.
#[derive(Debug)]
pub(super) struct Suggested {
    pub(super) name: String,
    pub(super) table: String,
    /// The rule.
    pub(super) toml: String,
    /// What its records are and where they come from.
    pub(super) about: String,
    /// Further comments.
    pub(super) notes: Vec<String>,
    /// A record of the sample that the rule rejects.
    pub(super) reject_example: Option<String>,
    /// Count of its regular expressions.
    pub(super) regexes: usize,
    /// Whether the columns come from the sample alone, and not from a preset.
    pub(super) is_inferred: bool,
    /// Whether it rejects records of the sample that no other rule takes.
    pub(super) expects_rejects: bool,
    /// Whether other rules take what it decodes.
    pub(super) decodes: bool,
    /// Why it is a comment, if it is one.
    pub(super) why_commented: Option<String>,
}

/// A commented suggestion for records that no rule takes.
#[derive(Debug)]
pub(super) struct UncertainRule {
    pub(super) about: String,
    pub(super) toml: String,
}

/// Returns the rules in order, and what is uncertain.
pub(super) fn rules(found: Vec<Found>) -> (Vec<Suggested>, Vec<UncertainRule>) {
    let has_own_match: Vec<bool> = (0..found.len()).map(|at| own_match_suffices(&found, at)).collect();
    let found = found.into_iter().zip(has_own_match);
    let mut found: Vec<Found> =
        found.flat_map(|(found, is_whole)| if is_whole { vec![found] } else { found.by_kind() }).collect();
    found.sort_by_key(|found| {
        let globs: Vec<&str> = if found.is_group() { found.groups() } else { found.folders() };
        let length = globs.iter().map(|glob| names::literal_length(glob)).min().unwrap_or_default();
        let decodes = found.chain.drafts.iter().any(Draft::decodes);
        (Reverse(decodes), Reverse(found.is_group()), Reverse(length))
    });
    let mut writer = Writer { found: &found, names: BTreeSet::new(), tables: BTreeSet::new() };
    let (mut rules, mut uncertain) = (Vec::new(), Vec::new());
    for (at, one) in found.iter().enumerate() {
        writer.rules_of(at, one, &mut rules);
        if one.has_unknown_kind() {
            uncertain.push(writer.uncertain(at, one));
        }
    }
    limit(&mut rules);
    (rules, uncertain)
}

struct Writer<'a> {
    found: &'a [Found],
    names: BTreeSet<String>,
    tables: BTreeSet<String>,
}

impl Writer<'_> {
    fn rules_of(&mut self, at: usize, found: &Found, rules: &mut Vec<Suggested>) {
        let drafts = &found.chain.drafts;
        for (number, draft) in drafts.iter().enumerate() {
            let mut head = Vec::new();
            let is_last = number + 1 == drafts.len();
            let (name, table) = self.names_of(found, draft);
            let is_preset_name = draft.preset.as_ref().is_some_and(|preset| preset.name == name);
            if !is_preset_name {
                head.push(format!("name = {}", string(&name)));
            }
            let own_match = self.matches(at, found, draft);
            let regexes = regexes(draft, own_match.as_deref());
            head.extend(own_match);
            if draft.preset.is_none() && !draft.decodes() {
                head.push(format!("table = \"{table}\""));
            }
            // Records of an unknown kind go to the rule that the user completes.
            if !is_last || found.has_unknown_kind() {
                head.push("on_mismatch = \"next\"".to_owned());
            }
            if draft.preset.is_none() && !draft.decodes() && found.groups().len() > 1 {
                head.push("metadata = [\"log_group\"]".to_owned());
            }
            let mut notes = Vec::new();
            if let [first, ..] = &draft.possible_times[..] {
                notes.push(format!("If this is the time of a record, add: {}", time_key(first)));
            }
            rules.push(Suggested {
                name,
                table,
                toml: draft.toml(&head),
                about: format!("{}: {}", draft.what, listed(&found.sources)),
                notes,
                reject_example: found.chain.remaining.first().filter(|_| is_last).map(example),
                regexes,
                is_inferred: draft.preset.is_none(),
                expects_rejects: found.chain.rejected > 0,
                decodes: draft.decodes(),
                why_commented: None,
            });
        }
    }

    /// Returns the rule's name and table.
    fn names_of(&mut self, found: &Found, draft: &Draft) -> (String, String) {
        if let Some(preset) = &draft.preset {
            let name = names::unique(&mut self.names, preset.name, '-');
            return (name, preset.table.clone().unwrap_or_default());
        }
        let glob = match found.groups()[..] {
            [] => names::common_prefix(&found.folders()).to_owned(),
            [group] => group.to_owned(),
            ref groups => names::common_prefix(groups).to_owned(),
        };
        let glob = if found.folders().len() == 1 { found.folders()[0].to_owned() } else { glob };
        let base = names::table_name(&glob);
        if draft.decodes() {
            let name = names::unique(&mut self.names, &format!("{}-payloads", base.replace('_', "-")), '-');
            return (name, String::new());
        }
        let presets = self.found.iter().flat_map(|found| &found.chain.drafts);
        let taken: Vec<String> = presets
            .filter_map(|draft| draft.preset.as_ref())
            .filter_map(|preset| preset.table.clone())
            .collect();
        self.tables.extend(taken);
        let table = names::unique(&mut self.tables, &base, '_');
        let name = names::unique(&mut self.names, &table.replace('_', "-"), '-');
        (name, table)
    }

    /// Returns the line `match = …`, or none if the preset's own takes these records and no others, or if there is nothing to
    /// tell apart.
    fn matches(&self, at: usize, found: &Found, draft: &Draft) -> Option<String> {
        let message = draft.preset.as_ref().and_then(PresetRule::message);
        if draft.preset.is_some() && own_match_suffices(self.found, at) {
            return None;
        }
        let message = message.map_or_else(String::new, |message| format!(", message = {message}"));
        let of = |key: &str, glob: &str| format!("{{ {key} = {}{message} }}", string(glob));
        let groups = found.groups();
        let others = self.found.iter().enumerate().filter(|(other, _)| *other != at);
        let glob = names::common_glob(&groups, others.flat_map(|(_, other)| other.groups()));
        let groups = glob.as_deref().map_or(groups, |glob| vec![glob]);
        let groups = groups.into_iter().map(|group| of("log_group", group));
        let alternatives: Vec<String> =
            groups.chain(found.folders().into_iter().map(|glob| of("key", glob))).collect();
        match &alternatives[..] {
            [only] => Some(format!("match = {only}")),
            alternatives => Some(format!("match = [\n  {},\n]", alternatives.join(",\n  "))),
        }
    }

    /// Returns a commented rule for records that no rule takes for certain.
    fn uncertain(&mut self, at: usize, found: &Found) -> UncertainRule {
        let base = names::table_name(found.sources[0].text());
        let table = names::unique(&mut self.tables, &format!("{base}_text"), '_');
        let name = names::unique(&mut self.names, &table.replace('_', "-"), '-');
        let text = Draft {
            preset: None,
            keys: Vec::new(),
            format: Some(match &found.chain.guess {
                Some(fields) => format!("kind = \"vpc-flow\"\nfields = {}\n", string(fields)),
                None => "kind = \"regex\"\npattern = '(?s)^(?P<message>.*)$'\n".to_owned(),
            }),
            what: String::new(),
            shape: None,
            possible_times: Vec::new(),
        };
        let mut head = vec![format!("name = {}", string(&name))];
        head.extend(self.matches(at, found, &text));
        head.push(format!("table = \"{table}\""));
        let what = match &found.chain.guess {
            Some(_) => {
                "these lines look like flow logs of a custom format. Replace `fields` with the format in the settings of the flow log:"
            }
            None => {
                "no format fits every one of these records. This rule would keep each as one column of text:"
            }
        };
        let about = format!("Not certain, from {}: {what}", listed(&found.sources));
        UncertainRule { about, toml: text.toml(&head) }
    }
}

/// Returns whether one rule with a preset takes these records by its own `match`, and no others.
fn own_match_suffices(all: &[Found], at: usize) -> bool {
    let [Draft { preset: Some(preset), .. }] = &all[at].chain.drafts[..] else { return false };
    let takes_another = all.iter().enumerate().filter(|(other, _)| *other != at).any(|(_, other)| {
        let mut groups: Vec<Option<&str>> = other.groups().into_iter().map(Some).collect();
        if !other.folders().is_empty() {
            groups.push(None);
        }
        groups.into_iter().any(|group| preset.may_match(group, &mut other.keys()))
    });
    all[at].own_match_of(preset) && !takes_another
}

/// Returns the count of a rule's regular expressions. `own_match` replaces that of its preset.
fn regexes(draft: &Draft, own_match: Option<&str>) -> usize {
    let preset = draft.preset.as_ref();
    let has_pattern = match &draft.format {
        Some(format) => format.starts_with("kind = \"regex\""),
        None => preset.is_some_and(|preset| preset.has_pattern),
    };
    let in_match = match own_match {
        Some(own_match) => own_match.matches("message = ").count(),
        None => preset.map_or(0, PresetRule::regexes_of_match),
    };
    usize::from(has_pattern) + in_match
}

/// Returns the beginning of a record's message in quotes.
fn example(record: &Record) -> String {
    let mut text: String = record.message.chars().take(MAX_EXAMPLE_CHARS).collect();
    if text.len() < record.message.len() {
        text.push('…');
    }
    string(&text)
}

/// Returns where records come from, for a comment.
fn listed(sources: &[Source]) -> String {
    let groups: Vec<&str> = sources.iter().filter_map(Source::group).collect();
    let folders: Vec<&str> = sources.iter().filter_map(Source::folder).collect();
    let list = |what: &str, names: Vec<&str>| {
        let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|name| format!("{name:?}")).collect();
        let more = names.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| format!("{what} {}{more}", shown.join(", ")))
    };
    let parts: Vec<String> =
        [list("log group", groups), list("keys", folders)].into_iter().flatten().collect();
    parts.join("; ")
}

/// Turns rules beyond the limits of a configuration into comments.
fn limit(rules: &mut [Suggested]) {
    let (mut count, mut regexes) = (0, 0);
    let mut tables = BTreeSet::new();
    for rule in rules {
        let is_beyond = count == MAX_RULES
            || regexes + rule.regexes > MAX_REGEXES
            || (tables.len() == MAX_TABLES && !tables.contains(&rule.table));
        if is_beyond {
            rule.why_commented =
                Some("a flowherd.toml cannot have more rules, tables or regular expressions".to_owned());
            continue;
        }
        count += 1;
        regexes += rule.regexes;
        tables.insert(rule.table.clone());
    }
}

/// Returns the text of the file. `counts` has the comment on each rule's counts.
pub(super) fn file(
    head: &str,
    rules: &[Suggested],
    counts: &[String],
    uncertain: &[UncertainRule],
) -> String {
    let mut text = comment(head);
    for (rule, counts) in rules.iter().zip(counts) {
        text.push('\n');
        text += &comment(&format!("{counts} {}.", rule.about));
        rule.notes.iter().for_each(|note| text += &comment(note));
        match &rule.why_commented {
            None => text += &rule.toml,
            Some(why_commented) => {
                text += &comment(&format!("Not certain: {why_commented}."));
                text += &commented(&rule.toml);
            }
        }
    }
    for uncertain in uncertain {
        text.push('\n');
        text += &comment(&uncertain.about);
        text += &commented(&uncertain.toml);
    }
    text
}
