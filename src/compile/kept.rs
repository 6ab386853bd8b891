//! The compiled routes that a reload may reuse: those of included files that did not change.
//!
//! A file is kept as a whole or not at all, so a kept file is not even parsed. It is kept if it contains only routes,
//! none of them has a diagnostic or depends on other files, and everything that routes share is unchanged.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::FileId;
use crate::fingerprint::Fingerprint;
use crate::plan::Route;
use crate::table::raw::RawRoute;

use crate::compile::cx::Cx;
use crate::compile::shared::SharedParts;

/// The routes that a later load may keep, by the file that they were read from.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// A hash of everything that all routes depend on.
    base: [u8; 32],
    files: HashMap<PathBuf, KeptFile>,
}

#[derive(Debug, Clone)]
struct KeptFile {
    /// A hash of the text.
    text: [u8; 32],
    routes: Vec<Arc<Route>>,
}

impl Kept {
    /// Whether the routes of a file are known and the file is unchanged.
    pub(crate) fn has(&self, path: &Path, text: &str) -> bool {
        self.files.get(path).is_some_and(|file| file.text == hash(text))
    }

    /// The routes of the files that were not parsed. `None` if something that they depend on has changed, or if a name
    /// is defined again elsewhere: then every file has to be parsed.
    pub(super) fn routes(&self, cx: &Cx<'_>, base: [u8; 32]) -> Option<Vec<Arc<Route>>> {
        let files = cx.table.kept.iter().map(|id| &cx.sources.get(*id).path);
        let routes: Vec<Arc<Route>> = files
            .filter_map(|path| self.files.get(path))
            .flat_map(|file| file.routes.iter().cloned())
            .collect();
        let (of_routes, of_forms) = (cx.table.routes.iter().map(|(name, _)| name), cx.table.forms.iter());
        let named: HashSet<&str> =
            of_routes.chain(of_forms.map(|(name, _)| name)).map(|name| name.value.as_str()).collect();
        let is_free = |route: &Arc<Route>| !named.contains(route.name.as_str());
        (cx.table.kept.is_empty() || self.base == base && routes.iter().all(is_free)).then_some(routes)
    }

    /// The routes of this load that the next one may reuse.
    pub(super) fn next(&self, cx: &Cx<'_>, base: [u8; 32], routes: &HashMap<String, Arc<Route>>) -> Self {
        let reported = cx.diagnostics.iter().flat_map(|diagnostic| {
            let related = diagnostic.related.as_ref().map(|(span, _)| span.file);
            std::iter::once(diagnostic.span.file).chain(related)
        });
        let excluded: BTreeSet<FileId> = reported.chain(cx.dependent.iter().copied()).collect();
        let mut by_file: HashMap<FileId, Vec<Arc<Route>>> = cx
            .table
            .only_routes
            .iter()
            .filter(|id| !excluded.contains(id))
            .map(|id| (*id, Vec::new()))
            .collect();
        for (name, _) in &cx.table.routes {
            if let (Some(of_file), Some(route)) = (by_file.get_mut(&name.span.file), routes.get(&name.value))
            {
                of_file.push(Arc::clone(route));
            }
        }
        let new = by_file.into_iter().map(|(id, routes)| {
            let source = cx.sources.get(id);
            (source.path.clone(), KeptFile { text: hash(&source.text), routes })
        });
        let before = cx.table.kept.iter().filter_map(|id| {
            let path = &cx.sources.get(*id).path;
            Some((path.clone(), self.files.get(path)?.clone()))
        });
        Self { base, files: before.chain(new).collect() }
    }
}

/// Whether a route depends on more than its own file and what all routes share: on files, or, with a limit, on its
/// place among all limits.
pub(super) fn is_dependent(raw: &RawRoute, files: &BTreeSet<FileId>) -> bool {
    !(files.is_empty() && raw.args_schema.is_absent() && raw.limit.is_absent())
}

/// A hash of everything that all routes depend on: each file that contains more than routes, the secrets, and which
/// platforms are trusted. The last depends on the bound addresses.
pub(super) fn base(cx: &Cx<'_>, shared: &SharedParts<'_>) -> [u8; 32] {
    let schemas = cx.table.schemas.values().filter_map(|read| read.as_ref().ok());
    let own = cx.table.kept.iter().chain(&cx.table.only_routes).chain(schemas);
    let own: HashSet<&Path> = own.map(|id| cx.sources.get(*id).path.as_path()).collect();
    let common = cx.sources.iter().filter(|source| !own.contains(source.path.as_path()));
    let hash = common.fold(Fingerprint::new(), |hash, source| hash.text(&source.name).text(&source.text));
    let hash = shared.files.iter().fold(hash, |hash, id| hash.text(&cx.sources.get(*id).text));
    let hash = shared.platforms.iter().fold(hash, |hash, served| {
        hash.text(served.platform.name()).text(if served.believed { "believed" } else { "" })
    });
    hash.bytes(&cx.secrets.identity("")).finish()
}

fn hash(text: &str) -> [u8; 32] {
    Fingerprint::new().text(text).finish()
}
