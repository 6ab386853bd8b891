//! The actions of SWAIG and the shapes of their values.
//!
//! The strict forms are in the published schema (`SWMLObject.json`, `$defs/Action` in signalwire/docs). The loose forms
//! are only in the SDK's source (`swaig_actions_generated.py` in signalwire/signalwire-python). The schema rejects
//! loose forms, but the engine reportedly accepts them, so they get a note instead of an error.

use serde_json::Value;

use crate::diagnostic::Code;
use crate::platform::shape::{
    self, ActionFault, ActionForm, ActionShape, below, check, optional, required, strict, unknown_action,
};
use crate::platform::{ExtensionFault, PathStep, StaticValue};

/// An action by its name, with the forms of its value.
struct SwaigAction {
    name: &'static str,
    forms: &'static [ActionForm],
}

const fn action(name: &'static str, forms: &'static [ActionForm]) -> SwaigAction {
    SwaigAction { name, forms }
}

/// A form that the SDK has but the published schema does not.
const fn loose(shape: ActionShape) -> ActionForm {
    shape::loose("SignalWire's SDK", shape)
}

const TRUE: &[ActionForm] = &[strict(ActionShape::True)];
const BOOL: &[ActionForm] = &[strict(ActionShape::Bool)];
const TEXT: &[ActionForm] = &[strict(ActionShape::Text)];
const NUMBER: &[ActionForm] = &[strict(ActionShape::Number)];
const OBJECT: &[ActionForm] = &[strict(ActionShape::Object)];
const SDK_BOOL: &[ActionForm] = &[loose(ActionShape::Bool)];
const SDK_TEXT: &[ActionForm] = &[loose(ActionShape::Text)];
const SDK_OBJECT: &[ActionForm] = &[loose(ActionShape::Object)];
const SDK_MILLISECONDS: &[ActionForm] = &[loose(ActionShape::Whole(1, i64::MAX))];

/// The published schema accepts a key or an object. The SDK also accepts a list of keys.
const UNSET: &[ActionForm] =
    &[strict(ActionShape::Text), strict(ActionShape::Object), loose(ActionShape::List(TEXT))];

/// For a number outside 0 to 900, the engine silently uses 300 seconds.
const HOLD_SECONDS: ActionShape = ActionShape::Whole(0, 900);

/// The flag `transfer` beside `SWML`: `true` leaves the AI permanently. The SDK writes it as a string.
const SWML_TRANSFER: &[ActionForm] =
    &[strict(ActionShape::Bool), loose(ActionShape::Word("true")), loose(ActionShape::Word("false"))];

