//! The shapes of extension values, and the checker that compares a value with them.

use serde_json::Value;

use std::borrow::Cow;

use super::{ExtensionFault, PathStep, StaticValue};
use crate::diagnostic::{Code, Severity, list, nearest, suggest};

/// The advice for what the platform may or may not accept.
const TRY_IT: &str = "try it in a test call first; it is sent unchanged";

/// One accepted form of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct ActionForm {
    shape: ActionShape,
    /// The SDK that has this form; `None` if the platform documents it.
    only_in: Option<&'static str>,
}

/// A documented form, or a part of a form that is already marked as undocumented.
pub(super) const fn strict(shape: ActionShape) -> ActionForm {
    ActionForm { shape, only_in: None }
}

/// A form that `sdk` has but the platform's published schema does not.
pub(super) const fn loose(sdk: &'static str, shape: ActionShape) -> ActionForm {
    ActionForm { shape, only_in: Some(sdk) }
}

/// The shape of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum ActionShape {
    /// Only `true`.
    True,
    /// `true` or `false`.
    Bool,
    /// Any string.
    Text,
    /// This string.
    Word(&'static str),
    /// A string such as `5m` or `1:30`.
    Time,
    /// A whole number in this range, both ends included.
    Whole(i64, i64),
    /// A number.
    Number,
    /// An object with any keys.
    Object,
    /// An object with these keys.
    Fields(&'static [Field]),
    /// A list of items that each have one of these forms.
    List(&'static [ActionForm]),
}

/// A key of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    key: &'static str,
    required: bool,
    forms: &'static [ActionForm],
}

/// A required key.
pub(super) const fn required(key: &'static str, forms: &'static [ActionForm]) -> Field {
    Field { key, required: true, forms }
}

/// An optional key.
pub(super) const fn optional(key: &'static str, forms: &'static [ActionForm]) -> Field {
    Field { key, required: false, forms }
}

/// An error or note about an extension value.
#[derive(Debug, Clone)]
pub(super) struct ActionFault {
    /// The fault for the author of the table.
    pub(super) fault: ExtensionFault,
    /// A message for records that quotes nothing. It is set if the other message may quote an upstream or a caller.
    pub(super) unquoted: Option<String>,
}

impl ActionFault {
    /// A fault whose message quotes only the table.
    pub(super) fn new(code: Code, path: &[PathStep], message: impl Into<String>) -> Self {
        Self {
            fault: ExtensionFault { code, path: path.to_vec(), message: message.into(), help: None },
            unquoted: None,
        }
    }

    /// Adds how to fix it.
    #[must_use]
    pub(super) fn help(mut self, help: Option<String>) -> Self {
        self.fault.help = help;
        self
    }

    /// Adds a message that quotes nothing.
    #[must_use]
    pub(super) fn unquoted(mut self, unquoted: impl Into<String>) -> Self {
        self.unquoted = Some(unquoted.into());
        self
    }

    /// Whether the platform accepts the value anyway.
    pub(super) fn is_note(&self) -> bool {
        self.fault.code.severity() != Severity::Error
    }
}

/// Checks the item of a list at `path`.
pub(super) type CheckOne = fn(&StaticValue, &[PathStep]) -> Vec<ActionFault>;

/// Checks a list of items, or a single item.
pub(super) fn check_all(items: &StaticValue, check_one: CheckOne) -> Vec<ExtensionFault> {
    let faults = match items {
        StaticValue::List(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| check_one(item, &[PathStep::Index(index)]))
            .collect(),
        single => check_one(single, &[]),
    };
    faults.into_iter().map(|fault| fault.fault).collect()
}

/// Removes the items that the platform would reject. Returns the others as a list, and a message about each removed
/// item, which identifies it by `noun` and its position. The messages quote nothing that an upstream or a caller may
/// have written.
pub(super) fn filter_all(items: Value, noun: &str, check_one: CheckOne) -> (Option<Value>, Vec<String>) {
    let items = match items {
        Value::Array(items) => items,
        single => vec![single],
    };
    let mut accepted = Vec::new();
    let mut messages = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        // An item is null if its expression has no value. It is omitted without a message.
        if item.is_null() {
            continue;
        }
        match check_one(&StaticValue::from(&item), &[]).into_iter().find(|fault| !fault.is_note()) {
            Some(fault) => {
                let reason = fault.unquoted.unwrap_or(fault.fault.message);
                messages.push(format!("{noun} {} is left out: {reason}", index + 1));
            }
            None => accepted.push(item),
        }
    }
    ((!accepted.is_empty()).then_some(Value::Array(accepted)), messages)
}

