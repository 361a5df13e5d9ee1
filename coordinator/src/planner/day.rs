//! Planning a live run that is closed: lists a day instead of a prefix. The position is in the ledger, because a page may have
//! no objects of the day.

use flowherd_shared::{
    layout,
    ledger::{LiveClosing, LiveCursor, LiveDay, Run, put_json, read_json},
    queue::Queue,
    store::{Lister, Store, StoreError},
};

use super::{Listed, PlanError, Planner};
use crate::{
    live::{
        day::{Day, FleetPrefixes},
        listing::{DayListing, Position},
    },
    state::Planning,
};

/// Objects after which a call writes a part of the manifest.
const PART_OBJECTS: usize = 1000;
/// Pages after which a call saves its position. A listing of years of other days has many pages without an object.
pub(super) const PAGES: usize = 20;

impl<L: Lister, S: Store, Q: Queue> Planner<'_, L, S, Q> {
    /// Lists up to 20 pages of a day.
    pub(super) fn list_day(
        &self,
        run: &Run,
        live: &LiveDay,
        planning: &Planning,
    ) -> Result<Result<Listed, StoreError>, PlanError> {
        let listing = self.day_listing(run, live).map_err(PlanError::Ledger)?;
        let part = planning.totals.parts;
        let path = layout::cursor(&run.run);
        let cursor: Option<LiveCursor> = read_json(self.results, &path).map_err(PlanError::Ledger)?;
        let after = planning.after.as_deref().map(|key| listing.position_after(key)).unwrap_or_default();
        let denied = cursor.as_ref().map(|cursor| cursor.denied.clone()).unwrap_or_default();
        let saved = cursor.filter(|cursor| cursor.part == part).map(Position::from).unwrap_or_default();
        let (known, from) = (denied.len(), after.max(saved));
        let listed = match self.pages_of_day(&listing, part, from.clone(), denied) {
            Ok(listed) => listed,
            Err(error) => return Ok(Err(error)),
        };
        // Before the part: the driver that writes it continues behind the prefixes that are denied.
        if let Some(cursor) = &listed.cursor
            && cursor.denied.len() > known
        {
            self.save_cursor(run, Some(from.cursor(part, cursor.denied.clone())))?;
        }
        Ok(Ok(listed))
    }

    fn pages_of_day(
        &self,
        listing: &DayListing,
        part: u64,
        from: Position,
        mut denied: Vec<String>,
    ) -> Result<Listed, StoreError> {
        let mut entries = Vec::new();
        let mut position = Some(from);
        for _ in 0..PAGES {
            let Some(at) = &position else { break };
            let page = listing.page(self.source, at)?;
            entries.extend(page.entries);
            denied.extend(page.denied.filter(|prefix| !denied.contains(prefix)));
            position = page.next;
            if entries.len() >= PART_OBJECTS {
                break;
            }
        }
        // The part with these objects is written before the cursor counts.
        let part = part + u64::from(!entries.is_empty());
        let is_last = position.is_none();
        // After the end, only the report needs the cursor: for the prefixes that were denied.
        let is_needed = !is_last || !denied.is_empty();
        let cursor = is_needed.then(|| position.unwrap_or_else(|| listing.end()).cursor(part, denied));
        Ok(Listed { entries, is_last, cursor })
    }

    fn day_listing(&self, run: &Run, live: &LiveDay) -> Result<DayListing, StoreError> {
        let path = layout::closing(&run.run);
        let open =
            || StoreError::Invalid(format!("{path} does not exist: run {} is not closed", run.run).into());
        let closing: LiveClosing = read_json(self.results, &path)?.ok_or_else(open)?;
        let invalid =
            || StoreError::Invalid(format!("run {} has the invalid day {:?}", run.run, live.day).into());
        let day = Day::parse(&live.day).ok_or_else(invalid)?;
        let lost = closing.lost.clone();
        Ok(DayListing { prefixes: FleetPrefixes::from(closing), day, lost })
    }

    /// Saves where the listing continues.
    pub(super) fn save_cursor(&self, run: &Run, cursor: Option<LiveCursor>) -> Result<(), PlanError> {
        let Some(cursor) = cursor else { return Ok(()) };
        put_json(self.results, &layout::cursor(&run.run), &cursor).map_err(PlanError::Ledger)
    }
}
