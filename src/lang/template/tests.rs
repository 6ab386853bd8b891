//! Templates from their text to what they render.

mod limits;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::call::Context;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, FileId, Sources};
use crate::guard::ExpansionFilter;
use crate::http1::response_headers::ResponseHeaders;
use crate::json::{Document, SharedValue};
use crate::lang::template::json::JsonTemplate;

struct World {
    sources: Sources,
    files: BTreeMap<String, FileId>,
    args: Fields,
    steps: Vec<StepNames>,
    vars: serde_json::Map<String, Value>,
    memory: MemoryNames,
}

impl World {
    fn new() -> Self {
        let field = |name: &str, fields| (name.to_owned(), fields);
        let mut world = Self {
            sources: Sources::default(),
            files: BTreeMap::new(),
            args: Fields::Closed(BTreeMap::from([
                field("city", Fields::Text),
                field("nights", Fields::Leaf),
                field("tags", Fields::Open),
                field("address", Fields::Closed(BTreeMap::from([field("street", Fields::Text)]))),
            ])),
            steps: vec![StepNames {
                name: None,
                extracts: vec!["temp".to_owned(), "days".to_owned(), "gone".to_owned()],
            }],
            vars: serde_json::Map::from_iter([("company".to_owned(), json!("Acme"))]),
            memory: MemoryNames::from([("order".to_owned(), false), ("pin".to_owned(), true)]),
        };
        world.file("greeting.hbs", "Hello {{name}} of {{vars.company}}\n");
        world.file("item.txt.hbs", "{{max}}/{{@index}}");
        world.file("loop.hbs", "{{> loop}}");
        world.file("trail.hbs", "x\n");
        world.file("bare.hbs", "x");
        world.file("lines.hbs", "one\n\n{{#each args.tags}}\n{{this}}\n{{/each}}\nend\n");
        world.file("outer.hbs", "[\n  {{> lines}}\n]\n");
        world.file("windows.hbs", "x\r\n");
        world
    }

    fn file(&mut self, name: &str, text: &str) {
        let id = self.sources.add(Path::new(name), text.to_owned());
        self.files.insert(name.to_owned(), id);
    }

    fn compile(&mut self, text: &str) -> Result<Template, Vec<Diagnostic>> {
        self.compile_noting(text).0
    }

    /// Also returns what the template uses.
    fn compile_noting(&mut self, text: &str) -> (Result<Template, Vec<Diagnostic>>, Uses) {
        let file = self.sources.add(Path::new("t"), text.to_owned());
        let names = Names {
            args: &self.args,
            steps: &self.steps,
            before: self.steps.len(),
            event: false,
            headers: &[],
            vars: &self.vars,
            memory: Some(&self.memory),
            accepting: false,
        };
        let mut diagnostics = Diagnostics::default();
        let mut compiler = Compiler::new(&self.sources, &self.files);
        let text = TemplateText { text, origin: TemplateOrigin::File(file) };
        let compiled = compiler.compile(text, &names, &mut diagnostics);
        (compiled.ok_or_else(|| diagnostics.into_sorted()), compiler.used.names)
    }
}

/// The value as a part of a parsed document, like a response body.
fn document(value: &Value) -> SharedValue {
    SharedValue::whole(Arc::new(Document::parse(value.to_string().into()).unwrap()))
}

fn with_scope<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let args = json!({"city": "Oslo", "tags": ["a", "b"], "address": {"street": "Main"}});
    let call = Context { platform: "http", metadata: json!({"lang": "no"}).into(), ..Context::default() };
    let days = document(&json!([{"max": 1, "city": "x"}, {"max": 2}]));
    let values = vec![Some(json!(21.55).into()), Some(days), None];
    let response = ParsedResponse::new(
        200,
        ResponseHeaders::default(),
        document(&json!({"a": [10, 20], "boxes": [{"length": "30 cm", "name": "a\u{1F600}"}]})),
    );
    run(&Scope {
        args: &args,
        call: &call,
        steps: &[StepOutput { response: Some(response), values }],
        now: "2026-01-02T03:04:05Z",
        memory: &json!({"order": {"id": "A-7"}}),
    })
}

fn text(template: &str) -> Result<String, RenderError> {
    let template = World::new().compile(template).unwrap();
    with_scope(|scope| template.text(scope))
}