/// Compares a value with its forms and returns the faults of the form that fits best. `what` names the value in
/// messages.
pub(super) fn check(
    forms: &'static [ActionForm],
    value: &StaticValue,
    what: &str,
    path: &[PathStep],
) -> Vec<ActionFault> {
    let mut best: Option<(bool, Vec<ActionFault>)> = None;
    for form in forms {
        let Some(mut faults) = fit(form.shape, value, what, path) else { continue };
        if let Some(sdk) = form.only_in {
            faults.insert(0, sdk_only(sdk, forms, what, path));
        }
        let refused = faults.iter().any(|fault| !fault.is_note());
        let better = best.as_ref().is_none_or(|(best_refused, best)| match (refused, best_refused) {
            (false, true) => true,
            (false, false) => faults.len() < best.len(),
            (true, _) => false,
        });
        if better {
            best = Some((refused, faults));
        }
    }
    match best {
        // For a form that is rejected anyway, its origin does not matter.
        Some((true, mut faults)) => {
            faults.retain(|fault| !fault.is_note());
            faults
        }
        Some((false, faults)) => faults,
        None => vec![
            ActionFault::new(Code::InvalidAction, path, format!("{what} must be {}", describe(forms)))
                .help(suggest_fix(forms, value)),
        ],
    }
}

/// An action that Jackfield does not know. It is probably a typo if its name is close to a known one. Otherwise it is
/// sent as it is, because vendors add actions faster than they publish them.
pub(super) fn unknown_action<'n>(
    platform: &str,
    name: &str,
    path: &[PathStep],
    known: impl Iterator<Item = &'n str> + Clone,
) -> ActionFault {
    let is_plausible = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let (code, help) = if is_plausible && nearest(name, known.clone()).is_none() {
        (Code::UnlistedAction, Some(TRY_IT.to_owned()))
    } else {
        (Code::UnknownAction, suggest(name, known))
    };
    ActionFault::new(code, path, format!("unknown {platform} action `{name}`"))
        .unquoted("unknown action name")
        .help(help)
}

/// The note about a form that is not in the published schema.
fn sdk_only(sdk: &str, forms: &[ActionForm], what: &str, path: &[PathStep]) -> ActionFault {
    let subject = if forms.iter().any(|form| form.only_in.is_none()) {
        format!("this form of {what}")
    } else {
        what.to_owned()
    };
    ActionFault::new(
        Code::SdkOnlyAction,
        path,
        format!("{subject} is in {sdk}, but not in the published schema"),
    )
    .help(Some(TRY_IT.into()))
}

/// The faults inside a value; `None` if the value does not have this shape at all.
fn fit(shape: ActionShape, value: &StaticValue, what: &str, path: &[PathStep]) -> Option<Vec<ActionFault>> {
    match (shape, value) {
        (ActionShape::Fields(fields), StaticValue::Object(entries)) => {
            Some(check_fields(fields, entries, what, path))
        }
        (ActionShape::List(forms), StaticValue::List(items)) => {
            let what = format!("an item of {what}");
            let check = |(index, item)| check(forms, item, &what, &below(path, PathStep::Index(index)));
            Some(items.iter().enumerate().flat_map(check).collect())
        }
        (_, StaticValue::Any) | (ActionShape::Object, StaticValue::Object(_)) => Some(Vec::new()),
        (ActionShape::Text | ActionShape::Word(_) | ActionShape::Time, StaticValue::Text) => Some(Vec::new()),
        (_, StaticValue::Known(value)) => fits(shape, value).then(Vec::new),
        _ => None,
    }
}

