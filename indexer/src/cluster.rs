//! Prepares a cluster for a run: checks its product and version, and installs the template of each table.

mod error;

use serde_json::Value;

pub use self::error::ClusterError;
use crate::{
    client::{Body, Client, ClientError, Method, Response},
    glob::intersect,
    index_name::Destination,
    template::{Decision, Meta, PRIORITY, Refusal, Template},
};

/// Maximum bytes of an answer. The largest lists 20,000 indices.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The error type for an index or data stream that exists, because another run created it first.
const EXISTS: &str = "resource_already_exists_exception";

/// Maximum names in an error.
const MAX_LISTED: usize = 5;

/// Composable index templates exist since this version of Elasticsearch
/// (<https://www.elastic.co/guide/en/elasticsearch/reference/7.8/indices-templates.html>), and in all versions of OpenSearch.
const MIN_ELASTICSEARCH: (u64, u64) = (7, 8);

/// A search cluster: its version, templates, indices and data streams. The [`Indexer`](crate::job::Indexer) sends documents.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    client: &'a Client,
}

/// Product and version of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `opensearch` or `elasticsearch`.
    pub distribution: String,
    /// Such as `2.19.6`.
    pub number: String,
}

/// An index of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExistingIndex {
    pub(crate) name: String,
    /// Distinguishes it from an index that had the name before.
    pub(crate) uuid: String,
    /// The `_meta` of its mapping; null if it has none.
    pub(crate) meta: Value,
}

impl<'a> Cluster<'a> {
    /// Uses a client.
    #[must_use]
    pub fn new(client: &'a Client) -> Self {
        Self { client }
    }

    /// Reads product and version of the cluster. Refuses those without the API.
    pub async fn version(&self) -> Result<Version, ClusterError> {
        let action = "read the cluster's version";
        let body = self.expect_ok(action, Method::Get, "/", None).await?;
        let text = |name: &str| body["version"][name].as_str();
        let number = text("number").ok_or_else(|| malformed(action, "it has no version.number"))?;
        // Elasticsearch returns no distribution.
        let distribution = text("distribution").unwrap_or("elasticsearch");
        let version = Version { distribution: distribution.to_owned(), number: number.to_owned() };
        let mut parts = number.split('.').map_while(|part| part.parse::<u64>().ok());
        let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        let is_supported = match distribution {
            "opensearch" => number.0 > 0,
            "elasticsearch" => number >= MIN_ELASTICSEARCH,
            _ => false,
        };
        if is_supported {
            Ok(version)
        } else {
            Err(ClusterError::Version { found: format!("{distribution} {}", version.number) })
        }
    }

    /// Prepares the cluster for the documents of one table. A repeated call changes nothing.
    ///
    /// Installs or updates the template, adds new fields to existing indices, and makes sure that the template applies. Refuses
    /// if another program, another table or a newer version owns one of the names.
    pub async fn install(&self, template: &Template, destination: &Destination) -> Result<(), ClusterError> {
        let existing = self.indices(template.pattern()).await?;
        let outdated = outdated(template, &existing)?;
        if let Destination::Index(name) = destination {
            check_index(name, &existing)?;
        }
        // Before the template: if a field cannot be added, the template stays as the indices are.
        for index in outdated {
            self.add_fields(template, &index.name).await?;
        }
        match destination {
            Destination::Index(name) => {
                // If the index is dropped during the run, the cluster creates it again from the template.
                self.put_template(template).await?;
                if existing.is_empty() {
                    self.create_index(template, name).await?;
                }
            }
            Destination::Indices(_) => {
                self.put_template(template).await?;
                self.check_precedence(template, &undated(template, destination)).await?;
            }
            Destination::DataStream(_) => {
                self.put_template(template).await?;
                // The cluster cannot simulate an index with the name of a data stream.
                if existing.is_empty() {
                    let name = undated(template, destination);
                    self.check_precedence(template, &name).await?;
                    self.create_data_stream(&name).await?;
                }
            }
        }
        Ok(())
    }

    async fn create_index(&self, template: &Template, name: &str) -> Result<(), ClusterError> {
        let action = format!("create the index {name:?}");
        let answer = self
            .request(&action, Method::Put, &format!("/{}", escaped(name)), Some(&template.index_body()))
            .await?;
        if is_error(&answer, EXISTS) {
            outdated(template, &self.indices(name).await?)?;
            return Ok(());
        }
        ok(&action, &answer).map(|_| ())
    }

    async fn put_template(&self, template: &Template) -> Result<(), ClusterError> {
        let name = &template.name;
        let path = format!("/_index_template/{}", escaped(name));
        let action = format!("read the template {name:?}");
        let answer = self.request(&action, Method::Get, &path, None).await?;
        let body = if answer.status == 404 { None } else { Some(ok(&action, &answer)?) };
        let existing = match &body {
            None => None,
            Some(body) => Some(
                body["index_templates"][0]
                    .get("index_template")
                    .ok_or_else(|| malformed(&action, "it has no index_templates[0].index_template"))?,
            ),
        };
        match template.decide(existing.map(|existing| &existing["_meta"])) {
            Decision::Keep => Ok(()),
            Decision::Refuse(refusal) => Err(owned("the template", &[name], refusal)),
            Decision::Put => {
                let action = format!("install the template {name:?}");
                self.expect_ok(&action, Method::Put, &path, Some(&template.body())).await.map(|_| ())
            }
        }
    }

