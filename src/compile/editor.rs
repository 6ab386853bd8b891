//! The JSON Schemas of tables and of test files, for editors. They are built from the shapes of the raw tables and the
//! compiler's lists of values.
//!
//! They are draft 7, which TOML editors support best. They accept every file that the compiler accepts, and some that the
//! compiler rejects.

mod about;
mod constraints;

use serde_json::{Map, Value, json};

use crate::call::FailureKind;
use crate::diagnostic::Code;
use crate::plan::arguments::FORMATS;
use crate::plan::{FailureSlot, LogFormat, LogLevel};
use crate::platform::auth as inbound;
use crate::platform::{DeclareType, PLATFORMS, Platform};
use crate::scheme::{Scheme, SchemeValueKind};
use crate::table::raw::{RawFile, RawPlatform, RawRoute, RawTestFile};
use crate::table::shape::{KeyForm, KeyShape, Rest, Shape};
use crate::upstream::auth as outbound;

use crate::compile::routes::arguments::TYPES;
use crate::compile::routes::events;
use crate::compile::server::{ADMIN_SCHEMES, WATCH};
use crate::compile::steps::request::METHODS;
use crate::compile::steps::step::RESPONSE_FORMATS;
use crate::compile::upstreams::delivery::{HEDGE_P95, RETRIED};
use crate::compile::upstreams::{NETWORKS, REDIRECTS};

/// The JSON Schema of a table's files.
pub fn schema() -> Value {
    let about = "A routing table of Jackfield, or a file that it includes: platforms, upstreams and routes.";
    root("Jackfield", about, RawFile::SHAPE)
}

/// The JSON Schema of a test file, `*.test.toml`.
pub fn test_schema() -> Value {
    root("Jackfield tests", "The tests of a routing table of Jackfield.", RawTestFile::SHAPE)
}

fn root(title: &str, about: &str, shape: &Shape) -> Value {
    let mut definitions = Definitions::default();
    let mut file = definitions.object(shape, shape.keys);
    file.shift_remove("description");
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!(title));
    schema.insert("description".to_owned(), json!(about));
    schema.append(&mut file);
    schema.insert("definitions".to_owned(), Value::Object(definitions.0));
    Value::Object(schema)
}

/// The definitions that other parts of the schema refer to, by name.
#[derive(Default)]
struct Definitions(Map<String, Value>);

impl Definitions {
    /// A reference to a definition, which is added at the first reference.
    fn refer(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Map<String, Value>) -> Value {
        if !self.0.contains_key(name) {
            // Insert a placeholder first, because a table may contain itself.
            self.0.insert(name.to_owned(), Value::Null);
            let made = make(self);
            self.0.insert(name.to_owned(), Value::Object(made));
        }
        json!({"$ref": format!("#/definitions/{name}")})
    }

