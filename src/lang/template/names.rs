//! The names that templates can use. They are resolved when the table is loaded; an unknown name is an error with a
//! suggestion.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::diagnostic::suggest;

use super::bad_name::BadName;
use super::evaluated::length;
use super::fields::Fields;
use super::scope::{CallField, Local, PathExpr, Root};
use super::written_name::WrittenName;
use crate::json::ValueRef;
use crate::lang::value::child;

/// Names reserved by the template language.
pub(crate) const RESERVED: &[&str] = &["args", "call", "response", "vars", "memory", "event", "now", "this"];

/// The fields of `call`, and whether each can have fields of its own.
const CALL: &[(&str, CallField, bool)] = &[
    ("platform", CallField::Platform, false),
    ("function", CallField::Function, false),
    ("id", CallField::Id, false),
    ("conversation", CallField::Conversation, false),
    ("caller", CallField::Caller, false),
    ("called", CallField::Called, false),
    ("metadata", CallField::Metadata, true),
    ("global", CallField::Global, true),
    ("headers", CallField::Headers, true),
    ("raw", CallField::Raw, true),
];

/// The names that are available in a template.
#[derive(Debug, Clone)]
pub(crate) struct Names<'a> {
    /// The arguments.
    pub(crate) args: &'a Fields,
    /// The steps of the route and the names that they extract.
    pub(crate) steps: &'a [StepNames],
    /// The number of steps that run before this template is rendered. The values of later steps are not available.
    pub(crate) before: usize,
    /// Whether the template belongs to an event.
    pub(crate) event: bool,
    /// The inbound headers that platforms pass on.
    pub(crate) headers: &'a [String],
    /// The constants of `[vars]`.
    pub(crate) vars: &'a Map<String, Value>,
    /// What routes remember of a conversation; `None` outside of routes.
    pub(crate) memory: Option<&'a MemoryNames>,
    /// Whether the template belongs to a reply that is sent before any of the steps runs.
    pub(crate) accepting: bool,
}

/// The names that routes remember, each with whether its value may decide what is allowed.
pub(crate) type MemoryNames = BTreeMap<String, bool>;

/// The names that a step provides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StepNames {
    /// The step's name; `None` for the only request of a route, whose extracts are top-level names.
    pub(crate) name: Option<String>,
    /// The names that it extracts.
    pub(crate) extracts: Vec<String>,
}

/// A block around an expression, at load.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    /// Its block parameters.
    pub(super) params: Vec<String>,
    /// Whether it has its own value. Plain names inside it are then fields of that value.
    pub(super) has_this: bool,
}

/// A resolved name: the value of a constant, or a path to look up during a call.
pub(super) enum Resolved {
    Constant(Value),
    Path(PathExpr),
}

impl Resolved {
    fn path(raw: &str, root: Root, below: &[String]) -> Self {
        Self::Path(PathExpr { name: raw.to_owned(), root, below: below.to_vec() })
    }
}

