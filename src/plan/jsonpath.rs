//! JSONPath (RFC 9535): parsed once at load, walked directly where a path can only match once.
//!
//! The few expressions that the library would answer otherwise than the RFC are refused at load.
//!
//! Only filters and slices are the library's: it writes down the path of each match, and a reply with a long key above
//! many values would make those paths larger than any memory. So it is asked about one node at a time.

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, JpQuery, Literal, Segment, Selector, Test,
    TestFunction,
};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

use crate::diagnostic::Code;

/// The longest path, in bytes.
const MAX_BYTES: usize = 1024;

/// The deepest nesting of brackets and parentheses.
const MAX_DEPTH: usize = 16;

/// The most values that a path looks at. One `..` looks at each value of a reply once; several may look at them more
/// often than anybody can wait for.
const MAX_VISITS: usize = 16_000_000;

/// A parsed JSONPath.
#[derive(Debug, Clone)]
pub struct JsonPath(Path);

#[derive(Debug, Clone)]
enum Path {
    /// Only names and indexes: matches at most once.
    Singular(Vec<Step>),
    Walk(Vec<Stage>),
    /// A filter looks at the root: the library needs the whole value.
    Query(JpQuery),
}

/// One segment of a path that may match more than once.
#[derive(Debug, Clone)]
struct Stage {
    /// Whether it is asked of everything below as well.
    descends: bool,
    choices: Vec<Choice>,
}

/// What a segment takes of one value.
#[derive(Debug, Clone)]
enum Choice {
    Step(Step),
    Each,
    /// A filter or a slice.
    Query(JpQuery),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(i64),
}

/// Why a text is not a usable JSONPath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadPath {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl BadPath {
    fn unsupported(message: &str, help: &str) -> Self {
        Self { code: Code::JsonpathUnsupported, message: message.to_owned(), help: help.to_owned() }
    }

    fn syntax(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: Code::JsonpathSyntax, message: message.into(), help: help.into() }
    }
}

impl JsonPath {
    /// Parses a path.
    pub(crate) fn parse(text: &str) -> Result<Self, BadPath> {
        let example =
            "a path begins with `$`: `$.orders[0].id`, `$.items[*].name`, `$.orders[?@.status == 'open'].id`";
        if text.len() > MAX_BYTES {
            return Err(BadPath::syntax(format!("a JSONPath may have {MAX_BYTES} bytes"), "shorten it"));
        }
        if depth(text) > MAX_DEPTH {
            return Err(BadPath::syntax(
                format!("brackets may stand {MAX_DEPTH} deep in a JSONPath"),
                "simplify it",
            ));
        }
        if !text.starts_with('$') {
            return Err(BadPath::syntax(
                "a JSONPath begins with `$`",
                match text.trim_start_matches(['.', '/']) {
                    "" => example.to_owned(),
                    rest if rest.starts_with('$') => format!("write `{rest}`"),
                    rest if rest.starts_with('[') => format!("write `${rest}`"),
                    rest => format!("write `$.{}`", rest.replace('/', ".")),
                },
            ));
        }
        let query = parse_json_path(text).map_err(|_| {
            let help = if text.contains("{{") {
                "a JSONPath is fixed at load and holds no template".to_owned()
            } else if text.contains("=~") {
                "write `search(@.name, 'text')` for a regular expression".to_owned()
            } else {
                example.to_owned()
            };
            BadPath::syntax("this JSONPath cannot be parsed", help)
        })?;
        for segment in &query.segments {
            check_segment(segment, false)?;
        }
        let singular = query.segments.iter().map(|segment| match segment {
            Segment::Selector(Selector::Name(name)) => Some(Step::Name(name.clone())),
            Segment::Selector(Selector::Index(index)) => Some(Step::Index(*index)),
            _ => None,
        });
        Ok(Self(match singular.collect() {
            Some(steps) => Path::Singular(steps),
            None if names_root(text) => {
                check_bounded(&query.segments, "beside a filter that looks at `$`")?;
                Path::Query(query)
            }
            None => Path::Walk(query.segments.into_iter().map(Stage::new).collect()),
        }))
    }

    /// The first match.
    pub(crate) fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match &self.0 {
            Path::Singular(steps) => steps.iter().try_fold(value, step),
            Path::Walk(_) | Path::Query(_) => self.all(value).into_iter().next(),
        }
    }

    /// Every match, in the order of the RFC.
    pub(crate) fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match &self.0 {
            Path::Singular(steps) => steps.iter().try_fold(value, step).into_iter().collect(),
            Path::Walk(stages) => walk(stages, value).unwrap_or_default(),
            Path::Query(query) => ask(query, value),
        }
    }
}

