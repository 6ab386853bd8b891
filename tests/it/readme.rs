//! README.md and docs/ against the program: every table is loaded, every command with a shown output is run, and every
//! key, helper, code and status field is documented.
//!
//! The language of a code block says what it is: `toml` is a whole table, `toml fragment` a part that is completed
//! here, `toml bad=<code>` has that error, `text check` after it is the output of `check`. `file=<name>` names a file
//! that later blocks and commands use. In a `console` block, each `$ ` line is followed by its output.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jackfield::call::FailureKind;
use jackfield::diagnostic::{Code, Overtaken, Severity};
use jackfield::flow::FailureReason;
use jackfield::load::{self, BoundAddresses, Environment, ListenerOptions};
use jackfield::platform::{self, PLATFORMS};
use jackfield::upstream;
use regex::Regex;

use crate::pages::INCIDENTAL;
use crate::support::folder::Folder;
use crate::support::proxy::GUARD;

/// A file of the repository.
fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The README and everything in docs/.
pub(crate) fn documents() -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["docs", "docs/platforms"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                names.push(format!("{folder}/{name}"));
            }
        }
    }
    assert!(names.len() >= 3, "{names:?}");
    names.push("README.md".to_owned());
    names.sort();
    names
}

/// A code block of a document.
#[derive(Debug)]
pub(crate) struct Block {
    /// `README.md:12`
    pub(crate) place: String,
    pub(crate) language: String,
    words: Vec<String>,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn is(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let text = read(document);
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let mut words = info.split_whitespace().map(str::to_owned);
        let mut block = Block {
            place: format!("{document}:{}", number + 1),
            language: words.next().unwrap_or_default(),
            words: words.collect(),
            text: String::new(),
        };
        for (_, line) in lines.by_ref().take_while(|(_, line)| line.trim_start() != "```") {
            block.text.push_str(line.get(indent..).unwrap_or_default());
            block.text.push('\n');
        }
        blocks.push(block);
    }
    blocks
}

/// The files that a document's commands use.
trait Files {
    fn write_sample(&self);
    fn write_named(&self, blocks: &[Block]);
}

impl Files for Folder {
    /// The shipped table, its tests and its templates, listening on free ports. The sample needs nothing else.
    fn write_sample(&self) {
        let table = read("routes.toml");
        let free = table.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:8081", "127.0.0.1:0");
        assert_ne!(table, free);
        self.write("routes.toml", &free);
        self.write("routes.test.toml", &read("routes.test.toml"));
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        for entry in fs::read_dir(templates).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            self.write(&format!("templates/{name}"), &read(&format!("templates/{name}")));
        }
    }

    /// The files that the document's blocks name.
    fn write_named(&self, blocks: &[Block]) {
        for block in blocks {
            if let Some(name) = block.value("file") {
                self.write(name, &block.text);
            }
        }
    }
}

