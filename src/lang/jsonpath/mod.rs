//! JSONPath (RFC 9535), parsed once at load. A path that can match only once is looked up directly.
//!
//! A few expressions are rejected at load: those that would cost too much, or that the library evaluates differently
//! from the RFC.
//!
//! Only the parser comes from the library. Its evaluator stores the path of each match, which takes too much memory if
//! a long key is above many values, and it compiles a filter's pattern for each value.

mod filter;
mod placeholders;
mod relation;
mod walk;

use std::fmt;
use std::ops::{ControlFlow, Range};

use jsonpath_rust::parser::model::{Segment, Selector};
use jsonpath_rust::parser::parse_json_path;
use smallvec::SmallVec;

use crate::diagnostic::Code;
use crate::json::{Kind, ValueRef};

use filter::{Candidate, Condition, Known};
pub(crate) use placeholders::Placeholder;
use placeholders::Placeholders;
use walk::{Stop, Walk};

/// The longest path, in bytes.
const MAX_BYTES: usize = 1024;

/// The deepest nesting of brackets and parentheses.
const MAX_DEPTH: usize = 16;

/// The most values that the paths of one extraction visit together, or those of all conditions of one reply. A `..`
/// visits each value of a response once; several of them in one path multiply.
pub(crate) const MAX_VISITS: usize = 16_000_000;

/// A parsed JSONPath.
#[derive(Debug, Clone)]
pub struct JsonPath {
    path: PathKind,
    /// The path as written.
    written: Box<str>,
}

#[derive(Debug, Clone)]
enum PathKind {
    /// Only names and indexes: at most one match.
    Singular(Vec<ChildKey>),
    General(Vec<PathSegment>),
}

/// A segment of a path that can match more than once.
#[derive(Debug, Clone)]
struct PathSegment {
    /// Whether it also applies to all descendants.
    descends: bool,
    selectors: Vec<ChildSelector>,
}

/// Selects children of a value.
#[derive(Debug, Clone)]
enum ChildSelector {
    ChildKey(ChildKey),
    Wildcard,
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Filter(Condition),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ChildKey {
    Name(String),
    Index(i64),
}

/// Why a JSONPath cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadPath {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) help: String,
    /// The part of the path at fault; `None` for all of it.
    pub(crate) range: Option<Range<usize>>,
}

impl BadPath {
    fn unsupported(message: &str, help: &str) -> Self {
        let (message, help) = (message.to_owned(), help.to_owned());
        Self { code: Code::JsonpathUnsupported, message, help, range: None }
    }

