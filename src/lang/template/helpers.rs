//! The helpers of the template language: each takes values and gives one, so that `"{{round temp 1}}"` stays a number.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::{Timestamp, Zoned, civil, tz::TimeZone};
use serde_json::{Number, Value};

use super::evaluated::{Evaluated, is_truthy};
use crate::json::{Kind, ValueRef};
use crate::lang::value::equal;

type Params<'a> = [Evaluated<'a>];
type NamedParams<'a> = [(&'static str, Evaluated<'a>)];
type Run = fn(&Params<'_>, &NamedParams<'_>) -> Result<Made, String>;

/// What a helper gives. What it was given is not copied for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Made {
    /// A value of its own.
    Value(Value),
    /// The value that it was given at this place.
    Param(usize),
    /// The part of its first value under this name or index.
    Part(String),
}

impl<T: Into<Value>> From<T> for Made {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// A helper.
pub(super) struct Helper {
    pub(super) name: &'static str,
    /// How it is written, for messages.
    pub(super) usage: &'static str,
    /// The fewest and the most values that it takes.
    pub(super) params: (usize, usize),
    /// The values that it takes by name.
    pub(super) named: &'static [&'static str],
    /// Whether a missing value reaches it, as null.
    pub(super) sees_missing: bool,
    /// Whether it reads all of a list or an object that it is given, however large.
    pub(super) reads_all: bool,
    /// Whether its first value has to be a list or an object.
    pub(super) takes_apart: bool,
    pub(super) run: Run,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn helper(name: &'static str, usage: &'static str, params: (usize, usize), run: Run) -> Helper {
    Helper { name, usage, params, named: &[], sees_missing: false, reads_all: true, takes_apart: false, run }
}

const fn condition(name: &'static str, usage: &'static str, params: (usize, usize), run: Run) -> Helper {
    Helper { name, usage, params, named: &[], sees_missing: true, reads_all: true, takes_apart: false, run }
}

/// Every helper.
pub(super) static HELPERS: &[Helper] = &[
    Helper {
        sees_missing: true,
        reads_all: false,
        ..helper("default", "default x \"none\"", (2, 2), default)
    },
    Helper { named: &["digits"], ..helper("round", "round x digits=1", (1, 2), round) },
    helper("upper", "upper x", (1, 1), |p, _| Ok(p[0].get().to_text().to_uppercase().into())),
    helper("lower", "lower x", (1, 1), |p, _| Ok(p[0].get().to_text().to_lowercase().into())),
    helper("trim", "trim x", (1, 1), |p, _| Ok(p[0].get().to_text().trim().into())),
    helper("truncate", "truncate x 40", (2, 2), truncate),
    Helper {
        named: &["last"],
        takes_apart: true,
        ..helper("join", "join list \", \" last=\" and \"", (1, 2), join)
    },
    helper("json", "json x", (1, 1), |p, _| Ok(json(p[0].get()).into())),
    Helper { named: &["tz"], ..helper("date", "date x \"%H:%M\" tz=\"Europe/Oslo\"", (2, 2), date) },
    helper("plural", "plural n \"day\" \"days\"", (3, 3), plural),
    helper("digits", "digits x", (1, 1), digits),
    Helper { reads_all: false, takes_apart: true, ..helper("count", "count list", (1, 1), count) },
    Helper { reads_all: false, takes_apart: true, ..helper("len", "len list", (1, 1), count) },
    Helper { reads_all: false, takes_apart: true, ..helper("lookup", "lookup x \"name\"", (2, 2), lookup) },
    condition("eq", "eq a b", (2, 2), |p, _| Ok(equal(p[0].get(), p[1].get()).into())),
    condition("ne", "ne a b", (2, 2), |p, _| Ok((!equal(p[0].get(), p[1].get())).into())),
    condition("gt", "gt a b", (2, 2), |p, _| compare(p, Ordering::is_gt)),
    condition("gte", "gte a b", (2, 2), |p, _| compare(p, Ordering::is_ge)),
    condition("lt", "lt a b", (2, 2), |p, _| compare(p, Ordering::is_lt)),
    condition("lte", "lte a b", (2, 2), |p, _| compare(p, Ordering::is_le)),
    Helper {
        reads_all: false,
        ..condition("and", "and a b", (2, 16), |p, _| Ok(p.iter().all(|value| is_truthy(value.get())).into()))
    },
    Helper {
        reads_all: false,
        ..condition("or", "or a b", (2, 16), |p, _| Ok(p.iter().any(|value| is_truthy(value.get())).into()))
    },
    Helper {
        reads_all: false,
        ..condition("not", "not a", (1, 1), |p, _| Ok((!is_truthy(p[0].get())).into()))
    },
];

/// The helper of that name.
pub(super) fn find(name: &str) -> Option<&'static Helper> {
    HELPERS.iter().find(|helper| helper.name == name)
}

