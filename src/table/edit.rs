//! Writes expected values into the tests of a table. Everything else stays as it is: comments, order and formatting.

use serde_json::{Map, Number, Value};
use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, Value as Written};

/// A new expected value of a test.
#[derive(Debug)]
pub struct Edit {
    /// The route that contains the test; `None` if it is in a test file.
    pub route: Option<String>,
    /// The index of the test there, from 0.
    pub index: usize,
    /// The path of keys to the value, starting with `expect`.
    pub keys: Vec<String>,
    /// The value.
    pub value: Value,
}

/// Returns the text with these values, and how many of them were skipped because their place does not exist or TOML
/// cannot represent the value.
pub fn edited(text: &str, edits: &[Edit]) -> (String, usize) {
    let Ok(mut document) = text.parse::<DocumentMut>() else { return (text.to_owned(), edits.len()) };
    let mut left = 0;
    for edit in edits {
        // Check first, so that no edit is applied only in part.
        let put = written(&edit.value).is_some()
            && place(&mut document, edit).and_then(|item| put(item, &edit.value)).is_some();
        left += usize::from(!put);
    }
    (document.to_string(), left)
}

fn place<'d>(document: &'d mut DocumentMut, edit: &Edit) -> Option<&'d mut Item> {
    let holder: &mut dyn TableLike = match &edit.route {
        Some(route) => document.get_mut("routes")?.get_mut(route)?.as_table_like_mut()?,
        None => document.as_table_mut(),
    };
    let test: &mut dyn TableLike = match holder.get_mut("tests")? {
        Item::ArrayOfTables(tests) => tests.get_mut(edit.index)?,
        Item::Value(Written::Array(tests)) => tests.get_mut(edit.index)?.as_inline_table_mut()?,
        _ => return None,
    };
    let mut item = test.get_mut("expect")?;
    for key in &edit.keys {
        let table = item.as_table_like_mut()?;
        // Header names are case-insensitive.
        let key =
            table.iter().map(|(known, _)| known).find(|known| known.eq_ignore_ascii_case(key))?.to_owned();
        item = table.get_mut(&key)?;
    }
    Some(item)
}

