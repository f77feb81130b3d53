//! Calendar days such as `2027-12-31`, which contracts are written in; always UTC.
//!
//! The calendar is the proleptic Gregorian one of ISO 8601:2004, §3.2.1: a year has 365 days, and
//! 366 if it is divisible by 4 but not by 100, or by 400.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A day of the years 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    // In this order, so that the derived order is that of time.
    year: u16,
    month: u8,
    day: u8,
}

/// Text that is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("date `{text}` is not valid: expected {EXPECTED}")]
pub struct InvalidDate {
    text: String,
}

const EXPECTED: &str = "a day of the years 1970 to 9999 in quotes, such as \"2027-12-31\"";
const YEAR_MIN: u16 = 1970;
const DAY_MS: u64 = 86_400_000;
const MONTH_DAYS: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Date {
    /// The day, if the calendar has it and it is within 1970 to 9999.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let known = (YEAR_MIN..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day);
        known.then_some(Self { year, month, day })
    }

    /// The day that `unix_ms` falls on, if it is within the years 1970 to 9999.
    #[must_use]
    pub fn of_unix_ms(unix_ms: i64) -> Option<Self> {
        let mut days = u64::try_from(unix_ms).ok()? / DAY_MS + days_before_year(YEAR_MIN);
        // No year is shorter than 365 days: this one is never too early, and a few too late at most.
        let mut year = u16::try_from(days / 365 + 1).ok()?;
        while days_before_year(year) > days {
            year -= 1;
        }
        days -= days_before_year(year);
        let mut month = 1;
        while days >= u64::from(days_in(year, month)) {
            days -= u64::from(days_in(year, month));
            month += 1;
        }
        Self::new(year, month, u8::try_from(days + 1).ok()?)
    }

    /// Days from 1970-01-01 to this day.
    #[must_use]
    pub fn days_since_epoch(self) -> u64 {
        let months = (1..self.month).map(|month| u64::from(days_in(self.year, month))).sum::<u64>();
        days_before_year(self.year) - days_before_year(YEAR_MIN) + months + u64::from(self.day) - 1
    }

    /// The day's first millisecond, in Unix milliseconds.
    #[must_use]
    pub fn start_ms(self) -> u64 {
        self.days_since_epoch() * DAY_MS
    }

    /// The first millisecond after the day, in Unix milliseconds.
    #[must_use]
    pub fn end_ms(self) -> u64 {
        self.start_ms() + DAY_MS
    }
}

/// Days from 0001-01-01 to the first day of `year`: each year before has 365 days, and each fourth
/// of them a leap day, except for each hundredth, but not for each four-hundredth.
fn days_before_year(year: u16) -> u64 {
    let years = u64::from(year) - 1;
    years * 365 + years / 4 - years / 100 + years / 400
}

fn days_in(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    MONTH_DAYS[usize::from(month) - 1] + u8::from(leap && month == 2)
}

impl FromStr for Date {
    type Err = InvalidDate;

    fn from_str(text: &str) -> Result<Self, InvalidDate> {
        let parse = || {
            let digits = |range: std::ops::Range<usize>| {
                let part = text.get(range)?;
                part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u16>().ok())?
            };
            let bytes = text.as_bytes();
            if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
                return None;
            }
            let (month, day) = (digits(5..7)?, digits(8..10)?);
            Date::new(digits(0..4)?, u8::try_from(month).ok()?, u8::try_from(day).ok()?)
        };
        parse().ok_or_else(|| InvalidDate {
            text: text.chars().take(40).flat_map(char::escape_debug).collect(),
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DateVisitor;

        impl de::Visitor<'_> for DateVisitor {
            type Value = Date;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Date, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(DateVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        let rows = [
            ("1970-01-01", 0),
            ("1970-12-31", 364),
            ("1972-02-29", 789),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2027-12-31", 21_183),
            ("2100-03-01", 47_541),
            ("9999-12-31", 2_932_896),
        ];
        for (text, days) in rows {
            let date: Date = text.parse().unwrap();
            assert_eq!(date.days_since_epoch(), days, "{text}");
            assert_eq!(date.to_string(), text);
            assert_eq!(date.start_ms(), days * 86_400_000, "{text}");
            assert_eq!(date.end_ms(), (days + 1) * 86_400_000, "{text}");
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut expected = 0;
        let mut before: Option<Date> = None;
        for year in 1970..=2400 {
            for month in 1..=12 {
                for date in (1..=31).filter_map(|day| Date::new(year, month, day)) {
                    assert_eq!(date.days_since_epoch(), expected, "{date}");
                    assert!(before < Some(date), "{date}");
                    before = Some(date);
                    expected += 1;
                }
            }
        }
        // 400 Gregorian years always have 146,097 days.
        assert_eq!(Date::new(2370, 1, 1).unwrap().days_since_epoch(), 146_097);
    }

    #[test]
    fn what_is_no_day_is_refused() {
        let rows = [
            "",
            "2027",
            "2027-1-1",
            "2027-00-01",
            "2027-13-01",
            "2027-04-31",
            "2027-02-29",
            "2100-02-29",
            "2027-12-00",
            "1969-12-31",
            "2027/12/31",
            "31-12-2027",
            "+027-12-31",
            "2027-12-3\u{661}",
            "2027-12-31T00:00:00Z",
        ];
        for text in rows {
            let error = text.parse::<Date>().unwrap_err().to_string();
            assert!(error.starts_with("date `"), "{text}: {error}");
        }
    }

    #[test]
    fn every_day_of_a_millennium_is_found_by_its_first_and_last_millisecond() {
        let mut day = Date::new(1970, 1, 1).unwrap();
        while day.year < 2970 {
            let start = i64::try_from(day.start_ms()).unwrap();
            let end = i64::try_from(day.end_ms()).unwrap();
            assert_eq!(Date::of_unix_ms(start), Some(day));
            assert_eq!(Date::of_unix_ms(end - 1), Some(day));
            day = Date::of_unix_ms(end).unwrap();
        }
        assert_eq!(Date::of_unix_ms(-1), None);
        assert_eq!(Date::of_unix_ms(i64::MAX), None);
    }
}