#[test]
fn used_names_are_recorded() {
    let (all, none): (&[&str], &[&str]) = (&["city", "tags", "address"], &[]);
    for (template, arguments, extracts) in [
        ("{{args.city}} {{round temp}}", &["city"][..], &["temp"][..]),
        ("{{#if (eq args.city \"x\")}}x{{/if}}", &["city"], none),
        ("{{> greeting name=args.city}}", &["city"], none),
        ("{{#each days}}{{@root.args.city}}{{/each}}", &["city"], &["days"]),
        // Inside a block, a name is a field of the block's value, even if an argument or extract has the same name.
        ("{{#each days}}{{city}}{{temp}}{{/each}}", none, &["days"]),
        ("{{#each args.tags as |city|}}{{city}}{{/each}}", &["tags"], none),
        ("{{#with args.address}}{{street}}{{/with}}", &["address"], none),
        ("{{json args}}", all, none),
        ("{{#with args}}{{city}}{{/with}}", all, none),
        ("{{#each args}}{{this}}{{/each}}", all, none),
        ("{{json call.raw}}", all, none),
        ("{{call.metadata.city}} {{vars.company}} {{response.body}}", none, none),
    ] {
        let (compiled, uses) = World::new().compile_noting(template);
        assert!(compiled.is_ok(), "{template}: {compiled:?}");
        let used: Vec<&str> = all.iter().copied().filter(|name| uses.argument(name)).collect();
        assert_eq!(used, arguments, "{template}");
        let names = ["temp", "days", "gone"];
        let used: Vec<&str> =
            (0..3).filter(|place| uses.extract(0, *place)).map(|place| names[place]).collect();
        assert_eq!(used, extracts, "{template}");
    }
}