fn named<'a>(params: &'a NamedParams<'_>, name: &str) -> Option<ValueRef<'a>> {
    params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.get())
}

fn json(value: ValueRef<'_>) -> String {
    let mut out = String::new();
    value.write_json(&mut out);
    out
}

fn default(params: &Params<'_>, _: &NamedParams<'_>) -> Result<Made, String> {
    let value = params[0].get();
    let empty = match value.kind() {
        Kind::Null => true,
        Kind::String => value.is_empty_text(),
        Kind::Array => value.is_empty(),
        _ => false,
    };
    Ok(Made::Param(usize::from(empty)))
}

/// A number, also one that arrived as text.
fn number(value: ValueRef<'_>) -> Option<f64> {
    match value.as_str() {
        Some(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        None => value.as_f64(),
    }
}

fn whole(value: ValueRef<'_>) -> Option<u32> {
    value.as_number()?.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn round(params: &Params<'_>, by_name: &NamedParams<'_>) -> Result<Made, String> {
    let digits = match named(by_name, "digits").or(params.get(1).map(Evaluated::get)) {
        None => 0,
        Some(value) => whole(value).filter(|digits| *digits <= 15).ok_or("takes 0 to 15 digits")?,
    };
    if params[0].get().as_number().is_some_and(|number| number.is_i64() || number.is_u64()) {
        return Ok(Made::Param(0));
    }
    let number = number(params[0].get()).ok_or("needs a number")?;
    // Shifted as decimal text: 2.675 is then rounded as it is written, not as the nearest binary number.
    let shifted = format!("{number}e{digits}").parse::<f64>().map_err(|_| "needs a number")?.round();
    let rounded = format!("{shifted}e-{digits}").parse::<f64>().map_err(|_| "needs a number")?;
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        // A price of 396.0 is read out as 396.
        #[expect(clippy::cast_possible_truncation, reason = "the bound was just checked")]
        return Ok((rounded as i64).into());
    }
    Ok(Number::from_f64(rounded).map_or(Value::Null, Value::Number).into())
}

fn truncate(params: &Params<'_>, _: &NamedParams<'_>) -> Result<Made, String> {
    let length = whole(params[1].get()).ok_or("needs the number of characters")?;
    Ok(params[0].get().to_text().chars().take(length as usize).collect::<String>().into())
}

fn join(params: &Params<'_>, by_name: &NamedParams<'_>) -> Result<Made, String> {
    if params[0].get().kind() != Kind::Array {
        return Err("needs a list".to_owned());
    }
    let between = params.get(1).map_or(Cow::Borrowed(", "), |value| value.get().to_text());
    let last = named(by_name, "last").map_or_else(|| between.clone(), ValueRef::to_text);
    let count = params[0].get().len();
    let mut out = String::with_capacity(64);
    for (index, item) in params[0].get().items().enumerate() {
        if index > 0 {
            out.push_str(if index + 1 == count { &last } else { &between });
        }
        out.push_str(&item.to_text());
    }
    Ok(out.into())
}

fn plural(params: &Params<'_>, _: &NamedParams<'_>) -> Result<Made, String> {
    let one = match params[0].get().kind() {
        Kind::Array => params[0].get().len() == 1,
        _ => number(params[0].get()).ok_or("needs a number or a list")?.abs() == 1.0,
    };
    Ok(Made::Param(if one { 1 } else { 2 }))
}

fn digits(params: &Params<'_>, _: &NamedParams<'_>) -> Result<Made, String> {
    let text = params[0].get().to_text();
    let characters: Vec<String> = text.chars().filter(|c| !c.is_whitespace()).map(String::from).collect();
    Ok(characters.join(" ").into())
}

fn count(params: &Params<'_>, _: &NamedParams<'_>) -> Result<Made, String> {
    match params[0].get().kind() {
        Kind::Array | Kind::Object => Ok(params[0].get().len().into()),
        Kind::String => Ok(params[0].get().to_text().chars().count().into()),
        Kind::Null => Ok(0.into()),
        _ => Err("needs a list".to_owned()),
    }
}

fn lookup(params: &Params<'_>, _: &NamedParams<'_>) -> Result<Made, String> {
    let name = params[1].get().to_text();
    Ok(match params[0].get().kind() {
        // An index may have become text on its way.
        Kind::Array => Made::Part(name.trim().to_owned()),
        _ => Made::Part(name.into_owned()),
    })
}

fn compare(params: &Params<'_>, holds: fn(Ordering) -> bool) -> Result<Made, String> {
    let (a, b) = (params[0].get(), params[1].get());
    let ordering = match (a.as_str(), b.as_str()) {
        _ if a.is_null() || b.is_null() => None,
        (Some(a), Some(b)) => match (a.trim().parse::<f64>(), b.trim().parse::<f64>()) {
            (Ok(a), Ok(b)) => a.partial_cmp(&b),
            _ => Some(a.cmp(&b)),
        },
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => return Err("needs two numbers or two texts".to_owned()),
        },
    };
    Ok(ordering.is_some_and(holds).into())
}

