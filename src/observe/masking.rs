//! Masking of secrets and sensitive values wherever records are shown.

use serde_json::{Map, Value};

use crate::json::{Kind, ValueRef};
use crate::plan::Route;
use crate::secret::{HIDDEN, Masks};

use crate::flow::Record;

impl Record {
    /// The values to mask: the table's secrets, the credentials that were sent (an upstream may echo them), and the
    /// values of sensitive arguments and extracts.
    pub fn masks(&self, secrets: &Masks, route: Option<&Route>) -> Masks {
        let mut masks = secrets.clone();
        let sent = self.steps.iter().filter_map(|step| step.request.as_ref());
        for value in sent.flat_map(|request| request.headers.values()).filter(|value| value.is_sensitive()) {
            let shown = String::from_utf8_lossy(value.as_bytes());
            masks.add(&shown);
            // An upstream may echo a credential without its scheme.
            if let Some((_, credential)) = shown.split_once(' ') {
                masks.add(credential);
            }
        }
        for (step, output) in route.iter().flat_map(|route| &route.steps).zip(&self.outputs) {
            for value in step.extraction.sensitive_values(output, &self.scope("")) {
                hide_all(&value.to_value(), &mut masks);
            }
        }
        if let (Some(route), Some(validated)) = (route, &self.validated) {
            for value in route.arguments.sensitive_values(&validated.args) {
                hide_all(value, &mut masks);
            }
        }
        if self.memory.is_sensitive || route.is_some_and(|route| route.state.sensitive) {
            self.memory.recalled.iter().for_each(|recalled| hide_all(recalled, &mut masks));
            self.memory.remembered.iter().for_each(|(_, value)| hide_all(value, &mut masks));
        }
        masks
    }
}

fn hide_all(value: &Value, masks: &mut Masks) {
    match value {
        Value::String(text) => masks.add(text),
        Value::Array(items) => items.iter().for_each(|item| hide_all(item, masks)),
        Value::Object(entries) => entries.values().for_each(|value| hide_all(value, masks)),
        Value::Number(number) => masks.add(&number.to_string()),
        // These words occur in any text, so only `hide_named` hides them.
        Value::Null | Value::Bool(_) => {}
    }
}

/// The arguments, with the values of sensitive ones hidden by name.
pub fn hide_named(args: ValueRef<'_>, route: &Route) -> Value {
    if args.kind() != Kind::Object {
        return args.to_value();
    }
    let hidden = args.entries().map(|(name, value)| {
        let is_sensitive = route.arguments.is_sensitive(&name);
        (name.into_owned(), if is_sensitive { Value::from(HIDDEN) } else { value.to_value() })
    });
    Value::Object(hidden.collect::<Map<_, _>>())
}
