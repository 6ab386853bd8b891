//! A reload reuses the routes of unchanged files, with the same result as a full load.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jackfield::diagnostic::to_json;
use jackfield::load::{Environment, Kept, Loaded, load, load_changed, process_environment};

const MAIN: &str = r#"
include = ["routes/*.toml"]
[server]
listen = "127.0.0.1:0"
[platforms.swaig]
[vars]
shop = "Oslo"
[upstreams.api]
base_url = "http://127.0.0.1:1"
auth.bearer = { token = "${TOKEN}" }
"#;

const SCHEMA: &str = r#"{"type": "object", "properties": {"a": {"type": "string"}}}"#;

fn route(name: &str, text: &str) -> String {
    r#"
[routes.NAME]
upstream = "api"
args.id = { type = "string", pattern = "^[0-9]+$", required = true }
request = { path = "/{{args.id}}" }
extract.name = "$.name"
reply.text = "TEXT {{name}} {{vars.shop}}"
"#
    .replace("NAME", name)
    .replace("TEXT", text)
}

/// The initial files of a table.
fn files() -> Vec<(&'static str, String)> {
    vec![
        ("routes.toml", MAIN.to_owned()),
        ("routes/a.toml", route("a", "One") + &route("a2", "Two")),
        ("routes/b.toml", route("b", "Three")),
        ("templates/part.hbs", "part".to_owned()),
        ("schema.json", SCHEMA.to_owned()),
    ]
}

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A table in a folder that is loaded repeatedly.
struct Reloaded {
    folder: tempfile::TempDir,
    token: Cell<&'static str>,
    last: Loaded,
}

impl Reloaded {
    fn begin(changes: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = Cell::new("first");
        for (file, text) in files().iter().chain(changes) {
            write(folder.path(), file, text);
        }
        let last = Self::load(folder.path(), token.get(), None);
        assert!(last.plan.is_some(), "{:?}", last.diagnostics);
        Self { folder, token, last }
    }

    fn load(folder: &Path, token: &'static str, kept: Option<&Kept>) -> Loaded {
        let environment = Environment { variable: &|_| Some(token.to_owned()), ..process_environment() };
        let path = folder.join("routes.toml");
        match kept {
            Some(kept) => load_changed(&path, &environment, kept).unwrap(),
            None => load(&path, &environment).unwrap(),
        }
    }

    /// Loads the table again and returns the names of the routes that were reused. The result must equal that of a full
    /// load.
    fn kept(&mut self) -> Vec<String> {
        let folder = self.folder.path();
        let fresh = Self::load(folder, self.token.get(), None);
        let again = Self::load(folder, self.token.get(), Some(&self.last.kept));
        assert_eq!(observable(&again), observable(&fresh));
        assert_eq!(again.dependencies, fresh.dependencies);
        let Some(plan) = &again.plan else { return vec!["no plan".to_owned()] };
        let before = &self.last.plan.as_ref().unwrap().routes;
        let is_kept =
            |name: &String| before.get(name).is_some_and(|known| Arc::ptr_eq(known, &plan.routes[name]));
        let mut names: Vec<String> = plan.routes.keys().filter(|name| is_kept(name)).cloned().collect();
        names.sort();
        self.last = again;
        names
    }
}

/// Everything observable about a loaded table.
fn observable(loaded: &Loaded) -> (String, Option<String>, BTreeMap<String, String>) {
    let found = serde_json::to_string(&to_json(&loaded.diagnostics, &loaded.sources)).unwrap();
    let routes = loaded.plan.iter().flat_map(|plan| &plan.routes);
    let routes = routes.map(|(name, route)| (name.clone(), format!("{route:?}"))).collect();
    (found, loaded.plan.as_ref().map(|plan| plan.revision.clone()), routes)
}

#[test]
fn routes_of_unchanged_files_are_reused() {
    let mut table = Reloaded::begin(&[]);
    assert_eq!(table.kept(), ["a", "a2", "b"]);
    write(table.folder.path(), "routes/b.toml", &route("b", "Changed"));
    assert_eq!(table.kept(), ["a", "a2"]);
    // A reused route can be reused again, and reverting a change is a change too.
    write(table.folder.path(), "routes/b.toml", &route("b", "Three"));
    assert_eq!(table.kept(), ["a", "a2"]);
    write(table.folder.path(), "routes/c.toml", &route("c", "Four"));
    assert_eq!(table.kept(), ["a", "a2", "b"]);
    std::fs::remove_file(table.folder.path().join("routes/a.toml")).unwrap();
    assert_eq!(table.kept(), ["b", "c"]);
}

#[test]
fn a_change_to_shared_settings_recompiles_all_routes() {
    for (file, text) in [
        ("routes.toml", MAIN.replace("Oslo", "Bergen")),
        ("routes.toml", MAIN.replace("127.0.0.1:1", "127.0.0.1:2")),
        ("routes/b.toml", format!("{}[vars]\ncity = \"Oslo\"\n", route("b", "Three"))),
        (
            "routes/b.toml",
            format!("{}[upstreams.other]\nbase_url = \"http://127.0.0.1:3\"\n", route("b", "Three")),
        ),
        ("templates/part.hbs", "another".to_owned()),
    ] {
        let mut table = Reloaded::begin(&[]);
        write(table.folder.path(), file, &text);
        assert_eq!(table.kept(), [""; 0], "{file}: {text}");
        // From then on, routes are reused again.
        assert!(table.kept().contains(&"a".to_owned()), "{file}: {text}");
    }
    let mut table = Reloaded::begin(&[]);
    table.token.set("second");
    assert_eq!(table.kept(), [""; 0]);
}

#[test]
fn routes_that_depend_on_more_than_their_file_are_never_reused() {
    for text in [
        "[routes.b]\nreply.text = \"fixed\"\nlimit.rate = \"5/s\"\n",
        "[routes.b]\nreply.text = \"fixed\"\nargs_schema = \"schema.json\"\n",
        "[routes.b]\nreply.text_file = \"part.hbs\"\n",
        "[routes.b]\nreply.text = \"{{> part}}\"\n",
        // Every load warns about the platform that is not served.
        "[routes.b]\nreply.text = \"fixed\"\nplatforms = [\"swaig\", \"millis\"]\n",
    ] {
        let mut table = Reloaded::begin(&[("routes/b.toml", text.to_owned())]);
        assert_eq!(table.kept(), ["a", "a2"], "{text}");
    }
}

#[test]
fn errors_match_those_of_a_full_load() {
    for (file, text) in [
        // A name that a reused file defines as well.
        ("routes/b.toml", route("a2", "Again")),
        ("routes/b.toml", "[forms.a]\nargs.mail = { type = \"string\" }\n".to_owned()),
        ("routes/b.toml", route("b", "Three").replace("{{name}}", "{{nmae}}")),
        ("routes/b.toml", "[routes.b\nreply.text = \"x\"\n".to_owned()),
        ("routes.toml", MAIN.replace("[upstreams.api]", "[upstreams.shop]")),
        ("routes.toml", MAIN.replace("[platforms.swaig]", "")),
    ] {
        let mut table = Reloaded::begin(&[]);
        write(table.folder.path(), file, &text);
        assert_eq!(table.kept(), ["no plan"], "{file}: {text}");
    }
}