/// Completes a fragment to a table: adds a platform, an upstream, a route, and in each route a request if something
/// needs one and otherwise a reply. Additions go to the end where possible, so that line numbers stay the same.
pub(crate) fn completed(fragment: &str) -> String {
    let table: toml::Table = fragment.parse().unwrap_or_else(|error| panic!("{error}\n{fragment}"));
    let mut text = fragment.to_owned();
    let sub = |table: &toml::Table, key: &str| table.get(key).and_then(toml::Value::as_table).cloned();
    if !table.contains_key("platforms") {
        text.push_str("[platforms.http]\nauth.bearer = { token = \"let-me-in\" }\n");
    }
    let mut uses_api = Regex::new(r#"upstream\s*= "api""#).unwrap().is_match(fragment);
    match sub(&table, "routes") {
        None => text.push_str("[routes.example]\nreply.text = \"Yes.\"\n"),
        Some(routes) => {
            for (name, route) in routes {
                let route = route.as_table().unwrap();
                let mut rest = String::new();
                if route.contains_key("request") && !route.contains_key("upstream") {
                    rest.push_str("upstream = \"api\"\n");
                    uses_api = true;
                }
                if !route.contains_key("request") && !route.contains_key("reply") {
                    let reply = if route.contains_key("args") { "{{json args}}" } else { "Yes." };
                    rest.push_str(&format!("reply.text = \"{reply}\"\n"));
                }
                let heading = format!("[routes.{name}]\n");
                if rest.is_empty() {
                } else if text.contains(&heading) {
                    text = text.replace(&heading, &format!("{heading}{rest}"));
                } else {
                    text.push_str(&format!("{heading}{rest}"));
                }
            }
        }
    }
    if uses_api && !sub(&table, "upstreams").is_some_and(|upstreams| upstreams.contains_key("api")) {
        text.push_str("[upstreams.api]\nbase_url = \"https://api.example.com\"\n");
    }
    text
}

fn jackfield(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jackfield"));
    command.current_dir(folder.path()).env_clear().stdin(Stdio::null());
    command
}

#[test]
fn tables_in_the_docs_load_or_fail_as_marked() {
    let environment = Environment {
        variable: &|name| match name {
            "PORT" | "PUBLIC_URL" => None,
            // 32 bytes.
            "STATE_KEY" => Some(format!("{}=", "A".repeat(43))),
            name => Some(format!("value-of-{name}")),
        },
        options: ListenerOptions::default(),
        file: &|path| {
            let text = match path.file_name().and_then(|name| name.to_str()) {
                Some("cert.pem") => include_str!("tls/one.pem"),
                Some("key.pem") => include_str!("tls/one.key.pem"),
                _ => "secret\n",
            };
            Ok(text.to_owned())
        },
        now: jiff::Timestamp::now(),
        without_secrets: false,
        demo: None,
        addresses: BoundAddresses::default(),
        overtaken: Overtaken::default(),
    };
    let (mut good, mut bad, mut shown) = (0, 0, 0);
    for document in documents() {
        let folder = Folder::with(&[]);
        let blocks = blocks(&document);
        folder.write_named(&blocks);
        folder.write("routes.d/more.toml", "[routes.more]\nreply.text = \"More.\"\n");
        for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "toml") {
            let place = &block.place;
            let partial = block.is("fragment") || block.value("bad").is_some();
            let text = if partial { completed(&block.text) } else { block.text.clone() };
            folder.write("routes.toml", &text);
            let (loaded, _) = load::check(&folder.path().join("routes.toml"), &environment).unwrap();
            // Few examples have tests, and a fragment does not say which platform calls.
            let counts = |code| !(INCIDENTAL.contains(&code) || partial && code == Code::WriteUnguarded);
            let found = loaded.diagnostics.iter().filter(|found| counts(found.code));
            let found: Vec<_> = found.map(|found| (found.code.slug(), &found.message)).collect();
            match block.value("bad") {
                None => {
                    assert!(loaded.plan.is_some() && found.is_empty(), "{place}: {found:#?}\n{text}");
                    good += 1;
                }
                Some(code) => {
                    let codes: Vec<&str> = found.iter().map(|(code, _)| *code).collect();
                    assert_eq!(codes, [code], "{place}: {found:#?}\n{text}");
                    bad += 1;
                }
            }
            if let Some(check) = blocks.get(index + 1).filter(|block| block.is("check")) {
                let output = jackfield(&folder).arg("check").output().unwrap();
                assert_eq!(String::from_utf8(output.stdout).unwrap(), check.text, "{}", check.place);
                shown += 1;
            }
        }
    }
    assert!(good > 15 && bad > 1 && shown > 0, "{good} {bad} {shown}");
}

