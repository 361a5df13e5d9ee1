//! A bounded selection that is spread evenly over a sequence of unknown length.

/// Keeps every n-th item. When it is full, it drops every second one and doubles n, so the same sequence gives the same items.
#[derive(Debug)]
pub(super) struct Spread<T> {
    kept: Vec<(T, usize)>,
    stride: u64,
    seen: u64,
    bytes: usize,
    max_items: usize,
    max_bytes: usize,
}

impl<T> Spread<T> {
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self { kept: Vec::new(), stride: 1, seen: 0, bytes: 0, max_items, max_bytes }
    }

    /// Adds an item that takes this much memory. `make` creates the item only if it is kept.
    pub(super) fn push(&mut self, bytes: usize, make: impl FnOnce() -> T) {
        let is_kept = self.seen.is_multiple_of(self.stride);
        self.seen += 1;
        if !is_kept {
            return;
        }
        self.kept.push((make(), bytes));
        self.bytes += bytes;
        while self.kept.len() > 1 && (self.kept.len() > self.max_items || self.bytes > self.max_bytes) {
            let mut is_even = false;
            self.kept.retain(|_| {
                is_even = !is_even;
                is_even
            });
            self.bytes = self.kept.iter().map(|(_, bytes)| bytes).sum();
            self.stride *= 2;
        }
    }

    /// Returns how many items were added.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn into_kept(self) -> Vec<T> {
        self.kept.into_iter().map(|(item, _)| item).collect()
    }
}

/// Returns at most `count` items of a slice, spread evenly.
pub(super) fn some_of<T>(items: &[T], count: usize) -> impl Iterator<Item = &T> {
    let taken = count.min(items.len());
    (0..taken).map(move |at| &items[at * items.len() / taken])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selection_is_bounded_and_reaches_both_ends() {
        let mut spread = Spread::new(100, usize::MAX);
        (0..10_000).for_each(|number| spread.push(1, || number));
        assert_eq!(spread.seen(), 10_000);
        let kept = spread.into_kept();
        assert!((50..=100).contains(&kept.len()), "{}", kept.len());
        assert!(kept[0] == 0 && kept[kept.len() - 1] > 9_000, "{kept:?}");

        let mut heavy = Spread::new(100, 10);
        (0..1000).for_each(|number| heavy.push(4, || number));
        assert!(heavy.into_kept().len() <= 2);
        let mut huge = Spread::new(100, 10);
        huge.push(1000, || 0);
        assert_eq!(huge.into_kept(), [0], "one item is always kept");
    }

    #[test]
    fn some_of_a_slice_are_spread_over_it() {
        let items: Vec<usize> = (0..10).collect();
        assert_eq!(some_of(&items, 3).copied().collect::<Vec<_>>(), [0, 3, 6]);
        assert_eq!(some_of(&items, 20).count(), 10);
        assert_eq!(some_of::<usize>(&[], 3).count(), 0);
    }
}
