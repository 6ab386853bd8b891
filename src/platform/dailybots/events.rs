//! The events of a stream to Daily Bots: RTVI actions and new options of services. This file checks the events of a
//! table and writes them as server-sent events.
//!
//! Wire facts are from docs.dailybots.ai (guides/webhooks) and the models `RTVIActionRun` and `RTVIUpdateConfig` in
//! `rtvi.py` of pipecat-ai/pipecat v0.0.53. The bot never answers and ignores invalid events, so Jackfield
//! checks them.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::diagnostic::{Code, suggest};
use crate::json::{push_string, push_value};
use crate::platform::shape::{
    self, ActionFault, ActionForm, ActionShape, below, check, optional, required, strict,
};
use crate::platform::{ExtensionFault, PathStep, StaticValue};

/// An action by its service and name, with its arguments.
struct RtviAction {
    name: &'static str,
    arguments: &'static [ActionForm],
}

const fn action(name: &'static str, arguments: &'static [ActionForm]) -> RtviAction {
    RtviAction { name, arguments }
}

const TEXT: &[ActionForm] = &[strict(ActionShape::Text)];
const BOOL: &[ActionForm] = &[strict(ActionShape::Bool)];
const OBJECT: &[ActionForm] = &[strict(ActionShape::Object)];
const MESSAGES: &[ActionForm] = &[strict(ActionShape::List(OBJECT))];
const NO_ARGUMENTS: &[ActionForm] = &[strict(ActionShape::Fields(&[]))];

static ACTIONS: &[RtviAction] = &[
    action("tts:say", &[strict(ActionShape::Fields(&[required("text", TEXT), optional("interrupt", BOOL)]))]),
    action("tts:interrupt", NO_ARGUMENTS),
    action(
        "llm:append_to_messages",
        &[strict(ActionShape::Fields(&[required("messages", MESSAGES), optional("run_immediately", BOOL)]))],
    ),
    action(
        "llm:set_context",
        &[strict(ActionShape::Fields(&[required("messages", MESSAGES), optional("interrupt", BOOL)]))],
    ),
    action("llm:get_context", NO_ARGUMENTS),
    action("llm:run", &[strict(ActionShape::Fields(&[optional("interrupt", BOOL)]))]),
];

/// The action that carries the result. Every stream ends with one, so the table must not send another.
const FUNCTION_RESULT: &str = "llm:function_result";

/// The services of every bot. Others may exist, but the bot silently ignores events for an unknown service.
const SERVICES: [&str; 4] = ["tts", "llm", "stt", "vad"];

const ACTION: &str = "action";
const ARGUMENTS: &str = "arguments";
const UPDATE_CONFIG: &str = "update_config";
const INTERRUPT: &str = "interrupt";

const EXAMPLE_ACTION: &str =
    "write an event such as `{ action = \"tts:say\", arguments = { text = \"One moment.\" } }`";
const EXAMPLE_CONFIG: &str = "write an event such as `{ update_config = { tts = { language = \"fr\" } } }`";

/// Checks a list of events, or a single event.
pub(super) fn check_all(events: &StaticValue) -> Vec<ExtensionFault> {
    shape::check_all(events, check_one)
}

/// Removes the events that cannot be sent. Returns the others as a list, and a message about each removed event. The
/// messages quote nothing that an upstream or a caller may have written.
pub(super) fn filter(events: Value) -> (Option<Value>, Vec<String>) {
    shape::filter_all(events, "event", check_one)
}