    fn syntax(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: Code::JsonpathSyntax, message: message.into(), help: help.into(), range: None }
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl JsonPath {
    /// Parses a path, and finds the templates whose values its filters compare with.
    pub(crate) fn parse(written: &str) -> Result<(Self, Vec<Placeholder>), BadPath> {
        let example =
            "a path begins with `$`: `$.orders[0].id`, `$.items[*].name`, `$.orders[?@.status == 'open'].id`";
        if written.len() > MAX_BYTES {
            return Err(BadPath::syntax(
                format!("a JSONPath may have at most {MAX_BYTES} bytes"),
                "shorten it",
            ));
        }
        let (text, values) = Placeholders::replace(written)?;
        let text = &*text;
        if depth(text) > MAX_DEPTH {
            return Err(BadPath::syntax(
                format!("brackets in a JSONPath may be nested {MAX_DEPTH} deep"),
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
            let help = if text.contains("=~") {
                "write `search(@.name, 'text')` for a regular expression".to_owned()
            } else if !values.is_empty() {
                "an expression is a value to compare with: `$.orders[?@.id == {{args.id}}].status`".to_owned()
            } else {
                example.to_owned()
            };
            BadPath::syntax("this JSONPath cannot be parsed", help)
        })?;
        let path = match query.segments.iter().map(ChildKey::new).collect() {
            Some(steps) => PathKind::Singular(steps),
            None => {
                let segments = query.segments.into_iter().map(|segment| PathSegment::new(segment, &values));
                PathKind::General(segments.collect::<Result<_, _>>()?)
            }
        };
        Ok((Self { path, written: written.into() }, values.finish()?))
    }

    /// The first match. `bound` holds the values of the path's templates. The values visited are subtracted from
    /// `visits`; once they are used up, there is no match.
    pub(crate) fn first<'v>(
        &self,
        value: ValueRef<'v>,
        bound: &'v [ValueRef<'v>],
        visits: &mut usize,
    ) -> Option<ValueRef<'v>> {
        self.first_where(Known { root: value, bound }, visits, |_| true)
    }

    /// Whether there is a match. Null does not count, unless the path selects it with a filter at its end.
    pub(crate) fn finds<'v>(
        &self,
        value: ValueRef<'v>,
        bound: &'v [ValueRef<'v>],
        visits: &mut usize,
    ) -> bool {
        let is_filter = |selector: &ChildSelector| matches!(selector, ChildSelector::Filter(_));
        let selects_null = match &self.path {
            PathKind::Singular(_) => false,
            PathKind::General(segments) => {
                segments.last().is_some_and(|segment| segment.selectors.iter().all(is_filter))
            }
        };
        let known = Known { root: value, bound };
        self.first_where(known, visits, |found| selects_null || !found.is_null()).is_some()
    }

    /// Whether a match is a value that `is_wanted` accepts; limited by `visits` like [`Self::first`].
    pub(crate) fn finds_where<'v>(
        &self,
        value: ValueRef<'v>,
        bound: &'v [ValueRef<'v>],
        visits: &mut usize,
        is_wanted: impl Fn(ValueRef<'v>) -> bool,
    ) -> bool {
        self.first_where(Known { root: value, bound }, visits, is_wanted).is_some()
    }

    fn first_where<'v>(
        &self,
        known: Known<'v>,
        visits: &mut usize,
        is_wanted: impl Fn(ValueRef<'v>) -> bool,
    ) -> Option<ValueRef<'v>> {
        let segments = match &self.path {
            PathKind::Singular(steps) => {
                return steps.iter().try_fold(known.root, step).filter(|found| is_wanted(*found));
            }
            PathKind::General(segments) => segments,
        };
        let take = |found| match is_wanted(found) {
            true => ControlFlow::Break(Stop::At(found)),
            false => ControlFlow::Continue(()),
        };
        match (Walk { visits, take }).follow(segments, Candidate { known: &known, item: known.root }) {
            ControlFlow::Break(Stop::At(found)) => Some(found),
            ControlFlow::Continue(()) => None,
            ControlFlow::Break(Stop::Exhausted) => {
                *visits = 0;
                None
            }
        }
    }

    /// All matches, in the order of the RFC; limited by `visits` like [`Self::first`].
    pub(crate) fn all<'v>(
        &self,
        value: ValueRef<'v>,
        bound: &'v [ValueRef<'v>],
        visits: &mut usize,
    ) -> Matches<'v> {
        match &self.path {
            PathKind::Singular(steps) => steps.iter().try_fold(value, step).into_iter().collect(),
            PathKind::General(segments) => {
                let known = Known { root: value, bound };
                all_from(segments, Candidate { known: &known, item: value }, visits).unwrap_or_else(|| {
                    *visits = 0;
                    Matches::new()
                })
            }
        }
    }
}

impl PathSegment {
    fn new(segment: Segment, values: &Placeholders) -> Result<Self, BadPath> {
        Ok(match segment {
            Segment::Descendant(inner) if matches!(*inner, Segment::Selectors(_)) => {
                return Err(BadPath::unsupported(
                    "several selectors after `..` are not supported",
                    "write one extract per name: `$..a` and `$..b`",
                ));
            }
            Segment::Descendant(inner) => Self { descends: true, ..Self::new(*inner, values)? },
            Segment::Selector(selector) => {
                Self { descends: false, selectors: vec![ChildSelector::new(selector, values)?] }
            }
            Segment::Selectors(selectors) => {
                let selectors = selectors.into_iter().map(|selector| ChildSelector::new(selector, values));
                Self { descends: false, selectors: selectors.collect::<Result<_, _>>()? }
            }
        })
    }
}

