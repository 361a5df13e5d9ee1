//! Checks layouts against a sample of keys: a layout that fits no key would give tables without rows, and no error.

use std::collections::BTreeSet;

use regex::Regex;

use super::{Layout, Layouts, shape::Shapes};
use crate::words::counted;

/// Maximum number of values of a column that Athena gets as a list. AWS advises a few dozen
/// (<https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html>).
const MAX_VALUES: usize = 100;

/// Counts the keys that each layout fits.
#[derive(Debug)]
pub(crate) struct Sample {
    tallies: Vec<Tally>,
    keys: u64,
    misfits: Misfits,
    overlap: Option<String>,
}

#[derive(Debug)]
struct Tally {
    layout: Layout,
    regex: Regex,
    /// Keys of its table, or of all tables.
    keys: u64,
    fits: u64,
    misfits: Misfits,
    /// Values of each column without given values.
    values: Vec<(String, BTreeSet<String>)>,
}

/// Keys that a layout does not fit.
#[derive(Debug, Default)]
struct Misfits {
    count: u64,
    first: Option<String>,
    shapes: Shapes,
}

impl Misfits {
    fn add(&mut self, key: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| key.to_owned());
        self.shapes.add(key);
    }

    /// Describes the first key, and the layouts that most keys have.
    fn describe(&self) -> String {
        let shapes = self.shapes.most_frequent();
        let shapes: Vec<String> =
            shapes.iter().map(|(shape, count)| format!("{shape:?} ({count})")).collect();
        let first = self.first.as_deref().unwrap_or_default();
        format!("the first is {first:?}; the layouts of these keys are {}", shapes.join(", "))
    }
}

impl Sample {
    /// Creates an empty sample.
    pub(crate) fn new(layouts: &Layouts) -> Self {
        let tallies = layouts.all.iter().map(|layout| Tally {
            #[expect(clippy::expect_used, reason = "a template escapes its text")]
            regex: Regex::new(&layout.template.regex()).expect("the expression of a template is valid"),
            layout: layout.clone(),
            keys: 0,
            fits: 0,
            misfits: Misfits::default(),
            values: Vec::new(),
        });
        Self { tallies: tallies.collect(), keys: 0, misfits: Misfits::default(), overlap: None }
    }

    /// Adds a key. `table` is the table that has its rows, if that is known.
    pub(crate) fn add(&mut self, table: Option<&str>, key: &str) {
        let mut fitting: Vec<Layout> = Vec::new();
        let is_concerned = |tally: &&mut Tally| table.is_none_or(|table| tally.layout.is_of(table));
        let mut concerned = false;
        for tally in self.tallies.iter_mut().filter(is_concerned) {
            concerned = true;
            if !tally.add(key) {
                continue;
            }
            if self.overlap.is_none()
                && let Some(other) = fitting.iter().find(|other| other.shares_table(&tally.layout))
            {
                self.overlap = Some(format!(
                    "--layout {:?} and --layout {:?} both fit the key {key:?}, so its rows would count twice; remove one, \
                     or give each its table: --layout \"TABLE:…\"",
                    other.template.text(),
                    tally.layout.template.text()
                ));
            }
            fitting.push(tally.layout.clone());
        }
        self.keys += 1;
        if concerned && fitting.is_empty() {
            self.misfits.add(key);
        }
    }

    /// Returns whether no key was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Returns messages for the user if each layout fits some keys. The error has one line for each layout that fits none.
    pub(crate) fn check(&self) -> Result<Vec<String>, Vec<String>> {
        let mut problems: Vec<String> = self.tallies.iter().filter_map(Tally::problem).collect();
        problems.extend(self.overlap.clone());
        if !problems.is_empty() {
            return Err(problems);
        }
        let note = format!(
            "{} of {} {} no --layout, so only the views …_everywhere have their rows; {}",
            self.misfits.count,
            counted(self.keys, "key", "keys"),
            if self.misfits.count == 1 { "fits" } else { "fit" },
            self.misfits.describe()
        );
        Ok(if self.misfits.count > 0 { vec![note] } else { Vec::new() })
    }

    /// Gives the columns of layouts their values in the sample, unless there are too many. Returns messages for the user.
    pub(crate) fn fill_values(self, layouts: &mut Layouts) -> Vec<String> {
        let mut notes = Vec::new();
        for (layout, tally) in layouts.all.iter_mut().zip(self.tallies) {
            for (column, values) in tally.values {
                if values.len() > MAX_VALUES {
                    continue;
                }
                notes.push(format!(
                    "--layout {:?}: {column} has the values {} in the sample; rows of other values are only in the views \
                     …_everywhere",
                    layout.template.text(),
                    values.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
                ));
                layout.template.set_values(&column, values.into_iter().collect());
            }
        }
        notes
    }
}

impl Tally {
    /// Returns whether the layout fits the key.
    fn add(&mut self, key: &str) -> bool {
        self.keys += 1;
        let Some(found) = self.regex.captures(key) else {
            self.misfits.add(key);
            return false;
        };
        self.fits += 1;
        let template = &self.layout.template;
        let open = template.named_columns().filter(|(_, values)| values.is_empty()).map(|(name, _)| name);
        let open: BTreeSet<&str> = open.collect();
        for (group, column) in (1..).zip(template.columns()) {
            let value = found.get(group).map_or("", |value| value.as_str());
            // A list of values has commas between them.
            if !open.contains(column) || value.contains(',') {
                continue;
            }
            let at = self.values.iter().position(|(name, _)| name == column).unwrap_or_else(|| {
                self.values.push((column.to_owned(), BTreeSet::new()));
                self.values.len() - 1
            });
            let values = &mut self.values[at].1;
            if values.len() <= MAX_VALUES && !values.contains(value) {
                values.insert(value.to_owned());
            }
        }
        true
    }

