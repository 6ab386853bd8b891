//! The Prometheus text format: families of samples.

use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that only increases; its name ends in `_total`.
    Counter,
    /// A value that can go up and down.
    Gauge,
    /// Durations in buckets; its name ends in `_seconds`.
    Histogram,
}

/// The text written so far.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// The metric family that is being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins the next family. Each name may be used only once.
    pub fn family(&mut self, name: &'static str, kind: MetricKind, help: &str) -> Family<'_> {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.0, name }
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Writes a sample. Its labels must be unique in the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// Writes a histogram: its buckets, sum and count.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let cumulative = histogram.cumulative();
        for (bound, count) in &cumulative {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            self.line("_bucket", labels, Some(&bound), count);
        }
        self.line("_sum", labels, None, histogram.sum().as_secs_f64());
        self.line("_count", labels, None, cumulative.last().map_or(0, |(_, count)| *count));
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        let labels = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut open = '{';
        for (label, text) in labels {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{open}{label}=\"{text}\"");
            open = ',';
        }
        let close = if open == ',' { "}" } else { "" };
        let _ = writeln!(self.text, "{close} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::OVERHEAD_BOUNDS;
    use crate::observe::metrics::text::*;
    use std::time::Duration;

    #[test]
    fn families_are_written_in_the_prometheus_format() {
        let mut text = Exposition::default();
        text.family("a_total", MetricKind::Counter, "What it is.")
            .sample(&[], 1)
            .sample(&[("x", "a\"\\\nb")], 2);
        text.family("b", MetricKind::Gauge, "B.").sample(&[("x", ""), ("y", "z")], 0.25);
        assert_eq!(
            text.into_text(),
            "# HELP a_total What it is.\n# TYPE a_total counter\na_total 1\na_total{x=\"a\\\"\\\\\\nb\"} 2\n\
             # HELP b B.\n# TYPE b gauge\nb{x=\"\",y=\"z\"} 0.25\n"
        );
    }

    #[test]
    fn a_histogram_ends_with_the_unbounded_bucket() {
        let (mut text, histogram) = (Exposition::default(), Histogram::new(&OVERHEAD_BOUNDS));
        histogram.note(Duration::from_micros(70));
        histogram.note(Duration::from_secs(2));
        text.family("t_seconds", MetricKind::Histogram, "T.").histogram(&[("p", "q")], &histogram);
        let text = text.into_text();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines[..2],
            ["t_seconds_bucket{p=\"q\",le=\"0.00005\"} 0", "t_seconds_bucket{p=\"q\",le=\"0.0001\"} 1"]
        );
        assert_eq!(
            lines[lines.len() - 3..],
            [
                "t_seconds_bucket{p=\"q\",le=\"+Inf\"} 2",
                "t_seconds_sum{p=\"q\"} 2.00007",
                "t_seconds_count{p=\"q\"} 2"
            ]
        );
    }
}