impl ChildSelector {
    fn new(selector: Selector, values: &Placeholders) -> Result<Self, BadPath> {
        Ok(match selector {
            Selector::Name(name) => Self::ChildKey(ChildKey::Name(name)),
            Selector::Index(index) => Self::ChildKey(ChildKey::Index(index)),
            Selector::Wildcard => Self::Wildcard,
            Selector::Slice(start, end, step) => Self::Slice { start, end, step: step.unwrap_or(1) },
            Selector::Filter(filter) => Self::Filter(Condition::new(&filter, values)?),
        })
    }
}

impl ChildKey {
    /// The key of a segment that can match only once.
    fn new(segment: &Segment) -> Option<Self> {
        match segment {
            Segment::Selector(Selector::Name(name)) => Some(Self::Name(name.clone())),
            Segment::Selector(Selector::Index(index)) => Some(Self::Index(*index)),
            _ => None,
        }
    }
}

/// The matches of a path. A handful of them, as of most paths, is not on the heap.
pub(crate) type Matches<'v> = SmallVec<[ValueRef<'v>; 8]>;

/// All matches of `segments` below a value; `None` if `visits` are used up.
fn all_from<'v>(
    segments: &[PathSegment],
    candidate: Candidate<'_, 'v>,
    visits: &mut usize,
) -> Option<Matches<'v>> {
    let mut found = Matches::new();
    let take = |value| {
        found.push(value);
        ControlFlow::Continue(())
    };
    let end = Walk { visits, take }.follow(segments, candidate);
    end.is_continue().then_some(found)
}

fn step<'v>(value: ValueRef<'v>, step: &ChildKey) -> Option<ValueRef<'v>> {
    match (value.kind(), step) {
        (Kind::Object, ChildKey::Name(name)) => value.get(name),
        (Kind::Array, ChildKey::Index(index)) => {
            let index = if *index < 0 { i64::try_from(value.len()).ok()? + index } else { *index };
            value.index(usize::try_from(index).ok()?)
        }
        _ => None,
    }
}

/// The characters outside quotes.
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