impl Names<'_> {
    /// These names for a reply that is sent before any step runs.
    pub(crate) fn accepting(self) -> Self {
        Self { before: 0, accepting: true, ..self }
    }

    /// Resolves a name; `blocks` are the blocks around it, innermost last.
    pub(super) fn resolve(&self, raw: &str, blocks: &[Block]) -> Result<Resolved, BadName> {
        let WrittenName { up, at_root, local, this, segments } = WrittenName::split(raw);
        let path = |root, below: &[String]| Ok(Resolved::path(raw, root, below));
        let around = blocks.iter().filter(|block| block.has_this).count();
        let Some(depth) = around.checked_sub(up) else {
            return Err(BadName::new(
                format!("`{raw}` goes beyond the outermost block"),
                Some(match around {
                    0 => "no block with a value of its own encloses this expression".to_owned(),
                    _ => format!("use at most {around} `../` here"),
                }),
            ));
        };
        if local {
            return loop_variable(raw, segments.first().map(String::as_str), depth, up);
        }
        let Some((first, below)) = segments.split_first().filter(|_| !this) else {
            return match depth {
                0 => Err(BadName::no_this()),
                _ => path(Root::This(up), &segments),
            };
        };
        if up == 0 && !at_root && blocks.iter().any(|block| block.params.contains(first)) {
            return path(Root::Param(first.clone()), below);
        }
        if RESERVED.contains(&first.as_str()) {
            return self.reserved(raw, first, below);
        }
        if depth > 0 && !at_root {
            // Inside a block, a plain name is a field of the block's value. Its shape is not declared.
            return path(Root::This(up), &segments);
        }
        self.extracted(raw, first, below)
    }

    /// Whether there is an argument of this name.
    pub(super) fn is_argument(&self, name: &str) -> bool {
        matches!(self.args, Fields::Closed(args) if args.contains_key(name))
    }

    /// Resolves a name that a step provides: `temp`, or with named steps `weather.temp` and `weather.response.status`.
    fn extracted(&self, raw: &str, first: &str, below: &[String]) -> Result<Resolved, BadName> {
        let path = |root, below: &[String]| Ok(Resolved::path(raw, root, below));
        let position = |step: &StepNames, name: &str| step.extracts.iter().position(|known| known == name);
        for (index, step) in self.steps.iter().enumerate() {
            let not_yet = |what: String| {
                if self.accepting {
                    return Err(BadName::accepting(&what));
                }
                Err(BadName::new(
                    format!("{what}, which is not available yet when this request is rendered"),
                    Some(
                        "a request can use `args`, `call`, `vars`, `now` and the steps before it".to_owned(),
                    ),
                ))
            };
            match &step.name {
                None => match position(step, first) {
                    Some(place) if index < self.before => return path(Root::Extract(index, place), below),
                    Some(_) => return not_yet(format!("`{first}` is extracted from the response")),
                    None => {}
                },
                Some(name) if name == first => {
                    let Some((what, rest)) = below.split_first() else {
                        return Err(BadName::new(
                            format!("`{name}` is a step: name one of its values"),
                            suggest("", step.known()),
                        ));
                    };
                    if index >= self.before {
                        return not_yet(format!("`{raw}` comes from the step `{name}`"));
                    }
                    if what == "response" {
                        let below = response_fields(raw, rest)?;
                        return path(Root::Response(Some(index)), &below);
                    }
                    return match position(step, what) {
                        Some(place) => path(Root::Extract(index, place), rest),
                        None => Err(BadName::new(
                            format!("the step `{name}` does not extract `{what}`"),
                            suggest(what, step.known()),
                        )),
                    };
                }
                Some(_) => {}
            }
        }
        Err(BadName::new(format!("there is no `{first}`"), Some(self.help_for(first))))
    }

    /// Resolves a reserved name.
    fn reserved(&self, raw: &str, first: &str, below: &[String]) -> Result<Resolved, BadName> {
        match first {
            "args" if matches!(self.args, Fields::Leaf) => {
                let names = listed(&self.known_anywhere());
                let help = format!("use it in the requests and replies of a route; {names} can be used here");
                Err(BadName::new("`args` cannot be used here", Some(help)))
            }
            "args" => {
                self.args.check("args", below)?;
                Ok(Resolved::path(raw, Root::Args, below))
            }
            "vars" => self.constant(below),
            "call" => self.call_field(raw, below),
            "response" if self.accepting => {
                Err(BadName::accepting("`response` is what the upstream answers"))
            }
            "response" if self.before == 0 => Err(BadName::new(
                "there is no response here",
                Some("`response` exists in the replies of a route with a request".to_owned()),
            )),
            "response" => Ok(Resolved::path(raw, Root::Response(None), &response_fields(raw, below)?)),
            "now" if below.is_empty() => Ok(Resolved::path(raw, Root::Now, &[])),
            "now" => {
                Err(BadName::new("`now` has no fields", Some("write `{{date now \"%H:%M\"}}`".to_owned())))
            }
            "event" if self.event => Ok(Resolved::path(raw, Root::Event, below)),
            "event" => Err(BadName::new(
                "there is no event here",
                Some("`event` exists in the entries of `[events.<platform>.<name>]`".to_owned()),
            )),
            "memory" => self.remembered(raw, below),
            _ => Err(BadName::no_this()),
        }
    }

    /// Resolves a name that a route remembers, or a part of its value.
    fn remembered(&self, raw: &str, below: &[String]) -> Result<Resolved, BadName> {
        let Some(memory) = self.memory else {
            return Err(BadName::new(
                "there is no memory here: it belongs to a route",
                Some("write this in the route itself".to_owned()),
            ));
        };
        let known = || memory.keys().map(String::as_str);
        let Some(name) = below.first() else {
            return Err(BadName::new("`memory` needs a name", suggest("", known())));
        };
        match memory.get(name) {
            Some(trusted) => Ok(Resolved::path(raw, Root::Memory { trusted: *trusted }, below)),
            None => Err(BadName::new(
                format!("no route remembers `{name}`"),
                suggest(name, known()).or_else(|| {
                    Some(format!("add `remember = {{ {name} = \"…\" }}` to the route that finds it"))
                }),
            )),
        }
    }

    /// Resolves a constant of `[vars]`, or a part of one.
    fn constant(&self, below: &[String]) -> Result<Resolved, BadName> {
        let known = || self.vars.keys().map(String::as_str);
        let Some((name, parts)) = below.split_first() else {
            return Err(BadName::new("`vars` needs a name", suggest("", known())));
        };
        let constant = self.vars.get(name).ok_or_else(|| {
            BadName::new(format!("there is no constant `{name}` in [vars]"), suggest(name, known()))
        })?;
        let part = |parts: &[String]| {
            parts.iter().try_fold(ValueRef::from(constant), |value, name| child(value, name))
        };
        let found = match parts {
            [parent @ .., last] if last == "length" => match part(parent).and_then(length) {
                Some(length) => Some(length.into()),
                None => part(parts).map(ValueRef::to_value),
            },
            _ => part(parts).map(ValueRef::to_value),
        };
        found
            .map(Resolved::Constant)
            .ok_or_else(|| BadName::new(format!("the constant `{name}` has no such part"), None))
    }

    /// Resolves a field of `call`, or a part of one.
    fn call_field(&self, raw: &str, below: &[String]) -> Result<Resolved, BadName> {
        let known = CALL.iter().map(|(name, ..)| *name);
        let Some((field, parts)) = below.split_first() else {
            return Err(BadName::new("`call` needs a field", suggest("", known)));
        };
        let Some(&(name, field, open)) = CALL.iter().find(|(name, ..)| name == field) else {
            return Err(BadName::new(format!("`call` has no field `{field}`"), suggest(field, known)));
        };
        if !open && !parts.is_empty() && parts != ["length"] {
            return Err(BadName::new(format!("`call.{name}` is a string and has no fields"), None));
        }
        if field != CallField::Headers {
            return Ok(Resolved::path(raw, Root::Call(field), parts));
        }
        if let Some(name) = parts.first()
            && !self.headers.iter().any(|known| known.eq_ignore_ascii_case(name))
        {
            return Err(BadName::new(
                format!("no platform passes on the header `{name}`"),
                Some(format!("add it to the platform: `[platforms.x] headers = [\"{name}\"]`")),
            ));
        }
        let parts: Vec<String> = parts.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Resolved::path(raw, Root::Call(field), &parts))
    }

    /// The names that are known without a step or an argument.
    fn known_anywhere(&self) -> Vec<&'static str> {
        let event = self.event.then_some("event");
        let memory = self.memory.filter(|memory| !memory.is_empty()).map(|_| "memory");
        ["call"].into_iter().chain(event).chain(memory).chain(["vars", "now"]).collect()
    }

    fn help_for(&self, name: &str) -> String {
        if let Fields::Closed(args) = self.args
            && args.contains_key(name)
        {
            return format!("arguments are written `args.{name}`");
        }
        if self.vars.contains_key(name) {
            return format!("constants are written `vars.{name}`");
        }
        if self.memory.is_some_and(|memory| memory.contains_key(name)) {
            return format!("remembered values are written `memory.{name}`");
        }
        if CALL.iter().any(|(field, ..)| *field == name) {
            return format!("what the platform sends is written `call.{name}`");
        }
        let mut known: Vec<&str> = Vec::new();
        for step in &self.steps[..self.before] {
            match &step.name {
                Some(name) => known.push(name),
                None => known.extend(step.extracts.iter().map(String::as_str)),
            }
        }
        if !matches!(self.args, Fields::Leaf) {
            known.push("args");
        }
        known.extend(self.known_anywhere());
        if self.before > 0 {
            known.push("response");
        }
        suggest(name, known.iter().copied()).unwrap_or_default()
    }
}