    /// The schema of a table with these keys, and with the platforms' keys if the shape has a rest. No other keys are
    /// allowed.
    fn object(&mut self, shape: &Shape, keys: &[KeyShape]) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in keys {
            let value = self.form((key.form)());
            properties.insert(key.name.to_owned(), described(&paragraph(key.doc), value));
        }
        let own: fn(&dyn Platform) -> &'static [&'static str] = match shape.rest {
            Some(Rest::RouteKeys) => |platform| platform.route_keys(),
            Some(Rest::ReplyKeys) => |platform| platform.extension_keys(),
            // The settings are added with each platform.
            Some(Rest::Settings) | None => |_| &[],
        };
        for platform in PLATFORMS {
            let keys = own(*platform);
            if !keys.is_empty() {
                let name = platform.name();
                let about = format!("Keys that only the platform `{name}` understands.");
                let described_key = |key: &str| described(about::extension(name, key), json!({}));
                let keys = keys.iter().map(|key| ((*key).to_owned(), described_key(key))).collect();
                properties.insert(name.to_owned(), described(&about, closed(keys, &[])));
            }
        }
        let mut object = Map::new();
        object.insert("description".to_owned(), json!(paragraph(shape.doc)));
        if let Value::Object(mut rest) = closed(properties, &[]) {
            object.append(&mut rest);
        }
        object.append(&mut constraints::of(shape.name));
        object
    }

    fn form(&mut self, form: KeyForm) -> Value {
        match form {
            KeyForm::Any => json!({}),
            KeyForm::Text => json!({"type": "string"}),
            KeyForm::Flag => json!({"type": "boolean"}),
            KeyForm::Count => json!({"type": "integer", "minimum": 0}),
            KeyForm::Number => json!({"type": "number"}),
            KeyForm::List(item) => list(&self.form(item())),
            KeyForm::Named(value) => {
                let value = self.form(value());
                json!({"type": "object", "additionalProperties": value})
            }
            KeyForm::Table(shape) => {
                let name = shape.name.trim_start_matches("Raw");
                self.refer(name, |this| this.object(shape, shape.keys))
            }
            KeyForm::Either(forms) => {
                let forms: Vec<Value> = forms.iter().map(|form| self.form(form())).collect();
                either(&forms)
            }
            KeyForm::Duration => duration(),
            KeyForm::Hedge => json!({"anyOf": [{"const": HEDGE_P95}, duration()]}),
            KeyForm::Size => size(),
            KeyForm::Rate => rate(),
            KeyForm::Share => json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
            KeyForm::Fraction => json!({"type": "number", "minimum": 0, "maximum": 1}),
            KeyForm::Watch => word(WATCH.map(|(word, _)| word)),
            KeyForm::LogFormat => word(LogFormat::NAMES.map(|(word, _)| word)),
            KeyForm::LogLevel => word(LogLevel::NAMES.map(|(word, _)| word)),
            KeyForm::Redirects => word(REDIRECTS.map(|(word, _)| word)),
            KeyForm::Warnings => list(&word(Code::allowable())),
            KeyForm::Network => word(NETWORKS.map(|(word, _)| word)),
            KeyForm::ArgumentType => word(TYPES),
            KeyForm::ArgumentFormat => word(FORMATS.iter().map(|(word, _)| *word)),
            KeyForm::Method => method(),
            KeyForm::ResponseFormat => word(RESPONSE_FORMATS.map(|(word, _)| word)),
            KeyForm::Statuses => one_or_many(&status()),
            KeyForm::Failure => word(FailureKind::NAMED.map(FailureKind::slug)),
            KeyForm::Failures => {
                one_or_many(&word(FailureKind::NAMED.iter().map(|kind| kind.slug()).chain(["any"])))
            }
            KeyForm::Retried => retried(),
            KeyForm::FailureTexts => failure_texts(),
            KeyForm::Equals | KeyForm::Matches => json!({"type": "object"}),
            KeyForm::Parameters => parameters(),
            KeyForm::InboundAuth => self.refer("InboundAuth", |_| auth(INBOUND, inbound::SCHEMES, |_| true)),
            KeyForm::AdminAuth => self.refer("AdminAuth", |_| {
                auth(INBOUND, inbound::SCHEMES, |name| ADMIN_SCHEMES.contains(&name))
            }),
            KeyForm::OutboundAuth => {
                self.refer("OutboundAuth", |_| auth(OUTBOUND, outbound::SCHEMES, |_| true))
            }
            KeyForm::Platforms => self.platforms(),
            KeyForm::PlatformNames => list(&word(PLATFORMS.iter().map(|platform| platform.name()))),
            KeyForm::Declare => declare(),
            KeyForm::Events => self.events(),
        }
    }

    /// `[platforms]`: each platform with its own settings.
    fn platforms(&mut self) -> Value {
        let mut platforms = Map::new();
        for platform in PLATFORMS {
            let mut served = self.object(RawPlatform::SHAPE, RawPlatform::SHAPE.keys);
            if let Some(Value::Object(keys)) = served.get_mut("properties") {
                for setting in platform.settings() {
                    let value = if setting.values.is_empty() {
                        secret()
                    } else {
                        word(setting.values.iter().copied())
                    };
                    keys.insert(setting.key.to_owned(), described(setting.about, value));
                }
            }
            served.insert(
                "description".to_owned(),
                json!(format!("If this section exists, the platform is served at `/{}`.", platform.name())),
            );
            platforms.insert(platform.name().to_owned(), Value::Object(served));
        }
        closed(platforms, &[])
    }

    /// `[events]`: the keys of a route, except those that events cannot have.
    fn events(&mut self) -> Value {
        let mut platforms = Map::new();
        for platform in PLATFORMS.iter().filter(|platform| !platform.events().is_empty()) {
            let mut entries = Map::new();
            for event in platform.events() {
                let entry = self.refer("Event", |this| {
                    let shape = Shape { rest: None, doc: EVENT, keys: RawRoute::SHAPE.keys, name: "Event" };
                    let mut object = this.object(&shape, shape.keys);
                    if let Some(Value::Object(keys)) = object.get_mut("properties") {
                        keys.retain(|key, _| events::KEYS.contains(&key.as_str()));
                    }
                    object
                });
                let about = about::event(platform.name(), event.name);
                entries.insert(event.name.to_owned(), described(about, entry));
            }
            let about = format!("The webhooks of `{}` that are not function calls.", platform.name());
            platforms.insert(platform.name().to_owned(), described(&about, closed(entries, &[])));
        }
        closed(platforms, &[])
    }
}

