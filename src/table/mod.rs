//! What is written: the main file, the files it includes and the templates beside it, as text with places.
//!
//! Reading is the only thing that touches files here; what the table means is the plan's to say.

pub(crate) mod add;
pub(crate) mod document;
pub(crate) mod edit;
mod misplaced_keys;
pub(crate) mod raw;
pub(crate) mod reader;
pub(crate) mod shape;
mod syntax;
mod test_files;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, FileId, Sources, Span, list};

use document::Located;
use raw::{RawDefaults, RawFile, RawForm, RawLog, RawPlatform, RawRoute, RawServer, RawTraces, RawUpstream};
use reader::{FromNode, Key, Named, WithJson};
use test_files::is_test_file;

pub(crate) use test_files::read_tests;

/// The largest file that is read; a table or template beyond it is a mistake.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// The most that the main file and those it includes may have together.
const MAX_TABLE_BYTES: usize = 64 * 1024 * 1024;

/// The folder of template files, beside the main file.
const TEMPLATES: &str = "templates";

/// Everything that was read, all files merged.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) server: RawServer,
    pub(crate) log: RawLog,
    pub(crate) traces: Key<RawTraces>,
    pub(crate) platforms: Entry<RawPlatform>,
    pub(crate) upstreams: Entry<WithJson<RawUpstream>>,
    pub(crate) defaults: RawDefaults,
    /// What all `[defaults]` say, to tell whether they changed.
    pub(crate) defaults_json: String,
    pub(crate) vars: Entry<document::Kind>,
    pub(crate) routes: Entry<WithJson<RawRoute>>,
    pub(crate) forms: Entry<WithJson<RawForm>>,
    /// The platform, the event's name, its entry.
    pub(crate) events: Vec<EventEntry>,
    /// The template files by their path under `templates/`.
    pub(crate) templates: BTreeMap<String, FileId>,
    /// The JSON Schema files that routes name, by the name they use.
    pub(crate) schemas: BTreeMap<String, Result<FileId, String>>,
    /// The files of tests among those that `include` matches: they are no part of the table.
    test_files: Vec<PathBuf>,
    /// The folder of the main file, which relative paths start from.
    pub(crate) folder: PathBuf,
    /// The main file.
    pub(crate) main: FileId,
    /// The parts of files that faults of TOML make meaningless.
    pub(crate) lost: Vec<Span>,
}

/// Named entries of one kind, from all files.
pub(crate) type Entry<T> = Vec<(Located<String>, Key<T>)>;

/// The entry of an event: its platform, its name, what it says.
pub(crate) type EventEntry = (Located<String>, Located<String>, Key<WithJson<RawRoute>>);

/// The files and folders that the table depends on, for the watcher.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Files that were read or looked for.
    pub files: BTreeSet<PathBuf>,
    /// Folders in which a new file may matter.
    pub folders: BTreeSet<PathBuf>,
}

impl Dependencies {
    /// All of them.
    pub fn into_paths(self) -> impl Iterator<Item = PathBuf> {
        self.files.into_iter().chain(self.folders)
    }
}

/// Why there is no table at all.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unreadable {
    /// The main file.
    pub path: PathBuf,
    /// The system's words.
    #[source]
    pub source: io::Error,
}

