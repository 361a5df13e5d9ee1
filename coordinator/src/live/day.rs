//! Which day and which fleet an object belongs to. Arrivals and the listing of a day use the same rules, so each object that
//! arrives is in the listing of a day.

use std::time::SystemTime;

use flowherd_shared::ledger::LiveClosing;
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

/// The beginning of the names of live runs.
const PREFIX: &str = "live-";
/// Between the day and the number, in the names of runs that began after another run of the same day was closed.
const LATE: &str = "-late-";
/// Maximum runs of a day. One more begins whenever objects arrive after a close.
pub(crate) const MAX_RUNS: u32 = 1000;
/// How far in the future the day of a key may be: the clocks of producers differ.
const FUTURE: i64 = 1;

/// A day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(Date);

impl Day {
    /// Returns the day of a time.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        Self(time.to_zoned(TimeZone::UTC).date())
    }

    /// Parses a day such as `2026-02-18`; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_form = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
        is_form.then(|| text.parse().ok().map(Self))?
    }

    /// Returns the day as text, such as `2026-02-18`.
    #[must_use]
    pub fn text(self) -> String {
        self.0.strftime("%Y-%m-%d").to_string()
    }

    /// Returns the part of a key that Firehose writes for the day, such as `2026/02/18/`
    /// (<https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html>).
    #[must_use]
    pub fn path(self) -> String {
        self.0.strftime("%Y/%m/%d/").to_string()
    }

    /// Returns the day `days` later.
    #[must_use]
    pub fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(days.days()))
    }

    /// Returns the number of the day in its year.
    pub(crate) fn in_year(self) -> usize {
        usize::from(self.0.day_of_year().unsigned_abs())
    }

    /// Returns the day of the path with which `rest` begins, such as `2026/02/18/10/…`.
    fn of_path(rest: &str) -> Option<Self> {
        let path = rest.get(..11)?;
        let is_form = path.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 | 10 => byte == b'/',
            _ => byte.is_ascii_digit(),
        });
        // Before any slice: a byte of these positions may be inside a character.
        if !is_form {
            return None;
        }
        let year = path[..4].parse().ok().filter(|year| (1970..=9999).contains(year));
        Date::new(year?, path[5..7].parse().ok()?, path[8..10].parse().ok()?).ok().map(Self)
    }
}

/// Returns the name of the run of a day: the first one, or the one after `number` others.
#[must_use]
pub fn run_name(fleet: &str, day: Day, number: u32) -> String {
    let first = format!("{PREFIX}{fleet}-{}", day.text());
    if number == 0 { first } else { format!("{first}{LATE}{number}") }
}

/// Parses the name of a live run of this fleet.
#[must_use]
pub fn parse_run_name(fleet: &str, name: &str) -> Option<(Day, u32)> {
    let rest = name.strip_prefix(PREFIX)?.strip_prefix(fleet)?.strip_prefix('-')?;
    let day = Day::parse(rest.get(..10)?)?;
    let number = match &rest[10..] {
        "" => 0,
        late => late.strip_prefix(LATE)?.parse().ok()?,
    };
    (run_name(fleet, day, number) == name).then_some((day, number))
}

/// Returns whether the name is reserved for live runs.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The keys of a live fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPrefixes {
    /// Its prefixes, sorted.
    prefixes: Vec<String>,
    /// Longer prefixes inside, which belong to other fleets.
    excluded: Vec<String>,
}

impl FleetPrefixes {
    /// Creates the set of the keys below `prefixes`, without those below a longer prefix in `others`. Without prefixes, it contains
    /// every key.
    #[must_use]
    pub fn new(prefixes: &[String], others: &[String]) -> Self {
        let mut prefixes = if prefixes.is_empty() { vec![String::new()] } else { prefixes.to_vec() };
        prefixes.sort_unstable();
        prefixes.dedup();
        let is_inside = |other: &&String| {
            prefixes.iter().any(|own| other.starts_with(own.as_str())) && !prefixes.contains(*other)
        };
        let mut excluded: Vec<String> = others.iter().filter(is_inside).cloned().collect();
        excluded.sort_unstable();
        excluded.dedup();
        Self { prefixes, excluded }
    }

    /// Returns the prefixes of the fleet.
    #[must_use]
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// Returns the prefixes to list at the close of a run: the current ones, and those with which it began, even if the fleet has
    /// lost them since.
    #[must_use]
    pub fn closing(&self, begun: &[String]) -> LiveClosing {
        let prefixes: Vec<String> = self.prefixes.iter().chain(begun).cloned().collect();
        let Self { prefixes, excluded } = Self::new(&prefixes, &self.excluded);
        let lost = prefixes.iter().filter(|prefix| !self.prefixes.contains(prefix)).cloned().collect();
        LiveClosing { prefixes, excluded, lost }
    }

    /// Returns the fleet's longest prefix that matches the key; `None` if no fleet or another one owns the key.
    #[must_use]
    pub fn prefix_of(&self, key: &str) -> Option<&str> {
        let own = longest(&self.prefixes, key)?;
        let other = longest(&self.excluded, key).map_or(0, str::len);
        (own.len() >= other).then_some(own)
    }

    /// Returns the day of the path that follows the fleet's prefix in a key; `None` for a key without one.
    #[must_use]
    pub fn day_of_path(&self, key: &str) -> Option<Day> {
        Day::of_path(&key[self.prefix_of(key)?.len()..])
    }