/// Replaces a value. Parts that are equal keep their formatting.
fn put(item: &mut Item, value: &Value) -> Option<()> {
    if item.as_value().is_some_and(|written| json(written) == in_toml_terms(value)) {
        return Some(());
    }
    if let (Some(table), Value::Object(entries)) = (item.as_inline_table_mut(), value)
        && entries.keys().any(|key| !table.contains_key(key))
        && let Some((_, last)) = table.iter_mut().last()
    {
        // Remove the space before the closing brace, because a comma now follows.
        last.decor_mut().set_suffix("");
    }
    if let (Some(table), Value::Object(entries)) = (item.as_table_like_mut(), value) {
        let known = table.iter().map(|(key, _)| key.to_owned());
        let removed: Vec<String> = known.filter(|key| !entries.contains_key(key)).collect();
        for key in removed {
            table.remove(&key);
        }
        for (key, value) in entries {
            match table.get_mut(key) {
                Some(item) => put(item, value)?,
                None => {
                    table.insert(key, Item::Value(written(value)?));
                }
            }
        }
        return Some(());
    }
    let mut new = written(value)?;
    if let Some(old) = item.as_value() {
        *new.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(new);
    Some(())
}

/// A written value, with numbers as doubles.
fn json(value: &Written) -> Value {
    match value {
        Written::String(text) => Value::from(text.value().as_str()),
        Written::Integer(number) => Value::from(*number.value()),
        Written::Float(number) => Value::from(*number.value()),
        Written::Boolean(truth) => Value::from(*truth.value()),
        Written::Datetime(date) => Value::from(date.value().to_string()),
        Written::Array(items) => items.iter().map(json).collect(),
        Written::InlineTable(table) => Value::Object(
            table.iter().map(|(key, value)| (key.to_owned(), json(value))).collect::<Map<_, _>>(),
        ),
    }
}

/// A new value, with numbers as [`json`] returns them, so that `1.50` and `1.5` are the same.
fn in_toml_terms(value: &Value) -> Value {
    match value {
        Value::Number(number) if is_float(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.iter().map(in_toml_terms).collect(),
        Value::Object(entries) => Value::Object(
            entries.iter().map(|(key, value)| (key.clone(), in_toml_terms(value))).collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

fn is_float(number: &Number) -> bool {
    number.as_str().contains(['.', 'e', 'E'])
}

/// Whether TOML can represent a value.
pub fn can_be_written(value: &Value) -> bool {
    written(value).is_some()
}

/// A value in TOML, with the digits of its numbers; `None` if it contains null, an integer beyond 64 bits, or a number
/// that is too large for TOML.
pub(super) fn written(value: &Value) -> Option<Written> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) if is_float(number) => {
            number.as_f64().filter(|number| number.is_finite())?;
            number.as_str().parse::<Written>().ok()?
        }
        Value::Number(number) => number.as_i64()?.into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => {
            let items: Option<Array> = items.iter().map(written).collect();
            items?.into()
        }
        Value::Object(entries) => {
            let mut table = InlineTable::new();
            for (key, value) in entries {
                table.insert(key, written(value)?);
            }
            table.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edit(route: Option<&str>, index: usize, keys: &[&str], value: Value) -> Edit {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Edit { route: route.map(str::to_owned), index, keys, value }
    }

    #[test]
    fn only_changed_values_are_rewritten() {
        let before = "\
# The head.
[[tests]] # one
name = \"a\"
expect = { text = 'old', data = { n = 1.50, gone = 1, 'x' = [ 1,2 ] } } # why

[[tests]]
expect.data.keep = 0x10  # stays
expect.data.old = 1      # goes
[tests.expect.request.headers]
X-Id = \"1\" # the id
";
        let after = "\
# The head.
[[tests]] # one
name = \"a\"
expect = { text = \"new\", data = { n = 1.50, 'x' = [ 1,2 ], more = true } } # why

[[tests]]
expect.data.keep = 0x10  # stays
expect.data.new = { a = [1, \"b\"] }
[tests.expect.request.headers]
X-Id = \"2\" # the id
";
        let edits = [
            edit(None, 0, &["text"], json!("new")),
            edit(None, 0, &["data"], json!({"n": 1.5, "x": [1, 2], "more": true})),
            edit(None, 1, &["data"], json!({"keep": 16, "new": {"a": [1, "b"]}})),
            edit(None, 1, &["request", "headers", "x-id"], json!("2")),
        ];
        assert_eq!(edited(before, &edits), (after.to_owned(), 0));
        assert_eq!(edited(before, &[edit(None, 0, &["data"], json!({"n": null}))]), (before.to_owned(), 1));
        assert_eq!(edited(before, &[edit(None, 0, &["failure"], json!("timeout"))]), (before.to_owned(), 1));
        assert_eq!(edited(before, &[edit(Some("a"), 0, &["text"], json!(""))]), (before.to_owned(), 1));
    }

    #[test]
    fn numbers_keep_their_digits() {
        for digits in ["19.10", "0.1234567890123456789012345", "1e+5", "-0.0", "1e-400", "7"] {
            let number: Value = serde_json::from_str(digits).unwrap();
            assert_eq!(written(&number).map(|written| written.to_string()).as_deref(), Some(digits));
        }
        for digits in ["36893488147419103233", "9223372036854775808", "1e400"] {
            let number: Value = serde_json::from_str(digits).unwrap();
            assert!(!can_be_written(&number), "{digits}");
        }
    }

    #[test]
    fn tests_in_a_route_are_found_in_every_spelling() {
        for text in [
            "[routes.a]\ntests = [{ expect.text = \"1\" }]\n",
            "[[routes.a.tests]]\nexpect.text = \"1\"\n",
            "routes.a.tests = [{ expect = { text = \"1\" } }]\n",
        ] {
            let after = edited(text, &[edit(Some("a"), 0, &["text"], json!("2"))]);
            assert_eq!(after.0, text.replace('1', "2"));
        }
    }
}
