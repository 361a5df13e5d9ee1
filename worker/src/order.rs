//! The order in which the messages of a batch are handled.
//!
//! SQS counts a delivery when a message is received, with or without an attempt, and moves a message to the dead-letter
//! queue after `maxReceiveCount` deliveries. Two things can use up the deliveries of a healthy object:
//!
//! - **Time.** The function's time ends before all messages of its batch have begun. So the message with the most
//!   deliveries goes first.
//! - **Another object.** An object that ends the process (out of memory, a timeout) ends the work on its whole batch. From
//!   the second delivery on, the worker writes a failure before the attempt. A message on its third delivery or later whose
//!   last attempt did not end is a suspect. Suspects go last and alone, after every other message of the batch is settled.
//!   The suspect with the fewest attempts goes first, so they take turns, and a healthy one among them gets its turn.

/// From this delivery on, a message whose last attempt did not end is a suspect.
pub const SUSPECT: u32 = 3;

/// The messages of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Maximum number of deliveries of one message.
    pub deliveries: u32,
    /// Number of attempts if the last one did not end, otherwise 0.
    pub unfinished_attempts: u32,
}

/// The groups of a batch by their positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Processed first, several at a time.
    pub shared: Vec<usize>,
    /// Processed last, each alone.
    pub alone: Vec<usize>,
}

/// Returns the order of the groups of a batch.
#[must_use]
pub fn order(entries: &[Entry]) -> Order {
    let is_suspect = |entry: &Entry| entry.deliveries >= SUSPECT && entry.unfinished_attempts > 0;
    let (mut alone, mut shared): (Vec<usize>, Vec<usize>) =
        (0..entries.len()).partition(|at| is_suspect(&entries[*at]));
    alone.sort_by_key(|at| (entries[*at].unfinished_attempts, entries[*at].deliveries));
    shared.sort_by_key(|at| std::cmp::Reverse(entries[*at].deliveries));
    Order { shared, alone }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(deliveries: u32) -> Entry {
        Entry { deliveries, unfinished_attempts: 0 }
    }

    fn unfinished(deliveries: u32) -> Entry {
        Entry { deliveries, unfinished_attempts: 1 }
    }

    #[test]
    fn the_message_with_the_most_deliveries_goes_first() {
        let order = order(&[finished(1), finished(9), unfinished(2), finished(1), finished(4)]);
        assert_eq!(order, Order { shared: vec![1, 4, 2, 0, 3], ..Order::default() });
    }

    #[test]
    fn a_third_delivery_after_an_attempt_that_did_not_end_goes_last_and_alone() {
        let order = order(&[unfinished(5), finished(1), unfinished(3), finished(7)]);
        assert_eq!(order, Order { shared: vec![3, 1], alone: vec![2, 0] });
    }

    #[test]
    fn suspects_take_turns() {
        let entries = [3, 1, 2].map(|unfinished_attempts| Entry { deliveries: 5, unfinished_attempts });
        assert_eq!(order(&entries).alone, [1, 2, 0]);
    }

    #[test]
    fn each_group_is_processed_once() {
        // Every batch of up to four groups of these four kinds.
        let kinds = [finished(1), finished(4), unfinished(2), unfinished(4)];
        for groups in 0..5_u32 {
            for number in 0..4_usize.pow(groups) {
                let entries: Vec<Entry> = (0..groups).map(|at| kinds[number / 4_usize.pow(at) % 4]).collect();
                let Order { shared, alone } = order(&entries);
                let mut positions = [shared, alone].concat();
                positions.sort_unstable();
                assert_eq!(positions, (0..entries.len()).collect::<Vec<_>>());
            }
        }
    }
}
