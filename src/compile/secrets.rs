//! Secrets: `${NAME}` and `${file:PATH}`, resolved when the table is loaded and after its TOML has been parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Overtaken, PlacesInString, Sources, Span};
use crate::fingerprint::Fingerprint;
use crate::secret::{Masks, Secret};
use crate::table::document::Located;

/// The source of secrets. It is passed in, so that compiling never reads the environment or the file system itself.
pub struct Environment<'a> {
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file.
    pub file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Whether secrets may be missing: for checking a table on a machine without its secrets.
    pub without_secrets: bool,
    /// The time, for certificates.
    pub now: Timestamp,
    /// The URL that replaces the `base_url` of `[upstreams.demo]`.
    pub demo: Option<url::Url>,
    /// The addresses that replace those of the table, from the command line.
    pub options: ListenerOptions,
    /// The addresses of the open listeners during a reload; empty at start.
    pub addresses: BoundAddresses,
    /// Whether newer files have made this load pointless.
    pub overtaken: Overtaken,
}

/// The addresses of the listeners as the command line gives them.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListenerOptions {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--admin`
    pub admin: Option<SocketAddr>,
}

/// The addresses of open listeners. A reload does not change them.
#[derive(Debug, Clone, Copy, Default)]
pub struct BoundAddresses {
    /// The listener for platforms.
    pub listen: Option<SocketAddr>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("without_secrets", &self.without_secrets).finish_non_exhaustive()
    }
}

/// A text of the table with its secrets resolved.
#[derive(Debug)]
pub(super) struct ResolvedText {
    pub(super) text: String,
    /// Whether it contains a secret.
    pub(super) secret: bool,
    /// Whether it contains a placeholder for a secret that is not set.
    pub(super) placeholder: bool,
}

/// Resolves secrets. Collects the texts to mask and the files to watch.
pub(super) struct Secrets<'a> {
    environment: &'a Environment<'a>,
    folder: &'a Path,
    pub(super) masks: Masks,
    /// The files that secrets and certificates were read from, or looked for in.
    pub(super) files: BTreeSet<PathBuf>,
    /// The secrets by their names in the table.
    resolved: BTreeMap<String, Secret>,
    /// A hash of the files that are read besides the table and its secrets.
    contents: Fingerprint,
}

/// What a resolved reference is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A secret, to be masked wherever calls are shown.
    Secret,
    /// A setting such as an address, which is shown.
    Setting,
}

/// The value of a reference.
struct Value {
    text: String,
    /// Whether the table itself gives it, behind `:-`.
    is_default: bool,
}

/// The placeholder for a secret that is not set, under `--no-secrets`.
const PLACEHOLDER: &str = "secret-not-set";

impl<'a> Secrets<'a> {
    pub(super) fn new(environment: &'a Environment<'a>, folder: &'a Path) -> Self {
        Self {
            environment,
            folder,
            masks: Masks::default(),
            files: BTreeSet::new(),
            resolved: BTreeMap::new(),
            contents: Fingerprint::default(),
        }
    }

    /// A hash of the table's `revision`, of every secret with its name, and of the other files that were read. The
    /// names are included because it matters which secret is used where.
    pub(super) fn identity(&self, revision: &str) -> [u8; 32] {
        let contents = hex::encode(self.contents.clone().finish());
        let hash = Fingerprint::new().text(&format!("{revision}{contents}"));
        self.resolved.iter().fold(hash, |hash, (name, secret)| hash.text(name).text(secret.reveal())).finish()
    }

    /// The secrets that come from files, by the path in the table.
    pub(super) fn of_files(&self) -> BTreeMap<String, Secret> {
        let of_file = |(name, secret): (&String, &Secret)| {
            Some((name.strip_prefix("file:")?.to_owned(), secret.clone()))
        };
        self.resolved.iter().filter_map(of_file).collect()
    }

    /// `text` with its secrets resolved. `token` is the string's place in the table.
    pub(super) fn resolve(
        &mut self,
        text: &str,
        token: Span,
        sources: &Sources,
        diagnostics: &mut Diagnostics,
    ) -> Option<ResolvedText> {
        let text = Located { value: text.to_owned(), span: token };
        self.resolve_for(Purpose::Secret, &text, sources, diagnostics)
    }

    /// A setting with its references resolved: its values are no secrets.
    pub(super) fn resolve_setting(
        &mut self,
        text: &Located<String>,
        sources: &Sources,
        diagnostics: &mut Diagnostics,
    ) -> Option<ResolvedText> {
        self.resolve_for(Purpose::Setting, text, sources, diagnostics)
    }

