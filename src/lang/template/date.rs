//! The helper `date`: the forms in which a time is read, and the zone in which it is told.

use jiff::fmt::rfc2822;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned, civil};

use super::helper::{HelperOutput, NamedParams, Params, TABLE_ZONE, named};
use crate::json::ValueRef;

/// From here on a number is milliseconds since 1970; as seconds it would lie beyond the year 5000.
const MILLISECONDS_FROM: f64 = 1e11;

/// The first number of milliseconds that is no time any more.
const MILLISECONDS_UNTIL: f64 = 3e14;

/// The conversions of strftime that depend on a locale, which there is none of.
const BY_LOCALE: [char; 3] = ['c', 'x', 'r'];

/// A time as it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Time {
    /// A point in time that says nothing of a place.
    Point(Timestamp),
    /// A point in time with the offset of its place.
    At(Timestamp, Offset),
    /// What a clock on the wall shows.
    Wall(civil::DateTime),
    /// A day, which is the same day in each zone.
    Day(civil::Date),
}

pub(super) fn date(params: &Params<'_>, by_name: &NamedParams<'_>) -> Result<HelperOutput, String> {
    let zone = |name| named(by_name, name).map(|zone| self::zone(&zone.to_text())).transpose();
    let (wanted, of_table) = (zone("tz")?, zone(TABLE_ZONE)?);
    let time = read(params[0].get()).and_then(|time| time.in_zone(wanted, of_table));
    let time =
        time.ok_or("needs a time: RFC 3339, RFC 2822, seconds or milliseconds since 1970, or a date")?;
    let format = params[1].get().to_text();
    if let Some(conversion) = by_locale(&format) {
        return Err(format!(
            "cannot write `%{conversion}`; write its parts, such as `%A, %-d %B %Y` or `%H:%M`"
        ));
    }
    let mut out = String::new();
    BrokenDownTime::from(&time)
        .format(&*format, &mut out)
        .map_err(|_| format!("has a format that cannot be used: `{format}`"))?;
    Ok(out.into())
}

fn zone(name: &str) -> Result<TimeZone, &'static str> {
    TimeZone::get(name).map_err(|_| "needs a time zone such as `Europe/Oslo`")
}

impl Time {
    /// The time in the zone in which it is told: the one that is wanted, else its own, else that of the table.
    fn in_zone(self, wanted: Option<TimeZone>, of_table: Option<TimeZone>) -> Option<Zoned> {
        let or_utc = |zone: Option<TimeZone>| zone.unwrap_or(TimeZone::UTC);
        match self {
            Self::Point(time) => Some(time.to_zoned(or_utc(wanted.or(of_table)))),
            Self::At(time, offset) => Some(time.to_zoned(wanted.unwrap_or_else(|| offset.to_time_zone()))),
            Self::Day(day) => day.to_zoned(or_utc(wanted.or(of_table))).ok(),
            Self::Wall(time) => {
                let there = time.to_zoned(or_utc(of_table.or_else(|| wanted.clone()))).ok()?;
                Some(wanted.map_or_else(|| there.clone(), |zone| there.with_time_zone(zone)))
            }
        }
    }
}

fn read(value: ValueRef<'_>) -> Option<Time> {
    if let Some(number) = value.as_f64() {
        return since_1970(number);
    }
    let text = value.as_str()?;
    let text = text.trim();
    iso_8601(text).or_else(|| number(text)).or_else(|| microsoft(text)).or_else(|| mail(text))
}

/// RFC 3339 and its relatives: with an offset or without one, or a date alone.
fn iso_8601(text: &str) -> Option<Time> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(match Pieces::parse(text).ok()?.offset() {
            Some(PiecesOffset::Numeric(offset)) if !(offset.is_negative() && offset.offset().is_zero()) => {
                Time::At(time, offset.offset())
            }
            _ => Time::Point(time),
        });
    }
    // A zone in brackets without an offset would be ignored.
    let time = text.parse::<civil::DateTime>().ok().filter(|_| !text.contains('['))?;
    let is_day = !text.contains(['T', 't', ' ', ':']);
    Some(if is_day { Time::Day(time.date()) } else { Time::Wall(time) })
}