const EVENT: &[&str] =
    &["How a webhook that is not a function call is answered. Its payload is `event.*` in templates."];

const INBOUND: &str = "How callers authenticate: one key, which selects the scheme.";
const OUTBOUND: &str = "How Jackfield authenticates to the upstream: one key, which selects the scheme.";

/// `auth`: one of the schemes whose name is allowed.
fn auth<A: ?Sized>(about: &str, schemes: &[&Scheme<A>], allowed: fn(&str) -> bool) -> Map<String, Value> {
    let schemes = schemes.iter().filter(|scheme| allowed(scheme.name)).map(|scheme| {
        let value = |kind| match kind {
            SchemeValueKind::Text
            | SchemeValueKind::Secret
            | SchemeValueKind::SigningKey
            | SchemeValueKind::File => {
                json!({"type": "string"})
            }
            SchemeValueKind::List => texts(),
            SchemeValueKind::Seconds => duration(),
            SchemeValueKind::RotatingSecret | SchemeValueKind::RotatingCredential => secret(),
        };
        let key = |name, kind| described(about::scheme(scheme.name, name), value(kind));
        let keys =
            scheme.keys.iter().map(|known| (known.name.to_owned(), key(known.name, known.kind))).collect();
        let required: Vec<&str> = scheme.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
        (scheme.name.to_owned(), described(scheme.about, closed(keys, &required)))
    });
    choice(about, schemes.collect())
}

/// `declare`: the extra keys of the declaration to each platform.
fn declare() -> Value {
    let platforms = PLATFORMS.iter().map(|platform| {
        let value = |holds| match holds {
            DeclareType::Text | DeclareType::Secret => json!({"type": "string"}),
            DeclareType::Flag => json!({"type": "boolean"}),
            DeclareType::Number => json!({"type": "integer"}),
            DeclareType::Word(words) => word(words.iter().copied()),
            DeclareType::Texts => texts(),
            DeclareType::Object => json!({"type": "object"}),
        };
        let name = platform.name();
        let key = |key, holds| described(about::declare(name, key), value(holds));
        let keys = platform.declare_keys().iter();
        let keys = keys.map(|known| (known.key.to_owned(), key(known.key, known.value_type))).collect();
        let about = format!("Additional keys of the declaration to `{name}`.");
        (name.to_owned(), described(&about, closed(keys, &[])))
    });
    closed(platforms.collect(), &[])
}

