//! `docs/operations.md` and the dashboard use only metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::metrics::{Scrape, TABLE, upstream, use_all};
use crate::support::proxy::Proxy;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The metric names in a text, without the suffixes of histograms.
fn named(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\bjackfield_[a-z_]+").unwrap();
    let ends = ["_bucket", "_sum", "_count"];
    let base = |name: &str| ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned();
    name.find_iter(text).map(|name| base(name.as_str())).collect()
}

/// Every expression of a dashboard, at any depth.
fn expressions(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| expressions(item, out)),
        Value::Object(entries) => entries.iter().for_each(|(key, value)| match value.as_str() {
            Some(text) if ["expr", "query"].contains(&key.as_str()) => out.push(text.to_owned()),
            _ => expressions(value, out),
        }),
        _ => {}
    }
}

#[tokio::test]
async fn documented_metrics_match_the_code() {
    let upstream = upstream().await;
    let mut proxy = Proxy::over(&upstream, TABLE).await;
    use_all(&mut proxy, &upstream).await;
    let scrape = Scrape::of(&proxy).await;
    let mut there: BTreeSet<String> = scrape.names().into_iter().map(str::to_owned).collect();
    // See tls.rs.
    assert!(there.insert("jackfield_tls_not_after_timestamp_seconds".to_owned()));

    let page = read("docs/operations.md");
    let list = page.split("<!-- metrics -->\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let heads = list.lines().filter(|line| line.starts_with("- "));
    let heads: Vec<&str> = heads.map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(named(&heads.join("\n")), there, "the list of the metrics");
    let unknown: Vec<_> = named(&page).difference(&there).cloned().collect();
    assert_eq!(unknown, Vec::<String>::new(), "in docs/operations.md");

    let dashboard: Value = serde_json::from_str(&read("docs/grafana.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 20, "{found:?}");
    let mut shown = BTreeSet::new();
    for expression in &found {
        let pairs = [('(', ')'), ('{', '}'), ('[', ']')];
        let is_whole = |(open, close)| expression.matches(open).count() == expression.matches(close).count();
        assert!(pairs.into_iter().all(is_whole), "{expression}");
        shown.append(&mut named(expression));
    }
    let unknown: Vec<_> = shown.difference(&there).cloned().collect();
    assert_eq!(unknown, Vec::<String>::new(), "in docs/grafana.json");
}
