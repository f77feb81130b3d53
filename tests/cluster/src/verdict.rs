//! What must be true of a record of use.

use leasehold::demo::{Record, is_clean, judge};

/// # Panics
/// If a call was lost, or more than the entitled units of a feature were in use.
pub fn assert_clean(record: &Record, entitled: &[(&str, u64)]) {
    assert_none_lost(record);
    assert_not_over_issued(record, entitled);
}

/// # Panics
/// If a call lost its license before it ended.
pub fn assert_none_lost(record: &Record) {
    assert_eq!(record.lost(), 0, "of {} calls so many were lost", record.calls());
}

/// # Panics
/// If more than the entitled units of a feature were in use at the same time.
pub fn assert_not_over_issued(record: &Record, entitled: &[(&str, u64)]) {
    let entitled = entitled.iter().map(|(feature, units)| ((*feature).to_owned(), *units));
    let uses = judge(&record.intervals(), &entitled.collect());
    assert!(is_clean(&uses), "over-issued: {uses:#?}");
}