/// Reads the main file and everything that it names. Faults are collected, files and folders are noted.
pub(crate) fn read(
    path: &Path,
    sources: &mut Sources,
    dependencies: &mut Dependencies,
    diagnostics: &mut Diagnostics,
) -> Result<Table, Unreadable> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::new(),
    };
    dependencies.files.insert(path.to_owned());
    let text = read_text(path).map_err(|source| Unreadable { path: path.to_owned(), source })?;
    let mut bytes = text.len();
    let main = sources.add(path, text);
    let mut lost = Vec::new();
    let file = read_file(main, sources, &mut lost, diagnostics);
    let mut table = Table {
        server: file.server.get().map(|server| server.value.clone()).unwrap_or_default(),
        log: file.log.get().map(|log| log.value.clone()).unwrap_or_default(),
        traces: file.traces.clone(),
        platforms: Vec::new(),
        upstreams: Vec::new(),
        defaults: file.defaults.get().map(|defaults| defaults.value.entry.clone()).unwrap_or_default(),
        defaults_json: file.defaults.get().map(|defaults| defaults.value.json.clone()).unwrap_or_default(),
        vars: Vec::new(),
        routes: Vec::new(),
        forms: Vec::new(),
        events: Vec::new(),
        templates: BTreeMap::new(),
        schemas: BTreeMap::new(),
        test_files: Vec::new(),
        folder: folder.clone(),
        main,
        lost: Vec::new(),
    };
    let mut included = Vec::new();
    let mut taken = BTreeSet::new();
    if let Some(include) = file.include.get() {
        for pattern in &include.value {
            for path in matching(pattern, path, dependencies, diagnostics) {
                // Patterns may overlap; a file is taken in once.
                if !taken.insert(fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
                    continue;
                }
                if is_test_file(&path) {
                    table.test_files.push(path);
                    continue;
                }
                let text = read_text(&path).and_then(|text| {
                    bytes += text.len();
                    let most =
                        format!("the files of a table are limited to {MAX_TABLE_BYTES} bytes in total");
                    if bytes > MAX_TABLE_BYTES { Err(io::Error::other(most)) } else { Ok(text) }
                });
                match text {
                    Ok(text) => included.push(sources.add(&path, text)),
                    Err(error) => diagnostics.push(
                        Diagnostic::new(
                            Code::UnreadableFile,
                            pattern.span,
                            format!("`{}` cannot be read: {error}", path.display()),
                        )
                        .help("make the file readable, or remove it from `include`"),
                    ),
                }
            }
        }
    }
    merge(&mut table, file, diagnostics);
    for id in included {
        let file = read_file(id, sources, &mut lost, diagnostics);
        main_file_only(&file, diagnostics);
        merge(&mut table, file, diagnostics);
    }
    table.lost = lost;
    read_templates(&folder.join(TEMPLATES), &mut table, sources, dependencies);
    read_schemas(&folder, &mut table, sources, dependencies);
    Ok(table)
}

/// Reads one text file, refusing what is far too large or not text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    // A pipe or a device may never end, and a reload would wait for it.
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let length = metadata.len();
    if length > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has {length} bytes, and the limit is {MAX_FILE_BYTES}")));
    }
    let bytes = fs::read(path)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        io::Error::other(format!("it is not UTF-8 (byte {})", error.utf8_error().valid_up_to()))
    })?;
    // Editors on Windows write a byte order mark, which TOML does not know.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn read_file(id: FileId, sources: &Sources, lost: &mut Vec<Span>, diagnostics: &mut Diagnostics) -> RawFile {
    let (entries, meaningless) = document::parse(&sources.get(id).text, id, diagnostics);
    lost.extend(meaningless);
    let node = Located { value: document::Kind::Table(entries), span: Span::start_of(id) };
    RawFile::from_node(&node, diagnostics).unwrap_or_default()
}

/// The files that an include pattern stands for, in the order of their names.
fn matching(
    pattern: &Located<String>,
    main: &Path,
    dependencies: &mut Dependencies,
    diagnostics: &mut Diagnostics,
) -> Vec<PathBuf> {
    let folder = main.parent().unwrap_or(Path::new(""));
    let full = folder.join(&pattern.value);
    let Some(full) = full.to_str() else { return Vec::new() };
    let paths = match glob::glob(full) {
        Ok(paths) => paths,
        Err(error) => {
            diagnostics.push(
                Diagnostic::new(
                    Code::IncludePattern,
                    pattern.span,
                    format!("invalid pattern `{}`: {}", pattern.value, error.msg),
                )
                .help("use `*` for part of a name, `?` for one character, `**` for any folders"),
            );
            return Vec::new();
        }
    };
    let is_pattern = pattern.value.contains(['*', '?', '[']);
    let fixed: PathBuf = Path::new(full)
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
        .collect();
    // The working folder has no name of its own in a relative path.
    let fixed = if fixed == Path::new("") { PathBuf::from(".") } else { fixed };
    if is_pattern {
        dependencies.folders.extend(folders_of(full, &fixed));
        dependencies.folders.insert(fixed);
    } else {
        dependencies.files.insert(PathBuf::from(full));
    }
    let mut found = Vec::new();
    for path in paths {
        match path {
            Ok(path) if path.is_file() => {
                if let Some(parent) = path.parent().filter(|_| is_pattern) {
                    dependencies.folders.insert(parent.to_owned());
                }
                dependencies.files.insert(path.clone());
                found.push(path);
            }
            Ok(_) => {}
            Err(error) => diagnostics.push(
                Diagnostic::new(
                    Code::UnreadableFile,
                    pattern.span,
                    format!("`{}` cannot be read: {}", error.path().display(), error.error()),
                )
                .help("make the folder readable"),
            ),
        }
    }
    let is_main = found.iter().any(|path| path == main);
    if is_main {
        diagnostics.push(
            Diagnostic::new(Code::IncludePattern, pattern.span, "this pattern matches the main file itself")
                .help("put included files in their own folder, such as routes.d/*.toml"),
        );
        found.retain(|path| path != main);
    }
    if found.is_empty() && !is_main {
        let name = &pattern.value;
        let (code, message, help) = if is_pattern {
            (
                Code::EmptyInclude,
                format!("no file matches `{name}`"),
                "check the pattern; a file that appears later is loaded then".to_owned(),
            )
        } else if Path::new(full).is_dir() {
            (
                Code::UnreadableFile,
                format!("`{name}` is a folder"),
                format!("write `\"{}/*.toml\"` to include its files", name.trim_end_matches('/')),
            )
        } else {
            (
                Code::UnreadableFile,
                format!("file `{name}` not found"),
                "create the file or remove it from `include`; paths are relative to the main file's folder"
                    .to_owned(),
            )
        };
        diagnostics.push(Diagnostic::new(code, pattern.span, message).help(help));
    }
    found.sort();
    found
}

