//! The files in `deploy/` and the claims of `docs/deploy.md` and `docs/instances.md` that a test can hold.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::folder::Folder;
use crate::support::proxy::{Proxy, jackfield, run};
use crate::support::upstream::{Reply, Upstream};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The files of the table in the ConfigMap, in their places in the volume.
fn config_map() -> Vec<(String, String)> {
    let manifest = read("deploy/kubernetes/base/jackfield.yaml");
    let data = manifest.split("\ndata:\n").nth(1).unwrap().split("\n---\n").next().unwrap();
    let items = manifest.split("items:\n").nth(1).unwrap();
    let mut files = Vec::new();
    for part in format!("\n{data}").split("\n  ").filter(|part| part.contains(": |")) {
        let key = part.split(':').next().unwrap().to_owned();
        let text = data.split(&format!("  {key}: |\n")).nth(1).unwrap();
        let lines = text.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        let text: String =
            lines.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
        let item = items.lines().find(|line| line.contains(&format!("key: {key},"))).unwrap();
        let path = item.split("path: ").nth(1).unwrap().trim_end_matches([' ', '}']);
        files.push((path.to_owned(), text));
    }
    files
}

#[tokio::test]
async fn the_table_in_the_config_map_is_valid() {
    let files = config_map();
    assert!(files.len() >= 3 && files.iter().any(|(path, _)| path == "routes.toml"), "{files:?}");
    let folder = Folder::with(&[]);
    for (path, text) in &files {
        folder.write(path, text);
    }
    let mut command = jackfield(folder.path());
    command.args(["check", "--no-secrets"]);
    let output = run(command).await;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("ok, 1 route"), "{printed}");
}

/// The package brings a table that works, and every file that its description names.
#[tokio::test]
async fn the_debian_package_has_a_working_table_and_its_files() {
    let folder = Folder::with(&[("routes.toml", &read("deploy/debian/routes.toml"))]);
    for arguments in [&["check", "--deny-warnings"][..], &["test", "--require-coverage"]] {
        let mut command = jackfield(folder.path());
        command.args(arguments);
        let output = run(command).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let (manifest, script) = (read("Cargo.toml"), read("scripts/deb"));
    let assets = manifest.split("\nassets = [\n").nth(1).unwrap().split("\n]\n").next().unwrap();
    let sources: Vec<&str> = assets.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert!(sources.len() > 5 && sources.contains(&"target/release/jackfield"), "{sources:?}");
    for source in sources.into_iter().filter(|source| *source != "target/release/jackfield") {
        match source.strip_prefix("target/deb/") {
            // The script makes it.
            Some(made) => {
                assert!(script.contains(&format!("$made/{}", made.split('/').next().unwrap())), "{source}")
            }
            None => {
                let path = source.split("/*").next().unwrap();
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{source}");
            }
        }
    }
    // Only the program's folder differs from the unit that docs/deploy.md installs.
    let unit = read("deploy/systemd/jackfield.service");
    assert!(
        unit.contains("ExecStart=/usr/local/bin/jackfield serve")
            && script.contains("s|/usr/local/bin/|/usr/bin/|g")
    );
}

/// What a patch names is in the base, the overlays use the base, and every file is in a kustomization.
#[test]
fn the_overlays_fit_the_base() {
    let base = read("deploy/kubernetes/base/jackfield.yaml");
    assert!(read("deploy/kubernetes/base/kustomization.yaml").contains("\n  - jackfield.yaml\n"));
    for (overlay, names) in [
        ("sqlite", &["jackfield", "state", "jackfield-state"][..]),
        ("postgres", &["jackfield", "STATE_URL", "jackfield-state"]),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/overlays").join(overlay);
        let kustomization = fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
        assert!(kustomization.contains("\n  - ../../base\n"), "{overlay}");
        let (mut files, mut text) = (0, String::new());
        for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
            let name = file.file_name().into_string().unwrap();
            text += &fs::read_to_string(file.path()).unwrap();
            if name != "kustomization.yaml" {
                assert!(kustomization.contains(&format!(" {name}\n")), "{overlay}: {name} is not used");
                files += 1;
            }
        }
        assert!(files > 0, "{overlay}");
        for name in names {
            assert!(text.contains(&format!("name: {name}")), "{overlay}: {name}");
        }
    }
    // The variable and the folder that the overlays provide are those of the base's table.
    assert!(base.contains("\"${STATE_URL:-sqlite:/var/lib/jackfield/jackfield.db}\""));
    assert!(
        read("deploy/kubernetes/overlays/sqlite/deployment.yaml").contains("mountPath: /var/lib/jackfield")
    );
    // The ServiceMonitor finds the port and the secret of the base.
    let monitor = read("deploy/kubernetes/monitoring/servicemonitor.yaml");
    assert!(
        monitor.contains("port: admin") && base.contains("{ name: admin, port: 8081, targetPort: admin }")
    );
    assert!(monitor.contains("{ name: jackfield, key: admin_token }") && base.contains("\n  admin_token: "));
    // The metric that the autoscaler uses exists.
    let metric = "jackfield_calls_in_flight";
    assert!(read("deploy/kubernetes/overlays/postgres/availability.yaml").contains(metric));
    assert!(read("docs/operations.md").contains(&format!("`{metric}`")));
}

