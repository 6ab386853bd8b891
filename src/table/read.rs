//! Reads the main file, the files that it includes, and the templates and schemas beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::bounded_io::within_limit;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, FileId, Sources, Span};

use super::absolute::absolute;
use super::document::{self, Located};
use super::include::{IncludedFile, matching};
use super::merge::{Defined, main_file_only, merge};
use super::misplaced_keys::reader;
use super::raw::{RawFile, Strings};
use super::reader::{FromNode, Key};
use super::test_files::is_test_file;
use super::text::read_text;
use super::{Dependencies, Table, Unreadable};

/// The maximum total size of the main file and its included files, in bytes.
const MAX_TABLE_BYTES: usize = 64 * 1024 * 1024;

/// The maximum number of template files.
const MAX_TEMPLATES: usize = 10_000;

/// The maximum number of routes, forms, events and upstreams in a table.
const MAX_ENTRIES: usize = 20_000;

/// The folder of template files, beside the main file.
pub(crate) const TEMPLATES: &str = "templates";

/// The state of reading: where files, dependencies and diagnostics are collected.
struct Reading<'a> {
    sources: &'a mut Sources,
    dependencies: &'a mut Dependencies,
    diagnostics: &'a mut Diagnostics,
    /// The parts of files that syntax errors make meaningless.
    lost: Vec<Span>,
}

/// Reads the main file and everything that it refers to. Collects errors, and the files and folders that the table
/// depends on. Included files whose content `is_known` are not parsed.
pub(crate) fn read(
    path: &Path,
    sources: &mut Sources,
    dependencies: &mut Dependencies,
    diagnostics: &mut Diagnostics,
    is_known: &dyn Fn(&Path, &str) -> bool,
) -> Result<Table, Unreadable> {
    dependencies.files.insert(path.to_owned());
    let text = read_text(path).map_err(|source| Unreadable { path: path.to_owned(), source })?;
    let bytes = text.len();
    let main = sources.add(path, text);
    let mut reading = Reading { sources, dependencies, diagnostics, lost: Vec::new() };
    let parsed = parse(main, reading.sources, reading.diagnostics);
    let file = reading.take(parsed);
    let last_good = last_good(&file, path);
    let (included, test_files) = reading.included(&file.include, path, bytes, last_good.as_deref());
    if let Some(folder) = &last_good {
        let is_copy = |path: &PathBuf| absolute(path).starts_with(folder);
        reading.dependencies.files.retain(|path| !is_copy(path));
        reading.dependencies.folders.retain(|path| !is_copy(path));
    }
    let mut table = empty(&file, main, path.parent().unwrap_or(Path::new("")));
    table.test_files = test_files;
    let mut defined = Defined::new();
    merge(&mut table, file, &mut defined, reading.diagnostics);
    let (kept, included): (Vec<_>, Vec<_>) = included.into_iter().partition(|id| {
        let source = reading.sources.get(*id);
        is_known(&source.path, &source.text)
    });
    table.kept = kept;
    for (id, parsed) in included.iter().zip(parse_all(&included, reading.sources, reading.diagnostics)) {
        let file = reading.take(parsed);
        if has_only_routes(&file) {
            table.only_routes.push(*id);
        }
        main_file_only(&file, reading.diagnostics);
        merge(&mut table, file, &mut defined, reading.diagnostics);
    }
    limit_entries(&table, reading.diagnostics);
    reading.templates(&mut table);
    reading.schemas(&mut table);
    table.lost = reading.lost;
    Ok(table)
}

/// The folder of `server.last_good`: patterns do not match what is in it, and nobody watches it.
fn last_good(file: &RawFile, main: &Path) -> Option<PathBuf> {
    let folder = file.server.get()?.value.last_good.get().filter(|folder| !folder.value.is_empty())?;
    Some(absolute(&main.parent().unwrap_or(Path::new("")).join(&folder.value)))
}

