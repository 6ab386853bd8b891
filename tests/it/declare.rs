//! `jackfield declare` from outside, and the SWAIG handshake, which asks for the same tool definitions.

use std::process::Output;

use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::support::folder::Folder;
use crate::support::proxy::{Proxy, jackfield, run};

const TABLE: &str = r#"
[platforms.swaig]
auth.basic = { username = "sw", password = "${UNSET}" }
[platforms.voicedock]
auth.signature = { secret = "${UNSET}" }
[platforms.dailybots]
auth.none = {}
[platforms.millis]
auth.none = {}

[routes.get_weather]
description = "Current weather."
args.city = { type = "string", description = "City name", required = true }
args.unit = { type = "string", enum = ["celsius", "fahrenheit"], default = "celsius" }
reply.text = "Fair."
declare.swaig = { fillers = { en-US = ["One moment."] }, wait_file = "https://cdn.example.com/wait.mp3" }
declare.voicedock = { async = true, async_response = "Noted." }

[routes.book]
streaming = true
platforms = ["dailybots", "swaig"]
reply.text = "Booked."

[forms.mail]
description = "Asks for the address."
args.email = { type = "string", required = true }

[events.millis.prefetch]
reply.data = { extra_prompt = "" }
"#;

fn table() -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://tools.example.com\"\n{TABLE}")
}

async fn declare(arguments: &[&str]) -> Output {
    let folder = Folder::with(&[("routes.toml", &table())]);
    let mut command = jackfield(folder.path());
    command.arg("declare").args(arguments);
    run(command).await
}

/// The declaration at `place`, and its function names under `key`.
async fn declared(arguments: &[&str], place: &str, key: &str) -> (Value, Vec<String>) {
    let output = declare(arguments).await;
    assert!(output.status.success(), "{output:?}");
    let declared: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tools = declared.pointer(place).unwrap().as_array().unwrap();
    let names = tools.iter().map(|tool| tool.pointer(key).unwrap().as_str().unwrap().to_owned()).collect();
    (declared, names)
}

/// The declared functions are those that the platform may call, and the arguments those that are validated. No secret
/// is needed.
#[tokio::test]
async fn each_platform_gets_its_tool_definitions() {
    let arguments = json!({
        "type": "object",
        "properties": {
            "city": { "type": "string", "description": "City name" },
            "unit": { "type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius" },
        },
        "required": ["city"],
    });
    for (platform, place, key, parameters, names) in [
        ("swaig", "/SWAIG/functions", "/function", "/parameters", &["book", "get_weather"][..]),
        ("voicedock", "/llm_config/tools", "/name", "/parameters", &["get_weather"]),
        (
            "dailybots",
            "/config/0/options/0/value",
            "/function/name",
            "/function/parameters",
            &["book", "get_weather"],
        ),
        ("openai", "", "/function/name", "/function/parameters", &["get_weather"]),
    ] {
        let (whole, seen) = declared(&[platform], place, key).await;
        assert_eq!(seen, names, "{platform}");
        let tools = whole.pointer(place).unwrap().as_array().unwrap();
        assert_eq!(tools.last().unwrap().pointer(parameters), Some(&arguments), "{platform}");
        let (_, one) = declared(&[platform, "--route", "get_weather"], place, key).await;
        assert_eq!(one, ["get_weather"], "{platform}");
    }
    let (voicedock, _) = declared(&["voicedock"], "/llm_config/tools", "/name").await;
    let tool = &voicedock["llm_config"]["tools"][0];
    assert_eq!((&tool["async"], &tool["async_response"]), (&json!(true), &json!("Noted.")));
    let (dailybots, _) = declared(&["dailybots"], "/config/0/options/0/value", "/function/name").await;
    let book =
        json!({"url": "https://tools.example.com/dailybots/book", "method": "POST", "streaming": true});
    assert_eq!(dailybots["webhook_tools"]["book"], book);
    let (millis, names) = declared(&["millis"], "/tools", "/name").await;
    assert_eq!(names, ["get_weather"]);
    let params = millis["tools"][0]["params"].as_array().unwrap();
    let params: Vec<_> = params.iter().map(|param| (&param["name"], &param["required"])).collect();
    assert_eq!(params, [(&json!("city"), &json!(true)), (&json!("unit"), &json!(false))]);
    assert_eq!(millis["millis_functions"][0]["name"], "mail");
    assert_eq!(millis["extra_prompt_webhook"], "https://tools.example.com/millis/prefetch");
}

#[tokio::test]
async fn declarations_that_cannot_be_made_are_reported() {
    for (arguments, problem) in [
        (
            &["swaig", "--route", "get_wether"][..],
            "unknown route `get_wether` for swaig: did you mean `get_weather`?",
        ),
        (&["voicedock", "--route", "book"], "unknown route `book` for voicedock"),
        (&["vapi"], "unknown platform `vapi`; known: "),
        (&["http"], "http has no tool definitions; `declare openai` prints a plain list"),
    ] {
        let output = declare(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(problem) && output.stdout.is_empty(), "{error}");
    }
}

#[tokio::test]
async fn the_swaig_handshake_returns_the_requested_functions() {
    let table = table().replace("[platforms.voicedock]", "signing_key = \"${KEY}\"\n[platforms.voicedock]");
    let proxy = Proxy::with(&[("routes.toml", &table)], &[("UNSET", "pw"), ("KEY", "psk")]).await;
    let body = json!({"action": "get_signature", "functions": [], "version": "2.0"}).to_string();
    let signed = |key: &[u8]| {
        let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
        mac.update(b"https://tools.example.com/swaig");
        mac.update(body.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    };
    // The encoding of "sw:pw".
    let login = ("authorization", "Basic c3c6cHc=");
    for (signature, status) in [(None, 401), (Some(signed(b"other")), 401), (Some(signed(b"psk")), 200)] {
        let mut headers = vec![login];
        headers.extend(signature.as_deref().map(|signature| ("x-signalwire-signature", signature)));
        let answer = proxy.send(Method::POST, "/swaig", &headers, body.clone()).await;
        assert_eq!(answer.status, status, "{signature:?}");
        if status == 200 {
            let definitions = answer.json();
            let [definition] = &definitions.as_array().unwrap()[..] else { panic!("{definitions}") };
            assert_eq!(definition["function"], "get_weather");
            assert_eq!(definition["web_hook_url"], "https://tools.example.com/swaig");
            assert_eq!(definition["fillers"], json!({"en-US": ["One moment."]}));
            assert_eq!(definition["parameters"]["required"], json!(["city"]));
            assert!(definition["meta_data_token"].is_string());
        }
    }
    // SignalWire does not sign its calls.
    let call = json!({"function": "book"}).to_string();
    assert_eq!(
        proxy.send(Method::POST, "/swaig", &[login], call).await.json(),
        json!({"response": "Booked."})
    );
}