/// All of them leave the process the time that docs/deploy.md asks for.
#[test]
fn every_deployment_waits_long_enough_for_writes() {
    for (file, setting) in [
        ("deploy/systemd/jackfield.service", "\nTimeoutStopSec=50s\n"),
        ("deploy/kubernetes/base/jackfield.yaml", "\n      terminationGracePeriodSeconds: 50\n"),
        ("deploy/compose.yaml", "\n    stop_grace_period: 50s\n"),
        ("deploy/compose.postgres.yaml", "\n  stop_grace_period: 50s\n"),
        ("deploy/fly/fly.toml", "\nkill_timeout = \"50s\"\n"),
    ] {
        assert!(read(file).contains(setting), "{file}");
    }
}

/// nginx holds back streams unless it is told not to.
#[test]
fn the_proxy_configurations_pass_on_streams() {
    for file in ["deploy/nginx/jackfield.conf", "deploy/nginx/compose.conf"] {
        assert!(read(file).contains("\n        proxy_buffering off;\n"), "{file}");
    }
    assert!(read("deploy/kubernetes/base/jackfield.yaml").contains("proxy-buffering: \"off\""));
    // The lines shown in the page are those of the file.
    let page = read("docs/deploy.md");
    let shown = page.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
    for line in shown.lines() {
        let directive = line.split('#').next().unwrap().trim();
        assert!(read("deploy/nginx/jackfield.conf").contains(directive), "{directive}");
    }
}

/// What docs/instances.md promises of `idempotency_key`, and what it says of calls without it.
#[tokio::test]
async fn two_instances_send_the_same_idempotency_key_for_a_call_with_an_id() {
    let table = "[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n[routes.book]\nupstream = \"api\"\n\
                 request = { method = \"POST\", path = \"/book\" }\nidempotency_key = \"idempotency-key\"\n\
                 [platforms.voicedock]\n[platforms.http]\n";
    let upstream = Upstream::new(|_| Reply::json(&json!({"id": 1}))).await;
    let (one, two) = (Proxy::over(&upstream, table).await, Proxy::over(&upstream, table).await);
    let call = json!({"message": {"type": "tool-calls", "call": {"id": "c1"}, "tool_call_list": [
        {"id": "t1", "function": {"name": "book", "arguments": {}}},
    ]}});
    for proxy in [&one, &two, &one] {
        assert_eq!(proxy.post("/voicedock", &call).await.status, 200);
    }
    let keys = || -> Vec<String> {
        upstream.take().iter().flat_map(|request| request.header("idempotency-key")).collect()
    };
    let seen = keys();
    assert_eq!(seen.len(), 2, "the third call is a retry that its instance knows: {seen:?}");
    assert_eq!(seen[0], seen[1]);
    for proxy in [&one, &two] {
        assert_eq!(proxy.post("/http/book", &json!({})).await.status, 200);
    }
    let without_id = keys();
    assert!(without_id[0] != without_id[1], "{without_id:?}");
}