    fn problem(&self) -> Option<String> {
        if self.fits > 0 {
            return None;
        }
        let of = self.layout.table.as_ref().map_or_else(String::new, |table| format!(" of table {table}"));
        let keys = match self.misfits.count {
            0 => format!("the sample has no key{of}"),
            count => format!(
                "it fits 0 of {count} keys{of}; {}; give one that has a date as --layout",
                self.misfits.describe()
            ),
        };
        Some(format!("--layout {:?} would give tables without rows: {keys}", self.layout.template.text()))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Date;

    use super::*;

    const DAILY: &str = "AWSLogs/{account}/vpcflowlogs/{region}/{yyyy/MM/dd}/";

    fn layouts(arguments: &[&str]) -> Layouts {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Layouts::parse(&arguments, &["vpc_flow", "waf"], Date::default()).unwrap()
    }

    fn sample(arguments: &[&str], keys: &[(Option<&str>, &str)]) -> Sample {
        let mut sample = Sample::new(&layouts(arguments));
        keys.iter().for_each(|(table, key)| sample.add(*table, key));
        sample
    }

    fn checked(arguments: &[&str], keys: &[(Option<&str>, &str)]) -> Result<Vec<String>, Vec<String>> {
        sample(arguments, keys).check()
    }

    #[test]
    fn a_layout_that_fits_no_key_is_refused_with_the_layout_of_the_keys() {
        let keys =
            [(None, "year=2026/month=02/day=18/hour=00/a"), (None, "year=2026/month=02/day=18/hour=01/b")];
        let problems = checked(&["firehose/{yyyy/MM/dd/HH}/"], &keys).unwrap_err();
        insta::assert_snapshot!(problems.concat());
        let problems = checked(&["{yyyy/MM/dd}/"], &[(None, "logs/a")]).unwrap_err();
        assert!(problems[0].contains("the layouts of these keys are \"logs/\" (1)"), "{problems:?}");
        let problems = checked(&["waf:{yyyy/MM/dd}/"], &[(Some("vpc_flow"), "2026/02/18/a")]).unwrap_err();
        assert!(problems[0].ends_with("the sample has no key of table waf"), "{problems:?}");
    }

    #[test]
    fn keys_that_fit_no_layout_are_a_note() {
        let keys = [
            (None, "f/2026/02/18/00/a"),
            (None, "f/failed/2026/02/18/00/a"),
            (None, "f/failed/2026/02/18/01/b"),
        ];
        assert_eq!(
            checked(&["f/{yyyy/MM/dd/HH}/"], &keys).unwrap(),
            ["2 of 3 keys fit no --layout, so only the views …_everywhere have their rows; the first is \
              \"f/failed/2026/02/18/00/a\"; the layouts of these keys are \"f/failed/{yyyy/MM/dd/HH}/\" (2)"]
        );
        let keys = [(Some("vpc_flow"), "2026/02/18/a"), (Some("waf"), "other/a")];
        let notes = checked(&["vpc_flow:{yyyy/MM/dd}/"], &keys).unwrap();
        assert!(notes.is_empty(), "no layout is of table waf: {notes:?}");
    }

    #[test]
    fn two_layouts_that_fit_one_key_are_refused() {
        let keys = [(None, "f/2026/02/18/00/a")];
        let twice = ["f/{yyyy/MM/dd/HH}/", "{name}/{yyyy/MM/dd}/"];
        let problems = checked(&twice, &keys).unwrap_err();
        assert!(problems[0].contains("would count twice") && problems[0].contains("f/2026/02/18/00/a"));
        assert!(checked(&["waf:f/{yyyy/MM/dd/HH}/", "vpc_flow:{name}/{yyyy/MM/dd}/"], &keys).is_ok());
    }

    #[test]
    fn columns_get_the_values_of_the_sample() {
        let key = |account: usize, region: &str| {
            format!("AWSLogs/{account:012}/vpcflowlogs/{region}/2026/02/18/x.gz")
        };
        let keys: Vec<String> =
            (0..4).map(|number| key(number / 2, ["us-east-1", "eu-west-1"][number % 2])).collect();
        let keys: Vec<_> = keys.iter().map(|key| (None, &**key)).collect();
        let filled = |keys: &[(Option<&str>, &str)]| {
            let mut layouts = layouts(&[DAILY]);
            let notes = sample(&[DAILY], keys).fill_values(&mut layouts);
            (layouts.all.remove(0).template, notes)
        };
        let (template, notes) = filled(&keys);
        let columns: Vec<_> = template.named_columns().collect();
        assert_eq!(
            columns,
            [
                ("account", &["000000000000".to_owned(), "000000000001".to_owned()][..]),
                ("region", &["eu-west-1".to_owned(), "us-east-1".to_owned()][..])
            ]
        );
        assert_eq!(notes.len(), 2);
        assert!(notes[1].contains("region has the values eu-west-1, us-east-1"), "{notes:?}");

        let given = ["AWSLogs/{account:000000000001}/vpcflowlogs/{region}/{yyyy/MM/dd}/"];
        let notes = checked(&given, &keys).unwrap();
        assert!(notes[0].starts_with("2 of 4 keys fit no --layout"), "{notes:?}");

        let many: Vec<String> = (0..=MAX_VALUES).map(|number| key(number, "us-east-1")).collect();
        let many: Vec<_> = many.iter().map(|key| (None, &**key)).collect();
        let (template, notes) = filled(&many);
        assert_eq!(template.named_columns().map(|(_, values)| values.len()).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(notes.len(), 1);
    }
}
