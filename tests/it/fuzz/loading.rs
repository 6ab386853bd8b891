//! A folder for the tables of a fuzz target, loaded with a fake environment.

use std::fs;
use std::io;
use std::path::Path;

use jackfield::load::{Environment, Loaded, load, process_environment};
use jackfield::plan::Plan;
use tempfile::TempDir;

pub(crate) struct Tables(TempDir);

impl Tables {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("templates")).unwrap();
        Self(folder)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
    }

    pub(crate) fn load(&self, text: &str) -> Loaded {
        self.write("routes.toml", text);
        let environment = Environment {
            variable: &|name| (name != "UNSET").then(|| "value".to_owned()),
            file: &file,
            ..process_environment()
        };
        load(&self.0.path().join("routes.toml"), &environment).unwrap()
    }

    /// The plan of a valid table.
    pub(crate) fn plan(&self, text: &str) -> Plan {
        let loaded = self.load(text);
        let report = jackfield::diagnostic::to_text(&loaded.diagnostics, &loaded.sources, false);
        loaded.plan.unwrap_or_else(|| panic!("{report}"))
    }
}

/// The contents of secret and certificate files.
fn file(path: &Path) -> io::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "none" => Err(io::ErrorKind::NotFound.into()),
        "cert.pem" => Ok(include_str!("../tls/one.pem").to_owned()),
        "key.pem" => Ok(include_str!("../tls/one.key.pem").to_owned()),
        "ca.pem" => Ok(include_str!("../tls/ca.pem").to_owned()),
        _ => Ok("value\n".to_owned()),
    }
}
