//! The index template of a table: the mapping of its documents, and when it replaces an existing template.

use flowherd_shared::{table::Table, text::hex};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    index_name::Destination,
    schema::{DocumentSchema, FieldKind},
};

/// Version of the templates that this program writes. A higher version replaces a lower one. A change of columns does not change
/// the version.
pub const VERSION: u64 = 1;

/// The owner in `_meta` of templates and indices that Flowherd made.
pub const OWNER: &str = "flowherd";

/// Priority of Flowherd's templates. It is above that of general templates, usually 0 to 100, and of Elasticsearch's own, 100 and
/// 200.
pub(crate) const PRIORITY: u64 = 300;

/// Priority of the template of a single index, whose name may match the pattern of a table's indices. The cluster refuses two
/// templates with the same priority whose patterns have a name in common.
const SINGLE_INDEX_PRIORITY: u64 = PRIORITY + 1;

/// Maximum characters of a searchable text. Longer values are in the document, but no query finds them. A term has at most
/// 32,766 bytes, and a character at most 4 (<https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/ignore-above>).
pub const MAX_KEYWORD_CHARS: u64 = 8191;

/// The cluster's default limit of fields and objects in a mapping
/// (<https://docs.opensearch.org/latest/mappings/#mapping-limit-settings>).
const DEFAULT_FIELDS_LIMIT: usize = 1000;

/// The name that means no ingest pipeline.
const NO_PIPELINE: &str = "_none";

/// The index template of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The name in the cluster.
    pub name: String,
    /// The table.
    pub table: String,
    /// Hash of the fields, and of whether the template makes a data stream.
    pub schema: String,
    mappings: Value,
    settings: Value,
    pattern: String,
    priority: u64,
    is_data_stream: bool,
}

/// What to do about a template or index that may exist in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write it: the cluster has none, or an older one.
    Put,
    /// Keep it: the cluster has the same.
    Keep,
    /// Refuse: another program, another table or a newer version of Flowherd owns the name.
    Refuse(Refusal),
}

/// Why a template or an index of the cluster is not replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its `_meta` does not name Flowherd as the owner.
    Foreign,
    /// It is of another table.
    OtherTable,
    /// A newer version of Flowherd made it.
    Newer,
}

/// The `_meta` of a template or mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// [`VERSION`] of the program that wrote it.
    pub version: u64,
    /// The table.
    pub table: String,
    /// [`Template::schema`].
    pub schema: String,
}

impl Meta {
    /// Reads a `_meta`. Returns `None` if Flowherd did not write it.
    #[must_use]
    pub fn read(meta: &Value) -> Option<Self> {
        if meta.get("owner")?.as_str()? != OWNER {
            return None;
        }
        let text = |name: &str| meta.get(name)?.as_str().map(str::to_owned);
        Some(Self { version: meta.get("version")?.as_u64()?, table: text("table")?, schema: text("schema")? })
    }
}

impl Template {
    /// Returns the template of a table.
    #[must_use]
    pub fn new(table: &Table, schema: &DocumentSchema, destination: &Destination) -> Self {
        let fields: Vec<(&str, FieldKind)> = schema.all_fields().collect();
        let properties = properties(&fields);
        let pattern = destination.of_table(&table.name).pattern();
        let is_data_stream = matches!(destination, Destination::DataStream(_));
        let is_single = matches!(destination, Destination::Index(_));
        let hash = hex(&Sha256::digest(format!("{is_data_stream} {properties}")))[..16].to_owned();
        let meta = meta(&table.name, &hash);
        Self {
            // Templates with different patterns coexist.
            name: if is_single { format!("{pattern}.single") } else { pattern.replace('*', "dated") },
            table: table.name.clone(),
            mappings: json!({ "dynamic": "strict", "_meta": meta, "properties": properties }),
            settings: json!({ "index": {
                // A pipeline of another template could drop or change documents
                // (<https://www.elastic.co/guide/en/elasticsearch/reference/7.10/index-modules.html>).
                "default_pipeline": NO_PIPELINE,
                "final_pipeline": NO_PIPELINE,
                "mapping": {
                    // Otherwise the cluster would store "1.5" in a `long` and search for 1.
                    "coerce": false,
                    "total_fields": { "limit": fields_limit(&fields) },
                },
            } }),
            pattern,
            priority: if is_single { SINGLE_INDEX_PRIORITY } else { PRIORITY },
            is_data_stream,
            schema: hash,
        }
    }

