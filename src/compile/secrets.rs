//! Secrets: `${NAME}` and `${file:PATH}`, resolved when the table is loaded and after its TOML has been parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sources, Span, place_in_string};
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
    /// The URL that replaces the `base_url` of `[upstreams.demo]`.
    pub demo: Option<url::Url>,
    /// The addresses of the open listeners during a reload; empty at start.
    pub addresses: BoundAddresses,
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

    /// `text` with its secrets resolved. `token` is the string's place in the table.
    pub(super) fn resolve(
        &mut self,
        text: &str,
        token: Span,
        sources: &Sources,
        diagnostics: &mut Diagnostics,
    ) -> Option<ResolvedText> {
        let mut out = ResolvedText { text: String::new(), secret: false, placeholder: false };
        let mut good = true;
        let mut rest = 0;
        while let Some(at) = text[rest..].find("${").map(|at| rest + at) {
            let escaped = text[rest..at].ends_with('$');
            if escaped {
                out.text.push_str(&text[rest..at]);
                out.text.push('{');
                rest = at + 2;
                continue;
            }
            out.text.push_str(&text[rest..at]);
            let end = text[at..].find('}').map(|end| at + end + 1);
            let span = place_in_string(sources.text(token), token, at..end.unwrap_or(text.len()));
            let Some(end) = end else {
                diagnostics.push(
                    Diagnostic::new(Code::SecretSyntax, span, "unclosed `${`")
                        .help("write `${NAME}` or `${file:path}`; `$${` stands for the characters `${`"),
                );
                return None;
            };
            rest = end;
            let name = &text[at + 2..end - 1];
            match self.value(name, span) {
                Ok(Some(value)) => {
                    self.masks.add(&value);
                    self.resolved.insert(name.to_owned(), Secret::new(&*value));
                    out.text.push_str(&value);
                    out.secret = true;
                }
                Ok(None) => {
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

    fn value(&mut self, name: &str, span: Span) -> Result<Option<String>, Box<Diagnostic>> {
        let problem = |code, message: String, help: String| {
            Err(Box::new(Diagnostic::new(code, span, message).help(help)))
        };
        if let Some(path) = name.strip_prefix("file:") {
            let path = self.folder.join(path.trim());
            self.files.insert(path.clone());
            let help = format!(
                "put the secret in `{}`; paths are relative to the main file's folder",
                path.display()
            );
            return match (self.environment.file)(&path) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    let text = text.strip_suffix('\r').unwrap_or(text);
                    if text.is_empty() && !self.environment.without_secrets {
                        return problem(Code::SecretFile, "the secret file is empty".to_owned(), help);
                    }
                    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
                }
                Err(_) if self.environment.without_secrets => Ok(None),
                Err(error) => {
                    problem(Code::SecretFile, format!("the secret file cannot be read: {error}"), help)
                }
            };
        }
        let is_name = name.chars().enumerate().all(|(index, character)| {
            character == '_' || character.is_ascii_alphabetic() || index > 0 && character.is_ascii_digit()
        });
        if name.is_empty() || !is_name {
            return problem(
                Code::SecretSyntax,
                "invalid secret name".to_owned(),
                "write `${NAME}` with letters, digits and `_`, or `${file:path}`; `$${` stands for `${`"
                    .to_owned(),
            );
        }
        let value = (self.environment.variable)(name);
        let state = if value.is_some() { "empty" } else { "not set" };
        match value.filter(|value| !value.is_empty()) {
            Some(value) => Ok(Some(value)),
            None if self.environment.without_secrets => Ok(None),
            None => problem(
                Code::SecretUnset,
                format!("the secret `{name}` is {state}"),
                format!(
                    "set the environment variable `{name}` before you start Jackfield; `check --no-secrets` checks without it"
                ),
            ),
        }
    }
}
