//! The tests of a table: given and expected memory, and the delivery that a call stores.

use std::process::Output;

use crate::support::folder::Folder;
use crate::support::proxy::{jackfield, run};

const TABLE: &str = r#"
[platforms.http]
[upstreams.api]
base_url = "http://127.0.0.1:1"

[routes.find]
upstream = "api"
request = { path = "/orders" }
extract.id = "$.id"
remember = { order = "{{id}}" }
reply.text = "Found."

[routes.note]
upstream = "api"
args.text = { type = "string", required = true }
delivery = { mode = "async", ordered = true }
request = { method = "POST", path = "/orders/{{memory.order}}/notes", body = { text = "{{args.text}}" } }
remember = { order = "" }
reply.text = "Noted for {{default memory.order \"no order\"}}."
"#;

async fn test(tests: &str) -> Output {
    let folder = Folder::with(&[("routes.toml", &format!("{TABLE}{tests}"))]);
    let mut command = jackfield(folder.path());
    command.args(["test"]);
    run(command).await
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn memory_is_given_and_expected() {
    let output = test(
        r#"
[[routes.find.tests]]
name = "remembers"
upstream.body = { id = "A-7" }
expect.memory = { order = "A-7" }

[[routes.find.tests]]
name = "forgets what is missing"
memory = { order = "A-1" }
upstream.body = {}
expect.memory = { order = "" }

[[routes.note.tests]]
name = "stores a delivery"
args = { text = "x" }
memory = { order = "A-7" }
call.conversation = "c-1"
expect.text = "Noted for A-7."
expect.delivered = { route = "note", args = { text = "x" }, memory = { order = "A-7" }, ordered = true, conversation = "c-1", platform = "http" }
expect.memory = { order = "A-7" }

[[routes.note.tests]]
name = "delivers it"
args = { text = "x" }
memory = { order = "A-7" }
upstream.status = 201
expect.request = { path = "/orders/A-7/notes", body = { text = "x" } }
expect.memory = { order = "" }
"#,
    )
    .await;
    assert!(output.status.success(), "{}", shown(&output));
}

#[tokio::test]
async fn each_difference_is_shown() {
    let output = test(
        r#"
[[routes.find.tests]]
name = "wrong"
upstream.body = { id = "A-7" }
expect.memory = { order = "A-8" }

[[routes.note.tests]]
name = "another delivery"
args = { text = "x" }
expect.delivered = { args = { text = "y" } }

[[routes.note.tests]]
name = "no delivery"
args = {}
expect.failure = "invalid_args"
expect.delivered = {}
"#,
    )
    .await;
    assert_eq!(output.status.code(), Some(1));
    let shown = shown(&output);
    for part in ["expect.memory.order", "found     A-7", "expect.delivered.args", "no delivery was stored"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[tokio::test]
async fn call_explains_what_is_recalled_and_stored() {
    let folder = Folder::with(&[("routes.toml", TABLE)]);
    folder.write("reply.json", "{\"id\": \"A-7\"}");
    for (function, args, parts) in [
        ("find", "{}", ["remembered order = \"A-7\"", "Found."]),
        (
            "note",
            "{\"text\": \"x\"}",
            ["accepted   the requests are sent after the reply", "recalled   nothing"],
        ),
    ] {
        let mut command = jackfield(folder.path());
        command.args(["call", function, "--args", args, "--explain", "--response", "reply.json"]);
        command.args(["--header", "x-conversation-id: c"]);
        let shown = shown(&run(command).await);
        for part in parts {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}

#[tokio::test]
async fn memory_can_be_given_to_a_call_and_is_saved_with_its_test() {
    let folder = Folder::with(&[("routes.toml", TABLE)]);
    folder.write("reply.json", "{}");
    let call = async |more: &[&str]| {
        let mut command = jackfield(folder.path());
        command.args(["call", "note", "--args", "{\"text\": \"x\"}", "--response", "reply.json"]);
        command.args(more);
        run(command).await
    };
    let output = call(&["--memory", "order=A-7", "--explain", "--save-test", "a note"]).await;
    let text = shown(&output);
    for part in ["Noted for A-7.", "recalled   order = \"A-7\"", "/orders/A-7/notes"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let saved = std::fs::read_to_string(folder.path().join("routes.test.toml")).unwrap();
    assert!(saved.contains("memory = { order = \"A-7\" }"), "{saved}");
    let mut command = jackfield(folder.path());
    command.args(["test"]);
    let output = run(command).await;
    assert!(output.status.success(), "{}", shown(&output));
    for (given, problem) in [
        ("order", "--memory NAME=VALUE"),
        ("helo=1", "recalls `memory.helo`: known here: `order`"),
        ("orders=1", "recalls `memory.orders`: did you mean `order`?"),
    ] {
        let output = call(&["--memory", given]).await;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(shown(&output).contains(problem), "{output:?}");
    }
}