fn check_one(event: &StaticValue, path: &[PathStep]) -> Vec<ActionFault> {
    let entries = match event {
        StaticValue::Any => return Vec::new(),
        StaticValue::Object(entries) => entries,
        _ => {
            return vec![
                ActionFault::new(Code::InvalidAction, path, "an event must be an object")
                    .help(Some(EXAMPLE_ACTION.into())),
            ];
        }
    };
    let value = |key: &str| entries.iter().find(|(known, _)| known == key).map(|(_, value)| value);
    match (value(ACTION), value(UPDATE_CONFIG)) {
        (Some(_), Some(_)) => vec![
            ActionFault::new(
                Code::InvalidAction,
                &below(path, PathStep::Key(UPDATE_CONFIG.into())),
                "an event cannot have both `action` and `update_config`",
            )
            .help(Some("put each in its own object in the list".into())),
        ],
        (Some(name), None) => {
            let mut faults = unknown_keys(entries, &[ACTION, ARGUMENTS], "an event with `action`", path);
            faults.extend(check_action(name, value(ARGUMENTS), path));
            faults
        }
        (None, Some(config)) => {
            let mut faults =
                unknown_keys(entries, &[UPDATE_CONFIG, INTERRUPT], "an event with `update_config`", path);
            faults.extend(check_config(config, &below(path, PathStep::Key(UPDATE_CONFIG.into()))));
            if let Some(interrupt) = value(INTERRUPT) {
                let path = below(path, PathStep::Key(INTERRUPT.into()));
                faults.extend(check(BOOL, interrupt, "`interrupt`", &path));
            }
            faults
        }
        (None, None) => {
            let known = [ACTION, ARGUMENTS, UPDATE_CONFIG, INTERRUPT];
            let faults = unknown_keys(entries, &known, "an event", path);
            if !faults.is_empty() {
                return faults;
            }
            vec![
                ActionFault::new(
                    Code::InvalidAction,
                    path,
                    "an event must have an `action` or an `update_config`",
                )
                .help(Some(EXAMPLE_ACTION.into())),
            ]
        }
    }
}

fn unknown_keys(
    entries: &[(Cow<'_, str>, StaticValue<'_>)],
    known: &[&str],
    what: &str,
    path: &[PathStep],
) -> Vec<ActionFault> {
    entries
        .iter()
        .filter(|(key, _)| !known.contains(&&**key))
        .map(|(key, _)| {
            ActionFault::new(
                Code::InvalidAction,
                &below(path, PathStep::Key(key.to_string())),
                format!("unknown key `{key}` in {what}"),
            )
            .unquoted(format!("{what} has an unknown key"))
            .help(suggest(key, known.iter().copied()))
        })
        .collect()
}

fn check_action(name: &StaticValue, arguments: Option<&StaticValue>, path: &[PathStep]) -> Vec<ActionFault> {
    let at_name = below(path, PathStep::Key(ACTION.into()));
    let at_arguments = below(path, PathStep::Key(ARGUMENTS.into()));
    let name = match (name, name.known().and_then(Value::as_str)) {
        (_, Some(name)) => name,
        // The name of the action is known only during a call.
        (StaticValue::Any | StaticValue::Text, None) => {
            return match arguments {
                Some(arguments) => check(OBJECT, arguments, "`arguments`", &at_arguments),
                None => Vec::new(),
            };
        }
        (name, None) => return check(TEXT, name, "`action`", &at_name),
    };
    if name == FUNCTION_RESULT {
        return vec![
            ActionFault::new(
                Code::InvalidAction,
                &at_name,
                format!("`{FUNCTION_RESULT}` is sent automatically"),
            )
            .help(Some(
                "remove it: the result is the reply's `data`, or its `text` if there is no `data`".into(),
            )),
        ];
    }
    let Some(known) = ACTIONS.iter().find(|action| action.name == name) else {
        return vec![
            ActionFault::new(Code::UnknownAction, &at_name, format!("unknown Daily Bots action `{name}`"))
                .unquoted("unknown action name")
                .help(suggest(name, ACTIONS.iter().map(|action| action.name))),
        ];
    };
    let what = format!("`arguments` of `{}`", known.name);
    match arguments {
        Some(arguments) => check(known.arguments, arguments, &what, &at_arguments),
        None => check(known.arguments, &StaticValue::Object(Vec::new()), &what, path),
    }
}