impl Stage {
    fn new(segment: Segment) -> Self {
        match segment {
            Segment::Descendant(inner) => Self { descends: true, ..Self::new(*inner) },
            Segment::Selector(selector) => Self { descends: false, choices: vec![Choice::new(selector)] },
            Segment::Selectors(selectors) => {
                Self { descends: false, choices: selectors.into_iter().map(Choice::new).collect() }
            }
        }
    }

    /// Adds what this takes of `value`; `None` when `visits` are used up.
    fn take<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>, visits: &mut usize) -> Option<()> {
        *visits = visits.checked_sub(1)?;
        let before = out.len();
        for choice in &self.choices {
            match choice {
                Choice::Step(wanted) => out.extend(step(value, wanted)),
                Choice::Each => out.extend(parts(value)),
                Choice::Query(query) => out.extend(ask(query, value)),
            }
        }
        *visits = visits.checked_sub(out.len() - before)?;
        if self.descends {
            parts(value).try_for_each(|part| self.take(part, out, visits))?;
        }
        Some(())
    }
}

impl Choice {
    fn new(selector: Selector) -> Self {
        match selector {
            Selector::Name(name) => Self::Step(Step::Name(name)),
            Selector::Index(index) => Self::Step(Step::Index(index)),
            Selector::Wildcard => Self::Each,
            other => Self::Query(JpQuery::new(vec![Segment::Selector(other)])),
        }
    }
}

/// What is found from `value` on; `None` when that is too much to look at.
fn walk<'v>(stages: &[Stage], value: &'v Value) -> Option<Vec<&'v Value>> {
    let mut visits = MAX_VISITS;
    let mut found = vec![value];
    for stage in stages {
        let mut next = Vec::new();
        found.into_iter().try_for_each(|value| stage.take(value, &mut next, &mut visits))?;
        found = next;
    }
    Some(found)
}

/// The items of a list, or the values of an object.
fn parts(value: &Value) -> impl Iterator<Item = &Value> {
    let items = value.as_array().into_iter().flatten();
    items.chain(value.as_object().into_iter().flat_map(|entries| entries.values()))
}

fn ask<'v>(query: &JpQuery, value: &'v Value) -> Vec<&'v Value> {
    js_path_process(query, value)
        .map(|matches| matches.into_iter().map(jsonpath_rust::query::QueryRef::val).collect())
        .unwrap_or_default()
}

fn step<'v>(value: &'v Value, step: &Step) -> Option<&'v Value> {
    match (value, step) {
        (Value::Object(entries), Step::Name(name)) => entries.get(name),
        (Value::Array(items), Step::Index(index)) => {
            let index = if *index < 0 { i64::try_from(items.len()).ok()? + index } else { *index };
            items.get(usize::try_from(index).ok()?)
        }
        _ => None,
    }
}

/// The characters outside of quotes.
fn unquoted(text: &str) -> impl Iterator<Item = char> {
    let (mut quote, mut escaped) = (None, false);
    text.chars().filter(move |character| {
        match (quote, *character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), character) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(*character),
            (None, _) => return true,
        }
        false
    })
}

