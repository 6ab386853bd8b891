//! Loading: any text as the main file either gives a plan or is reported as invalid.

use jackfield::diagnostic::{Severity, to_json, to_text};
use jackfield::load::Loaded;
use jackfield::plan::FunctionsFor;
use jackfield::platform::Functions as _;

use super::loading::Tables;

thread_local! {
    static TABLES: Tables = {
        let tables = Tables::new();
        tables.write("templates/note.hbs", "{{args.text}} {{> closing}}");
        tables.write("templates/closing.hbs", "Bye.");
        tables.write("templates/order.json.hbs", "{\"text\": \"{{args.text}}\", \"list\": {{args.list}}}");
        tables.write("templates/order.xml.hbs", "<order id=\"{{args.text}}\">{{args.list}}</order>");
        tables.write("schema.json", "{\"type\": \"object\", \"properties\": {\"text\": {\"type\": \"string\"}}}");
        tables.write("more.toml", "[vars]\nmore = 1\n");
        tables
    };
}

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if names_outside_files(text) {
        return;
    }
    let Loaded { plan, diagnostics, sources, .. } = TABLES.with(|tables| tables.load(text));
    let refused = diagnostics.iter().any(|diagnostic| diagnostic.code.severity() == Severity::Error);
    assert_eq!(plan.is_none(), refused, "{diagnostics:?}");
    to_text(&diagnostics, &sources, true);
    to_json(&diagnostics, &sources);
    let Some(plan) = plan else { return };
    assert!(!plan.platforms.is_empty() && !plan.routes.is_empty());
    for served in &plan.platforms {
        let functions = FunctionsFor::new(&plan, served.platform.name());
        served.platform.declare(&functions.tools(), &functions.endpoint());
        // Every function in the tool definitions is a route.
        for tool in functions.tools() {
            assert!(functions.arguments(tool.name).is_some(), "{}", tool.name);
        }
    }
}

/// Whether the table names files outside its folder. Those would be read, and a pattern could match a whole disk.
fn names_outside_files(text: &str) -> bool {
    ["include", "args_schema"].iter().any(|key| text.contains(key))
        && ["..", "\"/", "'/", "\\"].iter().any(|path| text.contains(path))
}