/// Joins the lines of a doc comment.
fn paragraph(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A value with a description. Draft 7 ignores all keywords beside a `$ref`, so a reference is wrapped in an `allOf`.
fn described(about: &str, value: Value) -> Value {
    let mut described = Map::new();
    described.insert("description".to_owned(), json!(about));
    match value {
        Value::Object(value) if value.contains_key("$ref") => {
            described.insert("allOf".to_owned(), json!([value]));
        }
        Value::Object(mut value) => described.append(&mut value),
        _ => {}
    }
    Value::Object(described)
}

/// The schema of a table with these keys and no others.
fn closed(properties: Map<String, Value>, needed: &[&str]) -> Value {
    let mut object = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !needed.is_empty() {
        object["required"] = json!(needed);
    }
    object
}

/// The schema of a table with exactly one of these keys.
fn choice(about: &str, properties: Map<String, Value>) -> Map<String, Value> {
    let mut object = closed(properties, &[]);
    object["minProperties"] = json!(1);
    object["maxProperties"] = json!(1);
    match described(about, object) {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// One of several forms. An error in `anyOf` says only that none of them is valid, so the form of the value's own type
/// is required again: then an unknown key is an error at its place. Editors take their completions from `anyOf`.
fn either(forms: &[Value]) -> Value {
    let by_type = forms.iter().map(|form| {
        let kind = form.get("type").cloned().unwrap_or_else(|| json!("object"));
        json!({"if": {"type": kind}, "then": form})
    });
    json!({"anyOf": forms, "allOf": by_type.collect::<Vec<_>>()})
}

fn word<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"enum": words.into_iter().collect::<Vec<_>>()})
}

fn list(item: &Value) -> Value {
    json!({"type": "array", "items": item})
}

fn one_or_many(one: &Value) -> Value {
    json!({"anyOf": [one, list(one)]})
}

fn texts() -> Value {
    list(&json!({"type": "string"}))
}

/// A secret, or a list of two during a rotation.
fn secret() -> Value {
    json!({"anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
    ]})
}

/// The parameters of a query or a form. Each is a value or a list of values.
fn parameters() -> Value {
    let one = json!({"type": ["string", "number", "boolean"]});
    json!({"type": "object", "additionalProperties": one_or_many(&one)})
}

/// The kinds of failure and the statuses that are retried.
fn retried() -> Value {
    list(&json!({"anyOf": [word(RETRIED.map(FailureKind::slug)), status()]}))
}

fn failure_texts() -> Value {
    let slugs = FailureKind::NAMED.iter().map(|kind| kind.slug()).chain([FailureSlot::AFTER_WRITE]);
    let texts =
        slugs.map(|slug| (slug.to_owned(), described(about::failure(slug), json!({"type": "string"}))));
    closed(texts.collect(), &[])
}

fn size() -> Value {
    json!({
        "type": "string",
        "pattern": "^ *[0-9.]+ *[kKmMgGtTpPeE]?[iI]?[bB]? *$",
        "examples": ["64KiB", "1MiB", "4MiB"],
    })
}

fn rate() -> Value {
    json!({
        "type": "string",
        "pattern": "^ *[0-9]+ */ *[smh] *$",
        "examples": ["10/s", "100/m", "1000/h"],
    })
}

/// A method that Jackfield knows, or another token that is not one of them in lower case.
fn method() -> Value {
    let wrong = METHODS.map(str::to_lowercase);
    let other = json!({"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "not": {"enum": wrong}});
    json!({"type": "string", "anyOf": [word(METHODS), other]})
}

fn duration() -> Value {
    json!({
        "type": "string",
        "pattern": concat!(
            "^ *(0|([0-9]+(\\.[0-9]+)? *(nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds?|secs?|s|minutes?|mins?|m",
            "|hours?|hrs?|h|days?|d) *)+)$"
        ),
        "examples": ["250ms", "3s", "1m"],
    })
}

fn status() -> Value {
    json!({"anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[1-5]xx$", "examples": ["4xx", "5xx"]},
    ]})
}
