//! Test results as JUnit XML, for CI systems.

use std::fmt::Write as _;
use std::path::Path;

use crate::diagnostic::Sources;
use crate::printable::printable_xml;
use crate::testing::TestResult;

use super::results::{failed, faults, file_and_line};

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Formats the results of the tests.
pub(in crate::cli) fn results(path: &Path, ran: &[TestResult<'_>], sources: &Sources) -> String {
    let mut out = HEAD.to_owned();
    let (all, failed) = (ran.len(), failed(ran));
    let _ = writeln!(out, "<testsuites tests=\"{all}\" failures=\"{failed}\">");
    let suite = printable_xml(&path.display().to_string());
    let _ = writeln!(out, "  <testsuite name=\"{suite}\" tests=\"{all}\" failures=\"{failed}\">");
    for ran in ran {
        let (file, line) = file_and_line(ran.test.place, sources);
        let _ = write!(
            out,
            "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{line}\"",
            printable_xml(&ran.test.route),
            printable_xml(&ran.test.name),
            printable_xml(file)
        );
        match ran.faults.first() {
            None => out.push_str("/>\n"),
            Some(first) => {
                let text = printable_xml(&faults(ran, sources).join("\n"));
                let _ = writeln!(
                    out,
                    ">\n      <failure message=\"{}\">{text}</failure>",
                    printable_xml(&first.what)
                );
                out.push_str("    </testcase>\n");
            }
        }
    }
    out.push_str("  </testsuite>\n</testsuites>");
    out
}

/// Formats an error instead of results: a single test with the reason why no test ran.
pub(in crate::cli) fn nothing_ran(path: &Path, why: &str) -> String {
    let (name, text) = (printable_xml(&path.display().to_string()), printable_xml(why));
    let message = printable_xml(why.lines().next().unwrap_or_default());
    format!(
        "{HEAD}<testsuites tests=\"1\" failures=\"0\" errors=\"1\">
  <testsuite name=\"{name}\" tests=\"1\" failures=\"0\" errors=\"1\">
    <testcase classname=\"{name}\" name=\"the tests can be run\" file=\"{name}\">
      <error message=\"{message}\">{text}</error>
    </testcase>
  </testsuite>
</testsuites>"
    )
}
