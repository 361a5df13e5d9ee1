//! The fields of a table's documents, and their types in the cluster.

/// The fields of a table's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentSchema {
    /// One for each column of the CSV, in its order; `None` is not indexed. The first column is the timestamp.
    pub fields: Vec<Option<Field>>,
}

/// A field of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name; dots separate objects and their fields.
    pub name: String,
    /// The type in the cluster.
    pub kind: FieldKind,
}

/// The type of a field in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An IPv4 or IPv6 address.
    Ip,
    /// A 64-bit integer.
    Long,
    /// A floating-point number.
    Double,
    /// A time.
    Date,
    /// `true` or `false`.
    Boolean,
    /// Text that is compared whole.
    Keyword,
}
