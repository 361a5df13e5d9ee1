//! Times on the command line: days, points in time and spans, all in UTC unless they have an offset.

use jiff::{
    SpanRelativeTo, Timestamp, ToSpan, Unit,
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// Reads a day.
///
/// # Errors
/// What a day looks like.
pub(crate) fn day(text: &str) -> Result<Date, String> {
    let today = || Timestamp::now().to_zoned(TimeZone::UTC).date();
    match text {
        "today" => Ok(today()),
        "yesterday" => Ok(today().saturating_sub(1.day())),
        _ => {
            plain_day(text).ok_or_else(|| "not a day; write it as 2026-02-18, today or yesterday".to_owned())
        }
    }
}

fn plain_day(text: &str) -> Option<Date> {
    // Jiff would pass over a time after the date.
    text.parse().ok().filter(|_| text.len() == "2026-02-18".len())
}

/// Reads a point in time. A day is its first second.
///
/// # Errors
/// What a time looks like.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).map(|time| time.timestamp()).ok();
    let found = match text {
        "now" => Some(Timestamp::now()),
        "today" | "yesterday" => day(text).ok().and_then(midnight),
        _ => {
            text.parse().ok().or_else(|| plain_day(text).and_then(midnight)).or_else(|| without_offset(text))
        }
    };
    found.ok_or_else(|| {
        "not a time; write it as 2026-02-18T03:00 (UTC), 2026-02-18T03:00Z, 2026-02-18T04:00+01:00, 2026-02-18, today, \
         yesterday or now"
            .to_owned()
    })
}

fn without_offset(text: &str) -> Option<Timestamp> {
    // Jiff would pass over an offset that it cannot read, and so return another time.
    let has_offset = text.get(10..)?.contains(['+', '-', 'Z', 'z', '[']);
    let time: DateTime = text.parse().ok().filter(|_| !has_offset)?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Reads the length of a time in seconds.
///
/// # Errors
/// What a length looks like.
pub(crate) fn seconds(text: &str) -> Result<i64, String> {
    let span: Option<jiff::Span> = text.parse().ok();
    let seconds = span.and_then(|span| {
        let relative = SpanRelativeTo::days_are_24_hours();
        span.total((Unit::Second, relative)).ok().map(|seconds| seconds as i64)
    });
    seconds
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "not a length of time; write it as 90m, 24h or 7d".to_owned())
}

/// Returns a second of Unix time as `2026-02-18T03:00Z`, with seconds if there are any.
pub(crate) fn text(second: i64) -> String {
    let format = if second % 60 == 0 { "%Y-%m-%dT%H:%MZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Timestamp::from_second(second)
        .map_or_else(|_| second.to_string(), |time| time.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_have_an_offset_and_is_utc_without_one() {
        for time in [
            "2026-02-18T03:00",
            "2026-02-18 03:00",
            "2026-02-18T03:00:00",
            "2026-02-18T03:00Z",
            "2026-02-18T04:00+01:00",
            "2026-02-17T22:00-05:00",
        ] {
            assert_eq!(
                moment(time).map(|time| text(time.as_second())).as_deref(),
                Ok("2026-02-18T03:00Z"),
                "{time}"
            );
        }
        assert_eq!(
            moment("2026-02-18").map(|time| text(time.as_second())).as_deref(),
            Ok("2026-02-18T00:00Z")
        );
    }

    #[test]
    fn today_and_yesterday_are_days_in_utc() {
        let seconds = |text: &str| moment(text).unwrap().as_second();
        assert_eq!((seconds("today") - seconds("yesterday"), seconds("today") % 86_400), (86_400, 0));
        assert!(seconds("now") >= seconds("today"));
        assert_eq!(day("today").unwrap(), day("yesterday").unwrap().saturating_add(1.day()));
    }

    #[test]
    fn a_wrong_time_gets_an_example() {
        for time in [
            "",
            "noon",
            "18.02.2026",
            "2026-02-30",
            "2026-02-18T25:00",
            "2026-02-18T03:00+x",
            "2026-02-18T03:00+99:99",
        ] {
            assert!(moment(time).unwrap_err().contains("2026-02-18T04:00+01:00"), "{time}");
        }
        for day in ["", "2026-02-18T03:00", "2026-2-18", "tomorrow"] {
            assert!(super::day(day).unwrap_err().ends_with("2026-02-18, today or yesterday"), "{day}");
        }
        for length in ["", "-1h", "0h", "many", "1 month"] {
            assert!(seconds(length).unwrap_err().ends_with("90m, 24h or 7d"), "{length}");
        }
        assert_eq!((seconds("90m"), seconds("7d"), seconds("1w")), (Ok(5400), Ok(604_800), Ok(604_800)));
    }
}
