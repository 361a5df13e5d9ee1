//! Planning an index run: lists the rows of its tables. The position is in the ledger, because many pages may have no rows of
//! them.

use flowherd_shared::{
    layout,
    ledger::{LiveCursor, Run, read_json},
    queue::Queue,
    store::{Lister, Store, StoreError},
};

use super::{Listed, PlanError, Planner, day::PAGES};
use crate::{
    search::{RowFilter, passed_over},
    state::Planning,
};

impl<L: Lister, S: Store, Q: Queue> Planner<'_, L, S, Q> {
    /// Lists until a page has rows, up to 20 pages.
    pub(super) fn list_rows(
        &self,
        run: &Run,
        filter: &RowFilter,
        planning: &mut Planning,
    ) -> Result<Result<Listed, StoreError>, PlanError> {
        let part = planning.totals.parts;
        let path = layout::cursor(&run.run);
        let saved: Option<LiveCursor> = read_json(self.results, &path).map_err(PlanError::Ledger)?;
        let saved = saved.filter(|cursor| cursor.part == part);
        let mut after = planning.after.clone();
        if let Some(cursor) = saved {
            after = after.max(cursor.after);
            // A call whose response was lost has counted more than the state says.
            planning.totals.passed_over = planning.totals.passed_over.max(cursor.passed_over);
        }
        Ok(self.pages_of_rows(run, filter, after, planning))
    }

    fn pages_of_rows(
        &self,
        run: &Run,
        filter: &RowFilter,
        mut after: Option<String>,
        planning: &mut Planning,
    ) -> Result<Listed, StoreError> {
        let mut others = planning.totals.passed_over;
        let mut listed = Listed { entries: Vec::new(), is_last: false, cursor: None };
        for _ in 0..PAGES {
            let mut page = self.source.page(&run.prefix, after.as_deref())?;
            let (count, first) = filter.apply(&mut page.entries, page.next.is_none());
            others = others.saturating_add(count);
            if let Some(first) = first {
                (self.note)(passed_over(&run.run, count, &first));
            }
            (listed.entries, listed.is_last, after) = (page.entries, page.next.is_none(), page.next);
            if listed.is_last || !listed.entries.is_empty() {
                break;
            }
        }
        planning.totals.passed_over = others;
        if listed.entries.is_empty() && !listed.is_last {
            let part = planning.totals.parts;
            listed.cursor =
                Some(LiveCursor { part, range: 0, after, denied: Vec::new(), passed_over: others });
        }
        Ok(listed)
    }
}
