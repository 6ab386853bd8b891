//! The input of a captured call, in the form that a test can have.

use serde_json::{Map, Value, json};

use crate::call::{Call, Context, GivenArguments};
use crate::json::SharedValue;
use crate::plan::FunctionsFor;
use crate::plan::testing::{CallChanges, Canned};
use crate::platform::{Decoded, Settings};

use super::{DraftError, Drafting};

impl Drafting<'_> {
    /// The arguments as given, with made-up values for sensitive ones.
    pub(super) fn args_without_sensitive_values(&mut self) -> Result<Value, DraftError> {
        let GivenArguments::Json(given) = &self.captured.call.record.call.args else {
            return Err(DraftError::Arguments);
        };
        let mut args = match given.to_value() {
            Value::Object(args) => args,
            Value::Null => Map::new(),
            _ => return Err(DraftError::Arguments),
        };
        let fits = |args: &Map<String, Value>| {
            self.route.arguments.validate(&Value::Object(args.clone()).into()).is_ok()
        };
        let fitted = fits(&args);
        let mut replaced = Vec::new();
        for (name, value) in &mut args {
            if self.route.arguments.is_sensitive(name) {
                *value = made_up_value(value);
                replaced.push(name.clone());
            }
        }
        if let Some(name) = replaced.first().filter(|_| fitted && !fits(&args)) {
            return Err(DraftError::Sensitive(name.clone()));
        }
        for name in replaced {
            self.notes.push(format!("`{name}` is sensitive: the test uses a made-up value instead"));
        }
        Ok(self.clean("an argument", Value::Object(args)))
    }

    /// Learns the personal data of the test, which is then replaced in all of it. `given` are the arguments and the
    /// memory.
    pub(super) fn learn(&mut self, given: [&Value; 2], changes: &CallChanges, canned: &[(String, Canned)]) {
        for value in given {
            self.invented.learn(None, value);
        }
        self.invented.learn_call(changes);
        for (_, canned) in canned {
            let Canned::Reply { body, .. } = canned else { continue };
            match serde_json::from_slice(body) {
                Ok(json) => self.invented.learn(None, &json),
                Err(_) => self.invented.learn_text(&String::from_utf8_lossy(body)),
            }
        }
        self.notes.push(match self.invented.summary() {
            Some(summary) => {
                format!("replaced by invented data: {summary}; check that nothing personal is left")
            }
            None => "no names, e-mail addresses or phone numbers were found to replace".to_owned(),
        });
    }

    /// The arguments with invented data.
    pub(super) fn invented_args(&self, args: Value) -> Result<Value, DraftError> {
        let invented = self.invented.value(&args);
        let fits = |args: &Value| self.route.arguments.validate(&args.clone().into()).is_ok();
        if invented == args || !fits(&args) || fits(&invented) {
            return Ok(invented);
        }
        let names = args.as_object().into_iter().flat_map(Map::keys);
        let changed = names.filter(|name| args[*name] != invented[*name]);
        Err(DraftError::Invented(changed.cloned().collect::<Vec<_>>().join("`, `")))
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

/// A made-up value with the same structure, so that it passes most validation rules.
fn made_up_value(value: &Value) -> Value {
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
        Value::Array(items) => items.iter().map(made_up_value).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), made_up_value(value))).collect())
        }
        other => other.clone(),
    }
}
