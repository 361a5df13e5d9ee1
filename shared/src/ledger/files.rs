//! Reads and writes the ledger's files.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    limits::{MAX_LEDGER_BYTES, MAX_REPORT_BYTES},
    store::{Problem, Store, StoreError},
};

/// Reads a ledger file. Returns `None` also for a file that does not parse, is too large, or has an invalid path: it proves
/// nothing.
pub fn read_json<T: DeserializeOwned>(store: &impl Store, path: &str) -> Result<Option<T>, StoreError> {
    read_json_limited(store, path, MAX_LEDGER_BYTES)
}

/// Reads a report as [`read_json`] does. A report may be larger than the other files.
pub fn read_report<T: DeserializeOwned>(store: &impl Store, path: &str) -> Result<Option<T>, StoreError> {
    read_json_limited(store, path, MAX_REPORT_BYTES)
}

fn read_json_limited<T: DeserializeOwned>(
    store: &impl Store,
    path: &str,
    limit: u64,
) -> Result<Option<T>, StoreError> {
    Ok(examine(store, path, limit)?.and_then(Result::ok))
}

/// Reads a ledger file on which a person relies. Returns `Err` with the reason for a file that is there and cannot be used.
pub fn examine_json<T: DeserializeOwned>(
    store: &impl Store,
    path: &str,
) -> Result<Option<Result<T, String>>, StoreError> {
    examine(store, path, MAX_LEDGER_BYTES)
}

/// Reads a report as [`examine_json`] does.
pub fn examine_report<T: DeserializeOwned>(
    store: &impl Store,
    path: &str,
) -> Result<Option<Result<T, String>>, StoreError> {
    examine(store, path, MAX_REPORT_BYTES)
}

/// Returns `None` without a file, and `Err` with the reason for one that does not parse or is too large.
fn examine<T: DeserializeOwned>(
    store: &impl Store,
    path: &str,
    limit: u64,
) -> Result<Option<Result<T, String>>, StoreError> {
    match store.get_limited(path, limit) {
        Ok(bytes) => Ok(bytes.map(|bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|error| format!("it is damaged or of another version of Flowherd: {error}"))
        })),
        Err(StoreError::TooLarge { limit, .. }) => Ok(Some(Err(format!("it is larger than {limit} bytes")))),
        Err(StoreError::InvalidKey(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a ledger file.
pub fn put_json<T: Serialize>(store: &impl Store, path: &str, value: &T) -> Result<(), StoreError> {
    store.put(path, &to_json(path, value)?)
}

/// Creates a ledger file as [`Store::put_if_absent`] does. Returns whether it was created.
pub fn put_json_if_absent<T: Serialize>(
    store: &impl Store,
    path: &str,
    value: &T,
) -> Result<bool, StoreError> {
    store.put_if_absent(path, &to_json(path, value)?)
}

fn to_json<T: Serialize>(path: &str, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec(value).map_err(|error| {
        StoreError::Invalid(Problem::caused_by(format!("cannot serialize {path}"), error))
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}
