//! Values of a JSON text: by JSON Pointer, and by the part of JSONPath (RFC 9535) that the tests use.

use serde_json::value::RawValue;

use super::json_object::{Pairs, Text, is_same, string_text};

/// A value as text.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) is_repaired: bool,
}

/// The steps of a JSON Pointer.
pub(super) fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// Whether the text is one JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
}

pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// Returns the value at a pointer, or `None` if the text is no JSON object or has no value there.
pub(super) fn value(text: &str, pointer: &str) -> Result<Option<Found>, &'static str> {
    let text = trimmed(text);
    if !is_object(text) {
        return Ok(None);
    }
    let mut faults = Vec::new();
    let raw = follow(text, &steps(pointer), &mut faults);
    match faults.first() {
        Some(fault) => Err(fault),
        None => Ok(raw.and_then(|raw| shown(&raw))),
    }
}

/// A JSON value as text; `null` is none.
pub(super) fn shown(raw: &str) -> Option<Found> {
    let Some(inner) = raw.strip_prefix('"') else {
        return (raw != "null").then(|| Found { text: without_space(raw), is_repaired: false });
    };
    Some(match string_text(inner.strip_suffix('"').unwrap()) {
        Text::Valid(text) => Found { text, is_repaired: false },
        Text::Repaired(text) => Found { text, is_repaired: true },
        Text::Damaged => unreachable!("serde_json read it as JSON"),
    })
}

/// Returns the value at the end of a path.
pub(super) fn follow(raw: &str, steps: &[String], faults: &mut Vec<&'static str>) -> Option<String> {
    let Some((step, further)) = steps.split_first() else { return Some(raw.to_owned()) };
    if raw.starts_with('{') {
        let Ok(pairs) = serde_json::from_str::<Pairs>(raw) else {
            faults.push("not-json");
            return None;
        };
        let first = pairs.get(step)?;
        if pairs.all(step).any(|value| !is_same(&without_space(value), &without_space(first))) {
            faults.push("duplicate-key");
        }
        follow(first, further, faults)
    } else if raw.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(raw).unwrap();
        let (_, element) = elements.iter().enumerate().find(|(at, _)| at.to_string() == *step)?;
        follow(element.get(), further, faults)
    } else {
        None
    }
}

/// Returns the first node of a JSONPath: names, indexes, wildcards, and filters that compare a name with a string.
pub(super) fn first_node(text: &str, path: &str) -> Option<String> {
    let mut nodes = vec![text.to_owned()];
    let mut rest = path.strip_prefix('$').unwrap();
    while !rest.is_empty() {
        let selector;
        (selector, rest) = if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            (format!("'{}'", &name[..end]), &name[end..])
        } else {
            let (inner, after) = rest.strip_prefix('[').unwrap().split_once(']').unwrap();
            (inner.to_owned(), after)
        };
        nodes = nodes.iter().flat_map(|node| select(node, &selector)).collect();
    }
    nodes.into_iter().next()
}

fn select(node: &str, selector: &str) -> Vec<String> {
    if let Some(name) = selector.strip_prefix('\'') {
        return member(node, name.strip_suffix('\'').unwrap()).into_iter().collect();
    }
    let children = children(node);
    if selector == "*" {
        return children;
    }
    if let Some(filter) = selector.strip_prefix("?@.") {
        let (name, wanted) = filter.split_once(" == ").unwrap();
        let wanted = wanted.trim_matches('\'');
        let is_wanted = |child: &String| {
            member(child, name).is_some_and(|raw| {
                raw.starts_with('"') && shown(&raw).is_some_and(|value| value.text == wanted)
            })
        };
        return children.into_iter().filter(is_wanted).collect();
    }
    let index: i64 = selector.parse().unwrap();
    if !node.starts_with('[') {
        return Vec::new();
    }
    let at = if index < 0 { i64::try_from(children.len()).unwrap() + index } else { index };
    usize::try_from(at).ok().and_then(|at| children.get(at).cloned()).into_iter().collect()
}

fn member(node: &str, name: &str) -> Option<String> {
    if !node.starts_with('{') {
        return None;
    }
    serde_json::from_str::<Pairs>(node).unwrap().get(name).map(str::to_owned)
}

fn children(node: &str) -> Vec<String> {
    if node.starts_with('{') {
        let pairs: Pairs = serde_json::from_str(node).unwrap();
        pairs.pairs.iter().map(|(_, value)| value.get().to_owned()).collect()
    } else if node.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(node).unwrap();
        elements.iter().map(|element| element.get().to_owned()).collect()
    } else {
        Vec::new()
    }
}

/// JSON text without white space between its tokens.
pub(super) fn without_space(raw: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |character: &char| {
        let was_in_string = in_string;
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
        was_in_string || !character.is_ascii_whitespace()
    };
    raw.chars().filter(keep).collect()
}

/// Returns the value of an object's member as text.
pub(super) fn member_text(object: &str, name: &str) -> Option<String> {
    shown(&member(object, name)?).map(|value| value.text)
}
