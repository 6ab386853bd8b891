//! A folder for the tables of a fuzz target, loaded in an environment that holds nothing real.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use jackfield::load::{Environment, Loaded, load, process_environment};
use jackfield::plan::Plan;

pub(crate) struct Tables(PathBuf);

impl Tables {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("jackfield-fuzz-{}-{number}", process::id()));
        fs::create_dir_all(folder.join("templates")).unwrap();
        Self(folder)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }

    pub(crate) fn load(&self, text: &str) -> Loaded {
        self.write("routes.toml", text);
        let environment = Environment {
            variable: &|name| (name != "UNSET").then(|| "value".to_owned()),
            file: &file,
            ..process_environment()
        };
        load(&self.0.join("routes.toml"), &environment).unwrap()
    }

    /// The plan of a table that has no faults.
    pub(crate) fn plan(&self, text: &str) -> Plan {
        let loaded = self.load(text);
        let told = jackfield::diagnostic::to_text(&loaded.diagnostics, &loaded.sources, false);
        loaded.plan.unwrap_or_else(|| panic!("{told}"))
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What stands in the files of secrets and certificates.
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