fn date(params: &Params<'_>, by_name: &NamedParams<'_>) -> Result<Made, String> {
    let zone = match named(by_name, "tz") {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(&name.to_text())
            .map_err(|_| "needs a time zone such as `Europe/Oslo`".to_owned())?,
    };
    let time = point_in_time(params[0].get(), zone).ok_or("needs RFC 3339, Unix seconds or a date")?;
    let format = params[1].get().to_text();
    let mut out = String::new();
    jiff::fmt::strtime::BrokenDownTime::from(&time)
        .format(&*format, &mut out)
        .map_err(|_| format!("has a format that cannot be used: `{format}`"))?;
    Ok(out.into())
}

fn point_in_time(value: ValueRef<'_>, zone: TimeZone) -> Option<Zoned> {
    if let Some(seconds) = value.as_f64() {
        if seconds.abs() >= 3e11 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the bound was just checked")]
        return Timestamp::from_millisecond((seconds * 1000.0) as i64).ok().map(|time| time.to_zoned(zone));
    }
    let text = value.as_str()?;
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.to_zoned(zone));
    }
    if let Ok(time) = text.parse::<civil::DateTime>() {
        // A time without an offset is a time on the wall, where the listener is.
        return time.to_zoned(zone).ok();
    }
    let seconds = text.parse::<i64>().ok()?;
    Timestamp::from_second(seconds).ok().map(|time| time.to_zoned(zone))
}

#[cfg(test)]
mod tests {
    use crate::lang::template::helpers::*;
    use serde_json::json;

