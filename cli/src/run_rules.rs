//! The copy of the rules in the ledger of a run.

use flowherd_shared::{
    config::Config,
    enrichment, layout,
    ledger::{Run, read_json},
    limits::MAX_CONFIG_BYTES,
    store::{Store, StoreError},
};

/// Returns the rules of a run, from their copy in the ledger; `None` if they are not known.
pub(crate) fn rules_of_run(
    store: &impl Store,
    run: &str,
    config_hash: &str,
) -> Result<Option<Config>, StoreError> {
    let config = match store.get_limited(&layout::config(run), MAX_CONFIG_BYTES as u64)? {
        None => Some(Config::default()),
        Some(bytes) => Config::from_bytes(&bytes).ok(),
    };
    let Some(config) = config else { return Ok(None) };
    let files = if enrichment::files(&config.enrichments).is_empty() {
        Vec::new()
    } else {
        let run: Option<Run> = read_json(store, &layout::run(run))?;
        run.map_or_else(Vec::new, |run| run.enrichment)
    };
    // The copy may have been changed, or be of a later version.
    Ok(Some(config).filter(|config| config.hash_with(&files) == config_hash))
}