/// The deepest nesting of brackets outside of quotes.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for character in unquoted(text) {
        match character {
            '(' | '[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether a filter of the path looks at the root.
fn names_root(text: &str) -> bool {
    unquoted(text).filter(|character| *character == '$').count() > 1
}

/// Refuses what makes the library write down a path for each of many values below another's key, which may be long.
fn check_bounded(segments: &[Segment], place: &str) -> Result<(), BadPath> {
    let is_one =
        |segment: &Segment| matches!(segment, Segment::Selector(Selector::Name(_) | Selector::Index(_)));
    let takes_keys =
        |segment: &Segment| matches!(segment, Segment::Selector(Selector::Wildcard | Selector::Filter(_)));
    let below = segments.iter().skip_while(|segment| !takes_keys(segment)).skip(1);
    if segments.iter().any(|segment| matches!(segment, Segment::Descendant(_)))
        || below.into_iter().any(|segment| !is_one(segment))
    {
        return Err(BadPath::unsupported(
            &format!("`..` and a second `*`, slice or filter are not supported {place}"),
            "name the keys that lead there: `$.orders[?@.items[*].id]`",
        ));
    }
    Ok(())
}

fn check_segment(segment: &Segment, in_filter: bool) -> Result<(), BadPath> {
    match segment {
        Segment::Descendant(inner) => {
            if matches!(**inner, Segment::Selectors(_)) {
                return Err(BadPath::unsupported(
                    "several selectors after `..` would come in the wrong order",
                    "write one extract per name: `$..a` and `$..b`",
                ));
            }
            check_segment(inner, in_filter)
        }
        Segment::Selector(selector) => check_selector(selector, in_filter),
        Segment::Selectors(selectors) => {
            selectors.iter().try_for_each(|selector| check_selector(selector, in_filter))
        }
    }
}

fn check_selector(selector: &Selector, in_filter: bool) -> Result<(), BadPath> {
    match selector {
        Selector::Filter(_) if in_filter => Err(BadPath::unsupported(
            "a filter inside a filter is not supported",
            "filter in one step, and use `{{#each}}` in the reply for the rest",
        )),
        Selector::Filter(filter) => check_filter(filter),
        _ => Ok(()),
    }
}

fn check_filter(filter: &Filter) -> Result<(), BadPath> {
    match filter {
        Filter::Or(filters) | Filter::And(filters) => filters.iter().try_for_each(check_filter),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => check_filter(expr),
        Filter::Atom(FilterAtom::Test { expr, .. }) => match &**expr {
            Test::Function(function) => {
                if matches!(
                    **function,
                    TestFunction::Length(_) | TestFunction::Count(_) | TestFunction::Value(_)
                ) {
                    return Err(BadPath::unsupported(
                        "`length`, `count` and `value` give no truth by themselves",
                        "compare them: `length(@.items) > 0`",
                    ));
                }
                check_function(function)
            }
            test => check_query(test),
        },
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            let (left, right) = Comparison::vals(comparison);
            [left, right].into_iter().try_for_each(|side| match side {
                Comparable::Function(function) if !function.is_comparable() => Err(BadPath::unsupported(
                    "this function gives true or false and cannot be compared",
                    "write it alone: `[?match(@.id, 'A.*')]`",
                )),
                Comparable::Function(function) => check_function(function),
                _ => Ok(()),
            })
        }
    }
}

/// Checks a path inside a filter.
fn check_query(test: &Test) -> Result<(), BadPath> {
    match test {
        Test::RelQuery(segments) => {
            segments.iter().try_for_each(|segment| check_segment(segment, true))?;
            check_bounded(segments, "inside a filter")
        }
        Test::AbsQuery(_) if !is_singular(test) => Err(BadPath::unsupported(
            "a path from `$` inside a filter must be one that can only match once",
            "it would be walked anew for each value: `[?@.id == $.wanted]`",
        )),
        Test::AbsQuery(_) | Test::Function(_) => Ok(()),
    }
}

fn check_function(function: &TestFunction) -> Result<(), BadPath> {
    match function {
        TestFunction::Custom(name, _) => Err(BadPath {
            code: Code::JsonpathUnsupported,
            message: format!("there is no function `{name}` in JSONPath"),
            help: "the functions are `length`, `count`, `match`, `search` and `value`".to_owned(),
        }),
        TestFunction::Length(arg) => match &**arg {
            FnArg::Test(test) if !is_singular(test) => Err(BadPath::unsupported(
                "`length` takes a path that can only match once",
                "count matches with `count(@.items[*])`, items with `length(@.items)`",
            )),
            arg => check_argument(arg),
        },
        TestFunction::Value(arg) | TestFunction::Count(arg) => check_argument(arg),
        TestFunction::Match(text, pattern) | TestFunction::Search(text, pattern) => {
            check_argument(text)?;
            match pattern {
                FnArg::Literal(Literal::String(pattern)) => {
                    regex::Regex::new(pattern).map(|_| ()).map_err(|_| {
                        BadPath::syntax(
                            format!("`{pattern}` is not a regular expression"),
                            "patterns have no look-around and no back-references",
                        )
                    })
                }
                _ => Err(BadPath::unsupported(
                    "the pattern of `match` and `search` must be written out",
                    "put the pattern in quotes: `[?search(@.name, 'text')]`",
                )),
            }
        }
    }
}

fn check_argument(argument: &FnArg) -> Result<(), BadPath> {
    match argument {
        FnArg::Literal(_) => Ok(()),
        FnArg::Filter(filter) => check_filter(filter),
        FnArg::Test(test) => match &**test {
            Test::Function(function) => check_function(function),
            test => check_query(test),
        },
    }
}

