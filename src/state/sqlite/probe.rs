//! Looks at the header of a database file. Nothing is created, changed or locked.

use std::fs;
use std::io::{self, Read as _};

use crate::state::engine::Result;
use crate::state::error::{StateError, StateFault};
use crate::state::probed::Probed;

use super::open::{APPLICATION_ID, File, NEWEST};

const HEADER_LENGTH: usize = 100;
/// Where the header has the version of the schema and the id of the program, each a big-endian number of 4 bytes.
const VERSION_AT: usize = 60;
const OWNER_AT: usize = 68;

/// Only a process without a connection to the file may call this: see `protect` in `open.rs`.
pub(super) fn probe(file: &File) -> Result<Probed> {
    let mut header = [0; HEADER_LENGTH];
    let read = fs::File::open(&file.path).and_then(|mut opened| {
        // A database that was just made may still be empty.
        Ok(if opened.metadata()?.len() == 0 { None } else { Some(opened.read_exact(&mut header)?) })
    });
    match read {
        Ok(Some(())) => {}
        Ok(None) => return Ok(Probed::New),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(corrupt(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && has_folder(file) => return Ok(Probed::New),
        Err(error) => return Err(file.io_error(&error)),
    }
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&header[at..at + 4]);
        i64::from(u32::from_be_bytes(bytes))
    };
    match (number(VERSION_AT), number(OWNER_AT)) {
        _ if !header.starts_with(b"SQLite format 3\0") => Err(corrupt(file)),
        // The schema is still in the write-ahead log.
        (0, 0) => Ok(Probed::New),
        (version, APPLICATION_ID) if version > NEWEST => {
            Err(StateError::new(StateFault::NewerSchema, &file.place, format!("schema {version}")))
        }
        (version, APPLICATION_ID) => Ok(Probed::Schema(version)),
        _ => Err(corrupt(file)),
    }
}

fn has_folder(file: &File) -> bool {
    file.path.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder.is_dir())
}

fn corrupt(file: &File) -> StateError {
    StateError::new(StateFault::Corrupt, &file.place, "")
}
