//! The time in an object's key: when Firehose or another service delivered the object, in UTC.

use std::sync::LazyLock;

use regex::Regex;

use crate::times::Period;

/// A date, with an hour if there is one: `2026/02/18/10/`, `year=2026/month=02/day=18/hour=10/`, `20260218T1005Z`,
/// `2026-02-18-10-05-33`. These are the keys of Firehose
/// (<https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html>), of flow logs
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html>), of load balancers, and of S3 access logs.
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?x)
        (?:^|[^0-9])
        (?P<year>19[7-9]\d|20\d\d) [/_.-]? (?:month=)?
        (?P<month>0[1-9]|1[0-2]) [/_.-]? (?:day=)?
        (?P<day>0[1-9]|[12]\d|3[01])
        (?: T (?P<hour>[01]\d|2[0-3]) (?:[0-5]\d|[^0-9]|$)
          | [/_.-] (?:hour=)? (?P<hour_alone>[01]\d|2[0-3]) (?:[^0-9]|$)
          | [^0-9] | $ )";
    #[expect(clippy::expect_used, reason = "the pattern is a constant")]
    Regex::new(pattern).expect("the pattern is valid")
});

/// Returns the hour or the day in a key. The first one with an hour wins, because directories often have only the day.
pub(super) fn period_of(key: &str) -> Option<Period> {
    let mut day = None;
    let mut at = 0;
    while let Some(found) = DATE.captures_at(key, at) {
        let end = found.get(0).map_or(key.len(), |whole| whole.end());
        // The last character may also be the one before the next date.
        at = key.floor_char_boundary(end - 1);
        let number = |name: &str| found.name(name)?.as_str().parse::<i16>().ok();
        let narrow = |name: &str| number(name).and_then(|number| i8::try_from(number).ok());
        let (Some(year), Some(month), Some(of_month)) = (number("year"), narrow("month"), narrow("day"))
        else {
            continue;
        };
        let hour = narrow("hour").or_else(|| narrow("hour_alone"));
        let Some(period) = Period::of_date(year, month, of_month, hour) else { continue };
        if hour.is_some() {
            return Some(period);
        }
        day = day.or(Some(period));
    }
    day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_object_is_the_first_hour_in_its_key_or_else_the_first_day() {
        let cases = [
            ("firehose/2026/02/18/10/stream-1-2026-02-18-11-05-33-uuid.gz", "2026-02-18T10"),
            ("logs/year=2026/month=02/day=18/hour=09/a.gz", "2026-02-18T09"),
            (
                "AWSLogs/111122223333/vpcflowlogs/eu-west-1/2026/02/18/111122223333_vpcflowlogs_eu-west-1_fl-1_20260218T1005Z_ab12.log.gz",
                "2026-02-18T10",
            ),
            ("access/2026-02-18-23-59-59-0123456789ABCDEF", "2026-02-18T23"),
            ("cdn/E2EXAMPLE.2026-02-18-07.abcd.gz", "2026-02-18T07"),
            ("exports/2026/02/18/part.gz", "2026-02-18"),
            ("exports/2026-02-18", "2026-02-18"),
            ("a/20260218.log", "2026-02-18"),
        ];
        for (key, expected) in cases {
            assert_eq!(period_of(key).map(Period::text).as_deref(), Some(expected), "{key}");
        }
    }

    #[test]
    fn a_key_without_a_date_has_no_time() {
        for key in [
            "",
            "a.gz",
            "2026/13/01/a",
            "2026/02/30/a",
            "1202602181",
            "123456789012/x",
            "2026/02",
            "x20260218999",
        ] {
            assert_eq!(period_of(key), None, "{key}");
        }
    }
}