fn is_singular(test: &Test) -> bool {
    let one =
        |segment: &Segment| matches!(segment, Segment::Selector(Selector::Name(_) | Selector::Index(_)));
    match test {
        Test::RelQuery(segments) => segments.iter().all(one),
        Test::AbsQuery(query) => query.segments.iter().all(one),
        Test::Function(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_what_the_rfc_says() {
        let value = json!({
            "orders": [
                {"id": 1, "status": "done", "items": ["a"]},
                {"id": 2, "status": "open", "items": []},
                {"id": 3, "status": "open", "items": ["b", "c"]},
            ],
            "a b": {"c": null},
        });
        for (path, expected) in [
            ("$", json!([value])),
            ("$.orders[0].id", json!([1])),
            ("$.orders[-1].id", json!([3])),
            ("$.orders[9].id", json!([])),
            ("$['a b'].c", json!([null])),
            ("$.orders[*].id", json!([1, 2, 3])),
            ("$.orders[?@.status=='open'].id", json!([2, 3])),
            ("$.orders[?count(@.items[*]) > 1].id", json!([3])),
            ("$.orders[?length(@.items) == 0].id", json!([2])),
            ("$.orders[?search(@.status, 'on')].id", json!([1])),
            ("$.orders[1:].id", json!([2, 3])),
            ("$..id", json!([1, 2, 3])),
            ("$.orders[?@.id > 1 && !(@.id == 3)].id", json!([2])),
        ] {
            let path = JsonPath::parse(path).unwrap_or_else(|bad| panic!("{path}: {bad:?}"));
            let found: Vec<Value> = path.all(&value).into_iter().cloned().collect();
            assert_eq!(Value::from(found.clone()), expected);
            assert_eq!(path.first(&value), found.first());
        }
    }

    #[test]
    fn the_order_is_that_of_the_values() {
        let value = json!({"k": {"a": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}, "x": 5, "want": 3});
        for (path, expected) in [
            ("$..x", json!([5, 1, 3])),
            ("$.k.a[*]['y','x']", json!([2, 1, 4, 3])),
            ("$.k..[0]", json!([{"x": 1, "y": 2}])),
            ("$..a[::-1].x", json!([3, 1])),
            ("$..a[?@.x > 1].y", json!([4])),
            ("$.k.a[?@.x == $.want].y", json!([4])),
            ("$.k.*[*].*", json!([1, 2, 3, 4])),
            (
                "$.k..*",
                json!([[{"x": 1, "y": 2}, {"x": 3, "y": 4}], {"x": 1, "y": 2}, {"x": 3, "y": 4}, 1, 2, 3, 4]),
            ),
        ] {
            let found: Vec<Value> = JsonPath::parse(path).unwrap().all(&value).into_iter().cloned().collect();
            assert_eq!(Value::from(found), expected, "{path}");
        }
    }

    #[test]
    fn a_reply_cannot_make_a_path_cost_more_than_it_weighs() {
        // Paths written out would take 2 GB here.
        let value = json!({"k".repeat(100_000): vec![json!({"id": 1}); 20_000]});
        assert_eq!(JsonPath::parse("$..id").unwrap().all(&value).len(), 20_000);
        assert_eq!(JsonPath::parse("$.*[?@.id].id").unwrap().all(&value).len(), 20_000);
        let deep = (0..120).fold(json!(1), |inner, _| json!({"a": inner}));
        assert_eq!(JsonPath::parse("$..a").unwrap().all(&deep).len(), 120);
        assert!(JsonPath::parse("$..a..a..a..a..a..a").unwrap().all(&deep).is_empty());
    }

    #[test]
    fn what_cannot_be_parsed_is_said_with_a_mend() {
        for (path, help) in [
            ("temp", "write `$.temp`"),
            (".a.b", "write `$.a.b`"),
            ("a/b", "write `$.a.b`"),
            ("$.a[", "begins with `$`"),
            ("$.a{{b}}", "no template"),
            ("", "begins with `$`"),
            ("$[?search(@.a, '(')]", "no look-around"),
        ] {
            let bad = JsonPath::parse(path).expect_err(path);
            assert_eq!(bad.code, Code::JsonpathSyntax, "{path}");
            assert!(bad.help.contains(help), "{path}: {}", bad.help);
        }
        let nested = format!("$[?{}@.a{}]", "(".repeat(20_000), ")".repeat(20_000));
        assert!(JsonPath::parse(&nested).is_err());
        assert!(JsonPath::parse(&format!("$[?{}@.a{}]", "(".repeat(100), ")".repeat(100))).is_err());
    }

    #[test]
    fn what_the_library_answers_otherwise_than_the_rfc_is_refused() {
        for path in [
            "$..['a','d']",
            "$[?length(@.*) > 1]",
            "$[?count(@.*)]",
            "$[?@[?@>1]]",
            "$[?count(@[?@>1]) > 1]",
            "$[?match(@.a, 'x') == true]",
            "$[?search(@.a, @.b)]",
            "$[?foo(@.a)]",
            "$[?@..a]",
            "$[?@.*.*]",
            "$[?count($.a[*]) > 1]",
            "$..a[?@.b == $.c]",
            "$.*[?@.b == $.c]",
        ] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