fn check_config(config: &StaticValue, path: &[PathStep]) -> Vec<ActionFault> {
    let fault = |path: &[PathStep], message: String| {
        ActionFault::new(Code::InvalidAction, path, message).help(Some(EXAMPLE_CONFIG.into()))
    };
    let services = match config {
        StaticValue::Any => return Vec::new(),
        StaticValue::Object(services) => services,
        _ => return vec![fault(path, "`update_config` must be an object with a service as each key".into())],
    };
    if services.is_empty() {
        return vec![fault(path, "`update_config` must have at least one service".into())];
    }
    let mut faults = Vec::new();
    for (service, options) in services {
        let path = below(path, PathStep::Key(service.to_string()));
        if !SERVICES.contains(&&**service) {
            faults.push(
                ActionFault::new(
                    Code::UnknownService,
                    &path,
                    format!("not every bot has the service `{service}`"),
                )
                .help(Some(match suggest(service, SERVICES) {
                    Some(help) => {
                        format!("it is sent unchanged, and a bot without this service ignores it; {help}")
                    }
                    None => "it is sent unchanged, and a bot without this service ignores it".into(),
                })),
            );
        }
        match options {
            StaticValue::Any => {}
            StaticValue::Object(options) if !options.is_empty() => {}
            _ => faults.push(
                fault(&path, format!("`{service}` in `update_config` must be an object of options"))
                    .unquoted("a service in `update_config` must be an object of options"),
            ),
        }
    }
    faults
}

/// Appends events that have the table's form.
pub(super) fn push_all(out: &mut String, events: Option<Value>) {
    let items = match events {
        Some(Value::Array(items)) => items,
        Some(single) => vec![single],
        None => Vec::new(),
    };
    for item in items {
        if let Value::Object(event) = item {
            push_one(out, event);
        }
    }
}

fn push_one(out: &mut String, mut event: Map<String, Value>) {
    if let Some(Value::Object(services)) = event.remove(UPDATE_CONFIG) {
        let config: Vec<Value> = services
            .into_iter()
            .map(|(service, options)| json!({"service": service, "options": named_values(options)}))
            .collect();
        let mut data = json!({"config": config});
        if let Some(interrupt) = event.remove(INTERRUPT) {
            data[INTERRUPT] = interrupt;
        }
        push(out, "update-config", &data);
    } else if let Some((service, action)) =
        event.get(ACTION).and_then(Value::as_str).and_then(|name| name.split_once(':'))
    {
        let mut data = json!({"service": service, "action": action});
        let arguments = named_values(event.remove(ARGUMENTS).unwrap_or_default());
        if !arguments.is_empty() {
            data[ARGUMENTS] = arguments.into();
        }
        push(out, ACTION, &data);
    }
}

/// Appends the action that carries the result, which is JSON. `id` is omitted if the request had none.
pub(super) fn push_result(
    out: &mut String,
    function: &str,
    id: Option<&Value>,
    arguments: &Value,
    result: &str,
) {
    out.push_str("event: action\ndata: {\"service\":\"llm\",\"action\":\"function_result\",\"arguments\":[");
    out.push_str("{\"name\":\"function_name\",\"value\":");
    push_string(out, function);
    if let Some(id) = id {
        out.push_str("},{\"name\":\"tool_call_id\",\"value\":");
        push_value(out, id);
    }
    out.push_str("},{\"name\":\"arguments\",\"value\":");
    push_value(out, arguments);
    out.push_str("},{\"name\":\"result\",\"value\":");
    out.push_str(result);
    out.push_str("}]}\n\n");
}

/// Appends the closing event. Clients ignore a server-sent event without data, so it has an empty object.
pub(super) fn push_close(out: &mut String) {
    push(out, "close", &json!({}));
}

/// Converts an object to RTVI's form, a list of names and values.
fn named_values(object: Value) -> Vec<Value> {
    match object {
        Value::Object(entries) => {
            entries.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
        }
        _ => Vec::new(),
    }
}

/// Appends one server-sent event. JSON escapes line breaks in strings, so the data is one line.
fn push(out: &mut String, event: &str, data: &Value) {
    out.push_str(&format!("event: {event}\ndata: {data}\n\n"));
}

#[cfg(test)]
mod tests {
    use crate::platform::dailybots::events::*;

    fn key(name: &str) -> PathStep {
        PathStep::Key(name.into())
    }

    fn faults(events: &Value) -> Vec<ExtensionFault> {
        check_all(&StaticValue::from(events))
    }

