//! The listing of a day: for each prefix of the fleet the directory of the day, as Firehose writes it, and then the keys outside
//! of such directories that were last modified on that day.

use std::time::SystemTime;

use flowherd_shared::{
    ledger::LiveCursor,
    store::{Lister, ManifestEntry, Page, StoreError},
};

use super::day::{Day, FleetPrefixes, day_of_modified};

/// Sorts behind nearly every key of a directory. Keys behind it are listed and passed over one page at a time.
const LAST_CHARACTER: char = '\u{10ffff}';

/// A position in the listing: a range of keys, and the key after which it continues there.
///
/// Range `2n` is the directory of the day below prefix `n`, and range `2n + 1` has its other keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    range: usize,
    after: Option<String>,
}

/// One page of the listing.
#[derive(Debug)]
pub(crate) struct DayPage {
    pub(crate) entries: Vec<ManifestEntry>,
    /// When each of them was last modified.
    pub(crate) modified: Vec<Option<SystemTime>>,
    /// `None` on the last page.
    pub(crate) next: Option<Position>,
    /// A lost prefix whose listing is denied.
    pub(crate) denied: Option<String>,
}

/// The listing of a day.
#[derive(Debug)]
pub(crate) struct DayListing {
    pub(crate) prefixes: FleetPrefixes,
    pub(crate) day: Day,
    /// Prefixes that are passed over if their listing is denied.
    pub(crate) lost: Vec<String>,
}

impl DayListing {
    /// Returns the position after an object of the listing. An object that the listing cannot have begins it again.
    pub(crate) fn position_after(&self, key: &str) -> Position {
        let prefix = self.prefixes.prefix_of(key);
        let at = prefix.and_then(|own| self.prefixes.prefixes().iter().position(|prefix| prefix == own));
        let Some(at) = at else { return Position::default() };
        let is_dated = self.prefixes.day_of_path(key).is_some();
        Position { range: 2 * at + usize::from(!is_dated), after: Some(key.to_owned()) }
    }

    /// Returns the position behind the last prefix.
    pub(crate) fn end(&self) -> Position {
        Position { range: 2 * self.prefixes.prefixes().len(), after: None }
    }

    /// Lists one page. It may have no objects although others follow.
    pub(crate) fn page(&self, lister: &impl Lister, position: &Position) -> Result<DayPage, StoreError> {
        let prefixes = self.prefixes.prefixes();
        let Some(prefix) = prefixes.get(position.range / 2) else {
            return Ok(DayPage { entries: Vec::new(), modified: Vec::new(), next: None, denied: None });
        };
        let is_dated = position.range.is_multiple_of(2);
        let below = if is_dated { format!("{prefix}{}", self.day.path()) } else { prefix.clone() };
        let page = lister.page(&below, position.after.as_deref());
        if matches!(page, Err(StoreError::AccessDenied(_))) && self.lost.contains(prefix) {
            return Ok(self.behind_denied(prefix, position));
        }
        let Page { entries, modified, next } = page?;
        let next = match (next, entries.last()) {
            (Some(next), Some(last)) if !is_dated => {
                Some(Position { after: Some(self.jump(prefix, &last.key).unwrap_or(next)), ..*position })
            }
            (Some(next), _) => Some(Position { after: Some(next), ..*position }),
            (None, _) => Some(Position { range: position.range + 1, after: None }),
        };
        let next = next.filter(|next| next.range < 2 * prefixes.len());
        let mut page = DayPage { entries: Vec::new(), modified: Vec::new(), next, denied: None };
        for (at, entry) in entries.into_iter().enumerate() {
            let modified = modified.get(at).copied().flatten();
            let is_own = self.prefixes.prefix_of(&entry.key) == Some(prefix);
            if is_own && (is_dated || self.is_of_day(&entry, modified)?) {
                page.entries.push(entry);
                page.modified.push(modified);
            }
        }
        Ok(page)
    }

    /// Returns a page without objects that continues behind a prefix whose listing is denied.
    fn behind_denied(&self, prefix: &str, position: &Position) -> DayPage {
        let range = (position.range / 2 + 1) * 2;
        let next = (range < 2 * self.prefixes.prefixes().len()).then_some(Position { range, after: None });
        DayPage { entries: Vec::new(), modified: Vec::new(), next, denied: Some(prefix.to_owned()) }
    }

    /// Returns whether an object outside of the directories of days is of the day.
    fn is_of_day(&self, entry: &ManifestEntry, modified: Option<SystemTime>) -> Result<bool, StoreError> {
        if self.prefixes.day_of_path(&entry.key).is_some() {
            return Ok(false);
        }
        let modified = modified.and_then(day_of_modified).ok_or_else(|| {
            StoreError::Invalid(
                format!("the listing has no time of the last change of {:?}; use another store", entry.key)
                    .into(),
            )
        })?;
        Ok(modified == self.day)
    }

    /// Returns the position behind the directory in which a key is, if the rest of the directory need not be listed: that of a
    /// day, or one that belongs to another prefix.
    fn jump(&self, prefix: &str, key: &str) -> Option<String> {
        let nested = self.prefixes.prefix_of(key).filter(|own| *own != prefix);
        let other = self.prefixes.excluded_prefix_of(key).filter(|other| other.len() > prefix.len());
        let directory = match (nested.or(other), self.prefixes.day_of_path(key)) {
            (Some(nested), _) => nested.to_owned(),
            (None, Some(day)) => format!("{prefix}{}", day.path()),
            (None, None) => return None,
        };
        Some(format!("{directory}{LAST_CHARACTER}")).filter(|end| end.as_str() > key)
    }
}

impl Position {
    /// Returns the position as the ledger keeps it, with the prefixes that were denied so far.
    pub(crate) fn cursor(&self, part: u64, denied: Vec<String>) -> LiveCursor {
        LiveCursor { part, range: self.range, after: self.after.clone(), denied, passed_over: 0 }
    }
}

impl From<LiveCursor> for Position {
    fn from(LiveCursor { range, after, .. }: LiveCursor) -> Self {
        Self { range, after }
    }
}
