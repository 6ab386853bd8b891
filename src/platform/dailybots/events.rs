//! The events of a stream to Daily Bots: RTVI actions and new options of services. This file checks the events of a
//! table and writes them as server-sent events.
//!
//! Wire facts are from docs.dailybots.ai (guides/webhooks) and the models `RTVIActionRun` and `RTVIUpdateConfig` in
//! `rtvi.py` of pipecat-ai/pipecat v0.0.53. The bot never answers and ignores invalid events, so Jackfield
//! checks them.

use serde_json::{Map, Value, json};

use crate::diagnostic::{Code, suggest};
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

/// The action that carries the result; every stream ends with one of its own.
const FUNCTION_RESULT: &str = "llm:function_result";

/// The services of every bot. Others may exist, but the bot silently ignores events for an unknown service.
const SERVICES: [&str; 4] = ["tts", "llm", "stt", "vad"];

const ACTION: &str = "action";
const ARGUMENTS: &str = "arguments";
const UPDATE_CONFIG: &str = "update_config";
const INTERRUPT: &str = "interrupt";

const SUCH_AS: &str = "such as `{ action = \"tts:say\", arguments = { text = \"One moment.\" } }`";
const SUCH_AS_CONFIG: &str = "such as `{ update_config = { tts = { language = \"fr\" } } }`";

/// Checks a list of events, or a single event.
pub(super) fn check_all(events: &StaticValue) -> Vec<ExtensionFault> {
    shape::check_all(events, check_one)
}

/// The events that can be sent, as a list, and one line for each that cannot. Nothing is quoted that an upstream or
/// a caller may have written.
pub(super) fn admit(events: Value) -> (Option<Value>, Vec<String>) {
    shape::admit_all(events, "event", check_one)
}

fn check_one(event: &StaticValue, path: &[PathStep]) -> Vec<ActionFault> {
    let entries = match event {
        StaticValue::Any => return Vec::new(),
        StaticValue::Object(entries) => entries,
        _ => {
            return vec![
                ActionFault::new(Code::InvalidAction, path, "an event must be an object")
                    .help(Some(SUCH_AS.into())),
            ];
        }
    };
    let value = |key: &str| entries.iter().find(|(known, _)| known == key).map(|(_, value)| value);
    match (value(ACTION), value(UPDATE_CONFIG)) {
        (Some(_), Some(_)) => vec![
            ActionFault::new(
                Code::InvalidAction,
                &below(path, PathStep::Key(UPDATE_CONFIG.into())),
                "`action` and `update_config` stand in one event",
            )
            .help(Some("give each an object of its own in the list".into())),
        ],
        (Some(name), None) => {
            let mut faults = unknown_keys(entries, &[ACTION, ARGUMENTS], "an action", path);
            faults.extend(check_action(name, value(ARGUMENTS), path));
            faults
        }
        (None, Some(config)) => {
            let mut faults = unknown_keys(entries, &[UPDATE_CONFIG, INTERRUPT], "`update_config`", path);
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
                .help(Some(SUCH_AS.into())),
            ]
        }
    }
}

fn unknown_keys(
    entries: &[(String, StaticValue)],
    known: &[&str],
    what: &str,
    path: &[PathStep],
) -> Vec<ActionFault> {
    entries
        .iter()
        .filter(|(key, _)| !known.contains(&key.as_str()))
        .map(|(key, _)| {
            ActionFault::new(
                Code::InvalidAction,
                &below(path, PathStep::Key(key.clone())),
                format!("`{key}` stands beside {what}, which has no such key"),
            )
            .unquoted(format!("{what} has a key beside it that it does not take"))
            .help(suggest(key, known.iter().copied()))
        })
        .collect()
}