    /// Returns the pattern of the indices to which the template applies.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Returns the body of `PUT _index_template/NAME`.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "index_patterns": [self.pattern],
            "priority": self.priority,
            "version": VERSION,
            "_meta": meta(&self.table, &self.schema),
            "template": self.index_body(),
        });
        if self.is_data_stream {
            body["data_stream"] = json!({});
        }
        body
    }

    /// Returns the body of `PUT INDEX`, for a single index.
    #[must_use]
    pub fn index_body(&self) -> Value {
        json!({ "settings": self.settings, "mappings": self.mappings })
    }

    /// Returns the body of `PUT INDEX/_mapping`, which adds fields to an index of the same table.
    #[must_use]
    pub fn mappings(&self) -> &Value {
        &self.mappings
    }

    /// Decides what to do, from the `_meta` of the template or index that the cluster has under the name.
    #[must_use]
    pub fn decide(&self, existing: Option<&Value>) -> Decision {
        let Some(existing) = existing else { return Decision::Put };
        match Meta::read(existing) {
            None => Decision::Refuse(Refusal::Foreign),
            Some(meta) if meta.table != self.table => Decision::Refuse(Refusal::OtherTable),
            Some(meta) if meta.version > VERSION => Decision::Refuse(Refusal::Newer),
            Some(meta) if meta.version == VERSION && meta.schema == self.schema => Decision::Keep,
            Some(_) => Decision::Put,
        }
    }
}

fn meta(table: &str, schema: &str) -> Value {
    json!({ "owner": OWNER, "version": VERSION, "table": table, "schema": schema })
}

/// Returns the `properties` of a mapping. A dot in a name separates an object and its field.
fn properties(fields: &[(&str, FieldKind)]) -> Value {
    let mut root = Map::new();
    for (name, kind) in fields {
        let mut object = &mut root;
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                object.insert(part.to_owned(), property(*kind));
                break;
            }
            let inner = object.entry(part).or_insert_with(|| json!({ "properties": {} }));
            #[expect(clippy::expect_used, reason = "the schema's tests show that no field is also an object")]
            let inner = inner["properties"].as_object_mut().expect("a field is not an object");
            object = inner;
        }
    }
    Value::Object(root)
}

fn property(kind: FieldKind) -> Value {
    match kind {
        FieldKind::Ip => json!({ "type": "ip" }),
        FieldKind::Long => json!({ "type": "long" }),
        FieldKind::Double => json!({ "type": "double" }),
        // Without a format, a number would be milliseconds.
        FieldKind::Date => json!({ "type": "date", "format": "strict_date_optional_time" }),
        FieldKind::EpochSeconds => json!({ "type": "date", "format": "epoch_second" }),
        FieldKind::Boolean => json!({ "type": "boolean" }),
        FieldKind::Keyword => json!({ "type": "keyword", "ignore_above": MAX_KEYWORD_CHARS }),
    }
}

/// Returns the limit of fields and objects. The cluster's default is below the limit of columns.
fn fields_limit(fields: &[(&str, FieldKind)]) -> usize {
    let parts: usize = fields.iter().map(|(name, _)| name.split('.').count()).sum();
    parts.max(DEFAULT_FIELDS_LIMIT)
}

#[cfg(test)]
mod tests {
    use flowherd_shared::config::Config;

    use super::*;
    use crate::{index_name::NameLayout, schema::Naming};

    fn template(config: &str, naming: Naming) -> Template {
        let table = Config::parse(config).unwrap().tables.remove(0);
        let schema = DocumentSchema::new(&table, naming).unwrap();
        Template::new(&table, &schema, &Destination::Indices(NameLayout::default()))
    }