    #[test]
    fn every_known_event_passes() {
        for event in [
            json!({"action": "tts:say", "arguments": {"text": "Hi."}}),
            json!({"action": "tts:say", "arguments": {"text": "Hi.", "interrupt": true}}),
            json!({"action": "tts:interrupt"}),
            json!({"action": "tts:interrupt", "arguments": {}}),
            json!({"action": "llm:append_to_messages", "arguments": {"messages": [{"role": "user"}], "run_immediately": true}}),
            json!({"action": "llm:set_context", "arguments": {"messages": [], "interrupt": false}}),
            json!({"action": "llm:get_context"}),
            json!({"action": "llm:run", "arguments": {"interrupt": true}}),
            json!({"update_config": {"tts": {"voice": "a", "speed": 1.5}, "llm": {"model": null}}}),
            json!({"update_config": {"vad": {"params": {"stop_secs": 0.3}}}, "interrupt": true}),
        ] {
            assert_eq!(faults(&event), [], "{event}");
            assert_eq!(faults(&json!([event])), [], "{event}");
            let (admitted, messages) = filter(event.clone());
            assert_eq!((admitted, messages), (Some(json!([event])), vec![]));
        }
    }

    #[test]
    fn values_known_only_during_a_call_pass_at_load() {
        let object = |entries: &[(&'static str, StaticValue<'static>)]| {
            StaticValue::Object(
                entries.iter().map(|(key, value)| (Cow::Owned((*key).to_owned()), value.clone())).collect(),
            )
        };
        let name = || StaticValue::Known(Cow::Owned("tts:say".into()));
        for event in [
            StaticValue::Any,
            object(&[("action", StaticValue::Any)]),
            object(&[("action", StaticValue::Text), ("arguments", StaticValue::Any)]),
            object(&[("action", name()), ("arguments", StaticValue::Any)]),
            object(&[("action", name()), ("arguments", object(&[("text", StaticValue::Text)]))]),
            object(&[("update_config", StaticValue::Any), ("interrupt", StaticValue::Any)]),
            object(&[("update_config", object(&[("tts", StaticValue::Any)]))]),
            object(&[("update_config", object(&[("tts", object(&[("language", StaticValue::Any)]))]))]),
        ] {
            assert_eq!(check_all(&event), [], "{event:?}");
        }
    }

