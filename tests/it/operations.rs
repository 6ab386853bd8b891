//! `docs/operations.md`, the alerts and the dashboard use only metrics that exist. Each alert can be routed and says what
//! to do, and the dashboard can be imported.

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
    // See state/.
    for name in [
        "deliveries",
        "delivery_oldest_age_seconds",
        "state_up",
        "state_errors_total",
        "local_deduplication_total",
    ] {
        assert!(there.insert(format!("jackfield_{name}")), "{name}");
    }
    // See tls.rs.
    assert!(there.insert("jackfield_tls_not_after_timestamp_seconds".to_owned()));

    let page = read("docs/operations.md");
    let list = page.split("<!-- metrics -->\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let heads = list.lines().filter(|line| line.starts_with("- "));
    let heads: Vec<&str> = heads.map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(named(&heads.join("\n")), there, "the list of the metrics");
    let unknown: Vec<_> = named(&page).difference(&there).cloned().collect();
    assert_eq!(unknown, Vec::<String>::new(), "in docs/operations.md");

    let unknown: Vec<_> = named(&read("docs/alerts.yml")).difference(&there).cloned().collect();
    assert_eq!(unknown, Vec::<String>::new(), "in docs/alerts.yml");

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

/// The rules of `docs/alerts.yml`: the name and the text of each.
fn alerts() -> Vec<(String, String)> {
    let text = read("docs/alerts.yml");
    let rules = text.split("\n      - alert: ").skip(1);
    let rules = rules.map(|rule| {
        let (name, rest) = rule.split_once('\n').unwrap();
        let end = rest.find("\n      #").unwrap_or(rest.len());
        (name.trim().to_owned(), rest[..end].to_owned())
    });
    rules.collect()
}

#[test]
fn each_alert_has_a_severity_and_says_what_to_do() {
    let (page, runbook) = (read("docs/operations.md"), read("docs/troubleshooting.md"));
    let alerts = alerts();
    assert!(alerts.len() >= 19, "{}", alerts.len());
    for (name, rule) in &alerts {
        let severity = ["critical", "warning"]
            .into_iter()
            .find(|severity| rule.contains(&format!("\n        labels: {{ severity: {severity} }}\n")));
        let severity = severity.unwrap_or_else(|| panic!("{name} has no severity"));
        for annotation in ["summary", "description", "runbook"] {
            assert!(rule.contains(&format!("\n          {annotation}: \"")), "{name}: {annotation}");
        }
        assert!(rule.contains(&format!("docs/troubleshooting.md#{}\"", name.to_lowercase())), "{name}");
        assert!(runbook.contains(&format!("\n### {name}\n")), "{name} has no section in troubleshooting.md");
        assert!(page.contains(&format!("\n| `{name}` | {severity} | ")), "{name} is not in operations.md");
    }
    let sections = runbook.lines().filter(|line| line.starts_with("### Jackfield")).count();
    assert_eq!(sections, alerts.len(), "troubleshooting.md has sections for alerts that do not exist");
}

/// A ratio or a quantile of one call says nothing.
#[test]
fn alerts_on_ratios_need_a_minimum_count() {
    let count = Regex::new(r"\n          and\n          sum by \(\w+\) \(increase\(.+\)\) >= \d+\n").unwrap();
    let mut seen = 0;
    for (name, rule) in alerts() {
        if rule.contains(" * sum by") || rule.contains("histogram_quantile") {
            seen += 1;
            assert!(count.is_match(&rule), "{name}:\n{rule}");
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_dashboard_asks_for_its_data_source() {
    let dashboard: Value = serde_json::from_str(&read("docs/grafana.json")).unwrap();
    let input = &dashboard["__inputs"][0];
    assert_eq!((&input["name"], &input["pluginId"]), (&"DS_PROMETHEUS".into(), &"prometheus".into()));
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!(variable["name"], "datasource");
    assert_eq!(variable["current"]["value"], "${DS_PROMETHEUS}");
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(ids.insert(panel["id"].as_u64()), "{}", panel["title"]);
    }
}

/// A metric that no panel shows is easily forgotten.
#[test]
fn the_dashboard_shows_every_metric_of_deliveries_and_state() {
    let (page, dashboard) = (read("docs/operations.md"), read("docs/grafana.json"));
    let parts = ["jackfield_deliver", "jackfield_state", "jackfield_local_deduplication"];
    let named = named(&page);
    let metrics: Vec<&String> =
        named.iter().filter(|name| parts.iter().any(|part| name.starts_with(part))).collect();
    assert!(metrics.len() >= 6, "{metrics:?}");
    for metric in metrics {
        assert!(dashboard.contains(metric.as_str()), "{metric}");
    }
}

/// The sample scrape configuration fits the sample table above it.
#[test]
fn the_scrape_sample_uses_the_port_of_the_admin_listener() {
    let page = read("docs/operations.md");
    let after = |start: &str| page.split(start).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    assert_eq!(port(&after("\nadmin = \"")), port(&after("targets: [\"")));
}