#[test]
fn the_shipped_table_works_outside_the_checkout() {
    let folder = Folder::with(&[]);
    folder.write_sample();
    let (loaded, _) = load::check(&folder.path().join("routes.toml"), &load::process_environment()).unwrap();
    let codes: Vec<&str> = loaded.diagnostics.iter().map(|found| found.code.slug()).collect();
    assert_eq!(codes, Vec::<&str>::new());
    let output = jackfield(&folder).arg("test").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// `serve --demo`, stopped at the end of the test.
struct Proxy {
    child: Child,
    listen: String,
    admin: String,
}

impl Proxy {
    fn start(folder: &Folder) -> Self {
        let mut command = jackfield(folder);
        let mut child = command
            .args(["serve", "--demo"])
            .env("NO_COLOR", "1")
            .env("JACKFIELD_LOG", "human")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.by_ref().map(Result::unwrap).find(|line| line.contains("ready"));
        let ready = ready.expect("the log ended before it was ready");
        // Keep reading the log, because a full pipe would block the proxy.
        std::thread::spawn(move || lines.for_each(drop));
        let field = |name: &str| {
            let rest = ready.split(&format!("{name}=")).nth(1).unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        Self { listen: field("listen"), admin: field("admin"), child }
    }

    /// The output of a `curl` command.
    fn curl(&self, words: &[String], place: &str) -> String {
        let (mut url, mut body) = (None, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-s" => {}
                "-d" => body = words.next().cloned(),
                word if !word.starts_with('-') => url = Some(word.to_owned()),
                other => panic!("{place}: `curl {other}` is not known to this test"),
            }
        }
        let url = url.unwrap();
        let (host, path) = url.split_once('/').unwrap();
        let address = match host {
            "localhost:8080" => &self.listen,
            "localhost:8081" => &self.admin,
            other => panic!("{place}: nothing listens on {other}"),
        };
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.unwrap_or_default();
        let content_type = "application/x-www-form-urlencoded";
        write!(
            stream,
            "{method} /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn documented_status_keys_match_the_response() {
    let folder = Folder::with(&[]);
    folder.write_sample();
    let proxy = Proxy::start(&folder);
    let status = proxy.curl(&["localhost:8081/status".to_owned()], "status");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let keys = status.as_object().unwrap().keys().map(String::as_str);
    let reference = read("docs/reference.md");
    assert_eq!(listed(&reference, "status"), names(keys));
    let plan = reference.split("- `plan`: ").nth(1).unwrap().split("\n- ").next().unwrap();
    for key in status["plan"].as_object().unwrap().keys() {
        assert!(plan.contains(&format!("`{key}`")), "{key}");
    }
}

/// Splits a command line as a shell would; single quotes only.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn documented_commands_print_the_shown_output() {
    let (mut requests, mut commands) = (0, 0);
    for document in documents() {
        let blocks = blocks(&document);
        if !blocks.iter().any(|block| block.language == "console") {
            continue;
        }
        let folder = Folder::with(&[]);
        folder.write_sample();
        folder.write_named(&blocks);
        let proxy = Proxy::start(&folder);
        for block in blocks.iter().filter(|block| block.language == "console") {
            let place = &block.place;
            for part in format!("\n{}", block.text).split("\n$ ").skip(1) {
                // A command ends with the line that closes its last quote.
                let lines: Vec<&str> = part.split_inclusive('\n').collect();
                let ends = (1..=lines.len())
                    .find(|count| lines[..*count].concat().matches('\'').count() % 2 == 0)
                    .unwrap();
                let (command, expected) = (lines[..ends].concat(), lines[ends..].concat());
                let words = words(&command);
                let printed = match words[0].as_str() {
                    "curl" => {
                        requests += 1;
                        proxy.curl(&words[1..], place)
                    }
                    "jackfield" => {
                        commands += 1;
                        let output = jackfield(&folder).args(&words[1..]).output().unwrap();
                        String::from_utf8(output.stdout).unwrap()
                    }
                    other => panic!("{place}: `{other}` is not known to this test"),
                };
                assert_eq!(printed.trim_end(), expected.trim_end(), "{place}: {command}");
            }
        }
    }
    assert!(requests >= 5 && commands >= 3, "{requests} {commands}");
}

/// The backquoted names at the start of the list items after a marker such as `<!-- keys: RawServer -->`.
fn listed(reference: &str, marker: &str) -> BTreeSet<String> {
    let marker = format!("<!-- {marker} -->\n");
    let list = reference.split(&marker).nth(1).unwrap_or_else(|| panic!("the reference has no {marker}"));
    let items = list.lines().take_while(|line| line.starts_with("- ") || line.starts_with("  "));
    let heads = items.filter(|line| line.starts_with("- "));
    // The names are before the first colon outside of quotes.
    let names = Regex::new(r"`([^`]+)`(?:, |:|$)").unwrap();
    let mut found = BTreeSet::new();
    for head in heads {
        let mut rest = head.trim_start_matches("- ");
        while let Some(name) = names.captures(rest).filter(|name| name.get(0).unwrap().start() == 0) {
            found.insert(name[1].to_owned());
            rest = &rest[name[0].len()..];
            if name[0].ends_with(':') {
                break;
            }
        }
    }
    assert!(!found.is_empty(), "nothing is listed after {marker}");
    found
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn documented_table_keys_match_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/table/raw");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| !file.ends_with("toml_table.rs"));
    let raw: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let reference = read("docs/reference.md");
    let field = Regex::new(r"(?m)^        (\w+): ").unwrap();
    let mut structs = 0;
    for table in raw.split("toml_table! {").skip(1) {
        let table = table.split("\n}\n").next().unwrap();
        let (fields, _) = table.split_once("\n    }").unwrap();
        let name = fields.split_once(" {").unwrap().0.split_whitespace().next_back().unwrap();
        let keys = field.captures_iter(fields).map(|key| match &key[1] {
            "type_name" => "type".to_owned(),
            "enumeration" => "enum".to_owned(),
            "as_platform" => "as".to_owned(),
            key => key.to_owned(),
        });
        assert_eq!(listed(&reference, &format!("keys: {name}")), keys.collect(), "{name}");
        structs += 1;
    }
    assert!(structs >= 29, "{structs}");
}

#[test]
fn documented_platforms_schemes_failures_and_codes_match_the_code() {
    let reference = read("docs/reference.md");
    for platform in PLATFORMS {
        let row = format!("| `{}` | ", platform.name());
        assert!(reference.contains(&row), "docs/reference.md has no row for `{}`", platform.name());
        let settings = names(platform.settings().iter().map(|setting| setting.key));
        if !settings.is_empty() {
            assert_eq!(listed(&reference, &format!("keys: {}", platform.name())), settings);
        }
        let own = names(platform.extension_keys().iter().copied());
        if !own.is_empty() {
            assert_eq!(listed(&reference, &format!("own: {}", platform.name())), own);
        }
    }
    let mut events = BTreeSet::new();
    for platform in PLATFORMS {
        events.extend(platform.events().iter().map(|kind| format!("{}.{}", platform.name(), kind.name)));
        let declared = names(platform.declare_keys().iter().map(|key| key.key));
        if !declared.is_empty() {
            assert_eq!(listed(&reference, &format!("declare: {}", platform.name())), declared);
        }
    }
    assert_eq!(listed(&reference, "events"), events);
    let inbound = names(platform::auth::SCHEMES.iter().map(|scheme| scheme.name));
    assert_eq!(listed(&reference, "schemes: inbound"), inbound);
    let outbound = names(upstream::auth::SCHEMES.iter().map(|scheme| scheme.name));
    assert_eq!(listed(&reference, "schemes: outbound"), outbound);
    assert_eq!(listed(&reference, "failures"), names(FailureKind::NAMED.map(FailureKind::slug)));
    let reasons = FailureReason::ALL.iter().map(|reason| reason.slug().to_owned()).collect();
    assert_eq!(listed(&reference, "reasons"), reasons);
    assert_eq!(listed(&reference, "codes"), names(Code::ALL.iter().map(|code| code.slug())));
    for code in Code::ALL {
        let weight = match code.severity() {
            Severity::Error => "",
            Severity::Warning => " A warning.",
            Severity::Note => " A note.",
        };
        let line = format!("- `{}`: {}{weight}\n", code.slug(), code.meaning());
        assert!(reference.contains(&line), "{line}");
    }
}

#[test]
fn documented_template_helpers_and_names_match_the_code() {
    let reference = read("docs/reference.md");
    let quoted = |text: &str, pattern: &str| -> BTreeSet<String> {
        let found = Regex::new(pattern).unwrap();
        found.captures_iter(text).map(|name| name[1].to_owned()).collect()
    };
    let source = read("src/lang/template/helpers.rs");
    let helpers = quoted(&source, r#"(?:helper|condition)\("(\w+)""#);
    assert!(helpers.len() >= 20, "{helpers:?}");
    let usages = listed(&reference, "helpers");
    let explained = usages.iter().map(|usage| usage.split(' ').next().unwrap());
    assert_eq!(names(explained), helpers);
    for block in ["if", "unless", "each", "with"] {
        assert!(reference.contains(&format!("{{{{#{block} ")), "{block}");
    }

    let names_known = read("src/lang/template/names.rs");
    let fields = names_known.split("const CALL:").nth(1).unwrap().split("];").next().unwrap();
    let call = quoted(fields, r#"\("(\w+)""#);
    let documented = listed(&reference, "names");
    assert!(call.len() >= 10, "{call:?}");
    for field in call {
        let name = format!("call.{field}");
        let below = format!("{name}.<name>");
        assert!(documented.contains(&name) || documented.contains(&below), "{name}");
    }

    let arguments = read("src/plan/arguments.rs");
    let formats = arguments.split("FORMATS:").nth(1).unwrap().split("];").next().unwrap();
    let formats = quoted(formats, r#"\("([\w-]+)","#);
    let line = reference.split("- `format`: a named form").nth(1).unwrap().split("- `items`").next().unwrap();
    assert_eq!(quoted(line, "`([\\w-]+)`"), formats);
}

#[test]
fn links_resolve() {
    let link = Regex::new(r"\]\(([^)]+)\)").unwrap();
    let mut seen = 0;
    let more = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "fuzz/README.md"].map(str::to_owned);
    for document in documents().into_iter().chain(more).chain(crate::examples::pages()) {
        let text = read(&document);
        let folder = Path::new(&document).parent().unwrap();
        for target in link.captures_iter(&text).map(|link| link[1].to_owned()) {
            seen += 1;
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() { PathBuf::from(&document) } else { folder.join(file) };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
            assert!(path.exists(), "{document}: {target}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(path).unwrap();
                let mut headings = text.lines().filter_map(|line| line.strip_prefix('#'));
                let slug = |heading: &str| {
                    heading
                        .trim_start_matches('#')
                        .trim()
                        .to_lowercase()
                        .replace([',', '.'], "")
                        .replace(' ', "-")
                };
                assert!(headings.any(|heading| slug(heading) == anchor), "{document}: {target}");
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// The reference is long: its table of contents lists every section.
#[test]
fn the_table_of_contents_of_the_reference_is_complete() {
    let reference = read("docs/reference.md");
    let (contents, sections) = reference.split_once("\n## ").unwrap();
    let headings = sections.lines().filter(|line| line.starts_with("## ") || line.starts_with("### "));
    let mut seen = 0;
    for heading in headings.map(|line| line.trim_start_matches('#').trim()) {
        // The sections below this one are listed in its place.
        if heading != "Time, retries and limits" {
            let anchor = heading.to_lowercase().replace(',', "").replace(' ', "-");
            assert!(contents.contains(&format!("](#{anchor})")), "{heading}");
            seen += 1;
        }
    }
    assert!(seen > 35, "{seen}");
}

/// The documents for contributors name source files; each of them must exist.
#[test]
fn files_named_in_contributor_docs_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = Regex::new(r"`((?:[a-z_]+/)*[a-z_]+\.(?:rs|json)|(?:[a-z_]+/)+)`").unwrap();
    for document in ["CONTRIBUTING.md", "docs/architecture.md"] {
        let text = read(document);
        let paths: Vec<&str> = named.captures_iter(&text).map(|path| path.get(1).unwrap().as_str()).collect();
        assert!(paths.len() > 10, "{document}: {paths:?}");
        for path in paths {
            // Members of a family of folders are named without their parent.
            let homes = ["", "src", "src/compile"].map(|folder| root.join(folder).join(path));
            assert!(homes.iter().any(|home| home.exists()), "{document}: {path}");
        }
    }
}

/// The docs use standard terms; these words are home-made.
#[test]
fn the_docs_use_standard_terms() {
    let quaint = [
        "door",
        "doors",
        "mend",
        "turned away",
        "heeded",
        "whoever",
        "fall-back",
        "parted by",
        "for want of",
    ];
    let names = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned);
    let names = names.into_iter().chain(crate::examples::pages());
    let folders = ["docs", "docs/platforms"].map(|folder| {
        let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
        entries
            .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap()))
            .collect::<Vec<_>>()
    });
    let pages: Vec<_> =
        names.chain(folders.into_iter().flatten()).filter(|name| name.ends_with(".md")).collect();
    assert!(pages.len() > 8, "{pages:?}");
    for page in pages {
        let text = read(&page);
        for word in quaint {
            let found = Regex::new(&format!(r"(?i)\b{word}\b")).unwrap();
            assert_eq!(found.find(&text).map(|found| found.as_str()), None, "{page}");
        }
    }
}