static ACTIONS: &[SwaigAction] = &[
    action("SWML", &[strict(ActionShape::Object), loose(ActionShape::Text)]),
    action("say", TEXT),
    action("stop", TRUE),
    action("hangup", TRUE),
    action(
        "hold",
        &[
            strict(HOLD_SECONDS),
            strict(ActionShape::Fields(&[
                required("timeout", &[strict(HOLD_SECONDS), loose(ActionShape::Time)]),
                optional("step", SDK_TEXT),
                optional("timeout_step", SDK_TEXT),
            ])),
            loose(ActionShape::Time),
        ],
    ),
    action(
        "toggle_functions",
        &[strict(ActionShape::List(&[strict(ActionShape::Fields(&[
            required("function", &[strict(ActionShape::Text), strict(ActionShape::List(TEXT))]),
            // -1 toggles, 0 disables, and a positive number is the number of uses.
            required("active", &[strict(ActionShape::Bool), loose(ActionShape::Whole(-1, i64::MAX))]),
        ]))]))],
    ),
    action("set_global_data", OBJECT),
    action("unset_global_data", UNSET),
    action("set_meta_data", OBJECT),
    action("unset_meta_data", UNSET),
    action(
        "playback_bg",
        &[
            strict(ActionShape::Fields(&[required("file", TEXT), optional("wait", BOOL)])),
            loose(ActionShape::Text),
        ],
    ),
    action("stop_playback_bg", TRUE),
    action("user_input", TEXT),
    action(
        "context_switch",
        &[
            strict(ActionShape::Fields(&[
                required("system_prompt", TEXT),
                optional("user_prompt", TEXT),
                optional("consolidate", BOOL),
                optional("system_pom", SDK_OBJECT),
                optional("user_pom", SDK_OBJECT),
                optional("full_reset", SDK_BOOL),
            ])),
            // The prompt as an object model instead of a string.
            loose(ActionShape::Fields(&[
                required("system_pom", OBJECT),
                optional("user_prompt", TEXT),
                optional("user_pom", OBJECT),
                optional("consolidate", BOOL),
                optional("full_reset", BOOL),
            ])),
            loose(ActionShape::Text),
        ],
    ),
    action("change_context", TEXT),
    action("change_step", TEXT),
    action("change_voice", SDK_TEXT),
    action(
        "transfer",
        &[
            loose(ActionShape::Text),
            loose(ActionShape::Fields(&[required("dest", TEXT), optional("summarize", BOOL)])),
        ],
    ),
    action(
        "wait_for_user",
        &[
            loose(ActionShape::Bool),
            loose(ActionShape::Whole(0, i64::MAX)),
            loose(ActionShape::Word("answer_first")),
        ],
    ),
    action("back_to_back_functions", &[loose(ActionShape::Bool), loose(ActionShape::Word("forever"))]),
    action("extensive_data", SDK_BOOL),
    action("functions_on_speaker_timeout", SDK_BOOL),
    action("replace_in_history", &[loose(ActionShape::Text), loose(ActionShape::True)]),
    action(
        "settings",
        &[loose(ActionShape::Fields(&[
            optional("frequency-penalty", NUMBER),
            optional("presence-penalty", NUMBER),
            optional("max-tokens", &[strict(ActionShape::Whole(0, i64::MAX))]),
            optional("top-p", NUMBER),
            optional("temperature", NUMBER),
            optional("confidence", NUMBER),
            optional("barge-confidence", NUMBER),
        ]))],
    ),
    action("end_of_speech_timeout", SDK_MILLISECONDS),
    action("speech_event_timeout", SDK_MILLISECONDS),
    action(
        "add_dynamic_hints",
        &[loose(ActionShape::List(&[
            strict(ActionShape::Text),
            strict(ActionShape::Fields(&[
                required("hint", TEXT),
                optional("pattern", TEXT),
                optional("replace", TEXT),
                optional("ignore_case", BOOL),
            ])),
        ]))],
    ),
    action("clear_dynamic_hints", &[loose(ActionShape::Fields(&[]))]),
    action("user_event", SDK_OBJECT),
];

/// Checks a list of actions, or a single action. Returns an error for each part that SignalWire would reject, and a
/// note for each form that only its SDK has.
pub(super) fn check_all(actions: &StaticValue) -> Vec<ExtensionFault> {
    shape::check_all(actions, check_one)
}

/// Removes the actions that SignalWire would reject. Returns the others as a list, and a message about each removed
/// action. The messages quote nothing that an upstream or a caller may have written.
pub(super) fn filter(actions: Value) -> (Option<Value>, Vec<String>) {
    shape::filter_all(actions, "action", check_one)
}

