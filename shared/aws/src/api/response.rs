//! The parts of responses that all actions have: pages, errors and limits.

use roxmltree::{Document, Node, ParsingOptions};
use serde::Deserialize;

/// Maximum nodes of a response. A page of 1,000 network interfaces, each with 50 tags, has less than half of them.
const MAX_NODES: u32 = 2_000_000;

/// Returns the token of the next page, if there is one.
pub(super) fn next_token(page: &Document<'_>) -> Option<String> {
    text(page.root_element(), "nextToken")
}

/// Returns code and message of an error
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>).
pub(super) fn error(xml: &str) -> Option<(String, String)> {
    let document = parse(xml).ok()?;
    let error = document.descendants().find(|node| node.tag_name().name() == "Error")?;
    Some((text(error, "Code")?, text(error, "Message").unwrap_or_default()))
}

/// Returns code and message of an error of a JSON API
/// (<https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization>).
pub(super) fn json_error(text: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Failed {
        #[serde(rename = "__type")]
        kind: String,
        #[serde(alias = "Message", default)]
        message: String,
    }
    let failed: Failed = serde_json::from_str(text).ok()?;
    let code = failed.kind.rsplit('#').next()?.split(':').next()?.to_owned();
    Some((code, failed.message))
}

/// Parses a response. It may not declare entities.
pub(crate) fn parse(xml: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(xml, options).map_err(|error| format!("the response is not XML: {error}"))
}

/// Returns the text of a child; `None` if it is absent or empty.
fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    let child = node.children().find(|child| child.tag_name().name() == name)?;
    child.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}
