//! Adds a test to the text of a table or of a test file. Everything else stays as it is.

use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, Datetime, DocumentMut, Item, Table, TableLike, Value as Written};

use super::edit::written;

/// A key of a test, as a path, with its value.
pub type NewEntry = (Vec<String>, Value);

/// Returns the text with a test added after the existing ones, in `route` or in a test file. `None` if there is no
/// place for it, or TOML cannot represent one of its values.
pub fn with_test(text: &str, route: Option<&str>, entries: &[NewEntry]) -> Option<String> {
    let mut document = text.parse::<DocumentMut>().ok()?;
    let (holder, is_inline): (&mut dyn TableLike, bool) = match route {
        None => (document.as_table_mut(), false),
        Some(route) => {
            let route = document.get_mut("routes")?.get_mut(route)?;
            let is_inline = route.is_inline_table();
            (route.as_table_like_mut()?, is_inline)
        }
    };
    match holder.get_mut("tests") {
        Some(Item::ArrayOfTables(_)) if route.is_none() => return appended(text, entries),
        Some(Item::ArrayOfTables(tests)) => tests.push(table(entries)?),
        Some(Item::Value(Written::Array(tests))) => tests.push(inline(entries)?),
        Some(_) => return None,
        None if is_inline => {
            holder.insert("tests", Item::Value(Array::from_iter([inline(entries)?]).into()));
        }
        None if route.is_none() => return appended(text, entries),
        None => {
            let mut tests = ArrayOfTables::new();
            tests.push(table(entries)?);
            holder.insert("tests", Item::ArrayOfTables(tests));
        }
    }
    Some(document.to_string())
}

/// The text of a test file with a test added at its end, after any comments.
fn appended(text: &str, entries: &[NewEntry]) -> Option<String> {
    let mut tests = ArrayOfTables::new();
    tests.push(table(entries)?);
    let mut document = DocumentMut::new();
    document.insert("tests", Item::ArrayOfTables(tests));
    let existing = text.trim_end();
    Some(if existing.is_empty() {
        document.to_string().trim_start().to_owned()
    } else {
        format!("{existing}\n{document}")
    })
}

fn table(entries: &[NewEntry]) -> Option<Table> {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    for (keys, value) in entries {
        let (last, above) = keys.split_last()?;
        let mut holder = &mut table;
        for key in above {
            let inner = holder.entry(key).or_insert_with(|| {
                let mut inner = Table::new();
                inner.set_dotted(true);
                Item::Table(inner)
            });
            holder = inner.as_table_mut()?;
        }
        holder.insert(last, Item::Value(moment(last, value).map_or_else(|| written(value), Some)?));
    }
    Some(table)
}

fn inline(entries: &[NewEntry]) -> Option<Written> {
    let mut all = Map::new();
    for (keys, value) in entries {
        let (last, above) = keys.split_last()?;
        let mut holder = &mut all;
        for key in above {
            holder =
                holder.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new())).as_object_mut()?;
        }
        holder.insert(last.clone(), value.clone());
    }
    written(&Value::Object(all))
}

/// The time of a call as a TOML date-time.
fn moment(key: &str, value: &Value) -> Option<Written> {
    let time: Datetime = value.as_str().filter(|_| key == "now")?.parse().ok()?;
    Some(time.into())
}