    fn call(name: &str, params: &[Value], by_name: &[(&'static str, Value)]) -> Result<Value, String> {
        let helper = find(name).unwrap();
        let given: Vec<_> = params.iter().map(|value| Evaluated::Ref(value.into())).collect();
        let by_name: Vec<_> =
            by_name.iter().map(|(name, value)| (*name, Evaluated::Ref(value.into()))).collect();
        Ok(match (helper.run)(&given, &by_name)? {
            Made::Value(value) => value,
            Made::Param(index) => params[index].clone(),
            Made::Part(name) => params[0][&name].clone(),
        })
    }

    #[test]
    fn helpers_give_what_they_promise() {
        // `date` has a test of its own.
        let mut tested = vec!["date"];
        for (name, params, by_name, expected) in [
            ("default", vec![json!(null), json!("x")], vec![], json!("x")),
            ("default", vec![json!(0), json!("x")], vec![], json!(0)),
            ("default", vec![json!(""), json!("x")], vec![], json!("x")),
            ("round", vec![json!(21.6)], vec![], json!(22)),
            ("round", vec![json!(-0.5)], vec![], json!(-1)),
            ("round", vec![json!(2.675), json!(2)], vec![], json!(2.68)),
            ("round", vec![json!("1.25")], vec![("digits", json!(1))], json!(1.3)),
            ("round", vec![json!(7)], vec![("digits", json!(2))], json!(7)),
            ("round", vec![json!(396.0), json!(2)], vec![], json!(396)),
            ("round", vec![json!(22.999), json!(2)], vec![], json!(23)),
            ("round", vec![json!(-0.001), json!(2)], vec![], json!(0)),
            ("upper", vec![json!("øl")], vec![], json!("ØL")),
            ("lower", vec![json!("ØL")], vec![], json!("øl")),
            ("trim", vec![json!(" a ")], vec![], json!("a")),
            ("truncate", vec![json!("øre"), json!(2)], vec![], json!("ør")),
            (
                "join",
                vec![json!(["a", 2, "c"]), json!(", ")],
                vec![("last", json!(" and "))],
                json!("a, 2 and c"),
            ),
            ("join", vec![json!([])], vec![], json!("")),
            ("json", vec![json!({"a": 1})], vec![], json!("{\"a\":1}")),
            ("plural", vec![json!(1), json!("day"), json!("days")], vec![], json!("day")),
            ("plural", vec![json!(0), json!("day"), json!("days")], vec![], json!("days")),
            ("digits", vec![json!("+47 12")], vec![], json!("+ 4 7 1 2")),
            ("digits", vec![json!(4711)], vec![], json!("4 7 1 1")),
            ("count", vec![json!([1, 2])], vec![], json!(2)),
            ("count", vec![json!("øre")], vec![], json!(3)),
            ("len", vec![json!({"a": 1})], vec![], json!(1)),
            ("lookup", vec![json!({"a": 1}), json!("a")], vec![], json!(1)),
            ("eq", vec![json!(5), json!(5.0)], vec![], json!(true)),
            ("eq", vec![json!("5"), json!(5)], vec![], json!(false)),
            ("ne", vec![json!("5"), json!(5)], vec![], json!(true)),
            ("gt", vec![json!("10"), json!("9")], vec![], json!(true)),
            ("gte", vec![json!(9), json!("9")], vec![], json!(true)),
            ("lte", vec![json!(10), json!(9)], vec![], json!(false)),
            ("lt", vec![json!(null), json!(9)], vec![], json!(false)),
            ("and", vec![json!(1), json!("")], vec![], json!(false)),
            ("or", vec![json!(0), json!("x")], vec![], json!(true)),
            ("not", vec![json!([])], vec![], json!(true)),
        ] {
            assert_eq!(call(name, &params, &by_name), Ok(expected), "{name} {params:?}");
            tested.push(name);
        }
        for helper in HELPERS {
            assert!(tested.contains(&helper.name), "add a row for `{}`", helper.name);
        }
    }

    #[test]
    fn dates_are_read_and_written_in_a_zone() {
        for (value, format, zone, expected) in [
            (json!("2026-09-21T14:13:20Z"), "%H:%M", "Europe/Oslo", "16:13"),
            (json!(1790000000), "%Y-%m-%d %H:%M", "UTC", "2026-09-21 14:13"),
            (json!("1790000000"), "%d.%m.", "UTC", "21.09."),
            (json!("2026-09-21"), "%A", "America/New_York", "Monday"),
            (json!("2026-09-21T08:00:00"), "%-I %p", "America/New_York", "8 AM"),
        ] {
            assert_eq!(call("date", &[value, json!(format)], &[("tz", json!(zone))]), Ok(json!(expected)));
        }
        assert!(call("date", &[json!("soon"), json!("%H")], &[]).is_err());
        assert!(call("date", &[json!(0), json!("%")], &[]).is_err());
        assert!(call("date", &[json!(0), json!("%H")], &[("tz", json!("Mars/Base"))]).is_err());
    }
}
