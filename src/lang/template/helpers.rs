//! The helpers of the template language. Each returns a JSON value, so that `"{{round temp 1}}"` stays a number.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::date::date;
use super::evaluated::{Evaluated, is_truthy, length};
use super::helper::{Helper, HelperFn, HelperOutput, NamedParams, Params, named};
use crate::json::{Kind, ValueRef};
use crate::lang::decimal::Decimal;
use crate::lang::value::equal;

const fn helper(name: &'static str, usage: &'static str, params: (usize, usize), run: HelperFn) -> Helper {
    Helper {
        name,
        usage,
        params,
        named: &[],
        in_zone: false,
        sees_missing: false,
        reads_all: true,
        takes_apart: false,
        run,
    }
}

const fn condition(name: &'static str, usage: &'static str, params: (usize, usize), run: HelperFn) -> Helper {
    Helper { sees_missing: true, ..helper(name, usage, params, run) }
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
    Helper {
        named: &["tz"],
        in_zone: true,
        ..helper("date", "date x \"%H:%M\" tz=\"Europe/Oslo\"", (2, 2), date)
    },
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

/// A name that ends in `.length`: the length of a list or text, or the field of an object that is called so. It is
/// not in [`HELPERS`], because no template calls it by name.
pub(super) static LENGTH: Helper = Helper {
    name: "length",
    usage: "list.length",
    params: (1, 1),
    named: &[],
    in_zone: false,
    sees_missing: false,
    reads_all: false,
    takes_apart: false,
    run: |params, _| Ok(length_or_part(params)),
};

fn length_or_part(params: &Params<'_>) -> HelperOutput {
    match length(params[0].get()) {
        Some(length) => length.into(),
        None => HelperOutput::Part("length".to_owned()),
    }
}

/// The helper called `name`.
pub(super) fn find(name: &str) -> Option<&'static Helper> {
    HELPERS.iter().find(|helper| helper.name == name)
}

fn json(value: ValueRef<'_>) -> String {
    let mut out = String::new();
    value.write_json(&mut out);
    out
}

fn default(params: &Params<'_>, _: &NamedParams<'_>) -> Result<HelperOutput, String> {
    let value = params[0].get();
    let empty = match value.kind() {
        Kind::Null => true,
        Kind::String => value.is_empty_text(),
        Kind::Array => value.is_empty(),
        _ => false,
    };
    Ok(HelperOutput::Param(usize::from(empty)))
}

/// The text of a number, also if it is a string.
fn number_text<'v>(value: &'v ValueRef<'_>) -> Option<Cow<'v, str>> {
    value.number_text().or_else(|| value.as_str())
}

fn decimal<'t>(text: &'t Option<Cow<'_, str>>) -> Option<Decimal<'t>> {
    Decimal::parse(text.as_deref()?.trim())
}

fn whole(value: ValueRef<'_>) -> Option<u32> {
    value.as_number()?.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn round(params: &Params<'_>, by_name: &NamedParams<'_>) -> Result<HelperOutput, String> {
    let digits = match named(by_name, "digits").or(params.get(1).map(Evaluated::get)) {
        None => 0,
        Some(value) => whole(value).filter(|digits| *digits <= 15).ok_or("takes 0 to 15 digits")?,
    };
    let is_whole = |text: Cow<'_, str>| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if params[0].get().number_text().is_some_and(is_whole) {
        return Ok(HelperOutput::Param(0));
    }
    let value = params[0].get();
    let text = number_text(&value);
    let number = decimal(&text).ok_or("needs a number")?;
    // A price of 396.0 is spoken as 396.
    let rounded = number.rounded(digits).ok_or("needs a number with fewer digits")?;
    let rounded: Number = serde_json::from_str(&rounded).map_err(|_| "needs a number")?;
    Ok(Value::Number(rounded).into())
}

fn truncate(params: &Params<'_>, _: &NamedParams<'_>) -> Result<HelperOutput, String> {
    let length = whole(params[1].get()).ok_or("needs the number of characters")?;
    Ok(params[0].get().to_text().chars().take(length as usize).collect::<String>().into())
}