fn check_action(name: &StaticValue, arguments: Option<&StaticValue>, path: &[PathStep]) -> Vec<ActionFault> {
    let at_name = below(path, PathStep::Key(ACTION.into()));
    let at_arguments = below(path, PathStep::Key(ARGUMENTS.into()));
    let name = match name {
        StaticValue::Known(Value::String(name)) => name,
        // Which action it is shows when a call runs.
        StaticValue::Any | StaticValue::Text => {
            return match arguments {
                Some(arguments) => check(OBJECT, arguments, "`arguments`", &at_arguments),
                None => Vec::new(),
            };
        }
        _ => return check(TEXT, name, "`action`", &at_name),
    };
    if name == FUNCTION_RESULT {
        return vec![
            ActionFault::new(Code::InvalidAction, &at_name, format!("`{FUNCTION_RESULT}` is sent by itself"))
                .help(Some("take it out: the result is the reply's `data`, or else its `text`".into())),
        ];
    }
    let Some(known) = ACTIONS.iter().find(|action| action.name == name) else {
        return vec![
            ActionFault::new(
                Code::UnknownAction,
                &at_name,
                format!("`{name}` is not an action of Daily Bots"),
            )
            .unquoted("its name is not that of an action")
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
        ActionFault::new(Code::InvalidAction, path, message).help(Some(SUCH_AS_CONFIG.into()))
    };
    let services = match config {
        StaticValue::Any => return Vec::new(),
        StaticValue::Object(services) => services,
        _ => return vec![fault(path, "`update_config` must be an object of services".into())],
    };
    if services.is_empty() {
        return vec![fault(path, "`update_config` must name a service".into())];
    }
    let mut faults = Vec::new();
    for (service, options) in services {
        let path = below(path, PathStep::Key(service.clone()));
        if !SERVICES.contains(&service.as_str()) {
            faults.push(
                ActionFault::new(
                    Code::UnknownService,
                    &path,
                    format!("`{service}` is not a service that every bot has"),
                )
                .help(Some(match suggest(service, SERVICES) {
                    Some(help) => format!("it is sent as it is, and a bot without it ignores it; {help}"),
                    None => "it is sent as it is, and a bot without it ignores it".into(),
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

/// Appends events as the table writes them.
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

/// Appends the action that carries the result. `id` is left out when the request had none.
pub(super) fn push_result(
    out: &mut String,
    function: &str,
    id: Option<Value>,
    arguments: Value,
    result: Value,
) {
    let mut values = Map::new();
    values.insert("function_name".into(), function.into());
    values.extend(id.map(|id| ("tool_call_id".to_owned(), id)));
    values.insert(ARGUMENTS.into(), arguments);
    values.insert("result".into(), result);
    let arguments = named_values(Value::Object(values));
    push(out, ACTION, &json!({"service": "llm", "action": "function_result", "arguments": arguments}));
}

/// Appends the last event. A reader of server-sent events drops one without data, so it has some.
pub(super) fn push_close(out: &mut String) {
    push(out, "close", &json!({}));
}

/// An object as the list of names and values that RTVI has in its place.
fn named_values(object: Value) -> Vec<Value> {
    match object {
        Value::Object(entries) => {
            entries.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
        }
        _ => Vec::new(),
    }
}

/// Appends one server-sent event. JSON writes every line break inside of a text as an escape, so data is one line.
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
            let (admitted, messages) = admit(event.clone());
            assert_eq!((admitted, messages), (Some(json!([event])), vec![]));
        }
    }

    #[test]
    fn what_a_call_decides_passes_at_load() {
        let object = |entries: &[(&str, StaticValue)]| {
            StaticValue::Object(
                entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
            )
        };
        let name = || StaticValue::Known("tts:say".into());
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
            (json!("say"), vec![], Code::InvalidAction, "an event must be an object", Some(SUCH_AS)),
            (
                json!([{}]),
                vec![PathStep::Index(0)],
                Code::InvalidAction,
                "an event must have an `action` or an `update_config`",
                Some(SUCH_AS),
            ),
            (
                json!({"acton": "tts:say"}),
                vec![key("acton")],
                Code::InvalidAction,
                "`acton` stands beside an event, which has no such key",
                Some("did you mean `action`?"),
            ),
            (
                json!({"action": "tts:say", "update_config": {"tts": {"a": 1}}}),
                vec![key("update_config")],
                Code::InvalidAction,
                "`action` and `update_config` stand in one event",
                Some("give each an object of its own in the list"),
            ),
            (
                json!({"action": "tts:sya", "arguments": {}}),
                vec![key("action")],
                Code::UnknownAction,
                "`tts:sya` is not an action of Daily Bots",
                Some("did you mean `tts:say`?"),
            ),
            (
                json!({"action": "llm:function_result", "arguments": {}}),
                vec![key("action")],
                Code::InvalidAction,
                "`llm:function_result` is sent by itself",
                Some("take it out: the result is the reply's `data`, or else its `text`"),
            ),
            (json!({"action": 1}), vec![key("action")], Code::InvalidAction, "`action` must be text", None),
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
                "`intrrupt` is not a key of `arguments` of `tts:say`",
                Some("did you mean `interrupt`?"),
            ),
            (
                json!({"action": "tts:say", "arguments": {"text": 5}}),
                vec![key("arguments"), key("text")],
                Code::InvalidAction,
                "`text` in `arguments` of `tts:say` must be text",
                None,
            ),
            (
                json!({"action": "llm:run", "interrupt": true}),
                vec![key("interrupt")],
                Code::InvalidAction,
                "`interrupt` stands beside an action, which has no such key",
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
                "`update_config` must name a service",
                Some(SUCH_AS_CONFIG),
            ),
            (
                json!({"update_config": [{"service": "tts"}]}),
                vec![key("update_config")],
                Code::InvalidAction,
                "`update_config` must be an object of services",
                Some(SUCH_AS_CONFIG),
            ),
            (
                json!({"update_config": {"tts": "fr"}}),
                vec![key("update_config"), key("tts")],
                Code::InvalidAction,
                "`tts` in `update_config` must be an object of options",
                Some(SUCH_AS_CONFIG),
            ),
            (
                json!({"update_config": {"vision": {"a": 1}}}),
                vec![key("update_config"), key("vision")],
                Code::UnknownService,
                "`vision` is not a service that every bot has",
                Some(&*format!(
                    "it is sent as it is, and a bot without it ignores it; known here: {services}"
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
        let (value, messages) = admit(hostile);
        assert_eq!(value, Some(json!([{"update_config": {"mine": {"a": "x"}}}])));
        assert_eq!(
            messages,
            [
                "event 2 is left out: its name is not that of an action",
                "event 3 is left out: `arguments` of `tts:say` has a key that it does not take",
                "event 4 is left out: an action has a key beside it that it does not take",
                "event 5 is left out: a service in `update_config` must be an object of options",
                "event 7 is left out: an event must be an object",
            ]
        );
        assert_eq!(admit(Value::Null), (None, vec![]));
    }

    #[test]
    fn a_value_cannot_begin_an_event_of_its_own() {
        let mut out = String::new();
        let hostile = "a\r\n\r\nevent: close\rdata: {}\n\n\u{2028}";
        push_all(&mut out, Some(json!({"update_config": {hostile: {hostile: hostile}}})));
        push_all(&mut out, Some(json!({"action": "tts:say", "arguments": {"text": hostile}})));
        push_result(&mut out, hostile, Some(json!(hostile)), json!(hostile), json!(hostile));
        push_close(&mut out);
        assert!(!out.contains('\r'), "{out}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 12, "{out}");
        for (line, start) in lines.iter().zip(["event: ", "data: {", ""].iter().cycle()) {
            assert!(line.starts_with(start) && line.is_empty() == start.is_empty(), "{line}");
        }
    }
}