    /// Makes sure that a new index of this name would get the mapping of the template, and those of other dates too.
    async fn check_precedence(&self, template: &Template, index: &str) -> Result<(), ClusterError> {
        let action = format!("find the template that applies to the index {index:?}");
        let body = self
            .expect_ok(
                &action,
                Method::Post,
                &format!("/_index_template/_simulate_index/{}", escaped(index)),
                None,
            )
            .await?;
        let meta = Meta::read(&body["template"]["mappings"]["_meta"]);
        let applies = meta.is_some_and(|meta| meta.table == template.table && meta.schema == template.schema);
        // The simulation is of one name. A template for a year or month applies to other names of the pattern only.
        let body = self.expect_ok("list the templates", Method::Get, "/_index_template", None).await?;
        let others = overriding(&body, template.pattern());
        if applies && others.is_empty() {
            return Ok(());
        }
        Err(ClusterError::Overridden {
            template: template.name.clone(),
            index: if applies { template.pattern() } else { index }.to_owned(),
            others: list(&others),
        })
    }

    async fn create_data_stream(&self, name: &str) -> Result<(), ClusterError> {
        let action = format!("create the data stream {name:?}");
        let answer =
            self.request(&action, Method::Put, &format!("/_data_stream/{}", escaped(name)), None).await?;
        if is_error(&answer, EXISTS) {
            return Ok(());
        }
        ok(&action, &answer).map(|_| ())
    }

    async fn add_fields(&self, template: &Template, index: &str) -> Result<(), ClusterError> {
        let action = format!("add fields to the index {index:?}");
        let answer = self
            .request(
                &action,
                Method::Put,
                &format!("/{}/_mapping", escaped(index)),
                Some(template.mappings()),
            )
            .await?;
        if answer.status == 400 {
            let (table, index) = (template.table.clone(), index.to_owned());
            return Err(ClusterError::Mapping { table, index, reason: ClientError::status(&answer) });
        }
        ok(&action, &answer).map(|_| ())
    }

    /// Returns the indices of a name or pattern, with those behind an alias or data stream.
    pub(crate) async fn indices(&self, pattern: &str) -> Result<Vec<ExistingIndex>, ClusterError> {
        let action = format!("list the indices {pattern:?}");
        let path = format!(
            "/{}?expand_wildcards=all&filter_path={}",
            escaped(pattern),
            escaped("*.settings.index.uuid,*.mappings._meta")
        );
        let answer = self.request(&action, Method::Get, &path, None).await?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let body = ok(&action, &answer)?;
        let indices = body.as_object().ok_or_else(|| malformed(&action, "it is not an object"))?;
        let index = |(name, index): (&String, &Value)| {
            let uuid = index["settings"]["index"]["uuid"].as_str();
            let uuid = uuid.ok_or_else(|| malformed(&action, "an index has no uuid"))?.to_owned();
            Ok(ExistingIndex { name: name.clone(), uuid, meta: index["mappings"]["_meta"].clone() })
        };
        indices.iter().map(index).collect()
    }

    /// Sends a request. An answer with another status than 2xx is an error.
    pub(crate) async fn expect_ok(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClusterError> {
        ok(action, &self.request(action, method, path, body).await?)
    }

    /// Sends a request. The caller checks the status of the answer.
    pub(crate) async fn request(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, ClusterError> {
        let text = body.map(Value::to_string);
        let body = text.as_ref().map_or(Body::Empty, |text| Body::Json(text.as_bytes()));
        let sent = self.client.send(method, path, body, MAX_ANSWER_BYTES).await;
        sent.map_err(|source| ClusterError::Request { action: action.to_owned(), source })
    }
}

/// Returns the name of the index for rows without a time, which every destination has.
fn undated(template: &Template, destination: &Destination) -> String {
    let mut name = String::new();
    let _ = destination.of_table(&template.table).append(b"-", &mut name);
    name
}

/// Returns the names of the templates whose priority is higher than Flowherd's, and that apply to an index of the pattern.
fn overriding<'a>(body: &'a Value, pattern: &str) -> Vec<&'a str> {
    let templates = body["index_templates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_overriding = |template: &&Value| {
        let template = &template["index_template"];
        let patterns = template["index_patterns"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut patterns = patterns.iter().filter_map(Value::as_str);
        template["priority"].as_u64().is_some_and(|priority| priority > PRIORITY)
            && Meta::read(&template["_meta"]).is_none()
            && patterns.any(|other| intersect(other, pattern))
    };
    templates.iter().filter(is_overriding).filter_map(|template| template["name"].as_str()).collect()
}

/// Refuses an alias or a data stream: its indices may be of other runs, and a removal of the name would delete all of them.
fn check_index(name: &str, existing: &[ExistingIndex]) -> Result<(), ClusterError> {
    match existing {
        [] => return Ok(()),
        [index] if index.name == name => return Ok(()),
        _ => {}
    }
    let indices: Vec<&str> = existing.iter().map(|index| &*index.name).collect();
    Err(ClusterError::NotAnIndex { name: name.to_owned(), indices: list(&indices) })
}

/// Returns the indices that lack fields of the template. Refuses if Flowherd did not make one of them, or if one holds another
/// table.
fn outdated<'a>(
    template: &Template,
    existing: &'a [ExistingIndex],
) -> Result<Vec<&'a ExistingIndex>, ClusterError> {
    let mut outdated = Vec::new();
    let mut refused: Vec<(&str, Refusal)> = Vec::new();
    for index in existing {
        match template.decide(Some(&index.meta)) {
            Decision::Keep => {}
            Decision::Put => outdated.push(index),
            Decision::Refuse(refusal) => refused.push((&index.name, refusal)),
        }
    }
    let Some((_, refusal)) = refused.first().copied() else { return Ok(outdated) };
    let names: Vec<&str> =
        refused.iter().filter(|(_, other)| *other == refusal).map(|(name, _)| *name).collect();
    Err(owned("the index", &names, refusal))
}

