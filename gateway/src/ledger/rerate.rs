//! Re-rating: what the records of a span of time would cost by other prices, noted beside what they were booked with.

use super::record::{CHARGED, Record};
use super::store::{Store, StoreError};

/// Records priced between two commits: others get to write in between.
const PAGE: u32 = 1_000;

/// What a re-rating found. Costs are in pico-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rerated {
    /// Records looked at.
    pub records: u64,
    /// Those whose cost is another one now.
    pub changed: u64,
    /// Those that cost something which the new prices do not know.
    pub unpriced: u64,
    /// Sum of the known costs before …
    pub before: u128,
    /// … and by the new prices.
    pub after: u128,
}

/// Prices all records that began in `from..to` (microseconds since 1970) anew with `price` and notes the cost beside the
/// booked one, together with `price_map`, which names the prices. The booked cost and its map stay. Blocks.
///
/// # Errors
/// The database cannot be read or written; pages done before are kept, and doing it again is safe.
pub fn rerate(
    store: &mut Store,
    from: i64,
    to: i64,
    price_map: &str,
    price: impl Fn(&Record<'_>) -> Option<u64>,
) -> Result<Rerated, StoreError> {
    let mut result = Rerated::default();
    let mut last: Option<Record<'static>> = None;
    loop {
        let page = store.page(from, to, last.as_ref(), PAGE)?;
        if page.is_empty() {
            return Ok(result);
        }
        let mut costs = Vec::with_capacity(page.len());
        for record in page {
            // What the provider itself has said stays, unless there is a price now.
            let told = record.cost.filter(|_| record.price_map.as_deref() == Some(CHARGED));
            let cost = price(&record).or(told);
            result.records += 1;
            result.changed += u64::from(cost != record.cost);
            result.unpriced += u64::from(cost.is_none() && record.costs());
            result.before += u128::from(record.cost.unwrap_or_default());
            result.after += u128::from(cost.unwrap_or_default());
            costs.push((record, cost));
        }
        store.set_rerated(&costs, price_map)?;
        last = costs.pop().map(|(record, _)| record);
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::super::query::{Dimension, Query, ask};
    use super::super::record::UsageSource;
    use super::super::record::tests::full;
    use super::*;

    #[test]
    fn what_consumed_nothing_is_not_without_a_price() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("ledger.db")).unwrap();
        let mut bytes = Vec::new();
        for (n, usage_source) in (0..).zip(UsageSource::ALL) {
            frame::append(&Record { usage_source, cost: None, ..full(n) }, &mut bytes);
        }
        store.take_in(&bytes).unwrap();
        let rerated = rerate(&mut store, i64::MIN, i64::MAX, "newer", |_| None).unwrap();
        assert_eq!((rerated.records, rerated.changed, rerated.unpriced), (5, 0, 3));
    }

    #[test]
    fn the_new_cost_stands_beside_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let mut store = Store::open(&path).unwrap();
        let (mut bytes, count) = (Vec::new(), 2_500);
        (0..count).for_each(|n| frame::append(&full(n), &mut bytes));
        store.take_in(&bytes).unwrap();

        let double = |record: &Record<'_>| record.cost.filter(|cost| *cost != 3_000_009).map(|cost| 2 * cost);
        let (from, to) = (full(0).at, full(2_000).at);
        let rerated = rerate(&mut store, from, to, "newer", double).unwrap();
        let before: u128 = (0..2_000).map(|n| u128::from(full(n).cost.unwrap())).sum();
        assert_eq!((rerated.records, rerated.changed, rerated.unpriced), (2_000, 1_999, 1));
        assert_eq!((rerated.before, rerated.after), (before, 2 * (before - 3_000_009)));
        // A second time is no third price.
        assert_eq!(rerate(&mut store, from, to, "newer", double).unwrap(), rerated);

        let report = ask(&path, &Query { by: vec![Dimension::PriceMap], ..Query::default() }).unwrap();
        let [(map, totals)] = &report.rows[..] else { panic!("{report:?}") };
        let untouched: u128 = (2_000..count).map(|n| u128::from(full(n).cost.unwrap())).sum();
        assert_eq!(map, &[Some("2026-11-25-abc".to_owned())]);
        assert_eq!((totals.cost, totals.rerated), (before + untouched, 2_000));
        assert_eq!(totals.rerated_cost, rerated.after + untouched);
        assert_eq!(store.page(i64::MIN, i64::MAX, None, 1).unwrap(), [full(0)]);
    }
}