    fn resolve_for(
        &mut self,
        purpose: Purpose,
        text: &Located<String>,
        sources: &Sources,
        diagnostics: &mut Diagnostics,
    ) -> Option<ResolvedText> {
        let (text, token) = (text.value.as_str(), text.span);
        let mut out = ResolvedText { text: String::new(), secret: false, placeholder: false };
        let mut good = true;
        let mut places = PlacesInString::new(sources.text(token), token);
        let mut rest = 0;
        while let Some(at) = text[rest..].find("${").map(|at| rest + at) {
            if diagnostics.is_full() {
                return None;
            }
            let escaped = text[rest..at].ends_with('$');
            if escaped {
                out.text.push_str(&text[rest..at]);
                out.text.push('{');
                rest = at + 2;
                continue;
            }
            out.text.push_str(&text[rest..at]);
            let end = text[at..].find('}').map(|end| at + end + 1);
            let span = places.place(at..end.unwrap_or(text.len()));
            let Some(end) = end else {
                diagnostics.push(
                    Diagnostic::new(Code::SecretSyntax, span, "unclosed `${`")
                        .help("write `${NAME}`, `${NAME:-default}` or `${file:path}`; `$${` stands for the characters `${`"),
                );
                return None;
            };
            rest = end;
            let name = &text[at + 2..end - 1];
            match self.value(name, span, purpose) {
                Ok(Some(Value { text, is_default })) => {
                    if purpose == Purpose::Secret && !is_default {
                        self.masks.add(&text);
                    }
                    self.resolved.insert(name.to_owned(), Secret::new(&*text));
                    out.text.push_str(&text);
                    out.secret = true;
                }
                Ok(None) => {
                    // It stands for a secret, so it is shown like one.
                    self.masks.add(PLACEHOLDER);
                    out.text.push_str(PLACEHOLDER);
                    out.placeholder = true;
                }
                Err(problem) => {
                    diagnostics.push(*problem);
                    good = false;
                }
            }
        }
        out.text.push_str(&text[rest..]);
        good.then_some(out)
    }

    /// The content of the PEM file that a key names; `None` after errors. If secrets may be missing and the file does
    /// not exist, returns `None` without an error and sets `placeholder`.
    pub(super) fn file(
        &mut self,
        name: &Located<String>,
        placeholder: &mut bool,
        sources: &Sources,
        diagnostics: &mut Diagnostics,
    ) -> Option<String> {
        let resolved = self.resolve(&name.value, name.span, sources, diagnostics)?;
        *placeholder |= resolved.placeholder;
        if resolved.placeholder {
            return None;
        }
        let path = self.folder.join(&resolved.text);
        self.files.insert(path.clone());
        match (self.environment.file)(&path) {
            Ok(text) => {
                self.contents = std::mem::take(&mut self.contents).text(&text);
                Some(text)
            }
            Err(_) if self.environment.without_secrets => {
                *placeholder = true;
                None
            }
            Err(error) => {
                diagnostics.push(
                    Diagnostic::new(
                        Code::TlsFile,
                        name.span,
                        format!("`{}` cannot be read: {error}", name.value),
                    )
                    .help(
                        "create the file or correct its name; paths are relative to the main file's folder",
                    ),
                );
                None
            }
        }
    }

    fn value(
        &mut self,
        reference: &str,
        span: Span,
        purpose: Purpose,
    ) -> Result<Option<Value>, Box<Diagnostic>> {
        let problem = |code, message: String, help: String| {
            Err(Box::new(Diagnostic::new(code, span, message).help(help)))
        };
        if let Some(path) = reference.strip_prefix("file:") {
            return self.file_value(path.trim(), span);
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let is_name = name.chars().enumerate().all(|(index, character)| {
            character == '_' || character.is_ascii_alphabetic() || index > 0 && character.is_ascii_digit()
        });
        if name.is_empty() || !is_name {
            return problem(
                Code::SecretSyntax,
                "invalid secret name".to_owned(),
                "write `${NAME}` or `${NAME:-default}` with letters, digits and `_`, or `${file:path}`; `$${` stands for `${`"
                    .to_owned(),
            );
        }
        if default.is_some_and(|default| default.contains("${")) {
            return problem(
                Code::SecretSyntax,
                format!("the default of `{name}` cannot contain a reference"),
                "write the default as plain text".to_owned(),
            );
        }
        let value = (self.environment.variable)(name);
        let state = if value.is_some() { "empty" } else { "not set" };
        let what = if purpose == Purpose::Secret { "secret" } else { "variable" };
        match (value.filter(|value| !value.is_empty()), default) {
            (Some(text), _) => Ok(Some(Value { text, is_default: false })),
            (None, Some(default)) => Ok(Some(Value { text: default.to_owned(), is_default: true })),
            (None, None) if self.environment.without_secrets => Ok(None),
            (None, None) => problem(
                Code::SecretUnset,
                format!("the {what} `{name}` is {state}"),
                match purpose {
                    Purpose::Secret => format!(
                        "set the environment variable `{name}` before you start Jackfield; `check --no-secrets` checks without it"
                    ),
                    Purpose::Setting => format!(
                        "set the environment variable `{name}` before you start Jackfield, or give it a default: `${{{name}:-default}}`"
                    ),
                },
            ),
        }
    }

    /// The value in a file, without its line end.
    fn file_value(&mut self, path: &str, span: Span) -> Result<Option<Value>, Box<Diagnostic>> {
        let path = self.folder.join(path);
        self.files.insert(path.clone());
        let problem = |message: String| {
            let help = format!(
                "put the secret in `{}`; paths are relative to the main file's folder",
                path.display()
            );
            Err(Box::new(Diagnostic::new(Code::SecretFile, span, message).help(help)))
        };
        match (self.environment.file)(&path) {
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() && !self.environment.without_secrets {
                    return problem("the secret file is empty".to_owned());
                }
                let text = Some(text.to_owned()).filter(|text| !text.is_empty());
                Ok(text.map(|text| Value { text, is_default: false }))
            }
            Err(_) if self.environment.without_secrets => Ok(None),
            Err(error) => problem(format!("the secret file cannot be read: {error}")),
        }
    }
}