/// The deepest nesting of brackets and parentheses outside quotes.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::json::{Document, SharedValue};
    use crate::lang::jsonpath::*;
    use serde_json::{Value, json};

    fn parse(text: &str) -> Result<JsonPath, BadPath> {
        JsonPath::parse(text).map(|(path, _)| path)
    }

    /// All matches. They are the same in a tree and in a parsed document.
    fn all(path: &JsonPath, value: &Value, visits: &mut usize) -> Vec<Value> {
        let document = Document::parse(value.to_string().into()).unwrap();
        let document = SharedValue::whole(Arc::new(document));
        let mut visits_of_document = *visits;
        let trees = |found: Matches<'_>| found.into_iter().map(ValueRef::to_value).collect::<Vec<_>>();
        let found = trees(path.all(value.into(), &[], visits));
        assert_eq!(trees(path.all(document.get(), &[], &mut visits_of_document)), found, "{path}");
        assert_eq!(visits_of_document, *visits, "{path}");
        let first = path.first(document.get(), &[], &mut { MAX_VISITS }).map(ValueRef::to_value);
        assert!(*visits == 0 || first.as_ref() == found.first(), "{path}");
        found
    }

    #[test]
    fn null_is_nothing_unless_a_filter_asks_for_it() {
        let body = json!({"a": null, "b": [null, 1], "c": [null], "d": 0});
        for (path, expected) in [
            ("$.a", false),
            ("$.gone", false),
            ("$.d", true),
            ("$.b[*]", true),
            ("$.c[*]", false),
            ("$.c[?@ == null]", true),
            ("$.c", true),
        ] {
            assert_eq!(
                parse(path).unwrap().finds((&body).into(), &[], &mut { MAX_VISITS }),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn paths_match_as_the_rfc_defines() {
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
            let path = parse(path).unwrap_or_else(|bad| panic!("{path}: {bad:?}"));
            assert_eq!(Value::from(all(&path, &value, &mut { MAX_VISITS })), expected);
        }
    }

    #[test]
    fn filters_and_slices_match_as_in_the_library() {
        let value = json!({
            "l": [
                {"a": 1, "s": "abc", "t": [1, 2], "o": {"x": 1}},
                {"a": 1.0, "s": "a\nc", "t": [], "o": {}},
                {"a": "1", "s": "", "b": null},
                {"a": -3, "s": "øre", "b": true, "t": [[1], {"x": 2}]},
                [1, 2, 3],
                "text", 7, null, false,
            ],
            "k": {"p": {"a": 2}, "q": 1, "r": [1]},
            "one": 1,
            "s": "abc",
        });
        for filter in [
            "@.a",
            "!@.a",
            "@.b",
            "@.a == 1",
            "@.a != 1",
            "@.a < 2",
            "@.a <= 1",
            "@.a > -4",
            "@.a >= 1",
            "@.s < 'b'",
            "@.s >= 'abc'",
            "@.a == '1'",
            "@.b == null",
            "@.b == true",
            "@.x == @.y",
            "@.x != @.y",
            "@.x < @.y",
            "@.x <= @.y",
            "@ == 7",
            "@ == 'text'",
            "@ == null",
            "@ == false",
            "1 < @.a",
            "@ == @",
            "@.t == @.t",
            "@[0]",
            "@[-1] == 3",
            "@[1] > 1",
            "@['a'] == 1",
            "@.o.x == 1",
            "@.t[*]",
            "@.t[0:1]",
            "@.t[1].x",
            "@.*",
            "count(@.t[*]) == 2",
            "count(@.*) > 2",
            "length(@.t) >= 0",
            "length(@.s) == 3",
            "length(@) == 3",
            "length(@.o) == 1",
            "length('abc') == length(@.s)",
            "value(@.t[*]) == 1",
            "match(@.s, 'a.c')",
            "match(@.s, 'a')",
            "match(@.s, 'a|abc')",
            "search(@.s, 'b|ø')",
            "search(@.s, '')",
            "match(@.s, '[a-z]+')",
            "match(@.s, '[.]')",
            "search(@, 'ex')",
            "!match(@.s, 'abc')",
            "search('abc', 'b')",
            "@.a == 1 && @.s == 'abc'",
            "@.a == 1 || @.b",
            "!(@.a == 1) && @.s",
            "(@.a || @.b) && !(@.t)",
            "@.a == $.one",
            "$.one == 1",
            "$.none",
            "@.s == $.s",
            "@.a < $.k.p.a",
            "length($.s) == length(@.s)",
        ] {
            for path in [format!("$.l[?{filter}]"), format!("$.k[?{filter}]"), format!("$.k[?{filter}].a")] {
                let found = parse(&path).unwrap_or_else(|bad| panic!("{path}: {bad:?}"));
                let query = parse_json_path(&path).unwrap();
                let expected = jsonpath_rust::query::js_path_process(&query, &value).unwrap();
                let expected: Vec<Value> = expected.into_iter().map(|found| found.val().clone()).collect();
                assert_eq!(all(&found, &value, &mut { MAX_VISITS }), expected, "{path}");
            }
        }
        let items = json!([0, 1, 2, 3, 4]);
        let places = ["", "0", "1", "4", "5", "9", "-1", "-3", "-5", "-9"];
        for (start, end) in places.iter().flat_map(|start| places.map(|end| (start, end))) {
            for step in ["", ":1", ":2", ":9", ":-1", ":-2", ":-9", ":0"] {
                let path = format!("$[{start}:{end}{step}]");
                let expected =
                    jsonpath_rust::query::js_path_process(&parse_json_path(&path).unwrap(), &items);
                let expected: Vec<Value> =
                    expected.unwrap().into_iter().map(|found| found.val().clone()).collect();
                let found = all(&parse(&path).unwrap(), &items, &mut { MAX_VISITS });
                assert_eq!(found, expected, "{path}");
            }
        }
        let far = parse("$[-9007199254740991:9007199254740991:9007199254740991]").unwrap();
        assert_eq!(all(&far, &items, &mut { MAX_VISITS }), [json!(0)]);
    }

    #[test]
    fn numbers_are_equal_when_they_are_the_same_number() {
        let value = json!([{"id": 9007199254740993_u64}, {"id": 9007199254740992_u64}, {"id": 0.1}]);
        let path = |filter: &str| parse(&format!("$[?@.id {filter}].id")).unwrap();
        assert_eq!(all(&path("== 9007199254740991"), &value, &mut { MAX_VISITS }).len(), 0);
        assert_eq!(all(&path("> 9007199254740990"), &value, &mut { MAX_VISITS }).len(), 2);
        assert_eq!(all(&path("== 0.1"), &value, &mut { MAX_VISITS }).len(), 1);
        assert_eq!(all(&path("== 0.1000000000000000001"), &value, &mut { MAX_VISITS }).len(), 1);
        assert_eq!(all(&path("== 0.10000000000000002"), &value, &mut { MAX_VISITS }).len(), 0);
    }

    #[test]
    fn the_cost_of_patterns_is_limited() {
        let texts =
            |count: usize, length: usize| Value::from(vec![json!({"s": "ab".repeat(length / 2)}); count]);
        let ordinary = parse("$[?search(@.s, 'b.*a')]").unwrap();
        assert_eq!(all(&ordinary, &texts(20_000, 100), &mut { MAX_VISITS }).len(), 20_000);
        let costly = parse("$[?search(@.s, '[ab]*a[ab]{900}c')]").unwrap();
        assert!(all(&costly, &texts(1000, 2000), &mut { MAX_VISITS }).is_empty());
        assert!(parse("$[?match(@.s, '((a{0,50}){0,50}){0,50}')]").unwrap_err().message.contains("large"));
    }

    #[test]
    fn matches_are_in_document_order() {
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
            let found = all(&parse(path).unwrap(), &value, &mut { MAX_VISITS });
            assert_eq!(Value::from(found), expected, "{path}");
        }
    }

    #[test]
    fn the_cost_of_a_path_is_bounded_by_the_size_of_the_response() {
        // The paths of all matches would take 2 GB here.
        let value = json!({"k".repeat(100_000): vec![json!({"id": 1}); 20_000]});
        assert_eq!(all(&parse("$..id").unwrap(), &value, &mut { MAX_VISITS }).len(), 20_000);
        assert_eq!(all(&parse("$.*[?@.id].id").unwrap(), &value, &mut { MAX_VISITS }).len(), 20_000);
        let deep = (0..120).fold(json!(1), |inner, _| json!({"a": inner}));
        assert_eq!(all(&parse("$..a").unwrap(), &deep, &mut { MAX_VISITS }).len(), 120);
        assert!(all(&parse("$..a..a..a..a..a..a").unwrap(), &deep, &mut { MAX_VISITS }).is_empty());
    }

    #[test]
    fn values_of_templates_are_compared_and_never_parsed() {
        let value = json!({"l": [
            {"id": "x' || 'a' == 'a", "n": 1},
            {"id": 7, "n": 2},
            {"id": "7", "n": 3},
            {"n": 4},
            {"id": null, "n": 5},
            {"id": [1], "n": 6},
        ]});
        let hostile = json!("x' || 'a' == 'a");
        for (path, bound, expected) in [
            ("$.l[?@.id == {{x}}].n", Some(json!(7)), json!([2])),
            ("$.l[?@.id == '{{x}}'].n", Some(hostile.clone()), json!([1])),
            ("$.l[?{{x}} == @.id].n", Some(hostile), json!([1])),
            ("$.l[?@.id == {{ x }} && @.n > 1].n", Some(json!("7")), json!([3])),
            ("$.l[?(@.id == \"{{lookup a '}}\"]'}}\")].n", Some(json!("7")), json!([3])),
            ("$.l[?@.id == {{x}}].n", Some(json!([1])), json!([6])),
            ("$.l[?@.id == {{x}}].n", Some(json!(null)), json!([5])),
            ("$.l[?length({{x}}) == @.n].n", Some(json!("abc")), json!([3])),
            ("$.l[?@.n<{{x}}]['n']", Some(json!(2.5)), json!([1, 2])),
        ] {
            let (parsed, values) = JsonPath::parse(path).unwrap_or_else(|bad| panic!("{path}: {bad:?}"));
            assert_eq!(values.len(), 1, "{path}");
            let bound: Vec<ValueRef<'_>> = bound.iter().map(ValueRef::from).collect();
            let found = parsed.all((&value).into(), &bound, &mut { MAX_VISITS });
            assert_eq!(found.into_iter().map(ValueRef::to_value).collect::<Value>(), expected, "{path}");
            assert_eq!(parsed.to_string(), path);
        }
        let places = |path: &str| {
            let (_, values) = JsonPath::parse(path).unwrap();
            values.into_iter().map(|value| path[value.range].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(places("$[?@.a == 'b {{c}}-{{d}}' || @.e == {{f}}]"), ["b {{c}}-{{d}}", "{{f}}"]);
    }

    #[test]
    fn a_written_text_is_never_the_value_of_a_template() {
        let body = json!([{"a": "\u{e000}0"}, {"a": "\u{e000}1"}]);
        for (path, bound) in
            [(r"$[?@.a == '\ue0000']", None), (r"$[?@.a == '\ue0001' || @.a == {{x}}]", Some("x"))]
        {
            let (path, values) = JsonPath::parse(path).unwrap();
            assert_eq!(values.len(), bound.iter().count(), "{path}");
            let bound: Vec<ValueRef<'_>> = bound.into_iter().map(ValueRef::Text).collect();
            assert!(path.finds((&body).into(), &bound, &mut { MAX_VISITS }), "{path}");
        }
    }

    #[test]
    fn a_template_outside_of_a_comparison_is_an_error_at_its_place() {
        for (path, place) in [
            ("$.{{a}}.b", "{{a}}"),
            ("$.a{{b}}", "{{b}}"),
            ("$['{{a}}']", "{{a}}"),
            ("$.l[{{a}}].n", "{{a}}"),
            ("$.l[?@['x{{a}}'] == 1]", "x{{a}}"),
            ("$.l[?@.{{a}} == 1]", "{{a}}"),
            ("$.l[?search(@.x, '{{a}}')]", "{{a}}"),
            ("$.l[?@.x == {{a}}][{{b}}]", "{{b}}"),
            ("$.l[?@.x == {{#if a}}1{{/if}}]", "{{#if a}}"),
            ("{{a}}", "{{a}}"),
        ] {
            let bad = JsonPath::parse(path).expect_err(path);
            let at = bad.range.map_or("", |range| &path[range]);
            assert_eq!((bad.code, at), (Code::TemplatePlace, place), "{path}");
        }
        for path in ["$.l[?@.x = {{a}}]", "$.l[?{{a}}]", r"$.l[?@.x == 'it\'s {{a}}']", "$.l[?@.x == {{a}"] {
            assert_eq!(JsonPath::parse(path).expect_err(path).code, Code::JsonpathSyntax, "{path}");
        }
    }

    #[test]
    fn syntax_errors_come_with_a_fix() {
        for (path, help) in [
            ("temp", "write `$.temp`"),
            (".a.b", "write `$.a.b`"),
            ("a/b", "write `$.a.b`"),
            ("$.a[", "begins with `$`"),
            ("", "begins with `$`"),
            ("$[?search(@.a, '(')]", "no look-around"),
        ] {
            let bad = parse(path).expect_err(path);
            assert_eq!(bad.code, Code::JsonpathSyntax, "{path}");
            assert!(bad.help.contains(help), "{path}: {}", bad.help);
        }
        let nested = format!("$[?{}@.a{}]", "(".repeat(20_000), ")".repeat(20_000));
        assert!(parse(&nested).is_err());
        assert!(parse(&format!("$[?{}@.a{}]", "(".repeat(100), ")".repeat(100))).is_err());
    }

    #[test]
    fn paths_that_the_library_evaluates_differently_from_the_rfc_are_rejected() {
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
            "$[?match(@.a[*], 'x')]",
            "$[?length(@.a == 1) > 1]",
            "$[?count('x') > 1]",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}
