//! The response format of each platform.

use serde_json::Value;

/// Fails unless `answer`, with status 200, is valid for the platform.
pub(crate) fn assert_shape(platform: &str, answer: &[u8]) {
    let body: Value = serde_json::from_slice(answer)
        .unwrap_or_else(|error| panic!("{platform}: {error}: {}", String::from_utf8_lossy(answer)));
    // The only response that is a list: the tool definitions of SWAIG's handshake.
    let Some(object) = body.as_object() else {
        assert!(platform == "swaig" && body.is_array(), "{platform}: {body}");
        return;
    };
    let fits = match platform {
        "swaig" => object.iter().all(|(key, value)| match key.as_str() {
            "response" => {
                value.is_string() || value["tool_result"].is_string() && value["tool_prompt"].is_string()
            }
            "action" => value.is_array(),
            "post_process" => value.is_boolean(),
            _ => false,
        }),
        "voicedock" => match object.get("results") {
            Some(results) => {
                let results = results.as_array().map(Vec::as_slice).unwrap_or_default();
                object.len() == 1 && results.iter().all(|entry| entry.get("result").is_some())
            }
            None => object.get("error").is_none_or(Value::is_string),
        },
        "http" => object.iter().all(|(key, value)| match key.as_str() {
            "text" => value.is_string(),
            "error" => value["kind"].is_string() && value["text"].is_string(),
            key => key == "data",
        }),
        // The result for the model, which may be any JSON.
        _ => true,
    };
    assert!(fits, "{platform}: {body}");
}