/// Names in a sentence: "`a`, `b` and `c`".
fn listed(names: &[&str]) -> String {
    let mut names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let last = names.pop().unwrap_or_default();
    format!("{} and {last}", names.join(", "))
}

/// Resolves a loop variable `up` levels up; `depth` is the number of enclosing blocks that have a value.
fn loop_variable(raw: &str, name: Option<&str>, depth: usize, up: usize) -> Result<Resolved, BadName> {
    const KNOWN: [(&str, Local); 4] =
        [("index", Local::Index), ("key", Local::Key), ("first", Local::First), ("last", Local::Last)];
    if depth == 0 {
        return Err(BadName::new(format!("`{raw}` exists only inside `{{{{#each}}}}`"), None));
    }
    let name = name.unwrap_or_default();
    match KNOWN.iter().find(|(known, _)| *known == name) {
        Some((_, local)) => Ok(Resolved::path(raw, Root::Local(*local, up), &[])),
        None => {
            let help = suggest(name, KNOWN.map(|(known, _)| known));
            Err(BadName::new(format!("there is no `{raw}`"), help))
        }
    }
}

impl StepNames {
    fn known(&self) -> impl Iterator<Item = &str> + Clone {
        self.extracts.iter().map(String::as_str).chain(["response"])
    }
}

/// The fields of a response. Header names are case-insensitive.
fn response_fields(raw: &str, below: &[String]) -> Result<Vec<String>, BadName> {
    match below.first().map(String::as_str) {
        Some("headers") => Ok(below.iter().map(|name| name.to_ascii_lowercase()).collect()),
        Some("status" | "body") => Ok(below.to_vec()),
        other => Err(BadName::new(
            format!("`{raw}` is not part of a response, which has `status`, `headers` and `body`"),
            other.and_then(|name| suggest(name, ["status", "headers", "body"])),
        )),
    }
}
