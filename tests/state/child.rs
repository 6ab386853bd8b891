//! Runs a test in a process of its own, whose limits or user differ.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// How the process differs.
pub(crate) enum As {
    /// It is not root, who may write everywhere.
    Nobody,
    /// It can write only small files, as if the disk were full.
    Limited,
}

const NOBODY: u32 = 65534;

/// Runs the ignored test of this name.
pub(crate) fn run(test: &str, how: As) {
    let here = std::env::current_exe().unwrap();
    // `nobody` need not be able to reach the build's folder.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tests");
    std::fs::copy(here, &program).unwrap();
    let is_root = folder.path().metadata().unwrap().uid() == 0;
    let mut command = match how {
        As::Nobody => {
            let mut command = Command::new(&program);
            if is_root {
                std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        }
        As::Limited => {
            let mut command = Command::new("sh");
            // Without the trap the signal would end the process. The unit is 512 bytes.
            command.args(["-c", "trap '' XFSZ; ulimit -S -f 2000; exec \"$0\" \"$@\""]).arg(&program);
            command
        }
    };
    command.args(["--exact", test, "--ignored"]).current_dir(folder.path()).env("TMPDIR", folder.path());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