/// Seconds or milliseconds, in digits. A text of fewer than nine is a year or a time of day rather than a time in the
/// first years after 1970.
fn number(text: &str) -> Option<Time> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    let digits = text.bytes().take_while(|byte| *byte != b'.').filter(u8::is_ascii_digit).count();
    since_1970(text.parse().ok().filter(|_| is_number && digits >= 9)?)
}

fn since_1970(number: f64) -> Option<Time> {
    let milliseconds = if number.abs() < MILLISECONDS_FROM { number * 1000.0 } else { number };
    if milliseconds.abs() >= MILLISECONDS_UNTIL {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the bound was just checked")]
    Timestamp::from_millisecond(milliseconds as i64).ok().map(Time::Point)
}

/// `/Date(1773223200000)/` and `/Date(1773223200000+0100)/`, as .NET writes them in JSON.
fn microsoft(text: &str) -> Option<Time> {
    let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
    let sign = inner.rfind(['+', '-']).filter(|at| *at > 0);
    let (milliseconds, offset) = inner.split_at(sign.unwrap_or(inner.len()));
    let time = Timestamp::from_millisecond(milliseconds.parse().ok()?).ok()?;
    if offset.is_empty() {
        return Some(Time::Point(time));
    }
    if offset.len() != 5 {
        return None;
    }
    let (hours, minutes) = (offset.get(1..3)?.parse::<i32>().ok()?, offset.get(3..)?.parse::<i32>().ok()?);
    let seconds = (hours * 60 + minutes) * if offset.starts_with('-') { -60 } else { 60 };
    Some(Time::At(time, Offset::from_seconds(seconds).ok()?))
}

/// RFC 2822, as in mails and in headers of HTTP: `Wed, 11 Mar 2026 10:00:00 +0100`.
fn mail(text: &str) -> Option<Time> {
    let time = rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
    let zone = text.rsplit(' ').next().unwrap_or_default();
    let says_place = zone.starts_with(['+', '-']) && zone != "-0000";
    Some(if says_place { Time::At(time.timestamp(), time.offset()) } else { Time::Point(time.timestamp()) })
}

/// The first conversion of a format that only a locale could write.
fn by_locale(format: &str) -> Option<char> {
    let mut characters = format.chars();
    while characters.by_ref().any(|character| character == '%') {
        let is_flag = |character: &char| "-_0^#:.".contains(*character) || character.is_ascii_digit();
        let conversion = characters.by_ref().find(|character| !is_flag(character))?;
        if BY_LOCALE.contains(&conversion) {
            return Some(conversion);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::lang::template::Evaluated;

    fn told(value: &Value, format: &str, wanted: &str, of_table: &str) -> Result<String, String> {
        let (value, format) = (value.clone(), Value::from(format));
        let (wanted, of_table) = (Value::from(wanted), Value::from(of_table));
        let zones = [("tz", &wanted), (TABLE_ZONE, &of_table)];
        let zones = zones.into_iter().filter(|(_, zone)| **zone != "");
        let zones: Vec<_> = zones.map(|(name, zone)| (name, Evaluated::Ref(zone.into()))).collect();
        match date(&[Evaluated::Ref((&value).into()), Evaluated::Ref((&format).into())], &zones)? {
            HelperOutput::Value(Value::String(text)) => Ok(text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_form_is_read_and_keeps_its_own_offset() {
        for (value, expected) in [
            (json!("2026-03-11T10:00:00+01:00"), "2026-03-11 10:00 +0100"),
            (json!("2026-03-11T10:00:00.5-0500"), "2026-03-11 10:00 -0500"),
            (json!("2026-03-11T10:00:00+00:00"), "2026-03-11 10:00 +0000"),
            (json!("2026-03-11 10:00:00+05:30"), "2026-03-11 10:00 +0530"),
            (json!("2026-03-11T10:00:00+01:00[Europe/Oslo]"), "2026-03-11 10:00 +0100"),
            (json!("2026-03-11T09:00:00Z"), "2026-03-11 09:00 +0000"),
            (json!("2026-03-11T09:00"), "2026-03-11 09:00 +0000"),
            (json!("2026-03-11"), "2026-03-11 00:00 +0000"),
            (json!(1773223200), "2026-03-11 10:00 +0000"),
            (json!("1773223200"), "2026-03-11 10:00 +0000"),
            (json!(1773223200.5), "2026-03-11 10:00 +0000"),
            (json!(1773223200000_u64), "2026-03-11 10:00 +0000"),
            (json!("1773223200000"), "2026-03-11 10:00 +0000"),
            (json!(-86400), "1969-12-31 00:00 +0000"),
            (json!("Wed, 11 Mar 2026 10:00:00 +0100"), "2026-03-11 10:00 +0100"),
            (json!("11 Mar 2026 10:00:00 -0000"), "2026-03-11 10:00 +0000"),
            (json!("Wed, 11 Mar 2026 10:00:00 GMT"), "2026-03-11 10:00 +0000"),
            (json!("/Date(1773223200000)/"), "2026-03-11 10:00 +0000"),
            (json!("/Date(1773223200000+0100)/"), "2026-03-11 11:00 +0100"),
            (json!("/Date(-86400000-0230)/"), "1969-12-30 21:30 -0230"),
        ] {
            assert_eq!(told(&value, "%Y-%m-%d %H:%M %z", "", ""), Ok(expected.to_owned()), "{value}");
        }
        for value in [
            json!("soon"),
            json!(""),
            json!("-"),
            json!("1e9"),
            json!(1e15),
            json!(true),
            json!("/Date(x)/"),
            json!("/Date(1+ 100)/"),
            json!("/Date(1+01:00)/"),
            json!("2026-02-30"),
            // A year, a time of day, and a zone that would be ignored.
            json!("2026"),
            json!("14.30"),
            json!("2026-07-04T15:00[America/New_York]"),
        ] {
            assert!(told(&value, "%H", "", "").is_err(), "{value}");
        }
    }

    #[test]
    fn what_has_no_offset_is_in_the_zone_of_the_table() {
        for (value, wanted, of_table, expected) in [
            ("2026-07-04T15:00:00", "", "Europe/Oslo", "04 15:00 +0200"),
            ("2026-07-04T15:00:00", "UTC", "Europe/Oslo", "04 13:00 +0000"),
            ("2026-07-04T15:00:00", "America/New_York", "", "04 15:00 -0400"),
            ("2026-07-04T13:00:00Z", "", "Europe/Oslo", "04 15:00 +0200"),
            ("2026-07-04T13:00:00Z", "Asia/Tokyo", "Europe/Oslo", "04 22:00 +0900"),
            ("2026-07-04T13:00:00-05:00", "", "Europe/Oslo", "04 13:00 -0500"),
            ("2026-07-04T13:00:00-05:00", "Europe/Oslo", "", "04 20:00 +0200"),
            ("1783170000", "", "Europe/Oslo", "04 15:00 +0200"),
            ("2026-07-04", "", "Europe/Oslo", "04 00:00 +0200"),
            ("2026-07-04", "America/New_York", "Europe/Oslo", "04 00:00 -0400"),
        ] {
            let found = told(&json!(value), "%d %H:%M %z", wanted, of_table);
            assert_eq!(found, Ok(expected.to_owned()), "{value} {wanted} {of_table}");
        }
        assert!(told(&json!(0), "%H", "Mars/Base", "").is_err());
        assert!(told(&json!(0), "%H", "", "Mars/Base").is_err());
    }

    #[test]
    fn a_format_that_only_a_locale_could_write_is_refused() {
        for bad in ["%c", "%x", "%r", "at %-x", "%%%c", "%", "%+", "%Q%E"] {
            assert!(told(&json!(0), bad, "", "").is_err(), "{bad}");
        }
        for (good, expected) in [
            ("%%c %%x", "%c %x"),
            ("%X", "00:00:00"),
            ("%A, %-d %B %Y, %-I:%M %p", "Thursday, 1 January 1970, 12:00 AM"),
            ("%T%.3f", "00:00:00.000"),
            ("xc", "xc"),
        ] {
            assert_eq!(told(&json!(0), good, "", ""), Ok(expected.to_owned()));
        }
    }
}
