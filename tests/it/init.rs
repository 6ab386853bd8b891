//! `jackfield init`: from an empty folder to the first reply.

use std::process::Output;

use crate::support::folder::Folder;
use crate::support::proxy::{Proxy, jackfield, run};

async fn init(folder: &Folder, words: &[&str]) -> Output {
    let mut command = jackfield(folder.path());
    command.arg("init").args(words);
    run(command).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn file(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).unwrap()
}

#[tokio::test]
async fn init_writes_a_valid_table_and_its_schema() {
    let folder = Folder::with(&[]);
    let output = init(&folder, &[]).await;
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    insta::assert_snapshot!("written", text(&output.stdout));
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.schema.json")).unwrap();
    assert_eq!(file(&folder, "routes.schema.json"), schema);
    let table = file(&folder, "routes.toml");
    assert_eq!(table.lines().next(), Some("#:schema ./routes.schema.json"));
    assert!(table.lines().all(|line| line.chars().count() <= 120));
    assert_eq!(crate::schema::faults(&crate::schema::validator(), &table), Vec::<String>::new());

    // Also with what is commented out at its start, which the pages about operations need.
    let with_admin = table.replace("# [server]\n# admin = ", "[server]\nadmin = ");
    assert_ne!(with_admin, table);
    for table in [table, with_admin] {
        folder.write("routes.toml", &table);
        let mut check = jackfield(folder.path());
        check.arg("check");
        assert_eq!(text(&run(check).await.stdout), "routes.toml: ok, 1 route (0 errors)\n");
    }
}

#[tokio::test]
async fn init_does_not_overwrite_files() {
    let folder = Folder::with(&[("routes.toml", "mine"), ("routes.schema.json", "mine too")]);
    let output = init(&folder, &[]).await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    insta::assert_snapshot!("not_over_a_file", text(&output.stderr));
    assert_eq!(file(&folder, "routes.toml"), "mine");

    let output = init(&folder, &["--config", "second.toml"]).await;
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    insta::assert_snapshot!("beside_others", text(&output.stdout));
    assert_eq!(file(&folder, "routes.schema.json"), "mine too");

    let output = init(&folder, &["--config", "nowhere/routes.toml"]).await;
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!("nowhere", text(&output.stderr));
}

#[tokio::test]
async fn the_suggested_commands_work() {
    let folder = Folder::with(&[]);
    let printed = text(&init(&folder, &[]).await.stdout);
    let call = "jackfield call get_weather --args '{\"city\": \"Oslo\"}' --explain --demo";
    assert!(printed.contains(call), "{printed}");
    let mut command = jackfield(folder.path());
    command.args(["call", "get_weather", "--args", "{\"city\": \"Oslo\"}", "--explain", "--demo"]);
    let output = run(command).await;
    let reply = "It is 14 degrees celsius in Oslo, cloudy.";
    assert!(output.status.success() && text(&output.stdout).contains(reply), "{output:?}");

    let url = "localhost:8080/http/get_weather?city=Oslo";
    assert!(
        printed.contains("jackfield serve --demo\n") && printed.contains(&format!("curl '{url}'")),
        "{printed}"
    );
    let table = file(&folder, "routes.toml");
    folder.write("routes.toml", &format!("{table}\n[server]\nlisten = \"127.0.0.1:0\"\n"));
    let mut command = jackfield(folder.path());
    command.args(["serve", "--demo"]);
    let proxy = Proxy::run(folder, command).await;
    let answer = proxy.send(http::Method::GET, "/http/get_weather?city=Oslo", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.json()["text"].as_str()), (200, Some(reply)));
}
