//! Tests the layers: `src/lib.rs` has the map of which module may use which, and [`RULES`] lists what else is forbidden
//! where.

use std::fs;
use std::path::Path;

/// A set of forbidden words. Paths are relative to `src/`; a path that ends in `/` covers everything in that folder.
struct Rule {
    within: &'static [&'static str],
    but_not: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

const OUTSIDE_WORLD: &[&str] =
    &["tokio", "reqwest", "Instant", "SystemTime", "Timestamp::now", "Zoned::now", "fs", "env", "async"];

const RULES: &[Rule] = &[
    Rule {
        within: &[
            "compile/",
            "plan/",
            "lang/",
            "json/",
            "platform/",
            "call.rs",
            "scheme.rs",
            "secret.rs",
            "diagnostic/",
        ],
        but_not: &[],
        words: OUTSIDE_WORLD,
        why: "the pure layers know no runtime, client, clock, file or environment",
    },
    Rule {
        within: &[""],
        but_not: &["table/", "compile/", "load.rs", "lib.rs"],
        words: &["toml", "table"],
        why: "only the table, the compiler and `load` know what is written",
    },
    Rule {
        within: &["lang/"],
        but_not: &[],
        words: &["plan", "platform", "upstream", "table", "flow", "server"],
        why: "a language knows values and diagnostics, and no route",
    },
    Rule {
        within: &["platform/"],
        but_not: &[],
        words: &["plan", "upstream", "table", "flow", "server", "axum", "hyper"],
        why: "a platform knows calls, outcomes, secrets and diagnostics only",
    },
    Rule {
        within: &[""],
        but_not: &["cli/"],
        words: &["println!", "eprintln!", "print!", "eprint!", "stdout", "anyhow", "clap"],
        why: "only the command line prints, and only there may an error be any error",
    },
    Rule {
        within: &[""],
        but_not: &["upstream/"],
        words: &["reqwest"],
        why: "only `upstream` speaks to upstreams",
    },
    Rule {
        within: &[""],
        but_not: &["server/", "demo/"],
        words: &["axum"],
        why: "only the server and the sample API speak HTTP; dispatch has no HTTP in it",
    },
    Rule {
        within: &[""],
        but_not: &[],
        words: &["hyper"],
        why: "calls use the codec in `http1` on both sides",
    },
    Rule {
        within: &["http1/"],
        but_not: &[],
        words: OUTSIDE_WORLD,
        why: "the codec is given bytes, and neither reads nor writes a connection",
    },
    Rule {
        within: &[""],
        but_not: &["main.rs"],
        words: &["process::exit", "process::abort"],
        why: "only `main` ends the process",
    },
];

/// Exceptions from the rules, each with its reason.
const ALLOWED: &[(&str, &str, &str)] =
    &[("lang/template/scope.rs", "platform", "a field of a call's envelope")];

/// A source file: its path relative to `src/`, and its code without comments, strings and tests.
struct Source {
    path: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                // The tests of a module may use what the module may not.
                if !name.ends_with("/tests") {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                sources.push(Source { path: name, code: code(&fs::read_to_string(path).unwrap()) });
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(sources.len() > 50, "not all files are seen");
    sources
}

/// The code of a file: without comments, without the contents of strings, and without everything from `#[cfg(test)]`
/// on, because tests come last in each file.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap();
    let (mut code, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|c| *c == '\n');
                code.push('\n');
            }
            '"' if !code.ends_with('\'') => {
                let hashes = code.chars().rev().take_while(|c| *c == '#').count();
                let raw = code[..code.len() - hashes].ends_with('r');
                let end = format!("\"{}", "#".repeat(if raw { hashes } else { 0 }));
                let mut content = String::new();
                while let Some(c) = chars.next() {
                    content.push(c);
                    if c == '\\' && !raw {
                        content.push(' ');
                        chars.next();
                    } else if content.ends_with(&end) {
                        break;
                    }
                }
                code.push_str("\"\"");
            }
            c => code.push(c),
        }
    }
    code
}

/// The lines that contain `word` as a whole word.
fn lines_with<'a>(code: &'a str, word: &str) -> Vec<&'a str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let has = |line: &&str| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
    };
    code.lines().filter(has).map(str::trim).collect()
}

/// The modules in the order of the map. Each may use those below it.
fn map() -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    let names = rows.filter_map(|row| row.split(" |").next()?.split('`').nth(1).map(str::to_owned));
    let map: Vec<_> = names.collect();
    let mut listed: Vec<_> = map.iter().map(String::as_str).collect();
    let modules = text.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    let mut modules: Vec<_> = modules.map(|name| name.trim_end_matches(';')).collect();
    listed.sort_unstable();
    modules.sort_unstable();
    assert_eq!(listed, modules, "the map in src/lib.rs lists every module once");
    map
}