    /// Returns the day of an object: from the path in its key, or else from the event. A date more than one day ahead is ignored.
    #[must_use]
    pub fn day_of(&self, key: &str, event: Timestamp, now: Timestamp) -> Day {
        let last = Day::of(now).plus(FUTURE);
        self.day_of_path(key).filter(|day| *day <= last).unwrap_or_else(|| Day::of(event))
    }

    /// Returns the longest excluded prefix of a key.
    #[must_use]
    pub(crate) fn excluded_prefix_of(&self, key: &str) -> Option<&str> {
        longest(&self.excluded, key)
    }
}

impl From<LiveClosing> for FleetPrefixes {
    fn from(closing: LiveClosing) -> Self {
        Self::new(&closing.prefixes, &closing.excluded)
    }
}

fn longest<'a>(prefixes: &'a [String], key: &str) -> Option<&'a str> {
    let matching = prefixes.iter().map(String::as_str).filter(|prefix| key.starts_with(prefix));
    matching.max_by_key(|prefix| prefix.len())
}

/// Returns the longest text with which all prefixes begin: the prefix of the run, for people.
#[must_use]
pub fn common_prefix(prefixes: &[String]) -> &str {
    let Some((first, others)) = prefixes.split_first() else { return "" };
    let common = |length: &usize| {
        others.iter().all(|other| other.as_bytes().starts_with(&first.as_bytes()[..*length]))
    };
    let length = (0..=first.len()).rev().filter(|length| first.is_char_boundary(*length)).find(common);
    &first[..length.unwrap_or_default()]
}

/// Returns the day of a time that a store returned.
pub(crate) fn day_of_modified(modified: SystemTime) -> Option<Day> {
    Timestamp::try_from(modified).ok().map(Day::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn prefixes(prefixes: &[&str], others: &[&str]) -> FleetPrefixes {
        FleetPrefixes::new(&texts(prefixes), &texts(others))
    }

    #[test]
    fn the_name_of_a_live_run_is_parsed_as_its_fleet_day_and_number() {
        let day = Day::parse("2026-02-18").unwrap();
        for (number, name) in [(0, "live-a-b-2026-02-18"), (1, "live-a-b-2026-02-18-late-1")] {
            assert_eq!(run_name("a-b", day, number), name);
            assert_eq!(parse_run_name("a-b", name), Some((day, number)));
            assert_eq!(parse_run_name("a", name), None, "{name}");
        }
        for name in [
            "live-a-2026-02-30",
            "live-a-2026-02-18-late-01",
            "live-a-2026-02-18-late-",
            "x",
            "live-a-2026-02-18x",
        ] {
            assert_eq!(parse_run_name("a", name), None, "{name}");
        }
    }

    #[test]
    fn the_day_of_an_object_is_that_of_its_path_after_the_prefix_or_else_that_of_its_event() {
        let prefixes = prefixes(&["firehose/", "x/2026/"], &[]);
        let (event, now) = ("2026-02-20T23:59:59Z".parse().unwrap(), "2026-02-21T00:00:09Z".parse().unwrap());
        for (key, day) in [
            ("firehose/2026/02/18/10/a", "2026-02-18"),
            ("firehose/2026/02/18/a", "2026-02-18"),
            // The clock of the producer is ahead.
            ("firehose/2026/02/22/00/a", "2026-02-22"),
            ("firehose/2026/02/23/00/a", "2026-02-20"),
            ("firehose/2026/02/30/00/a", "2026-02-20"),
            ("firehose/2026/2/18/a", "2026-02-20"),
            ("firehose/+026/02/18/a", "2026-02-20"),
            ("firehose/a/2026/02/18/a", "2026-02-20"),
            ("firehose/ü026/02/18/a", "2026-02-20"),
            // The fourth byte is inside a character.
            ("firehose/abcü26/02/18/a", "2026-02-20"),
            ("x/2026/2026/02/18/a", "2026-02-18"),
        ] {
            assert_eq!(prefixes.day_of(key, event, now).text(), day, "{key}");
        }
    }

    #[test]
    fn a_key_belongs_to_the_fleet_with_its_longest_prefix() {
        let flow = prefixes(&["logs/", "logs/flow/"], &["logs/waf/", "logs/flow/eu/", "old/", "logs/"]);
        assert_eq!(flow.prefix_of("logs/a"), Some("logs/"));
        assert_eq!(flow.prefix_of("logs/flow/a"), Some("logs/flow/"));
        for key in ["logs/waf/a", "logs/flow/eu/a", "old/a", "log"] {
            assert_eq!(flow.prefix_of(key), None, "{key}");
        }
        assert_eq!(prefixes(&[], &["waf/"]).prefix_of("a"), Some(""));
        assert_eq!(prefixes(&[], &["waf/"]).prefix_of("waf/a"), None);
    }

    #[test]
    fn the_listing_of_a_run_has_the_prefixes_of_its_begin_and_of_its_close() {
        let closing = prefixes(&["a/", "b/"], &["a/x/"]).closing(&texts(&["a/", "c/"]));
        assert_eq!(closing.prefixes, ["a/", "b/", "c/"]);
        assert_eq!(closing.excluded, ["a/x/"]);
        assert_eq!(closing.lost, ["c/"]);
        // A prefix that the fleet had is listed also if another fleet has it now.
        assert_eq!(prefixes(&["a/"], &["a/x/"]).closing(&texts(&["a/x/"])).excluded, [""; 0]);
    }

    #[test]
    fn the_common_prefix_ends_between_characters() {
        assert_eq!(common_prefix(&texts(&["logs/ä", "logs/ö"])), "logs/");
        assert_eq!(common_prefix(&texts(&["firehose/"])), "firehose/");
        assert_eq!(common_prefix(&[]), "");
    }
}
