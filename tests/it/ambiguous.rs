//! Requests on the wire that another program could read differently, or that a browser was tricked into sending.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[platforms.http]\n\
                     [routes.say]\nreply.text = \"Hello.\"\n";

/// Sends bytes as they are, and returns the status and the rest of the response.
fn exchange(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{request:?}: {response:?}")), response)
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_without_login_is_only_for_this_machine_by_name() {
    let proxy = Proxy::start(TABLE).await;
    let admin = proxy.admin.unwrap();
    for (host, is_local) in [
        ("localhost", true),
        ("localhost:8080", true),
        ("app.localhost", true),
        ("127.0.0.1:8080", true),
        ("[::1]:8080", true),
        ("evil.example:8080", false),
        ("evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("localhost.evil.example", false),
        ("10.0.0.1", false),
        ("localhost@evil.example", false),
        ("", false),
    ] {
        let header = format!("host: {host}\r\n");
        let expected = if is_local { 200 } else { 403 };
        let (status, response) = exchange(proxy.listen, &get("/http/say", &header));
        assert_eq!(status, expected, "{host}: {response}");
        assert_eq!(is_local, response.contains("Hello."), "{host}");
        for path in ["/status", "/metrics", "/records"] {
            assert_eq!(exchange(admin, &get(path, &header)).0, expected, "{host} {path}");
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(exchange(admin, &get(path, &header)).0, 200, "{host} {path}");
        }
    }
    let (_, refused) = exchange(proxy.listen, &get("/http/say", "host: evil.example\r\n"));
    assert!(refused.contains("set `auth`, or `server.public_url`"), "{refused}");
    assert_eq!(proxy.status().await["rejected_requests"]["other_host"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_with_any_auth_is_reached_under_any_name() {
    let table = "[server]\nlisten = \"127.0.0.1:0\"\n[platforms.http]\nauth.none = {}\n\
                 [platforms.millis]\nauth.bearer = { token = \"t\" }\n[routes.say]\nreply.text = \"Hello.\"\n";
    let proxy = Proxy::start(table).await;
    for (path, expected) in [("/http/say", 200), ("/millis/say", 401)] {
        let (status, response) = exchange(proxy.listen, &get(path, "host: tools.example.com\r\n"));
        assert_eq!(status, expected, "{path}: {response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host_and_one_transfer_coding() {
    let proxy = Proxy::start(TABLE).await;
    let chunked = |codings: &str| {
        format!(
            "POST /http/say HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{codings}\r\n2\r\n{{}}\r\n0\r\n\r\n"
        )
    };
    for (request, expected) in [
        (get("/http/say", "host: localhost\r\n"), 200),
        (get("/http/say", ""), 400),
        (get("/http/say", "host: localhost\r\nhost: localhost\r\n"), 400),
        (get("/http/say", "host: localhost\r\nhost: evil.example\r\n"), 400),
        ("GET /http/say HTTP/1.0\r\n\r\n".to_owned(), 200),
        (chunked("transfer-encoding: chunked\r\n"), 200),
        (chunked("transfer-encoding: Chunked \r\n"), 200),
        (chunked("transfer-encoding: gzip, chunked\r\n"), 400),
        (chunked("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n"), 400),
    ] {
        let (status, response) = exchange(proxy.listen, &request);
        assert_eq!(status, expected, "{request:?}: {response}");
    }
    for headers in ["", "host: localhost\r\nhost: localhost\r\n"] {
        assert_eq!(exchange(proxy.admin.unwrap(), &get("/healthz", headers)).0, 400, "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_does_not_leave_the_path_of_the_base_url() {
    let upstream = Upstream::new(|seen| match seen.path() {
        "/tenant/a" => Reply::status(302, &json!({})).header("location", "/tenant/b"),
        "/tenant/out" => Reply::status(302, &json!({})).header("location", "/other/b"),
        "/tenant/near" => Reply::status(302, &json!({})).header("location", "/tenant-b/b"),
        "/tenant/dots" => Reply::status(302, &json!({})).header("location", "/tenant/%2e%2e/other/b"),
        path => Reply::json(&json!({ "path": path })),
    })
    .await;
    let table = format!(
        "[platforms.http]\n[upstreams.shared]\nbase_url = \"http://{}/tenant\"\nredirects = \"same_origin\"\n\
         auth.bearer = {{ token = \"key-of-the-tenant\" }}\n[routes.go]\nupstream = \"shared\"\n\
         args.to.type = \"string\"\nrequest.path = \"/{{{{args.to}}}}\"\nextract.path = \"$.path\"\n\
         reply.text = \"{{{{path}}}}\"\nfailure.bad_response = \"not followed\"\n",
        upstream.address
    );
    let proxy = Proxy::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\n{table}")).await;
    for (to, expected) in
        [("a", "/tenant/b"), ("out", "not followed"), ("near", "not followed"), ("dots", "not followed")]
    {
        let answer = proxy.post("/http/go", &json!({ "to": to })).await;
        assert!(answer.text().contains(expected), "{to}: {}", answer.text());
    }
    assert!(upstream.take().iter().all(|seen| seen.path().starts_with("/tenant/")));
}
