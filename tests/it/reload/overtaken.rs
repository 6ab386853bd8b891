//! A table that takes long to load, and is mended meanwhile.

use std::fs;
use std::sync::mpsc;

use notify::event::{AccessKind, EventKind};
use notify::{RecursiveMode, Watcher as _};

use super::{rename_over, reply_of_say, saying};
use crate::support::proxy::{GUARD, Proxy};
use crate::support::until;

/// A table of many megabytes with an error at its end.
fn hostile() -> String {
    let mut table = saying("hostile");
    for number in 0..15_000 {
        let text = "x".repeat(300);
        table += &format!(
            "[routes.r{number}]\nargs.a.type = \"string\"\nreply.text = \"{{{{args.a}}}} {text}\"\n"
        );
    }
    table + "[routes.broken]\nreply.text = \"{{\"\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_newer_files_overtake_is_given_up() {
    let proxy = Proxy::start(&saying("one")).await;
    let file = proxy.folder.path().join("routes.toml");
    let (opened, is_opened) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let event = event.unwrap();
        let is_table = event.paths.iter().any(|path| path.ends_with("routes.toml"));
        if is_table && matches!(event.kind, EventKind::Access(AccessKind::Open(_))) {
            let _ = opened.send(());
        }
    })
    .unwrap();
    watcher.watch(proxy.folder.path(), RecursiveMode::NonRecursive).unwrap();
    let hostile = hostile();
    rename_over(&file, &hostile);
    // The proxy has begun to load the hostile table.
    tokio::task::spawn_blocking(move || is_opened.recv_timeout(GUARD).unwrap()).await.unwrap();
    rename_over(&file, &saying("two"));
    until("the mended table is not served", async || reply_of_say(&proxy).await == "two").await;
    // Otherwise the hostile table would have been rejected first.
    let metrics = proxy.ask_admin("/metrics", &[]).await;
    assert!(metrics.text().contains("jackfield_reloads_total{result=\"rejected\"} 0\n"));
    assert!(!proxy.log().contains("rejected"), "{}", proxy.log());
    assert_eq!(fs::read_to_string(&file).unwrap(), saying("two"));
}
