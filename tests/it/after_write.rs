//! A call that fails after a successful write: no text for the model suggests to do it again.

use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

/// Writes are confirmed with an HTML page; reads fail.
async fn upstream() -> Upstream {
    Upstream::new(|seen| match (seen.method.as_str(), seen.path()) {
        ("POST", "/large") => Reply::raw(200, "application/json", vec![b' '; 5000]),
        ("POST", "/packed") => {
            Reply::raw(200, "application/json", "plain").header("content-encoding", "gzip")
        }
        ("POST", "/refused") => Reply::status(500, &json!({})),
        ("POST", "/json") => Reply::status(201, &json!({"id": null})),
        ("POST", _) => Reply::raw(201, "text/html", "<p>Thanks"),
        _ => Reply::status(503, &json!({})),
    })
    .await
}

async fn said(route: &str) -> Value {
    let table = format!(
        "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\nmax_body = \"4KiB\"\n\
         [defaults]\nfailure.bad_response = \"Try again later.\"\n\
         [routes.f]\nupstream = \"api\"\nargs.v = {{ type = \"string\" }}\n{route}"
    );
    let upstream = upstream().await;
    Proxy::over(&upstream, &table).await.post("/http/f", &json!({})).await.json()["error"].clone()
}

const UNREADABLE: &str =
    "It was done, but the details could not be read. Say that it was done. Do not do it again.";
const PARTLY: &str = "It was done, but a later part of it failed. Apologise and say so. Do not do it again.";

#[tokio::test]
async fn replies_after_a_successful_write_never_suggest_another_try() {
    for (route, kind, text) in [
        // A body that the route cannot read, a missing extract, and a reply that cannot be rendered.
        ("request = { method = \"POST\", path = \"/\" }\nextract.id = \"$.id\"", "bad_response", UNREADABLE),
        (
            "request = { method = \"POST\", path = \"/json\" }\nextract.id = { path = \"$.id\", required = true }",
            "bad_response",
            UNREADABLE,
        ),
        (
            "request = { method = \"POST\", path = \"/json\" }\nreply.text = \"{{response.body.number}}\"",
            "bad_response",
            UNREADABLE,
        ),
        (
            "request = { method = \"POST\", path = \"/\" }\nreply = [{ when.status = 204, text = \"Done.\" }]",
            "bad_response",
            UNREADABLE,
        ),
        // A body that is too large or damaged.
        ("request = { method = \"POST\", path = \"/large\" }", "bad_response", UNREADABLE),
        (
            "request = { method = \"POST\", path = \"/packed\" }\nfailure.after_write = \"Booked, by letter.\"",
            "bad_response",
            "Booked, by letter.",
        ),
        (
            "steps = [{ name = \"a\", group = \"g\", request.path = \"/\" }, { name = \"b\", group = \"g\", request = { method = \"POST\", path = \"/large\" } }]",
            "bad_response",
            UNREADABLE,
        ),
        // A later step.
        (
            "steps = [{ name = \"a\", request = { method = \"POST\", path = \"/\" } }, { name = \"b\", request.path = \"/\" }]",
            "bad_response",
            PARTLY,
        ),
        (
            "steps = [{ name = \"a\", request = { method = \"POST\", path = \"/\" } }, { name = \"b\", request.path = \"/{{args.v}}\" }]",
            "invalid_args",
            PARTLY,
        ),
        // Neither the table's texts for other failures nor a case that ignores the write are used.
        (
            r#"
request = { method = "POST", path = "/json" }
failure.bad_response = "Try again."
[[routes.f.reply]]
when.failure = "any"
text = "Try again."
[[routes.f.reply]]
text = "{{response.body.number}}""#,
            "bad_response",
            UNREADABLE,
        ),
        (
            r#"
request = { method = "POST", path = "/json" }
failure = { bad_response = "Try again.", after_write = "Booked, by letter." }
reply.text = "{{response.body.number}}""#,
            "bad_response",
            "Booked, by letter.",
        ),
        (
            r#"
request = { method = "POST", path = "/json" }
[[routes.f.reply]]
when = { failure = "bad_response", status = "2xx" }
text = "Booked, without a number."
[[routes.f.reply]]
text = "{{response.body.number}}""#,
            "bad_response",
            "Booked, without a number.",
        ),
        // A write that the upstream rejected did not happen.
        ("request = { method = \"POST\", path = \"/refused\" }", "bad_response", "Try again later."),
        (
            "steps = [{ name = \"a\", request = { method = \"POST\", path = \"/refused\" } }, { name = \"b\", request.path = \"/\" }]",
            "bad_response",
            "Try again later.",
        ),
    ] {
        assert_eq!(said(route).await, json!({"kind": kind, "text": text}), "{route}");
    }
}

#[tokio::test]
async fn a_write_that_ends_in_a_server_error_may_have_been_done() {
    let upstream = Upstream::new(|seen| match seen.method.as_str() {
        "PUT" => Reply::status(404, &json!({})),
        _ => Reply::status(500, &json!({})),
    })
    .await;
    let unclear = "The system reported a problem, so it may or may not have been done. Apologise and say so. \
                   Do not start it again unless the caller asks for that.";
    let later = "The system gave an answer that could not be used. Apologise and offer to try again later.";
    for (route, text) in [
        ("request = { method = \"POST\", path = \"/\" }", unclear),
        (
            "request = { method = \"POST\", path = \"/\" }\nreply = { when.status = 500, text = \"{{response.body.x}}\" }",
            unclear,
        ),
        (
            "request = { method = \"POST\", path = \"/\" }\nfailure.bad_response = \"Ask the desk.\"",
            "Ask the desk.",
        ),
        ("request = { method = \"POST\", path = \"/\", safe = true }", later),
        ("request = { method = \"PUT\", path = \"/\" }", later),
    ] {
        let table = format!(
            "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n[routes.f]\nupstream = \"api\"\n{route}"
        );
        let answer = Proxy::over(&upstream, &table).await.post("/http/f", &json!({})).await.json();
        assert_eq!(answer["error"]["text"], text, "{route}");
    }
}
