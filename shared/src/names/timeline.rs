//! Names that change: which one applies at a time.

use crate::limits::MAX_NAME_PERIODS;

/// Position of a name.
pub(crate) type NameId = u32;
/// The empty name, for what has none.
pub(crate) const NO_NAME: NameId = 0;

/// Marks the number of a timeline. There are fewer names than that.
const TIMED: u32 = 1 << 31;

/// A name, or a timeline of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameRef(u32);

impl NameRef {
    /// No name at any time.
    pub(crate) const NONE: Self = Self(NO_NAME);
    /// The name of an address that depends on the time: [`super::NameIndex::address_at`] finds it.
    pub(crate) const BY_TIME: Self = Self(u32::MAX);

    /// A name that does not depend on the time. Its entry may begin at one.
    pub(crate) const fn always(name: NameId) -> Self {
        Self(name)
    }

    /// Returns whether any of the names depends on the time.
    pub(crate) fn any_is_timed(names: [Self; 5]) -> bool {
        names.iter().fold(0, |bits, name| bits | name.0) & TIMED != 0
    }

    pub(crate) const fn is_timed(self) -> bool {
        self.0 & TIMED != 0
    }

    /// Returns the name. Callers first check that it does not depend on the time.
    pub(crate) const fn id(self) -> NameId {
        debug_assert!(!self.is_timed());
        self.0
    }
}

/// A name and when it applies: from `from` until just before `until`, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) name: NameId,
}

impl Period {
    pub(super) const fn always(name: NameId) -> Self {
        Self { from: i64::MIN, until: i64::MAX, name }
    }

    const fn is_always(&self) -> bool {
        self.from == i64::MIN && self.until == i64::MAX
    }

    /// Returns whether it has a begin and no end.
    pub(super) const fn is_open(&self) -> bool {
        self.from != i64::MIN && self.until == i64::MAX
    }
}

/// Periods in the order of time; they do not overlap.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    /// Positions in [`Timelines::periods`].
    first: u32,
    end: u32,
    /// Whether the nearest period names what is outside of all periods.
    can_guess: bool,
}

/// The timelines of all names.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    all: Vec<Timeline>,
    periods: Vec<Period>,
    /// By [`NameId`]: when the name begins to be known, if it never ends. The name is the same at all times, but a guess before
    /// its begin. Shorter than the names if the last of them have no begin.
    begins: Vec<i64>,
    /// Periods read and built so far. Nested and overlapping blocks repeat them.
    spent: usize,
}

/// Returns the error for [`Timelines::exceed_limit`].
pub(super) fn too_many_periods() -> String {
    format!(
        "cidrs: blocks that overlap at different times need more than {MAX_NAME_PERIODS} periods of names; remove entries that \
         ended before your logs begin with flowherd names --forget-before"
    )
}

impl Timelines {
    /// Sets the begin of a name that never ends. All open periods with this name must begin then.
    pub(super) fn set_begin(&mut self, name: NameId, begin: i64) {
        let number = name as usize;
        if self.begins.len() <= number {
            self.begins.resize(number + 1, i64::MIN);
        }
        self.begins[number] = begin;
    }

    /// Adds periods in the order of time; they must not overlap. The begin of an only period that is open must be that of its
    /// name.
    pub(super) fn add(&mut self, periods: &[Period]) -> NameRef {
        if let [only] = periods
            && only.is_open()
        {
            debug_assert_eq!(self.begin(only.name), Some(only.from));
            return NameRef::always(only.name);
        }
        self.add_timeline(periods, true)
    }

    /// Returns when a name that does not depend on the time begins to be known; `None` if it applies at all times.
    pub(super) fn begin(&self, name: NameId) -> Option<i64> {
        self.begins.get(name as usize).copied().filter(|begin| *begin != i64::MIN)
    }

    fn add_timeline(&mut self, periods: &[Period], can_guess: bool) -> NameRef {
        match periods {
            [] => return NameRef::NONE,
            [only] if only.is_always() => return NameRef::always(only.name),
            _ => {}
        }
        if !self.spend(periods.len()) {
            return NameRef::NONE;
        }
        let first = self.periods.len() as u32;
        self.periods.extend_from_slice(periods);
        self.all.push(Timeline { first, end: self.periods.len() as u32, can_guess });
        NameRef(TIMED | (self.all.len() - 1) as u32)
    }

    /// Returns whether the blocks need more periods than [`MAX_NAME_PERIODS`]. Names are then missing.
    pub(super) fn exceed_limit(&self) -> bool {
        self.spent > MAX_NAME_PERIODS
    }

    fn spend(&mut self, periods: usize) -> bool {
        self.spent = self.spent.saturating_add(periods);
        !self.exceed_limit()
    }

