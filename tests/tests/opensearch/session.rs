//! A connection to a node, with the tables of a configuration.

use std::time::Duration;

use flowherd_indexer::{
    client::{Body, Client, Method},
    cluster::Cluster,
    index_name::{Destination, NameLayout},
    schema::{DocumentSchema, Naming},
    settings::ClusterSettings,
    template::Template,
};
use flowherd_shared::{config::Config, table::Table};
use flowherd_tests::search_node::SearchNode;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Maximum bytes of an answer.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A connection to a node.
pub(crate) struct Session {
    pub(crate) runtime: Runtime,
    client: Client,
    url: String,
}

impl Session {
    pub(crate) fn new(node: &SearchNode) -> Self {
        let client = Client::new(&ClusterSettings::new(node.url())).unwrap();
        Self { runtime: Runtime::new().unwrap(), client, url: node.url() }
    }

    /// Returns the address of the node.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns settings of an indexer with short pauses.
    pub(crate) fn settings(&self) -> ClusterSettings {
        let (first_pause, max_pause) = (Duration::from_millis(10), Duration::from_millis(250));
        ClusterSettings { first_pause, max_pause, ..ClusterSettings::new(&self.url) }
    }

    pub(crate) fn cluster(&self) -> Cluster<'_> {
        Cluster::new(&self.client)
    }

    /// Sends a request. Returns status and body.
    pub(crate) fn send(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let text = body.to_string();
        let body = if body.is_null() { Body::Empty } else { Body::Json(text.as_bytes()) };
        let sent = self.client.send(method, path, body, MAX_ANSWER_BYTES);
        let answer = self.runtime.block_on(sent).unwrap();
        let body =
            if answer.body.is_empty() { Value::Null } else { serde_json::from_slice(&answer.body).unwrap() };
        (answer.status, body)
    }

    /// Sends a request that must succeed. Returns its body.
    pub(crate) fn ok(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, body) = self.send(method, path, body);
        assert!((200..300).contains(&status), "{path}: {status} {body}");
        body
    }

    /// Creates a document. Returns the status.
    pub(crate) fn create(&self, index: &str, id: &str, document: &Value) -> (u16, Value) {
        self.send(Method::Put, &format!("/{index}/_create/{id}?refresh=true"), document)
    }

    /// Returns the number of documents that a query finds.
    pub(crate) fn count(&self, index: &str, query: &Value) -> u64 {
        let body = self.ok(Method::Post, &format!("/{index}/_count"), &json!({ "query": query }));
        body["count"].as_u64().unwrap()
    }

    /// Installs the template, index or data stream of a table.
    pub(crate) fn install(&self, prepared: &Prepared) -> Result<(), String> {
        let installed =
            self.runtime.block_on(self.cluster().install(&prepared.template, &prepared.destination));
        installed.map_err(|error| flowherd_shared::error::error_chain(&error))
    }
}

/// A table with its template.
pub(crate) struct Prepared {
    pub(crate) destination: Destination,
    pub(crate) template: Template,
}

impl Prepared {
    /// A flow-log table whose indices have the default names.
    pub(crate) fn flow(table: &str) -> Self {
        Self::new(&flow_table(table), Destination::Indices(NameLayout::default()))
    }

    /// A table of JSON records with these columns, in the syntax of the configuration.
    pub(crate) fn json(table: &str, columns: &str) -> Self {
        Self::new(&json_table(table, columns), Destination::Indices(NameLayout::default()))
    }

    pub(crate) fn new(table: &Table, destination: Destination) -> Self {
        Self::named(table, destination, Naming::Columns)
    }

    pub(crate) fn named(table: &Table, destination: Destination, naming: Naming) -> Self {
        let schema = DocumentSchema::new(table, naming).unwrap();
        Self { template: Template::new(table, &schema, &destination), destination }
    }
}

pub(crate) fn flow_table(name: &str) -> Table {
    table(&format!("[[rule]]\nname = \"r\"\ntable = \"{name}\"\nformat = {{ kind = \"vpc-flow\" }}"))
}

pub(crate) fn json_table(name: &str, columns: &str) -> Table {
    table(&format!(
        "[[rule]]\nname = \"r\"\ntable = \"{name}\"\nformat = {{ kind = \"json\", columns = [{columns}] }}"
    ))
}

fn table(config: &str) -> Table {
    Config::parse(config).unwrap().tables.remove(0)
}