    #[test]
    fn a_template_maps_each_field_and_refuses_all_others() {
        let body = template("", Naming::Columns).body();
        assert_eq!(body["index_patterns"], json!(["flowherd-vpc_flow-*"]));
        let mappings = &body["template"]["mappings"];
        assert_eq!(mappings["dynamic"], "strict");
        assert_eq!(mappings["_meta"], body["_meta"]);
        let properties = &mappings["properties"];
        assert_eq!(properties["srcaddr"], json!({ "type": "ip" }));
        assert_eq!(properties["start"], json!({ "type": "date", "format": "epoch_second" }));
        assert_eq!(properties["action"], json!({ "type": "keyword", "ignore_above": 8191 }));
        assert_eq!(properties["flowherd"]["properties"]["row"], json!({ "type": "long" }));
        assert!(!body.to_string().contains("text"), "{body}");
        let settings = &body["template"]["settings"]["index"];
        assert_eq!(
            (&settings["default_pipeline"], &settings["final_pipeline"]),
            (&json!("_none"), &json!("_none"))
        );
        assert_eq!(body.get("data_stream"), None);
    }

    #[test]
    fn fields_of_one_object_are_together() {
        let template = template("", Naming::Ecs);
        let properties = &template.mappings()["properties"];
        let source = &properties["source"]["properties"];
        assert_eq!(source, &json!({ "ip": { "type": "ip" }, "port": { "type": "long" } }));
        let own = properties["flowherd"]["properties"].as_object().unwrap();
        assert_eq!(own.keys().collect::<Vec<_>>(), ["column", "etag", "object", "row", "run"]);
    }

    #[test]
    fn a_data_stream_is_named_in_its_template() {
        let table = Config::default().tables.remove(0);
        let schema = DocumentSchema::new(&table, Naming::Columns).unwrap();
        let layout = NameLayout::parse_data_stream("flowherd-{table}").unwrap();
        let body = Template::new(&table, &schema, &Destination::DataStream(layout)).body();
        assert_eq!(body["data_stream"], json!({}));
        assert_eq!(body["index_patterns"], json!(["flowherd-vpc_flow"]));
    }

    #[test]
    fn an_older_template_is_replaced_and_a_newer_or_foreign_one_is_not() {
        let template = template("", Naming::Columns);
        let with = |key: &str, value: Value| {
            let mut meta = template.body()["_meta"].clone();
            meta[key] = value;
            template.decide(Some(&meta))
        };
        assert_eq!(template.decide(None), Decision::Put);
        assert_eq!(with("version", json!(VERSION)), Decision::Keep);
        assert_eq!(with("version", json!(VERSION - 1)), Decision::Put);
        assert_eq!(with("schema", json!("other")), Decision::Put);
        assert_eq!(with("version", json!(VERSION + 1)), Decision::Refuse(Refusal::Newer));
        assert_eq!(with("table", json!("waf")), Decision::Refuse(Refusal::OtherTable));
        assert_eq!(with("owner", json!("someone")), Decision::Refuse(Refusal::Foreign));
        for foreign in [json!(null), json!({}), json!({ "owner": OWNER }), json!("flowherd")] {
            assert_eq!(template.decide(Some(&foreign)), Decision::Refuse(Refusal::Foreign));
        }
    }

    #[test]
    fn another_column_changes_the_hash_and_another_pattern_does_not() {
        let column = "[[rule]]\nname = \"r\"\ntable = \"vpc_flow\"\nmetadata = [\"owner\"]\nformat = { kind = \"vpc-flow\" }";
        let default = template("", Naming::Columns);
        assert_ne!(template(column, Naming::Columns).schema, default.schema);
        assert_ne!(template("", Naming::Ecs).schema, default.schema);
        let table = Config::default().tables.remove(0);
        let schema = DocumentSchema::new(&table, Naming::Columns).unwrap();
        let index = Template::new(&table, &schema, &Destination::index("case").unwrap());
        assert_eq!((index.schema.as_str(), index.pattern()), (&*default.schema, "case"));
        assert_eq!((&*index.name, &index.body()["index_patterns"]), ("case.single", &json!(["case"])));
        assert!(index.body()["priority"].as_u64() > default.body()["priority"].as_u64());
    }
}
