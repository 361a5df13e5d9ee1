//! Fields of AWS Config's items and CloudTrail's events.

use serde_json::Value;

/// Returns the text at a JSON pointer; `None` if it is absent, empty or no text.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Returns the text at a JSON pointer as an owned one.
pub(super) fn owned(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).map(str::to_owned)
}

/// Returns the elements of a list at a JSON pointer: an array, or an object with the array `items`.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let list = value.pointer(pointer);
    let items = list.and_then(|list| list.as_array().or_else(|| list.get("items")?.as_array()));
    items.map_or(&[], Vec::as_slice)
}

/// Returns the value of the tag `Name` in a list of tags.
pub(super) fn name_tag(tags: &[Value]) -> Option<String> {
    let tag = tags.iter().find(|tag| text(tag, "/key") == Some("Name"))?;
    owned(tag, "/value")
}

/// Returns the CIDR blocks of a subnet. A block that is removed or refused has another state.
pub(super) fn cidrs(subnet: &Value) -> Vec<String> {
    let is_used = |block: &&Value| {
        let state = text(block, "/ipv6CidrBlockState/state")
            .or_else(|| text(block, "/ipv6CidrBlockState/state/value"));
        matches!(state, Some("associated" | "associating"))
    };
    let v6 = list(subnet, "/ipv6CidrBlockAssociationSet").iter().filter(is_used);
    let mut cidrs: Vec<String> = v6.filter_map(|block| owned(block, "/ipv6CidrBlock")).collect();
    cidrs.extend(owned(subnet, "/cidrBlock"));
    cidrs.sort();
    cidrs.dedup();
    cidrs
}

/// Returns milliseconds since 1970.
///
/// # Errors
/// If the text is absent, no time in UTC, or later than `now_ms`.
pub(super) fn time(value: &Value, key: &str, now_ms: i64) -> Result<i64, String> {
    let text = text(value, &format!("/{key}")).ok_or_else(|| format!("has no {key}"))?;
    let time = text.parse::<jiff::Timestamp>().map_err(|_| format!("{key} {text:?} is not a time"))?;
    match time.as_millisecond() {
        ms if ms < 0 => Err(format!("{key} {text:?} is before 1970")),
        ms if ms > now_ms => {
            Err(format!("{key} {text:?} is in the future; correct the clock of this machine"))
        }
        ms => Ok(ms),
    }
}
