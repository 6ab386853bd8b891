//! The input of a captured call, as a test can have it.

use serde_json::{Map, Value, json};

use crate::call::{Call, Context, GivenArguments};
use crate::json::SharedValue;
use crate::plan::FunctionsFor;
use crate::plan::testing::CallChanges;
use crate::platform::{Decoded, Settings};

use super::{Drafting, NoDraft};

impl Drafting<'_> {
    /// The arguments as given, with made-up values for sensitive ones.
    pub(super) fn stand_ins(&mut self) -> Result<Value, NoDraft> {
        let GivenArguments::Json(given) = &self.captured.call.record.call.args else {
            return Err(NoDraft::Arguments);
        };
        let mut args = match given.to_value() {
            Value::Object(args) => args,
            Value::Null => Map::new(),
            _ => return Err(NoDraft::Arguments),
        };
        let fits = |args: &Map<String, Value>| {
            self.route.arguments.validate(&Value::Object(args.clone()).into()).is_ok()
        };
        let fitted = fits(&args);
        let mut replaced = Vec::new();
        for (name, value) in &mut args {
            if self.route.arguments.is_sensitive(name) {
                *value = stand_in(value);
                replaced.push(name.clone());
            }
        }
        if let Some(name) = replaced.first().filter(|_| fitted && !fits(&args)) {
            return Err(NoDraft::Sensitive(name.clone()));
        }
        for name in replaced {
            self.notes.push(format!("`{name}` is sensitive: the test uses a made-up value instead"));
        }
        Ok(self.clean("an argument", Value::Object(args)))
    }

    /// The parts of the envelope that differ from a sample call with the same arguments.
    pub(super) fn changes(&mut self, args: &Value) -> CallChanges {
        let platform = self.captured.platform;
        let sample = platform.sample(&self.route.name, args);
        let functions = FunctionsFor::new(self.plan, platform.name());
        let base = match platform.decode(&sample, &Settings::defaults(platform), &functions) {
            Ok(Decoded::Calls(calls, _)) => calls.into_iter().next(),
            Ok(Decoded::Stream(call, _)) => Some(*call),
            _ => None,
        };
        let Some(Call { context: base, .. }) = base else { return CallChanges::default() };
        let context = &self.captured.call.record.call.context;
        let text =
            |of: fn(&Context) -> &Option<String>| of(context).clone().filter(|_| of(context) != of(&base));
        let mut changes = CallChanges {
            id: text(|context| &context.id),
            conversation: text(|context| &context.conversation),
            caller: text(|context| &context.caller),
            called: text(|context| &context.called),
            ..CallChanges::default()
        };
        let object = |value: &SharedValue, base: &SharedValue| {
            Some(value.to_value()).filter(|shown| value != base && shown.is_object())
        };
        let (metadata, global) =
            (object(&context.metadata, &base.metadata), object(&context.global, &base.global));
        let headers = object(&context.headers, &base.headers);
        changes.metadata = metadata.map(|value| self.clean("call.metadata", value));
        changes.global = global.map(|value| self.clean("call.global", value));
        let headers = headers.map(|value| self.clean("call.headers", value));
        changes.headers = headers.and_then(|headers| headers.as_object().cloned());
        changes
    }
}

/// A made-up value of the same form, so that it passes most validation rules.
fn stand_in(value: &Value) -> Value {
    let like = |c: char| match c {
        c if c.is_ascii_digit() => '1',
        c if c.is_uppercase() => 'X',
        c if c.is_alphabetic() => 'x',
        c => c,
    };
    match value {
        Value::String(text) => Value::from(text.chars().map(like).collect::<String>()),
        Value::Number(number) => {
            let alike: String =
                number.to_string().chars().map(|c| if c == 'e' { c } else { like(c) }).collect();
            serde_json::from_str(&alike).unwrap_or_else(|_| json!(1))
        }
        Value::Array(items) => items.iter().map(stand_in).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), stand_in(value))).collect())
        }
        other => other.clone(),
    }
}