    #[test]
    fn invalid_events_are_reported_at_their_path() {
        let services = "`tts`, `llm`, `stt`, `vad`";
        for (event, path, code, message, help) in [
            (json!("say"), vec![], Code::InvalidAction, "an event must be an object", Some(EXAMPLE_ACTION)),
            (
                json!([{}]),
                vec![PathStep::Index(0)],
                Code::InvalidAction,
                "an event must have an `action` or an `update_config`",
                Some(EXAMPLE_ACTION),
            ),
            (
                json!({"acton": "tts:say"}),
                vec![key("acton")],
                Code::InvalidAction,
                "unknown key `acton` in an event",
                Some("did you mean `action`?"),
            ),
            (
                json!({"action": "tts:say", "update_config": {"tts": {"a": 1}}}),
                vec![key("update_config")],
                Code::InvalidAction,
                "an event cannot have both `action` and `update_config`",
                Some("put each in its own object in the list"),
            ),
            (
                json!({"action": "tts:sya", "arguments": {}}),
                vec![key("action")],
                Code::UnknownAction,
                "unknown Daily Bots action `tts:sya`",
                Some("did you mean `tts:say`?"),
            ),
            (
                json!({"action": "llm:function_result", "arguments": {}}),
                vec![key("action")],
                Code::InvalidAction,
                "`llm:function_result` is sent automatically",
                Some("remove it: the result is the reply's `data`, or its `text` if there is no `data`"),
            ),
            (
                json!({"action": 1}),
                vec![key("action")],
                Code::InvalidAction,
                "`action` must be a string",
                None,
            ),
            (
                json!([{"action": "tts:say"}]),
                vec![PathStep::Index(0)],
                Code::InvalidAction,
                "`arguments` of `tts:say` needs the key `text`",
                None,
            ),
            (
                json!({"action": "tts:say", "arguments": {"text": "x", "intrrupt": true}}),
                vec![key("arguments"), key("intrrupt")],
                Code::InvalidAction,
                "unknown key `intrrupt` in `arguments` of `tts:say`",
                Some("did you mean `interrupt`?"),
            ),
            (
                json!({"action": "tts:say", "arguments": {"text": 5}}),
                vec![key("arguments"), key("text")],
                Code::InvalidAction,
                "`text` in `arguments` of `tts:say` must be a string",
                None,
            ),
            (
                json!({"action": "llm:run", "interrupt": true}),
                vec![key("interrupt")],
                Code::InvalidAction,
                "unknown key `interrupt` in an event with `action`",
                Some("known here: `action`, `arguments`"),
            ),
            (
                json!({"update_config": {"tts": {"a": 1}}, "interrupt": "yes"}),
                vec![key("interrupt")],
                Code::InvalidAction,
                "`interrupt` must be true or false",
                None,
            ),
            (
                json!({"update_config": {}}),
                vec![key("update_config")],
                Code::InvalidAction,
                "`update_config` must have at least one service",
                Some(EXAMPLE_CONFIG),
            ),
            (
                json!({"update_config": [{"service": "tts"}]}),
                vec![key("update_config")],
                Code::InvalidAction,
                "`update_config` must be an object with a service as each key",
                Some(EXAMPLE_CONFIG),
            ),
            (
                json!({"update_config": {"tts": "fr"}}),
                vec![key("update_config"), key("tts")],
                Code::InvalidAction,
                "`tts` in `update_config` must be an object of options",
                Some(EXAMPLE_CONFIG),
            ),
            (
                json!({"update_config": {"vision": {"a": 1}}}),
                vec![key("update_config"), key("vision")],
                Code::UnknownService,
                "not every bot has the service `vision`",
                Some(&*format!(
                    "it is sent unchanged, and a bot without this service ignores it; known here: {services}"
                )),
            ),
        ] {
            let found = faults(&event);
            let [fault] = &found[..] else { panic!("{event}: {found:?}") };
            assert_eq!(
                (&fault.path, fault.code, &*fault.message, fault.help.as_deref()),
                (&path, code, message, help),
                "{event}"
            );
        }
    }

    #[test]
    fn invalid_items_are_removed_and_reported_during_a_call() {
        let hostile = json!([
            null,
            {"action": "the secret"},
            {"action": "tts:say", "arguments": {"the secret": 1, "text": "x"}},
            {"action": "tts:say", "the secret": 1, "arguments": {"text": "x"}},
            {"update_config": {"the secret": "the secret"}},
            {"update_config": {"mine": {"a": "x"}}},
            "the secret",
        ]);
        let (value, messages) = filter(hostile);
        assert_eq!(value, Some(json!([{"update_config": {"mine": {"a": "x"}}}])));
        assert_eq!(
            messages,
            [
                "event 2 is left out: unknown action name",
                "event 3 is left out: `arguments` of `tts:say` has an unknown key",
                "event 4 is left out: an event with `action` has an unknown key",
                "event 5 is left out: a service in `update_config` must be an object of options",
                "event 7 is left out: an event must be an object",
            ]
        );
        assert_eq!(filter(Value::Null), (None, vec![]));
    }

    #[test]
    fn a_value_cannot_start_another_event() {
        let mut out = String::new();
        let hostile = "a\r\n\r\nevent: close\rdata: {}\n\n\u{2028}";
        push_all(&mut out, Some(json!({"update_config": {hostile: {hostile: hostile}}})));
        push_all(&mut out, Some(json!({"action": "tts:say", "arguments": {"text": hostile}})));
        let value = json!(hostile);
        push_result(&mut out, hostile, Some(&value), &value, &value.to_string());
        push_close(&mut out);
        assert!(!out.contains('\r'), "{out}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 12, "{out}");
        for (line, start) in lines.iter().zip(["event: ", "data: {", ""].iter().cycle()) {
            assert!(line.starts_with(start) && line.is_empty() == start.is_empty(), "{line}");
        }
    }
}
