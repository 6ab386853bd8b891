//! Test results as JUnit XML, for CI systems.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::diagnostic::Sources;
use crate::printable::printable_xml;
use crate::testing::TestResult;

use super::results::{failed, faults};

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Formats the results of the tests. The attributes are those that the common schemas allow, such as that of Jenkins'
/// xUnit plugin: a test case has no file, so its name in a failure's text tells the place.
pub(in crate::cli) fn results(path: &Path, ran: &[TestResult<'_>], sources: &Sources) -> String {
    let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
    let (all, failed, time) = (ran.len(), failed(ran), seconds(ran.iter().map(|ran| ran.time).sum()));
    let suite = printable_xml(&path.display().to_string());
    let mut out = format!(
        "{HEAD}<testsuites tests=\"{all}\" failures=\"{failed}\" errors=\"0\" time=\"{time}\">
  <testsuite name=\"{suite}\" file=\"{suite}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{time}\">
"
    );
    for ran in ran {
        let _ = write!(
            out,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
            printable_xml(&ran.test.route),
            printable_xml(&ran.test.name),
            seconds(ran.time)
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
        "{HEAD}<testsuites tests=\"1\" failures=\"0\" errors=\"1\" time=\"0.000\">
  <testsuite name=\"{name}\" file=\"{name}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" time=\"0.000\">
    <testcase classname=\"{name}\" name=\"the tests can be run\" time=\"0.000\">
      <error message=\"{message}\">{text}</error>
    </testcase>
  </testsuite>
</testsuites>"
    )
}