pub(crate) fn owned(what: &'static str, names: &[impl AsRef<str>], refusal: Refusal) -> ClusterError {
    ClusterError::Owned { what, names: list(names), refusal }
}

/// Lists the first names, quoted, and the number of the others.
pub(crate) fn list(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> =
        names.iter().take(MAX_LISTED).map(|name| format!("{:?}", name.as_ref())).collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => quoted.join(", "),
        more => format!("{} and {more} more", quoted.join(", ")),
    }
}

/// Returns the body of a success.
pub(crate) fn ok(action: &str, answer: &Response) -> Result<Value, ClusterError> {
    if !(200..300).contains(&answer.status) {
        return Err(ClusterError::Request { action: action.to_owned(), source: ClientError::status(answer) });
    }
    serde_json::from_slice(&answer.body).map_err(|error| malformed(action, &error.to_string()))
}

/// Returns whether an answer is an error of this type.
fn is_error(answer: &Response, kind: &str) -> bool {
    answer.status == 400
        && serde_json::from_slice(&answer.body)
            .is_ok_and(|body: Value| body["error"]["type"].as_str() == Some(kind))
}

pub(crate) fn malformed(action: &str, problem: &str) -> ClusterError {
    let problem = format!("the answer is not one of a search cluster: {problem}; check the URL");
    ClusterError::Answer { action: action.to_owned(), problem }
}

/// Percent-encodes all characters that are not unreserved (<https://www.rfc-editor.org/rfc/rfc3986#section-2.3>). Without it, the
/// cluster would decode the name `a-%2A` of an index to the pattern `a-*`.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_single_index_is_not_an_alias_or_a_data_stream() {
        let index =
            |name: &str| ExistingIndex { name: name.to_owned(), uuid: "u".to_owned(), meta: Value::Null };
        assert!(check_index("case-7", &[index("case-7")]).is_ok());
        assert!(check_index("case-7", &[]).is_ok());
        for existing in [vec![index("other")], vec![index("case-7"), index("other")]] {
            let error = check_index("case-7", &existing).unwrap_err().to_string();
            assert!(error.contains("alias") && error.contains("\"other\""), "{error}");
        }
    }

    #[test]
    fn a_template_for_other_dates_with_a_higher_priority_is_found() {
        let template = |name: &str, pattern: &str, priority: u64, meta: Value| json!({ "name": name, "index_template": { "index_patterns": [pattern], "priority": priority, "_meta": meta } });
        let own = json!({ "owner": "flowherd", "version": 1, "table": "vpc_flow", "schema": "s" });
        let body = json!({ "index_templates": [
            template("year", "flowherd-vpc_flow-2026*", 500, Value::Null),
            template("low", "flowherd-vpc_flow-2026*", 10, Value::Null),
            template("other", "flowherd-waf-*", 500, Value::Null),
            template("own", "flowherd-vpc_flow-x", 500, own),
        ] });
        assert_eq!(overriding(&body, "flowherd-vpc_flow-*"), ["year"]);
    }

    #[test]
    fn a_name_is_escaped_for_a_path() {
        assert_eq!(escaped("flowherd-a_b.2026~%2A*,/?#ä"), "flowherd-a_b.2026~%252A%2A%2C%2F%3F%23%C3%A4");
    }

    #[test]
    fn a_list_is_short() {
        let names: Vec<String> = (1..=7).map(|number| number.to_string()).collect();
        assert_eq!(list(&names), "\"1\", \"2\", \"3\", \"4\", \"5\" and 2 more");
        assert_eq!(list(&names[..1]), "\"1\"");
    }
}
