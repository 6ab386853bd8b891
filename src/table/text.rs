//! Reads text files, each within a time limit: a file on a hung network file system must not end all reloads.

use std::fs;
use std::io;
use std::path::Path;

use crate::bounded_io::within_limit;

/// The maximum size of a file. A larger table or template is a mistake.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Reads a text file. A file that is far too large, not UTF-8, or not read within a few seconds is an error.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    within_limit(path, read)?
}

fn read(path: &Path) -> io::Result<String> {
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
    // Some editors on Windows write a byte order mark, which TOML does not allow.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