/// A table with only the parts that belong to the main file.
fn empty(file: &RawFile, main: FileId, folder: &Path) -> Table {
    Table {
        server: file.server.get().map(|server| server.value.clone()).unwrap_or_default(),
        log: file.log.get().map(|log| log.value.clone()).unwrap_or_default(),
        traces: file.traces.clone(),
        state: file.state.clone(),
        platforms: Vec::new(),
        upstreams: Vec::new(),
        defaults: file.defaults.get().map(|defaults| defaults.value.entry.clone()).unwrap_or_default(),
        defaults_json: file.defaults.get().map(|defaults| defaults.value.json.clone()).unwrap_or_default(),
        vars: Vec::new(),
        routes: Vec::new(),
        forms: Vec::new(),
        events: Vec::new(),
        templates: BTreeMap::new(),
        unreadable_templates: BTreeMap::new(),
        schemas: BTreeMap::new(),
        kept: Vec::new(),
        only_routes: Vec::new(),
        test_files: Vec::new(),
        folder: folder.to_owned(),
        main,
        lost: Vec::new(),
    }
}

/// Reports a table with more entries than can be compiled in reasonable time.
fn limit_entries(table: &Table, diagnostics: &mut Diagnostics) {
    let routes = table.routes.iter().map(|(name, _)| name.span);
    let forms = table.forms.iter().map(|(name, _)| name.span);
    let events = table.events.iter().map(|(_, name, _)| name.span);
    let upstreams = table.upstreams.iter().map(|(name, _)| name.span);
    if let Some(span) = routes.chain(forms).chain(events).chain(upstreams).nth(MAX_ENTRIES) {
        let reason = format!("a table is limited to {MAX_ENTRIES} routes, forms, events and upstreams");
        diagnostics.push(document::too_large(span, &reason));
        diagnostics.end();
    }
}

fn has_only_routes(file: &RawFile) -> bool {
    let RawFile {
        include,
        server,
        log,
        traces,
        state,
        platforms,
        upstreams,
        defaults,
        vars,
        routes: _,
        events,
        forms,
    } = file;
    include.is_absent()
        && server.is_absent()
        && log.is_absent()
        && traces.is_absent()
        && state.is_absent()
        && platforms.is_absent()
        && upstreams.is_absent()
        && defaults.is_absent()
        && vars.is_absent()
        && events.is_absent()
        && forms.is_absent()
}

/// A parsed file and its diagnostics.
struct Parsed {
    file: RawFile,
    lost: Vec<Span>,
    diagnostics: Diagnostics,
}

/// `diagnostics` are those of the load so far; if they are full, the file is not parsed.
fn parse(id: FileId, sources: &Sources, diagnostics: &Diagnostics) -> Parsed {
    let mut diagnostics = diagnostics.of_part();
    if diagnostics.is_full() {
        return Parsed { file: RawFile::default(), lost: Vec::new(), diagnostics };
    }
    let (entries, lost) = document::parse(&sources.get(id).text, id, &mut diagnostics);
    let node = Located { value: document::Kind::Table(entries), span: Span::start_of(id) };
    let file = RawFile::from_node(&node, &mut reader(&mut diagnostics)).unwrap_or_default();
    Parsed { file, lost, diagnostics }
}

/// Parses files on all cores, since parsing takes most of the time of loading a large table. The results are in the
/// order of `ids`.
fn parse_all(ids: &[FileId], sources: &Sources, diagnostics: &Diagnostics) -> Vec<Parsed> {
    // If one file has too many errors, the others are not parsed.
    let is_full = AtomicBool::new(diagnostics.is_full());
    let parse = |id: FileId| {
        if is_full.load(Ordering::Relaxed) {
            return Parsed { file: RawFile::default(), lost: Vec::new(), diagnostics: diagnostics.of_part() };
        }
        let parsed = parse(id, sources, diagnostics);
        if parsed.diagnostics.is_full() {
            is_full.store(true, Ordering::Relaxed);
        }
        parsed
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(ids.len());
    if threads < 2 {
        return ids.iter().map(|id| parse(*id)).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let claims = std::iter::from_fn(|| {
            let index = next.fetch_add(1, Ordering::Relaxed);
            ids.get(index).map(|id| (index, parse(*id)))
        });
        claims.collect::<Vec<_>>()
    };
    let mut parsed: Vec<(usize, Parsed)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others =
            others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        own.into_iter().chain(others.flatten()).collect()
    });
    parsed.sort_unstable_by_key(|(index, _)| *index);
    parsed.into_iter().map(|(_, parsed)| parsed).collect()
}

