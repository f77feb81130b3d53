//! The calendar of `core`, which depends on no date library, against one.

use jiff::civil;
use leasehold_core::entitlement::Date;

#[test]
fn every_day_is_counted_as_a_date_library_counts_it() {
    let first = civil::date(1970, 1, 1);
    let last = civil::date(2200, 12, 31);
    for (day, expected) in first.series(jiff::Span::new().days(1)).zip(0_u64..) {
        if day > last {
            break;
        }
        let date: Date = day.to_string().parse().unwrap();
        assert_eq!(date.days_since_epoch(), expected, "{day}");
    }
}