/// Whether a constant has this shape.
fn fits(shape: ActionShape, value: &Value) -> bool {
    match shape {
        ActionShape::True => *value == Value::Bool(true),
        ActionShape::Bool => value.is_boolean(),
        ActionShape::Text => value.is_string(),
        ActionShape::Word(word) => value == word,
        ActionShape::Time => value.as_str().is_some_and(is_time),
        ActionShape::Whole(least, most) => {
            whole(value).is_some_and(|number| (least..=most).contains(&number))
        }
        ActionShape::Number => value.is_number(),
        ActionShape::Object | ActionShape::Fields(_) | ActionShape::List(_) => false,
    }
}

/// Whether a string can be a time. The engine's exact syntax is not published.
fn is_time(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || ": .".contains(character))
}

/// A whole number, also when it is written as `5.0`.
fn whole(value: &Value) -> Option<i64> {
    // A float represents every whole number up to 2^53 exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && number.abs() <= EXACT)
            .map(|number| number as i64)
    })
}

fn check_fields(
    fields: &'static [Field],
    entries: &[(Cow<'_, str>, StaticValue<'_>)],
    what: &str,
    path: &[PathStep],
) -> Vec<ActionFault> {
    let mut faults = Vec::new();
    for (key, value) in entries {
        let path = below(path, PathStep::Key(key.to_string()));
        match fields.iter().find(|field| field.key == key) {
            Some(field) => faults.extend(check(field.forms, value, &format!("`{key}` in {what}"), &path)),
            None => faults.push(
                ActionFault::new(Code::InvalidAction, &path, format!("unknown key `{key}` in {what}"))
                    .unquoted(format!("{what} has an unknown key"))
                    .help(suggest(key, fields.iter().map(|field| field.key))),
            ),
        }
    }
    for field in fields.iter().filter(|field| field.required) {
        if entries.iter().all(|(key, _)| key != field.key) {
            faults.push(ActionFault::new(
                Code::InvalidAction,
                path,
                format!("{what} needs the key `{}`", field.key),
            ));
        }
    }
    faults
}

/// Describes the forms, as in "a string or an object with `dest`".
fn describe(forms: &[ActionForm]) -> String {
    let mut words: Vec<String> = forms.iter().map(|form| form.shape.describe()).collect();
    words.dedup();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl ActionShape {
    fn describe(self) -> String {
        match self {
            Self::True => "`true`".into(),
            Self::Bool => "true or false".into(),
            Self::Text => "a string".into(),
            Self::Word(word) => format!("`\"{word}\"`"),
            Self::Time => "a time such as `\"5m\"`".into(),
            Self::Whole(i64::MIN, i64::MAX) => "a whole number".into(),
            Self::Whole(least, i64::MAX) => format!("a whole number, {least} or more"),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Number => "a number".into(),
            Self::Object => "an object".into(),
            Self::Fields([]) => "an empty object".into(),
            Self::Fields(fields) => {
                let needed: Vec<_> =
                    fields.iter().filter(|field| field.required).map(|field| field.key).collect();
                if needed.is_empty() {
                    "an object".into()
                } else {
                    format!("an object with {}", list(&needed))
                }
            }
            Self::List(_) => "a list".into(),
        }
    }
}

/// Suggests a fix for a string where no string is accepted.
fn suggest_fix(forms: &[ActionForm], value: &StaticValue) -> Option<String> {
    match value {
        StaticValue::Text => Some(
            "make one expression the whole string, as in `\"{{args.x}}\"`, to keep the type of its value"
                .into(),
        ),
        value => {
            let plain: Value = serde_json::from_str(value.known()?.as_str()?).ok()?;
            forms.iter().any(|form| fits(form.shape, &plain)).then(|| "remove the quotes".into())
        }
    }
}

/// `path` extended by one step.
pub(super) fn below(path: &[PathStep], step: PathStep) -> Vec<PathStep> {
    path.iter().cloned().chain([step]).collect()
}