/// The modules of this crate that the code names: `crate::flow::…`, `crate::{flow::…, live}`.
fn used(code: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut used = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            used.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut items = vec![String::new()];
        for c in group.chars() {
            match c {
                '}' if depth == 0 => break,
                ',' if depth == 0 => items.push(String::new()),
                c => {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    items.last_mut().unwrap().push(c);
                }
            }
        }
        used.extend(items.iter().map(|item| name(item.trim())).filter(|name| !name.is_empty()));
    }
    used
}

#[test]
fn modules_use_only_modules_below_them() {
    let map = map();
    let mut arrows = 0;
    let mut wrong = Vec::new();
    for Source { path, code } in sources() {
        let module = path.split(['/', '.']).next().unwrap();
        // The binary is above all modules, and `lib.rs` is the map itself.
        let Some(from) = map.iter().position(|known| known == module) else {
            assert!(["main", "lib"].contains(&module), "{path}");
            continue;
        };
        for name in used(&code) {
            let to = map.iter().position(|known| *known == name);
            let to = to.unwrap_or_else(|| panic!("{path}: `crate::{name}` is not in the map"));
            arrows += usize::from(to != from);
            if to < from {
                wrong.push(format!("{path}: `{module}` uses `{name}`, which is above it"));
            }
        }
    }
    assert!(arrows > 50, "{arrows} arrows");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn layers_use_no_forbidden_words() {
    let sources = sources();
    let mut wrong = Vec::new();
    let mut allowed = Vec::new();
    for Rule { within, but_not, words, why } in RULES {
        let among = |paths: &[&str], path: &str| {
            paths.iter().any(|known| {
                path == *known || path.starts_with(known) && known.ends_with('/') || known.is_empty()
            })
        };
        let concerned: Vec<_> = sources
            .iter()
            .filter(|source| among(within, &source.path) && !among(but_not, &source.path))
            .collect();
        for place in *within {
            assert!(concerned.iter().any(|source| source.path.starts_with(place)), "nothing in {place}");
        }
        for Source { path, code } in concerned {
            for word in *words {
                let lines = lines_with(code, word);
                if let Some(exception) =
                    ALLOWED.iter().find(|(known, may, _)| known == path && may == word && !lines.is_empty())
                {
                    allowed.push(exception);
                    continue;
                }
                wrong.extend(lines.iter().map(|line| format!("{path}: `{line}`: {why}")));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(allowed.len(), ALLOWED.len(), "an unused exception");
}

/// Each platform is a folder and each auth scheme a file, listed in the `mod.rs` above it.
#[test]
fn every_platform_and_scheme_is_registered() {
    for (folder, list, mark) in [
        ("platform/", "PLATFORMS", " Platform for "),
        ("platform/auth/", "SCHEMES", "static SCHEME: Scheme"),
        ("upstream/auth/", "SCHEMES", "static SCHEME: Scheme"),
    ] {
        let sources = sources();
        let name = |source: &Source| {
            let name = source.path.strip_prefix(folder)?.strip_suffix(".rs")?;
            let name = name.strip_suffix("/mod").unwrap_or(name);
            (!name.contains('/') && name != "mod").then(|| name.to_owned())
        };
        let marked = sources.iter().filter(|source| source.code.contains(mark));
        let names: Vec<_> = marked.filter_map(name).collect();
        assert!(names.len() > 2, "{folder}: {mark}");
        let home = sources.iter().find(|source| source.path == format!("{folder}mod.rs")).unwrap();
        let from = home.code.find(&format!("static {list}")).unwrap_or_else(|| panic!("{folder}: no {list}"));
        let listed = home.code[from..].split(';').next().unwrap().split('[').next_back().unwrap();
        for name in &names {
            let lines = lines_with(listed, &format!("&{name}"));
            assert_eq!(lines.len(), 1, "{folder}{name} is not in {list}: {listed}");
        }
        assert_eq!(listed.matches('&').count(), names.len(), "{folder}: {listed}");
    }
}

#[test]
fn comments_strings_and_tests_are_ignored() {
    let text = "use crate::{flow::{self, CallEnv}, live}; // crate::cli\nlet x = \"tokio\"; r#\"a\"tokio\"# '\"' tokio::x\n#[cfg(test)]\nfs";
    let code = code(text);
    assert_eq!(used(&code), ["flow", "live"]);
    assert_eq!(lines_with(&code, "tokio").len(), 1);
    assert_eq!(code.matches("tokio").count(), 1, "{code}");
    assert_eq!(lines_with(&code, "fs"), Vec::<&str>::new());
}