#[test]
fn templates_render_as_handlebars_does() {
    for (template, expected) in [
        ("{{args.city}}: {{round temp}}", "Oslo: 22"),
        ("{{#each days}}{{max}}{{#unless @last}}, {{/unless}}{{/each}}", "1, 2"),
        ("{{#each days as |day i|}}{{i}}={{day.max}} {{/each}}", "0=1 1=2 "),
        ("{{#each days}}{{#if city}}{{city}}{{else}}{{args.city}}{{/if}} {{/each}}", "x Oslo "),
        ("{{#each args.tags}}{{this}}{{@index}}{{@first}} {{/each}}", "a0true b1false "),
        ("{{#each args.address}}{{@key}}={{this}}{{/each}}", "street=Main"),
        ("{{#if gone}}yes{{else if temp}}warm{{else}}no{{/if}}", "warm"),
        ("{{#with args.address}}{{street}}{{/with}}", "Main"),
        ("{{#each gone}}x{{else}}none{{/each}}", "none"),
        ("{{default gone \"none\"}} {{default (round gone) 1}}", "none 1"),
        ("{{response.status}} {{response.body.a.[1]}} {{response.body.a}}", "200 20 [10,20]"),
        ("{{#if (and (eq args.city \"Oslo\") (gt temp 20))}}hot{{/if}}", "hot"),
        ("{{call.metadata.lang}} {{now}}", "no 2026-01-02T03:04:05Z"),
        ("{{> greeting name=args.city}}!", "Hello Oslo of Acme!"),
        ("{{#each days}}{{> item}} {{/each}}", "1/0 2/1 "),
        ("a {{~args.city~}} b \\{{x}}", "aOslob {{x}}"),
        ("x{{! a comment }}y", "xy"),
        ("{{#each args.tags}}{{#each ../args.tags}}{{this}}{{/each}}{{/each}}", "abab"),
        ("{{#each args.tags as |outer|}}{{#each @root.days}}{{outer}}{{max}}{{/each}}{{/each}}", "a1a2b1b2"),
    ] {
        assert_eq!(text(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn length_is_that_of_javascript() {
    for (template, expected) in [
        ("{{days.length}}", "2"),
        ("{{#if days.length}}a{{else}}b{{/if}}", "a"),
        ("{{#unless days.length}}a{{else}}b{{/unless}}", "b"),
        ("{{#if (eq days.length 2)}}a{{/if}}{{#if (and days.length (gt args.tags.length 1))}}b{{/if}}", "ab"),
        ("{{#each days}}{{#if city.length}}{{city.length}}{{else}}0{{/if}}{{/each}}", "10"),
        ("{{#with days}}{{length}} {{this.length}} {{./length}}{{/with}}", "2 2 2"),
        ("{{#each args.tags}}{{../days.length}}{{@root.days.length}}{{length}}{{/each}}", "221221"),
        ("{{response.body.a.length}} {{response.body.a.[length]}}", "2 2"),
        ("{{args.city.length}} {{vars.company.length}} {{call.platform.length}}", "4 4 4"),
        ("{{lookup days \"length\"}}", "2"),
        ("{{#if gone.length}}a{{else}}b{{/if}}", "b"),
        ("{{plural days.length \"day\" \"days\"}}", "days"),
        // A field that is called so, and UTF-16 units.
        ("{{#each response.body.boxes}}{{length}}|{{name.length}}{{/each}}", "30 cm|3"),
    ] {
        assert_eq!(text(template).as_deref(), Ok(expected), "{template}");
    }
    let sole = World::new().compile("{{days.length}}").unwrap();
    let value =
        with_scope(|scope| sole.evaluate(scope).map(|value| value.map(|value| value.get().to_value())));
    assert_eq!(value, Ok(Some(json!(2))));
    for template in ["{{args.nights.length}}", "{{args.length}}"] {
        let faults = World::new().compile(template).expect_err(template);
        assert_eq!(faults[0].code, Code::UnknownName, "{template}");
    }
}

#[test]
fn partials_on_a_line_of_their_own_are_lines() {
    for (template, expected) in [
        ("a\n{{> trail}}\nb", "a\nx\nb"),
        ("a\n{{> bare}}\nb", "a\nxb"),
        ("a\n  {{> trail}}\nb", "a\n  x\nb"),
        ("{{#each args.tags}}\n{{> trail}}\n{{/each}}\nend", "x\nx\nend"),
        ("{{#each args.tags}}\n\t{{> trail}}\n{{/each}}\nend", "\tx\n\tx\nend"),
        ("a\n  {{> lines}}\nz", "a\n  one\n  \n  a\n  b\n  end\nz"),
        ("  {{> outer}}\nz", "  [\n    one\n    \n    a\n    b\n    end\n  ]\nz"),
        ("a\r\n  {{> windows}}\r\nb", "a\r\n  x\r\nb"),
        // A partial within a line, and one that ends a text, come without the line break at the end of their file.
        ("a {{> trail}} b", "a x b"),
        ("{{> trail}}", "x"),
        ("a\n  {{> trail}}", "a\n  x"),
        ("a\n{{~> trail}}\nb", "ax\nb"),
    ] {
        assert_eq!(text(template).as_deref(), Ok(expected), "{template:?}");
    }
}

#[test]
fn truth_is_that_of_handlebars() {
    for (value, expected) in [
        (json!({}), "abc"),
        (json!({"a": 1}), "abc"),
        (json!(0), "bc"),
        (json!(0.0), "bc"),
        (json!(7), "abc"),
        (json!([]), ""),
        (json!([0]), "abc"),
        (json!(""), ""),
        (json!(false), ""),
        (json!(null), ""),
    ] {
        let mut world = World::new();
        world.vars.insert("x".to_owned(), value.clone());
        let blocks = "{{#if vars.x}}a{{/if}}{{#if vars.x includeZero=true}}b{{/if}}\
                      {{#with vars.x}}c{{else}}{{/with}}";
        let template = world.compile(blocks).unwrap();
        assert_eq!(with_scope(|scope| template.text(scope)).as_deref(), Ok(expected), "{value}");
    }
}

#[test]
fn small_words_of_handlebars_work() {
    for (template, expected) in [
        ("{{#each args.tags}}{{.}}{{/each}}", "ab"),
        ("{{#with args.tags}}{{#each .}}{{upper .}}{{/each}}{{/with}}", "AB"),
        ("{{#each args.tags}}{{#with args}}{{upper ..}}{{/with}}{{/each}}", "AB"),
        ("a {{~! c ~}} b", "ab"),
        ("a {{~!-- c --~}} b", "ab"),
        ("a\n{{! c }}\nb", "a\nb"),
        ("{{#if gone}}a{{^}}b{{/if}}", "b"),
        (r#"{{#if (eq "a\\b" 'a\\b')}}{{upper "a\\b"}}{{/if}}"#, r"A\\B"),
        (r#"{{upper "\d\"e"}}{{join args.tags "\n"}}"#, "\\D\"Ea\nb"),
    ] {
        assert_eq!(text(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn every_fault_of_a_template_is_reported() {
    let template = "{{temp +}} {{tmp}} {{#if temp +}}{{ciyt}}{{/if}} {{. x}} {{rond temp}}";
    let faults = World::new().compile(template).expect_err("faults");
    let found: Vec<&str> = faults.iter().map(|fault| &template[fault.span.start..fault.span.end]).collect();
    assert_eq!(found, ["{{temp +}}", "tmp", "{{#if temp +}}", "ciyt", ".", "rond"]);
    let template = "{{> greeting name=one other=two}} {{join three four last=five}}";
    let faults = World::new().compile(template).expect_err("faults");
    let found: Vec<&str> = faults.iter().map(|fault| &template[fault.span.start..fault.span.end]).collect();
    assert_eq!(found, ["one", "two", "three", "four", "five"]);
}

#[test]
fn a_missing_value_is_an_error_with_its_name() {
    for (template, name) in [
        ("{{gone}}", "gone"),
        ("{{upper gone}}", "gone"),
        ("{{response.body.b}}", "response.body.b"),
        ("{{#each gone}}{{/each}}", "gone"),
        ("{{call.caller}}", "call.caller"),
        ("{{lookup args.address \"city\"}}", "lookup args.address \"city\""),
        ("{{lookup args.tags 7}}", "lookup args.tags 7"),
        ("{{lookup args.tags \"x\"}}", "lookup args.tags \"x\""),
        ("{{lookup args.city 0}}", "lookup args.city 0"),
        ("{{gone.length}}", "gone.length"),
        ("{{#each days as |day|}}{{day.length}}{{/each}}", "day.length"),
    ] {
        assert_eq!(text(template), Err(RenderError::Missing { name: name.to_owned() }), "{template}");
    }
}

#[test]
fn a_single_expression_keeps_its_type() {
    for (template, expected) in [
        ("{{temp}}", Some(json!(21.55))),
        ("{{round temp 1}}", Some(json!(21.6))),
        ("{{days}}", Some(json!([{"max": 1, "city": "x"}, {"max": 2}]))),
        ("{{vars.company}}", Some(json!("Acme"))),
        ("{{gone}}", None),
        ("{{round gone}}", None),
        // An index may be text.
        ("{{lookup args.tags \"1\"}}", Some(json!("b"))),
        ("{{default (lookup args.tags 7) \"none\"}}", Some(json!("none"))),
    ] {
        let compiled = World::new().compile(template).unwrap();
        assert!(compiled.is_sole(), "{template}");
        let value = with_scope(|scope| {
            compiled.evaluate(scope).map(|value| value.map(|value| value.get().to_value()))
        });
        assert_eq!(value, Ok(expected), "{template}");
    }
    assert!(!World::new().compile(" {{temp}}").unwrap().is_sole());
}

#[test]
fn errors_have_a_place_and_a_fix() {
    for (template, code, place, help) in [
        ("It is {{tmp}}", Code::UnknownName, "tmp", "did you mean `temp`?"),
        ("{{args.ciyt}}", Code::UnknownName, "args.ciyt", "did you mean `city`?"),
        ("{{args.address.stret}}", Code::UnknownName, "args.address.stret", "did you mean `street`?"),
        ("{{city}}", Code::UnknownName, "city", "arguments are written `args.city`"),
        ("{{company}}", Code::UnknownName, "company", "constants are written `vars.company`"),
        ("{{call.caler}}", Code::UnknownName, "call.caler", "did you mean `caller`?"),
        ("{{call.headers.x-id}}", Code::UnknownName, "call.headers.x-id", "[platforms.x] headers"),
        ("{{vars.compny}}", Code::UnknownName, "vars.compny", "did you mean `company`?"),
        ("{{this}}", Code::UnknownName, "this", "args.city"),
        ("{{round}}", Code::UnknownName, "round", "is a helper"),
        ("{{rond temp}}", Code::UnknownHelper, "rond", "did you mean `round`?"),
        ("{{#fi temp}}{{/fi}}", Code::UnknownHelper, "fi", "did you mean `if`?"),
        ("{{round}} {{upper temp temp}}", Code::HelperArguments, "upper", "upper x"),
        ("{{date now \"%H\" tz=\"Mars/Base\"}}", Code::HelperArguments, "date", "Europe/Oslo"),
        ("{{round temp digit=1}}", Code::HelperArguments, "digit", "digits=1"),
        ("a {{{temp}}}", Code::TemplateUnescaped, "{{{temp}}", "`{{x}}`"),
        ("a {{&temp}}", Code::TemplateUnescaped, "{{&temp}}", "`{{x}}`"),
        ("{{> greting}}", Code::UnknownPartial, "greting", "did you mean `greeting`?"),
        ("{{temp", Code::TemplateSyntax, "{{temp", "}}"),
        ("{{#if temp}}x", Code::TemplateSyntax, "{{#if temp}}", "{{/if}}"),
        ("{{#if temp}}x{{/each}}", Code::TemplateSyntax, "{{/each}}", "{{/if}}"),
        ("x{{/if}}", Code::TemplateSyntax, "{{/if}}", "take it out"),
        ("{{temp +}}", Code::TemplateSyntax, "{{temp +}}", "an expression is a name"),
        ("{{.}}", Code::UnknownName, ".", "args.city"),
        ("{{#days}}x{{/days}}", Code::UnknownHelper, "days", "{{#each days}}"),
        ("{{#args.tags}}x{{/args.tags}}", Code::TemplateUnsupported, "{{#args.tags}}", "{{#each args.tags}}"),
        ("{{^if temp}}x{{/if}}", Code::TemplateUnsupported, "{{^if temp}}", "{{#unless temp}}"),
        ("{{^days}}x{{/days}}", Code::TemplateUnsupported, "{{^days}}", "{{#unless days}}"),
        ("{{~^each days}}x{{/each}}", Code::TemplateUnsupported, "{{~^each days}}", "{{#each days}}{{else}}"),
    ] {
        let faults = World::new().compile(template).expect_err(template);
        let fault = faults
            .iter()
            .find(|fault| fault.code == code)
            .unwrap_or_else(|| panic!("{template}: {faults:?}"));
        assert_eq!(&template[fault.span.start..fault.span.end], place, "{template}");
        assert!(fault.help.as_deref().unwrap_or_default().contains(help), "{template}: {:?}", fault.help);
    }
}

#[test]
fn values_are_neither_rendered_again_nor_expanded() {
    let compiled = World::new().compile("${keep} ${{args.city}} ${{! c }}{x}").unwrap();
    let scope_args = json!({"city": "{{temp}} ${x} %{y}"});
    let scope =
        Scope { args: &scope_args, call: &Context::default(), steps: &[], now: "", memory: &Value::Null };
    let mut sink = TextSink::new(ExpansionFilter { sigils: &['$', '%', '@'] });
    compiled.render(&scope, &mut sink).unwrap();
    assert_eq!(sink.into_text(), "${keep} $ {{temp}} $ {x} % {y} $ {x}");
}

#[test]
fn untrusted_names_are_found() {
    let mut world = World::new();
    for (text, untrusted) in [
        ("{{call.global.ids}}", None),
        ("{{call.metadata.[ids]}}", None),
        ("{{default call.global.ids call.metadata.ids}}", None),
        ("{{lookup call.global \"ids\"}}", None),
        ("{{vars.company}}", None),
        ("{{now}}", None),
        ("{{args.tags}}", Some("args.tags")),
        ("{{@root.args.tags}}", Some("@root.args.tags")),
        ("{{call.raw.ids}}", Some("call.raw.ids")),
        ("{{call.[raw].ids}}", Some("call.[raw].ids")),
        ("{{days}}", Some("days")),
        ("{{response.body.ids}}", Some("response.body.ids")),
        ("{{default call.global.ids args.tags}}", Some("args.tags")),
        ("{{lookup call.global args.city}}", Some("args.city")),
        (
            "{{default call.global.ids (default call.metadata.ids (lookup call.raw \"ids\"))}}",
            Some("call.raw"),
        ),
        ("{{date now \"%H\" tz=args.city}}", Some("args.city")),
    ] {
        let template = world.compile(text).unwrap();
        assert!(template.is_sole(), "{text}");
        assert_eq!(template.untrusted(), untrusted, "{text}");
    }
}
