//! What templates may cost.

use super::*;
use crate::lang::template::json::ObjectKey;

#[test]
fn a_partial_that_includes_itself_is_an_error() {
    let faults = World::new().compile("{{> loop}}").expect_err("a loop");
    assert_eq!(faults[0].code, Code::UnknownPartial);
    assert!(faults[0].message.contains("includes itself"));
}

#[test]
fn too_deep_or_too_long_templates_are_errors() {
    let deep = format!("{}{}", "{{#if temp}}".repeat(3000), "{{/if}}".repeat(3000));
    let parens = format!("{{{{not {}temp{}}}}}", "(not ".repeat(3000), ")".repeat(3000));
    let long = format!("{{{{temp}}}}{}", "x".repeat(300_000));
    for template in [deep, parens, long] {
        assert_eq!(World::new().compile(&template).expect_err("too large")[0].code, Code::TemplateTooLarge);
    }
}

#[test]
fn rendering_is_limited() {
    let mut world = World::new();
    let nested = "{{#each days}}{{#each @root.days}}{{#each @root.days}}{{this}}{{/each}}{{/each}}{{/each}}";
    let compiled = world.compile(nested).unwrap();
    let many = Value::from(vec!["0123456789"; 200]).into();
    let scope = Scope {
        args: &json!({}),
        call: &Context::default(),
        steps: &[StepOutput { response: None, values: vec![None, Some(many)] }],
        now: "",
        memory: &Value::Null,
    };
    assert_eq!(compiled.text(&scope), Err(RenderError::TooLarge));
}

/// Renders with a response that contains a list of 1,000 items and 512 KiB of text.
fn with_large_reply<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let items: Vec<Value> = (0..1000).map(|id| json!({"id": id, "to": "x".repeat(20)})).collect();
    let names: serde_json::Map<String, Value> = (0..1000).map(|id| (id.to_string(), json!("name"))).collect();
    let body = json!({"text": "y".repeat(512 * 1024), "items": items, "names": names});
    let response = ParsedResponse::new(200, ResponseHeaders::default(), document(&body));
    let args = json!({});
    let steps = [StepOutput { response: Some(response), values: vec![] }];
    run(&Scope { args: &args, call: &Context::default(), steps: &steps, now: "", memory: &Value::Null })
}

#[test]
fn values_that_helpers_read_and_create_count_as_steps() {
    let mut world = World::new();
    for (template, fits) in [
        ("{{#each response.body.items}}{{lookup @root.response.body.names id}}{{/each}}", true),
        (
            "{{#each response.body.items}}{{#if (eq id (count @root.response.body.items))}}x{{/if}}{{/each}}",
            true,
        ),
        ("{{#each response.body.items}}{{json this}}{{/each}}", true),
        ("{{response.body.text}}", true),
        ("{{response.body.text}}{{response.body.text}}", true),
        ("{{response.body.text}}{{response.body.text}}.", false),
        ("{{#each response.body.items}}{{truncate @root.response.body.text 1}}{{/each}}", false),
        ("{{#each response.body.items}}{{count @root.response.body.text}}{{/each}}", false),
        ("{{#each response.body.items}}{{#if (eq @root.response.body 1)}}{{/if}}{{/each}}", false),
        ("{{#each response.body.items}}{{#unless (json @root.response.body)}}{{/unless}}{{/each}}", false),
        ("{{#each response.body.items}}{{#if (default @root.response.body.text 1)}}{{/if}}{{/each}}", false),
    ] {
        let compiled = world.compile(template).unwrap();
        let rendered = with_large_reply(|scope| compiled.text(scope));
        match rendered {
            Ok(_) => assert!(fits, "{template}"),
            Err(error) => assert_eq!((error, fits), (RenderError::TooLarge, false), "{template}"),
        }
    }
}

#[test]
fn the_size_of_a_tree_is_limited_as_a_whole() {
    let mut world = World::new();
    let text = JsonTemplate::Sole(world.compile("{{response.body.text}}").unwrap());
    let mixed = JsonTemplate::Text(world.compile("a{{response.body.text}}").unwrap());
    let tree = |items: &[&JsonTemplate]| {
        let tree = JsonTemplate::List(items.iter().map(|&item| item.clone()).collect());
        with_large_reply(|scope| tree.render(scope, ExpansionFilter::default()))
    };
    assert!(tree(&[&text]).is_ok());
    assert!(tree(&[&mixed]).is_ok());
    assert_eq!(tree(&[&text, &text]), Err(RenderError::TooLarge));
    assert_eq!(tree(&[&text, &mixed]), Err(RenderError::TooLarge));
}

#[test]
fn a_tree_that_is_nested_deep_does_not_become_text() {
    let tags = JsonTemplate::Sole(World::new().compile("{{args.tags}}").unwrap());
    let literal = JsonTemplate::Literal(nested(300));
    assert_eq!(to_value(&tags, nested(300)), Ok(Some(nested(300))));
    assert_eq!(to_value(&literal, Value::Null), Ok(Some(nested(300))));
    let object = JsonTemplate::Object(vec![(ObjectKey::new("a"), tags)]);
    assert_eq!(to_value(&object, nested(126)), Ok(Some(json!({"a": nested(126)}))));
    assert_eq!(to_value(&object, nested(127)), Err(RenderError::TooDeep));
}

#[test]
fn the_size_of_a_single_expression_is_limited() {
    let tags = JsonTemplate::Sole(World::new().compile("{{args.tags}}").unwrap());
    let text = |bytes: usize| Value::from("x".repeat(bytes));
    assert!(to_value(&tags, text(MAX_RENDERED_BYTES - 1)).is_ok());
    assert_eq!(to_value(&tags, text(MAX_RENDERED_BYTES)), Err(RenderError::TooLarge));
    assert_eq!(to_value(&tags, Value::Null), Ok(None));
}

/// The value of a template in a call with these `tags`.
fn to_value(template: &JsonTemplate, tags: Value) -> Result<Option<Value>, RenderError> {
    template.to_value(&Scope {
        args: &json!({"tags": tags}),
        call: &Context::default(),
        steps: &[],
        now: "",
        memory: &Value::Null,
    })
}

/// A list in a list in a list, and so on.
fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| json!([inner]))
}

#[test]
fn exponential_inclusion_of_partials_is_an_error() {
    let mut world = World::new();
    for level in 0..30 {
        world.file(&format!("p{level}.hbs"), &format!("x{{{{> p{0}}}}}{{{{> p{0}}}}}", level + 1));
    }
    world.file("p30.hbs", "y");
    let faults = world.compile("{{> p0}}").expect_err("too much");
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), [Code::TemplateTooLarge]);
    assert!(world.compile("{{> p22}}").is_ok());
}