/// Checks one action. It is an object with one key, except that `SWML` may have `transfer` beside it.
fn check_one(action: &StaticValue, path: &[PathStep]) -> Vec<ActionFault> {
    let entries = match action {
        StaticValue::Any => return Vec::new(),
        StaticValue::Object(entries) => entries,
        _ => {
            return vec![
                ActionFault::new(Code::InvalidAction, path, "an action must be an object")
                    .help(Some("write an action such as `{ say = \"One moment.\" }`".into())),
            ];
        }
    };
    if entries.is_empty() {
        return vec![
            ActionFault::new(Code::InvalidAction, path, "an action must not be empty")
                .help(Some("write an action such as `{ say = \"One moment.\" }`".into())),
        ];
    }
    let has_swml = entries.iter().any(|(name, _)| name == "SWML");
    let mut first = None;
    let mut faults = Vec::new();
    for (name, value) in entries {
        let path = below(path, PathStep::Key(name.to_string()));
        if has_swml && name == "transfer" {
            faults.extend(check(SWML_TRANSFER, value, "`transfer` beside `SWML`", &path));
            continue;
        }
        let Some(known) = ACTIONS.iter().find(|action| action.name == name) else {
            let known = ACTIONS.iter().map(|action| action.name);
            faults.push(unknown_action("SWAIG", name, &path, known));
            continue;
        };
        match first {
            None => first = Some(known.name),
            Some(first) => faults.push(
                ActionFault::new(
                    Code::InvalidAction,
                    &path,
                    format!("an action cannot have both `{first}` and `{name}`"),
                )
                .help(Some("put each in its own object in the list".into())),
            ),
        }
        faults.extend(check_action(known, value, &path));
    }
    faults
}

