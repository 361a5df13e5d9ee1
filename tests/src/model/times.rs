//! Times as text, read by the simplest means.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns the milliseconds since 1970 of a time in a unit or in a format, if it is from 1970 to the year 9999.
pub(super) fn parse(text: &str, form: &str) -> Option<i64> {
    let ms = match form {
        "s" => seconds(text)?,
        "ms" => number(text)?,
        "us" => number(text)? / 1000,
        "ns" => number(text)? / 1_000_000,
        "iso" => iso(text)?,
        format => by_format(text, format)?,
    };
    (0..=253_402_300_799_999).contains(&ms).then_some(ms)
}

/// Moves the decimal point digit by digit: three to the right for milliseconds, and by the exponent.
fn seconds(text: &str) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let (number, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if ![whole, fraction, unsigned].into_iter().all(is_digits) {
        return None;
    }
    let (mut left, mut right) = (whole.to_owned(), fraction.to_owned());
    for _ in 0..3 {
        left.push(if right.is_empty() { '0' } else { right.remove(0) });
    }
    let steps: usize = unsigned.parse().map_or(1000, |steps: usize| steps.min(1000));
    for _ in 0..steps {
        if exponent.starts_with('-') {
            left.pop();
        } else {
            left.push(if right.is_empty() { '0' } else { right.remove(0) });
        }
    }
    let ms = left.trim_start_matches('0');
    if ms.is_empty() { Some(0) } else { ms.parse().ok() }
}

fn number(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// RFC 3339: `2026-02-18T00:00:00.123Z`, or with an offset such as `+01:00` or `+0100`. No offset is UTC.
fn iso(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let (time, offset) = match (time.strip_suffix('Z'), time.find(['+', '-'])) {
        (Some(time), _) => (time, 0),
        (None, Some(at)) => (&time[..at], offset(&time[at..].replacen(':', "", 1))?),
        (None, None) => (time, 0),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    number(fraction)?;
    let ms: String = fraction.chars().chain("000".chars()).take(3).collect();
    let seconds = by_format(&format!("{date} {time}"), "%Y-%m-%d %H:%M:%S")? / 1000 - offset;
    Some(seconds * 1000 + number(&ms)?)
}

/// Seconds of an offset such as `+0130`.
fn offset(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2)?;
    if minutes.len() != 2 {
        return None;
    }
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}

/// Knows `%Y`, `%m`, `%b`, `%d`, `%H`, `%M`, `%S` and `%z`, each with all its digits.
fn by_format(text: &str, format: &str) -> Option<i64> {
    let (mut year, mut month, mut day) = (None, None, None);
    let (mut hour, mut minute, mut second, mut zone) = (0, 0, 0, 0);
    let mut rest = text;
    let mut format = format.chars();
    while let Some(character) = format.next() {
        if character != '%' {
            rest = rest.strip_prefix(character)?;
            continue;
        }
        let directive = format.next()?;
        let width = match directive {
            'Y' => 4,
            'b' => 3,
            'z' => 5,
            _ => 2,
        };
        let (part, after) = rest.split_at_checked(width)?;
        rest = after;
        match directive {
            'Y' => year = Some(number(part)?),
            'm' => month = Some(number(part)?),
            'b' => month = Some(i64::try_from(MONTHS.iter().position(|name| *name == part)?).unwrap() + 1),
            'd' => day = Some(number(part)?),
            'H' => hour = number(part).filter(|hour| *hour < 24)?,
            'M' => minute = number(part).filter(|minute| *minute < 60)?,
            'S' => second = number(part).filter(|second| *second < 60)?,
            'z' => zone = offset(part)?,
            other => panic!("the model does not know %{other}"),
        }
    }
    if !rest.is_empty() {
        return None;
    }
    Some(((days(year?, month?, day?)? * 24 + hour) * 60 + minute) * 60_000 + second * 1000 - zone * 1000)
}

/// Days since 1970, counted year by year.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    if day < 1 || day > *lengths.get(month)? {
        return None;
    }
    let years: i64 = (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum();
    let before: i64 = (year..1970).map(|year| 365 + i64::from(is_leap(year))).sum();
    Some(years - before + lengths[..month].iter().sum::<i64>() + day - 1)
}