    /// Adds the periods of an inner block, and those of the block around it where the inner one has none.
    pub(super) fn overlay(&mut self, outer: Option<NameRef>, inner: &[Period]) -> NameRef {
        let (Some(outer), false) = (outer, matches!(inner, [only] if only.is_always())) else {
            return self.add(inner);
        };
        let outer = self.periods_of(outer);
        if !self.spend(outer.len() + inner.len()) {
            return NameRef::NONE;
        }
        let mut periods = inner.to_vec();
        for period in outer {
            let mut from = period.from;
            let first = inner.partition_point(|inner| inner.until <= from);
            for inner in inner[first..].iter().take_while(|inner| inner.from < period.until) {
                if inner.from > from {
                    periods.push(Period { from, until: inner.from, ..period });
                }
                from = inner.until;
            }
            if from < period.until {
                periods.push(Period { from, ..period });
            }
        }
        periods.sort_unstable_by_key(|period| period.from);
        self.add(&periods)
    }

    /// Adds all periods of a name of `other`, under one name of these timelines.
    pub(super) fn add_presence(&mut self, other: &Self, of: NameRef, name: NameId) -> NameRef {
        let mut periods: Vec<Period> = Vec::new();
        for period in other.periods_of(of) {
            match periods.last_mut() {
                Some(last) if last.until == period.from => last.until = period.until,
                _ => periods.push(Period { name, ..period }),
            }
        }
        // Not `add`: the name has no begin.
        self.add_timeline(&periods, true)
    }

    /// Adds the periods in which exactly one of the names applies. Returns `None` if there are none.
    pub(super) fn only_one(&mut self, names: impl Iterator<Item = NameRef>) -> Option<NameRef> {
        // For each time at which a period begins or ends: by how much the number of names changes, and the names,
        // combined by exclusive or. While one name remains, the combination is this name.
        let mut changes: Vec<(i64, i64, NameId)> = Vec::new();
        for name in names {
            let periods = self.periods_of(name);
            if !self.spend(periods.len()) {
                return None;
            }
            for period in periods {
                changes.push((period.from, 1, period.name));
                changes.push((period.until, -1, period.name));
            }
        }
        changes.sort_unstable_by_key(|(time, ..)| *time);
        let mut periods: Vec<Period> = Vec::new();
        let (mut count, mut combined) = (0, 0);
        let mut open: Option<(i64, NameId)> = None;
        for same in changes.chunk_by(|one, next| one.0 == next.0) {
            let time = same[0].0;
            for (_, change, name) in same {
                count += change;
                combined ^= name;
            }
            let now = (count == 1).then_some(combined);
            if open.map(|(_, name)| name) != now {
                if let Some((from, name)) = open {
                    periods.push(Period { from, until: time, name });
                }
                open = now.map(|name| (time, name));
            }
        }
        let is_empty = periods.is_empty();
        let name = self.add_timeline(&periods, false);
        (!is_empty).then_some(name)
    }

    fn periods_of(&self, name: NameRef) -> Vec<Period> {
        if let Some(timeline) = self.timeline(name) {
            return self.periods(timeline).to_vec();
        }
        let from = self.begin(name.id()).unwrap_or(i64::MIN);
        vec![Period { from, ..Period::always(name.id()) }]
    }

    fn timeline(&self, name: NameRef) -> Option<Timeline> {
        name.is_timed().then(|| self.all[(name.0 & !TIMED) as usize])
    }

    fn periods(&self, timeline: Timeline) -> &[Period] {
        &self.periods[timeline.first as usize..timeline.end as usize]
    }

    /// Returns the name in whose period a time is.
    pub(super) fn exact(&self, name: NameRef, time: Option<i64>) -> Option<NameId> {
        match self.timeline(name) {
            None => Some(name.id()).filter(|name| time >= self.begin(*name)),
            Some(timeline) => {
                let (nearest, is_exact) = nearest(self.periods(timeline), time);
                is_exact.then_some(nearest)
            }
        }
    }

    /// Returns the name whose period ended last before a time, or else the first name. Without a time, returns the last name.
    pub(super) fn guess(&self, name: NameRef, time: Option<i64>) -> Option<NameId> {
        match self.timeline(name) {
            None => Some(name.id()),
            Some(timeline) => timeline.can_guess.then(|| nearest(self.periods(timeline), time).0),
        }
    }
}

/// Returns the name nearest to a time, and whether the time is in its period.
fn nearest(periods: &[Period], time: Option<i64>) -> (NameId, bool) {
    let begun = match time {
        Some(time) => periods.partition_point(|period| period.from <= time),
        None => periods.len(),
    };
    match begun.checked_sub(1) {
        Some(last) => {
            let period = periods[last];
            (period.name, time.is_some_and(|time| time < period.until))
        }
        // A timeline has at least one period.
        None => (periods[0].name, false),
    }
}