fn check_action(action: &SwaigAction, value: &StaticValue, path: &[PathStep]) -> Vec<ActionFault> {
    let mut faults = check(action.forms, value, &format!("`{}`", action.name), path);
    // The author probably means the flag of `SWML`, not the action `transfer`.
    if action.name == "transfer" && value.known().is_some_and(Value::is_boolean) {
        for fault in &mut faults {
            fault.fault.help = Some("put the flag `transfer` into the same object as `SWML`".into());
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::Severity;
    use crate::platform::swaig::actions::*;
    use serde_json::json;

    fn key(name: &str) -> PathStep {
        PathStep::Key(name.into())
    }

    /// JSON as a [`StaticValue`]: `"{{}}"` is a single expression, and any other string with `{{` is a text with
    /// expressions.
    fn static_value(value: &Value) -> StaticValue<'_> {
        match value {
            Value::String(text) if text == "{{}}" => StaticValue::Any,
            Value::String(text) if text.contains("{{") => StaticValue::Text,
            Value::Array(items) => StaticValue::List(items.iter().map(static_value).collect()),
            Value::Object(entries) => StaticValue::Object(
                entries.iter().map(|(key, value)| (key.as_str().into(), static_value(value))).collect(),
            ),
            other => StaticValue::from(other),
        }
    }

    fn faults(value: &Value) -> Vec<ExtensionFault> {
        check_all(&static_value(value))
    }

    #[test]
    fn every_published_form_passes() {
        for action in [
            json!({"SWML": {"version": "1.0.0", "sections": {}}}),
            json!({"SWML": {}, "transfer": true}),
            json!({"transfer": false, "SWML": "{{}}"}),
            json!({"say": "Hi."}),
            json!({"say": "Hi {{x}}."}),
            json!({"say": "{{}}"}),
            json!({"stop": true}),
            json!({"hangup": "{{}}"}),
            json!({"hold": 0}),
            json!({"hold": 900}),
            json!({"hold": 60.0}),
            json!({"hold": {"timeout": 60}}),
            json!({"hold": "{{}}"}),
            json!({"toggle_functions": []}),
            json!({"toggle_functions": [{"function": "a", "active": true}, {"function": ["a", "{{}}"], "active": "{{}}"}]}),
            json!({"toggle_functions": ["{{}}"]}),
            json!({"set_global_data": {"a": {"b": [1]}}}),
            json!({"set_meta_data": {}}),
            json!({"unset_global_data": "a"}),
            json!({"unset_meta_data": {"a": 1}}),
            json!({"playback_bg": {"file": "https://media.example.com/{{x}}.mp3", "wait": true}}),
            json!({"stop_playback_bg": true}),
            json!({"user_input": "x"}),
            json!({"context_switch": {"system_prompt": "x", "user_prompt": "y", "consolidate": false}}),
            json!({"change_context": "a"}),
            json!({"change_step": "next"}),
            json!("{{}}"),
        ] {
            assert_eq!(faults(&action), [], "{action}");
            assert_eq!(faults(&json!([action])), [], "{action}");
        }
        assert_eq!(faults(&json!([])), []);
        assert_eq!(faults(&json!([{"say": "a"}, "{{}}", {"stop": true}])), []);
    }

    #[test]
    fn every_form_of_the_sdk_gets_one_note() {
        for (action, path, subject) in [
            (json!({"SWML": "{\"version\": \"1.0.0\"}"}), vec![key("SWML")], "this form of `SWML`"),
            (
                json!({"SWML": {}, "transfer": "true"}),
                vec![key("transfer")],
                "this form of `transfer` beside `SWML`",
            ),
            (json!({"hold": "5m"}), vec![key("hold")], "this form of `hold`"),
            (json!({"hold": "{{x}}m"}), vec![key("hold")], "this form of `hold`"),
            (
                json!({"hold": {"timeout": "1:30"}}),
                vec![key("hold"), key("timeout")],
                "this form of `timeout` in `hold`",
            ),
            (
                json!({"hold": {"timeout": 5, "step": "a"}}),
                vec![key("hold"), key("step")],
                "`step` in `hold`",
            ),
            (
                json!({"toggle_functions": [{"function": "a", "active": -1}]}),
                vec![key("toggle_functions"), PathStep::Index(0), key("active")],
                "this form of `active` in an item of `toggle_functions`",
            ),
            (
                json!({"unset_global_data": ["a"]}),
                vec![key("unset_global_data")],
                "this form of `unset_global_data`",
            ),
            (
                json!({"unset_meta_data": ["a", "{{x}}"]}),
                vec![key("unset_meta_data")],
                "this form of `unset_meta_data`",
            ),
            (json!({"playback_bg": "https://x"}), vec![key("playback_bg")], "this form of `playback_bg`"),
            (json!({"context_switch": "x"}), vec![key("context_switch")], "this form of `context_switch`"),
            (
                json!({"context_switch": {"system_pom": {}}}),
                vec![key("context_switch")],
                "this form of `context_switch`",
            ),
            (
                json!({"context_switch": {"system_prompt": "x", "full_reset": true}}),
                vec![key("context_switch"), key("full_reset")],
                "`full_reset` in `context_switch`",
            ),
            (json!({"change_voice": "elevenlabs.adam"}), vec![key("change_voice")], "`change_voice`"),
            (json!({"transfer": "sip:x"}), vec![key("transfer")], "`transfer`"),
            (json!({"transfer": {"dest": "x", "summarize": true}}), vec![key("transfer")], "`transfer`"),
            (json!({"transfer": "{{}}"}), vec![key("transfer")], "`transfer`"),
            (json!({"wait_for_user": true}), vec![key("wait_for_user")], "`wait_for_user`"),
            (json!({"wait_for_user": 2}), vec![key("wait_for_user")], "`wait_for_user`"),
            (json!({"wait_for_user": "answer_first"}), vec![key("wait_for_user")], "`wait_for_user`"),
            (
                json!({"back_to_back_functions": "forever"}),
                vec![key("back_to_back_functions")],
                "`back_to_back_functions`",
            ),
            (json!({"extensive_data": false}), vec![key("extensive_data")], "`extensive_data`"),
            (
                json!({"functions_on_speaker_timeout": true}),
                vec![key("functions_on_speaker_timeout")],
                "`functions_on_speaker_timeout`",
            ),
            (json!({"replace_in_history": true}), vec![key("replace_in_history")], "`replace_in_history`"),
            (json!({"settings": {"top-p": 0.5, "max-tokens": 9}}), vec![key("settings")], "`settings`"),
            (
                json!({"end_of_speech_timeout": 1}),
                vec![key("end_of_speech_timeout")],
                "`end_of_speech_timeout`",
            ),
            (
                json!({"speech_event_timeout": "{{}}"}),
                vec![key("speech_event_timeout")],
                "`speech_event_timeout`",
            ),
            (
                json!({"add_dynamic_hints": ["a", {"hint": "b", "ignore_case": true}]}),
                vec![key("add_dynamic_hints")],
                "`add_dynamic_hints`",
            ),
            (json!({"clear_dynamic_hints": {}}), vec![key("clear_dynamic_hints")], "`clear_dynamic_hints`"),
            (json!({"user_event": {"a": 1}}), vec![key("user_event")], "`user_event`"),
        ] {
            let message = format!("{subject} is in SignalWire\'s SDK, but not in the published schema");
            let [note] = &faults(&action)[..] else { panic!("{action}: {:?}", faults(&action)) };
            assert_eq!(
                (note.code, &note.path, &note.message),
                (Code::SdkOnlyAction, &path, &message),
                "{action}"
            );
        }
    }

    #[test]
    fn invalid_actions_are_reported_at_their_path() {
        let one = |action: Value, path: Vec<PathStep>, message: &str, help: Option<&str>| {
            let [fault] = &faults(&action)[..] else { panic!("{action}: {:?}", faults(&action)) };
            assert_eq!(
                (&fault.path, &*fault.message, fault.help.as_deref()),
                (&path, message, help),
                "{action}"
            );
            fault.code
        };
        for (action, path, message, help) in [
            (
                json!("say"),
                vec![],
                "an action must be an object",
                Some("write an action such as `{ say = \"One moment.\" }`"),
            ),
            (
                json!("{{x}} y"),
                vec![],
                "an action must be an object",
                Some("write an action such as `{ say = \"One moment.\" }`"),
            ),
            (
                json!([true]),
                vec![PathStep::Index(0)],
                "an action must be an object",
                Some("write an action such as `{ say = \"One moment.\" }`"),
            ),
            (
                json!([{}]),
                vec![PathStep::Index(0)],
                "an action must not be empty",
                Some("write an action such as `{ say = \"One moment.\" }`"),
            ),
            (
                json!([{"say": "x"}, {"say": "x", "hangup": true}]),
                vec![PathStep::Index(1), key("hangup")],
                "an action cannot have both `say` and `hangup`",
                Some("put each in its own object in the list"),
            ),
            (json!({"hangup": false}), vec![key("hangup")], "`hangup` must be `true`", None),
            (
                json!({"hangup": "true"}),
                vec![key("hangup")],
                "`hangup` must be `true`",
                Some("remove the quotes"),
            ),
            (
                json!({"stop": "{{x}}!"}),
                vec![key("stop")],
                "`stop` must be `true`",
                Some(
                    "make one expression the whole string, as in `\"{{args.x}}\"`, to keep the type of its value",
                ),
            ),
            (json!({"say": 5}), vec![key("say")], "`say` must be a string", None),
            (
                json!({"hold": 901}),
                vec![key("hold")],
                "`hold` must be a whole number from 0 to 900, an object with `timeout` or a time such as `\"5m\"`",
                None,
            ),
            (json!({"hold": {}}), vec![key("hold")], "`hold` needs the key `timeout`", None),
            (
                json!({"hold": {"timeout": 1.5}}),
                vec![key("hold"), key("timeout")],
                "`timeout` in `hold` must be a whole number from 0 to 900 or a time such as `\"5m\"`",
                None,
            ),
            (
                json!({"playback_bg": {"file": "x", "wiat": true}}),
                vec![key("playback_bg"), key("wiat")],
                "unknown key `wiat` in `playback_bg`",
                Some("did you mean `wait`?"),
            ),
            (
                json!({"playback_bg": {"wait": true}}),
                vec![key("playback_bg")],
                "`playback_bg` needs the key `file`",
                None,
            ),
            (
                json!([{"toggle_functions": [{"function": "a", "active": true}, {"function": "b", "active": "on"}]}]),
                vec![PathStep::Index(0), key("toggle_functions"), PathStep::Index(1), key("active")],
                "`active` in an item of `toggle_functions` must be true or false or a whole number, -1 or more",
                None,
            ),
            (
                json!({"toggle_functions": {"function": "a", "active": true}}),
                vec![key("toggle_functions")],
                "`toggle_functions` must be a list",
                None,
            ),
            (
                json!({"set_meta_data": [1]}),
                vec![key("set_meta_data")],
                "`set_meta_data` must be an object",
                None,
            ),
            (
                json!({"context_switch": {}}),
                vec![key("context_switch")],
                "`context_switch` needs the key `system_prompt`",
                None,
            ),
            (
                json!({"end_of_speech_timeout": 0}),
                vec![key("end_of_speech_timeout")],
                "`end_of_speech_timeout` must be a whole number, 1 or more",
                None,
            ),
            (
                json!({"settings": {"temprature": 1}}),
                vec![key("settings"), key("temprature")],
                "unknown key `temprature` in `settings`",
                Some("did you mean `temperature`?"),
            ),
            (
                json!({"clear_dynamic_hints": {"a": 1}}),
                vec![key("clear_dynamic_hints"), key("a")],
                "unknown key `a` in `clear_dynamic_hints`",
                None,
            ),
            (
                json!({"transfer": true}),
                vec![key("transfer")],
                "`transfer` must be a string or an object with `dest`",
                Some("put the flag `transfer` into the same object as `SWML`"),
            ),
            (
                json!({"SWML": {}, "transfer": "yes"}),
                vec![key("transfer")],
                "`transfer` beside `SWML` must be true or false, `\"true\"` or `\"false\"`",
                None,
            ),
            (
                json!({"back_to_back_functions": "always"}),
                vec![key("back_to_back_functions")],
                "`back_to_back_functions` must be true or false or `\"forever\"`",
                None,
            ),
        ] {
            assert_eq!(one(action, path, message, help), Code::InvalidAction);
        }
        let code = one(
            json!([{"sya": "x"}]),
            vec![PathStep::Index(0), key("sya")],
            "unknown SWAIG action `sya`",
            Some("did you mean `say`?"),
        );
        assert_eq!(code, Code::UnknownAction);
        let code = one(
            json!({"change_accent": 1}),
            vec![key("change_accent")],
            "unknown SWAIG action `change_accent`",
            Some("try it in a test call first; it is sent unchanged"),
        );
        assert_eq!((code, code.severity()), (Code::UnlistedAction, Severity::Warning));
        assert_eq!(faults(&json!({"do it now": 1}))[0].code, Code::UnknownAction);
        // An unknown action beside a known one is reported once.
        assert_eq!(faults(&json!({"SWML": {}, "transfr": true})).len(), 1);
    }

    #[test]
    fn invalid_items_are_removed_and_reported_during_a_call() {
        let good = json!([{"say": "x"}, {"hold": "5m"}]);
        assert_eq!(filter(good.clone()), (Some(good), vec![]));
        assert_eq!(filter(json!({"stop": true})), (Some(json!([{"stop": true}])), vec![]));
        let newer = json!([{"change_accent": {"to": "x"}}]);
        assert_eq!(filter(newer.clone()), (Some(newer), vec![]));
        assert_eq!(filter(Value::Null), (None, vec![]));
        assert_eq!(filter(json!([])), (None, vec![]));
        assert_eq!(filter(json!([null, {"say": "x"}, null])), (Some(json!([{"say": "x"}])), vec![]));

        let hostile = json!([
            {"say": "a"},
            {"the secret": "the secret"},
            {"say": ["the secret"]},
            {"playback_bg": {"file": "x", "the secret": 1}},
            {"say": "x", "hangup": true},
            "the secret",
            {"hangup": true},
        ]);
        let (value, messages) = filter(hostile);
        assert_eq!(value, Some(json!([{"say": "a"}, {"hangup": true}])));
        assert_eq!(
            messages,
            [
                "action 2 is left out: unknown action name",
                "action 3 is left out: `say` must be a string",
                "action 4 is left out: `playback_bg` has an unknown key",
                "action 5 is left out: an action cannot have both `say` and `hangup`",
                "action 6 is left out: an action must be an object",
            ]
        );
    }
}