impl Reading<'_> {
    fn take(&mut self, parsed: Parsed) -> RawFile {
        let Parsed { file, lost, diagnostics } = parsed;
        self.lost.extend(lost);
        self.diagnostics.append(diagnostics);
        file
    }

    /// Reads the included files. `bytes` is the size of the main file. Test files are not part of the table.
    fn included(
        &mut self,
        include: &Key<Strings>,
        main: &Path,
        mut bytes: usize,
        last_good: Option<&Path>,
    ) -> (Vec<FileId>, Vec<PathBuf>) {
        let (mut included, mut test_files) = (Vec::new(), Vec::new());
        let mut taken = BTreeSet::new();
        for pattern in include.items() {
            for IncludedFile { path, real } in matching(pattern, main, self.dependencies, self.diagnostics) {
                if last_good.is_some_and(|folder| absolute(&path).starts_with(folder)) {
                    continue;
                }
                // Patterns may overlap, but each file is included once.
                if !taken.insert(real) {
                    continue;
                }
                if is_test_file(&path) {
                    test_files.push(path);
                    continue;
                }
                match read_part(&path, &mut bytes) {
                    Ok(text) => included.push(self.sources.add(&path, text)),
                    Err(error) => self.diagnostics.push(
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
        (included, test_files)
    }

    /// Reads every file under `templates/`; a folder that does not exist is empty.
    fn templates(&mut self, table: &mut Table) {
        let root = table.folder.join(TEMPLATES);
        let (folders, mut paths) = match within_limit(&root, list_templates) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("`{}` cannot be read: {error}", root.display());
                let place = Span::start_of(table.main);
                self.diagnostics.push(Diagnostic::new(Code::UnreadableFile, place, message).help(
                    "check the file system that the folder is on, or move the table with its templates",
                ));
                ([root.clone()].into(), Vec::new())
            }
        };
        self.dependencies.folders.extend(folders);
        paths.sort();
        for path in paths {
            let Some(name) = path.strip_prefix(&root).ok().and_then(Path::to_str) else { continue };
            let name = name.replace('\\', "/");
            self.dependencies.files.insert(path.clone());
            match read_text(&path) {
                Ok(text) => drop(table.templates.insert(name, self.sources.add(&path, text))),
                // A file that is not text may be unused. If something refers to one, the error is reported there.
                Err(error) => drop(table.unreadable_templates.insert(name, error.to_string())),
            }
        }
    }

    /// Reads the JSON Schema files that routes name.
    fn schemas(&mut self, table: &mut Table) {
        for (_, route) in &table.routes {
            let schema = route.get().and_then(|route| route.value.entry.args_schema.get());
            let Some(name) = schema.filter(|name| !table.schemas.contains_key(&name.value)) else { continue };
            let path = table.folder.join(&name.value);
            self.dependencies.files.insert(path.clone());
            let read = read_text(&path).map(|text| self.sources.add(&path, text));
            table.schemas.insert(name.value.clone(), read.map_err(|error| error.to_string()));
        }
    }
}

/// All folders and files in the folder of templates, each with those in it.
fn list_templates(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        let entries = fs::read_dir(&folder);
        folders.push(folder);
        let Ok(entries) = entries else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            // Skip hidden folders: Kubernetes keeps the real files of a mounted volume in one.
            if hidden || files.len() >= MAX_TEMPLATES {
                continue;
            }
            if path.is_dir() { pending.push(path) } else { files.push(path) }
        }
    }
    (folders, files)
}

/// Reads an included file, if all files of the table together are not too large with it.
fn read_part(path: &Path, bytes: &mut usize) -> io::Result<String> {
    let text = read_text(path)?;
    *bytes += text.len();
    if *bytes > MAX_TABLE_BYTES {
        let message = format!("the files of a table are limited to {MAX_TABLE_BYTES} bytes in total");
        return Err(io::Error::other(message));
    }
    Ok(text)
}