/// The folders that are there now in which a file, or another folder, could appear that an include pattern matches.
fn folders_of(pattern: &str, fixed: &Path) -> Vec<PathBuf> {
    let parents = Path::new(pattern)
        .ancestors()
        .skip(1)
        .take_while(|parent| *parent != fixed && *parent != Path::new(""));
    parents
        .filter_map(|parent| glob::glob(parent.to_str()?).ok())
        .flat_map(|found| found.flatten().filter(|path| path.is_dir()))
        .collect()
}

/// Refuses what an included file may not say.
fn main_file_only(file: &RawFile, diagnostics: &mut Diagnostics) {
    let mut refuse = |span: Option<Span>, what: &str, help: &str| {
        if let Some(span) = span {
            diagnostics.push(
                Diagnostic::new(Code::MainFileOnly, span, format!("{what} is only allowed in the main file"))
                    .help(help),
            );
        }
    };
    refuse(file.include.span(), "`include`", "list all files in the main file");
    refuse(file.server.span(), "`[server]`", "move it to the main file");
    refuse(file.log.span(), "`[log]`", "move it to the main file");
    refuse(file.traces.span(), "`[traces]`", "move it to the main file");
    if let Some(defaults) = file.defaults.get() {
        refuse(defaults.value.entry.headers.span(), "`defaults.headers`", "move it to the main file");
        refuse(defaults.value.entry.allow.span(), "`defaults.allow`", "move it to the main file");
    }
}

/// Adds the entries of one file to the table; a name that is there already is a fault that names both places.
fn merge(table: &mut Table, file: RawFile, diagnostics: &mut Diagnostics) {
    add(&mut table.platforms, file.platforms, "platform", diagnostics);
    add(&mut table.upstreams, file.upstreams, "upstream", diagnostics);
    add(&mut table.vars, file.vars, "constant", diagnostics);
    add(&mut table.routes, file.routes, "route", diagnostics);
    add(&mut table.forms, file.forms, "form", diagnostics);
    if let Key::Is(platforms) = file.events {
        for (platform, events) in platforms.value.0 {
            let Key::Is(events) = events else { continue };
            for (name, entry) in events.value.0 {
                add_event(table, &platform, name, entry, diagnostics);
            }
        }
    }
    if let Key::Is(defaults) = file.defaults
        && defaults.span.file != table.main
        && let Key::Is(theirs) = defaults.value.entry.failure
    {
        table.defaults_json.push_str(&defaults.value.json);
        match &mut table.defaults.failure {
            Key::Is(ours) => add(&mut ours.value.0, Key::Is(theirs), "default text", diagnostics),
            ours => *ours = Key::Is(theirs),
        }
    }
}