fn join(params: &Params<'_>, by_name: &NamedParams<'_>) -> Result<HelperOutput, String> {
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

fn plural(params: &Params<'_>, _: &NamedParams<'_>) -> Result<HelperOutput, String> {
    let one = match params[0].get().kind() {
        Kind::Array => params[0].get().len() == 1,
        _ => {
            let value = params[0].get();
            let text = number_text(&value);
            decimal(&text).ok_or("needs a number or a list")?.is_one()
        }
    };
    Ok(HelperOutput::Param(if one { 1 } else { 2 }))
}

fn digits(params: &Params<'_>, _: &NamedParams<'_>) -> Result<HelperOutput, String> {
    let text = params[0].get().to_text();
    let characters: Vec<String> = text.chars().filter(|c| !c.is_whitespace()).map(String::from).collect();
    Ok(characters.join(" ").into())
}

fn count(params: &Params<'_>, _: &NamedParams<'_>) -> Result<HelperOutput, String> {
    match params[0].get().kind() {
        Kind::Array | Kind::Object => Ok(params[0].get().len().into()),
        Kind::String => Ok(params[0].get().to_text().chars().count().into()),
        Kind::Null => Ok(0.into()),
        _ => Err("needs a list".to_owned()),
    }
}

fn lookup(params: &Params<'_>, _: &NamedParams<'_>) -> Result<HelperOutput, String> {
    let name = params[1].get().to_text();
    if name == "length" {
        return Ok(length_or_part(params));
    }
    Ok(match params[0].get().kind() {
        // An index may have become text on its way.
        Kind::Array => HelperOutput::Part(name.trim().to_owned()),
        _ => HelperOutput::Part(name.into_owned()),
    })
}

fn compare(params: &Params<'_>, holds: fn(Ordering) -> bool) -> Result<HelperOutput, String> {
    let (a, b) = (params[0].get(), params[1].get());
    if a.is_null() || b.is_null() {
        return Ok(false.into());
    }
    let (left, right) = (number_text(&a), number_text(&b));
    let ordering = match (decimal(&left), decimal(&right)) {
        (Some(a), Some(b)) => a.order(b),
        _ => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => return Err("needs two numbers or two texts".to_owned()),
        },
    };
    Ok(holds(ordering).into())
}

#[cfg(test)]
mod tests {
    use crate::lang::template::helpers::*;
    use serde_json::json;

    fn exact(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn call(name: &str, params: &[Value], by_name: &[(&'static str, Value)]) -> Result<Value, String> {
        let helper = find(name).unwrap();
        let given: Vec<_> = params.iter().map(|value| Evaluated::Ref(value.into())).collect();
        let by_name: Vec<_> =
            by_name.iter().map(|(name, value)| (*name, Evaluated::Ref(value.into()))).collect();
        Ok(match (helper.run)(&given, &by_name)? {
            HelperOutput::Value(value) => value,
            HelperOutput::Param(index) => params[index].clone(),
            HelperOutput::Part(name) => params[0][&name].clone(),
        })
    }

    #[test]
    fn helpers_return_the_documented_values() {
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
            ("round", vec![json!("9007199254740993.455"), json!(2)], vec![], exact("9007199254740993.46")),
            (
                "round",
                vec![exact("12345678901234567890123.45600"), json!(4)],
                vec![],
                exact("12345678901234567890123.456"),
            ),
            (
                "round",
                vec![exact("12345678901234567890123"), json!(2)],
                vec![],
                exact("12345678901234567890123"),
            ),
            (
                "round",
                vec![exact("0.123456789012345678901234567895"), json!(15)],
                vec![],
                exact("0.123456789012346"),
            ),
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
            ("gt", vec![exact("9007199254740993"), exact("9007199254740992.0")], vec![], json!(true)),
            ("lt", vec![exact("0.1"), json!("0.10000000000000000000000000001")], vec![], json!(true)),
            ("eq", vec![exact("36893488147419103233"), exact("36893488147419103232")], vec![], json!(false)),
            ("eq", vec![exact("19.10"), exact("1.91e1")], vec![], json!(true)),
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
}
