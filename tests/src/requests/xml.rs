//! XML bodies of S3 requests, limited to what the SDK writes: elements and text.

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

/// Parses a document; returns its root element.
pub(super) fn parse(document: &str) -> Result<Element, String> {
    let mut open = vec![Element::default()];
    let mut rest = document;
    while let Some((text, after)) = rest.split_once('<') {
        let current = open.last_mut().ok_or("XML: too many closing tags")?;
        current.text += &unescape(text);
        let (tag, after) = after.split_once('>').ok_or("XML: a tag does not end")?;
        rest = after;
        let name = tag.split_whitespace().next().unwrap_or_default();
        if tag.starts_with('?') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            let element = open.pop().ok_or("XML: too many closing tags")?;
            if element.name != name {
                return Err(format!("XML: <{}> is closed by </{name}>", element.name));
            }
            open.last_mut().ok_or("XML: too many closing tags")?.children.push(element);
        } else {
            let element = Element { name: name.trim_end_matches('/').to_owned(), ..Element::default() };
            if tag.ends_with('/') {
                open.last_mut().ok_or("XML: no parent")?.children.push(element);
            } else {
                open.push(element);
            }
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(mut document), true) if document.children.len() == 1 => Ok(document.children.remove(0)),
        _ => Err(format!("XML: not one whole element: {document}")),
    }
}

fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&apos;", "'").replace("&#34;", "\"").replace("&amp;", "&")
}
