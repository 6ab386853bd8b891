//! The descriptions of keys whose declarations have none: those of auth schemes, platforms and failure texts. A test
//! of the schema fails if a key has no description.

/// The description of a key of an auth scheme.
pub(super) fn scheme(scheme: &str, key: &str) -> &'static str {
    match (scheme, key) {
        ("basic", "username") => "The user name.",
        ("basic", "password") => "The password. Can be a secret, such as \"${PASSWORD}\".",
        ("bearer", "token") => "The token, without the word `Bearer`. Can be a secret, such as \"${TOKEN}\".",
        ("header", "name") => "The name of the header, such as \"x-api-key\".",
        ("header", "value") => "The value of the header. Can be a secret, such as \"${API_KEY}\".",
        ("query", "name") => "The name of the query parameter.",
        ("query", "value") => "The value of the parameter. Can be a secret, such as \"${API_KEY}\".",
        ("oauth2", "token_url") => "The URL that issues tokens.",
        ("oauth2", "client_id") => "The id of the client.",
        ("oauth2", "client_secret") => {
            "The secret of the client. Can be a secret, such as \"${CLIENT_SECRET}\"."
        }
        ("oauth2", "scope") => "The scopes to request, separated by spaces, if the server requires them.",
        ("mtls", "cert") => "A PEM file with the client certificate, followed by its intermediates.",
        ("mtls", "key") => "A PEM file with the private key of the certificate, without a passphrase.",
        ("mtls", "ca") => "A PEM file with the certificate authorities to trust instead of the public ones.",
        ("hmac" | "signature", "secret") => {
            "The key of the signature. Can be a secret, such as \"${SIGNING_SECRET}\"."
        }
        ("hmac" | "signature", "header") => "The header that carries the signature.",
        ("hmac" | "signature", "timestamp_header") => "The header that carries the time of the signature.",
        ("hmac" | "signature", "prefix") => "Text before the signature, such as \"sha256=\".",
        ("hmac" | "signature", "encoding") => "How the signature is written: \"hex\" or \"base64\".",
        ("hmac", "signed") => {
            "The signed parts, in order: \"method\", \"target\", \"path\", \"query\", \"timestamp\", \"body\", or fixed \
             text such as \".\"."
        }
        ("signature", "signed") => {
            "The signed parts, in order: \"body\", \"timestamp\", \"method\", \"target\" (path and query), or fixed text \
             such as \".\"."
        }
        ("signature", "window") => "How much older or newer the timestamp may be, such as \"5m\".",
        _ => "",
    }
}

/// The description of a text for a kind of failure.
pub(super) fn failure(kind: &str) -> &'static str {
    match kind {
        "timeout" => {
            "The text for the model if the upstream does not respond in time. For a write, don't suggest another try."
        }
        "unreachable" => {
            "The text for the model if the upstream cannot be reached, or the connection is lost."
        }
        "bad_response" => "The text for the model if the response cannot be used.",
        "refused" => "The text for the model if nothing was sent, such as because a limit is reached.",
        "invalid_args" => {
            "Never used: to replace the built-in text, add a reply case with `when.failure = \"invalid_args\"`."
        }
        "after_write" => {
            "The text for the model if a write succeeded, but the call failed afterwards. Say that it was done."
        }
        _ => "",
    }
}

/// The description of an extension key of a reply case, or of a route key, that only one platform understands.
pub(super) fn extension(platform: &str, key: &str) -> &'static str {
    match (platform, key) {
        ("swaig", "action") => "SWAIG actions, such as `[{ say = \"One moment.\" }, { hangup = true }]`.",
        ("swaig", "post_process") => "If true, the agent speaks before its actions run.",
        ("swaig", "prompt") => "Text that steers the model, apart from the result of the function.",
        ("dailybots", "events") => "RTVI messages that are sent before the result of a streaming route.",
        ("dailybots", "before") => {
            "RTVI messages that are sent as soon as the arguments are valid, while the upstream is working."
        }
        _ => "",
    }
}

/// The description of a key of `declare.<platform>`.
pub(super) fn declare(platform: &str, key: &str) -> &'static str {
    match (platform, key) {
        ("swaig", "active") => "Whether the function can be called from the start.",
        ("swaig", "fillers") => {
            "What the agent says while the function runs, by language: `{ en-US = [\"One moment.\"] }`."
        }
        ("swaig", "skip_fillers") => "Whether the agent says no fillers.",
        ("swaig", "wait_for_fillers") => "Whether the agent finishes the filler before it uses the result.",
        ("swaig", "wait_file") => "The URL of an audio file that is played while the function runs.",
        ("swaig", "wait_file_loops") => "How often the audio file is played.",
        ("swaig", "meta_data") => "The state of the function at the start, as `call.metadata`.",
        ("swaig", "meta_data_token") => "Functions with the same token share their state.",
        ("swaig", "web_hook_auth_user" | "web_hook_auth_password") => {
            "The login that SignalWire uses when it calls the function, if it fetches the declaration (`includes`)."
        }
        ("voicedock", "async") => "Whether VoiceDock goes on without waiting for the response.",
        ("voicedock", "async_response" | "message") => {
            "What the assistant says instead of the response, in newer and older versions of VoiceDock."
        }
        ("dailybots" | "millis", "method") => "The HTTP method with which the platform calls the function.",
        ("millis", "timeout") => "How long the agent waits for the response, in seconds.",
        ("millis", "messages") => "What the agent says while the function runs.",
        ("millis", "response_mode") => {
            "How closely the agent keeps to the response: \"strict\" or \"flexible\"."
        }
        ("millis", "run_after_call") => "Whether the function runs after the call has ended.",
        ("millis", "execute_after_message") => "Whether the function runs only after the agent has spoken.",
        ("millis", "exclude_session_id") => "Whether the request leaves out the id of the session.",
        _ => "",
    }
}

/// The description of an event of a platform.
pub(super) fn event(platform: &str, event: &str) -> &'static str {
    match (platform, event) {
        ("swaig", "post_prompt") => {
            "The report after a conversation, and the request for context before one."
        }
        ("swaig", "startup_hook") => "A conversation begins.",
        ("swaig", "hangup_hook") => "A conversation has ended.",
        ("millis", "prefetch") => "Data for the agent, before a conversation. The response is used.",
        ("millis", "session_data") => "The report after a conversation. The response is ignored.",
        ("voicedock", "assistant_request") => {
            "Which assistant answers a call. The response is sent within 5 s."
        }
        ("voicedock", "status_update") => "The state of a call has changed. The response is ignored.",
        ("voicedock", "end_of_call_report") => "The report after a call. The response is ignored.",
        _ => "",
    }
}