fn add_event(
    table: &mut Table,
    platform: &Located<String>,
    name: Located<String>,
    entry: Key<WithJson<RawRoute>>,
    diagnostics: &mut Diagnostics,
) {
    let same = |(other, known, _): &&EventEntry| other.value == platform.value && known.value == name.value;
    match table.events.iter().find(same) {
        Some((_, first, _)) => diagnostics.push(twice("event", &name, first.span)),
        None => table.events.push((platform.clone(), name, entry)),
    }
}

/// A name that is given twice, in one file or in two.
fn twice(what: &str, name: &Located<String>, first: Span) -> Diagnostic {
    Diagnostic::new(Code::DuplicateName, name.span, format!("duplicate {what} `{}`", name.value))
        .label("defined again here")
        .related(first, "first defined here")
        .help("rename or remove one of them")
}

fn add<T>(ours: &mut Entry<T>, theirs: Key<Named<T>>, what: &str, diagnostics: &mut Diagnostics) {
    let Key::Is(theirs) = theirs else { return };
    for (name, value) in theirs.value.0 {
        match ours.iter().find(|(known, _)| known.value == name.value) {
            Some((first, _)) => diagnostics.push(twice(what, &name, first.span)),
            None => ours.push((name, value)),
        }
    }
}

/// Reads every file under `templates/`; a folder that is not there is empty.
fn read_templates(folder: &Path, table: &mut Table, sources: &mut Sources, dependencies: &mut Dependencies) {
    let mut pending = vec![folder.to_owned()];
    let mut paths = Vec::new();
    while let Some(folder) = pending.pop() {
        dependencies.folders.insert(folder.clone());
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            // Kubernetes keeps the real files of a mounted folder in hidden ones.
            if hidden || paths.len() >= 10_000 {
                continue;
            }
            if path.is_dir() { pending.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    for path in paths {
        let Some(name) = path.strip_prefix(folder).ok().and_then(Path::to_str) else { continue };
        // A file that is not text can lie here unused; one that is used and missing is said where it is used.
        if let Ok(text) = read_text(&path) {
            let name = name.replace('\\', "/");
            dependencies.files.insert(path.clone());
            let id = sources.add(&path, text);
            table.templates.insert(name, id);
        }
    }
}

/// Reads the JSON Schema files that routes name.
fn read_schemas(folder: &Path, table: &mut Table, sources: &mut Sources, dependencies: &mut Dependencies) {
    for (_, route) in &table.routes {
        let Some(name) = route.get().and_then(|route| route.value.entry.args_schema.get()) else { continue };
        if table.schemas.contains_key(&name.value) {
            continue;
        }
        let path = folder.join(&name.value);
        dependencies.files.insert(path.clone());
        let read = read_text(&path).map(|text| sources.add(&path, text)).map_err(|error| error.to_string());
        table.schemas.insert(name.value.clone(), read);
    }
}

impl Table {
    /// Whether a fault lies where faults of TOML leave nothing to be said, or may only follow from what they hide.
    pub(crate) fn is_follow_up(&self, fault: &Diagnostic, sources: &Sources) -> bool {
        if self.lost.is_empty() || matches!(fault.code, Code::TomlSyntax | Code::DuplicateName) {
            return false;
        }
        let hidden = |span: Span| {
            self.lost
                .iter()
                .any(|lost| lost.file == span.file && (lost.start..lost.end).contains(&span.start))
        };
        // Names come from other tables too: constants, and headers that platforms hand on.
        let hides_names = || ["[vars", "[platforms"].iter().any(|header| self.hides(header, sources));
        hidden(fault.span) || fault.code == Code::UnknownName && hides_names()
    }

    /// Whether faults of TOML may hide entries whose headers begin so: then their absence means nothing.
    pub(crate) fn hides(&self, header: &str, sources: &Sources) -> bool {
        self.lost.iter().any(|lost| lost.start == 0 || sources.text(*lost).contains(header))
    }

    /// The help for a template file that is not there.
    pub(crate) fn template_help(&self, name: &str) -> String {
        let known: Vec<&str> = self.templates.keys().map(String::as_str).collect();
        let bare = name.trim_start_matches("./").trim_start_matches("templates/");
        if let Some(near) = crate::diagnostic::nearest(bare, known.iter().copied()) {
            return format!("did you mean `{near}`? names are relative to the templates folder");
        }
        if known.is_empty() {
            return "put the file into the folder `templates` beside the main file".to_owned();
        }
        format!("in the templates folder: {}", list(&known[..known.len().min(30)]))
    }
}
