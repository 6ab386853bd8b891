//! What one exchange with an upstream costs, in instructions and allocations: our transport beside reqwest.
//!
//! `cargo bench --bench exchange` runs both under valgrind, which must be installed. Nothing is timed: the figure is
//! the difference between a long and a short run, divided by the exchanges in between. The upstream is another process.

#![allow(clippy::print_stdout, reason = "a report for people")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method};
use jackfield::upstream::http::HttpTransport;
use jackfield::upstream::tls::Tls;
use jackfield::upstream::{EgressPolicy, Redirects, Request, Target, Times, Transport as _};

const BODY: &[u8] =
    br#"{"order":"A-1001","items":[{"sku":"9","count":2}],"note":"by phone","customer":"c-17"}"#;
const REPLY: &[u8] = include_bytes!("../payloads/reply.json");

const CALLGRIND: [&str; 2] = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
const MEMCHECK: [&str; 2] = ["--tool=memcheck", "--leak-check=no"];

/// How many exchanges the short and the long run have.
const RUNS: [u64; 2] = [200, 1200];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["upstream"] => upstream(),
        [client, "client", address, exchanges] => {
            let (address, exchanges) =
                (address.parse().expect("an address"), exchanges.parse().expect("a number"));
            runtime().block_on(async move {
                let ended = match client {
                    "jackfield" => tokio::spawn(jackfield(address, exchanges)),
                    _ => tokio::spawn(reqwest(address, exchanges)),
                };
                ended.await.expect("all exchanges succeed");
            });
        }
        _ => compare(),
    }
}

/// Prints the costs of both clients.
fn compare() {
    let (mut upstream, address) = start_upstream();
    for client in ["reqwest", "jackfield"] {
        let instructions = per_exchange(client, &address, &CALLGRIND, "Collected : ");
        let allocations = per_exchange(client, &address, &MEMCHECK, "total heap usage: ");
        println!("{client:<10} {instructions:>8.0} instructions  {allocations:>5.1} allocations");
    }
    upstream.kill().expect("the upstream runs");
    upstream.wait().expect("the upstream ended");
}

fn start_upstream() -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    let mut child = command.arg("upstream").stdout(Stdio::piped()).spawn().expect("the upstream starts");
    let mut address = String::new();
    let output = child.stdout.take().expect("its output is piped");
    BufReader::new(output).read_line(&mut address).expect("the upstream names its address");
    (child, address.trim_end().to_owned())
}

/// One figure of valgrind, which stands behind `label` in its report.
fn per_exchange(client: &str, address: &str, tool: &[&str], label: &str) -> f64 {
    let [short, long] = RUNS.map(|exchanges| {
        let mut command = Command::new("valgrind");
        command.args(tool).arg(std::env::current_exe().expect("this program has a path"));
        command.args([client, "client", address, &exchanges.to_string()]);
        let output = command.output().expect("valgrind is installed");
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{report}");
        let (_, rest) = report.split_once(label).unwrap_or_else(|| panic!("{report}"));
        let figure = rest.split_whitespace().next().expect("a figure stands behind its label");
        figure.replace(',', "").parse::<f64>().expect("a number")
    });
    (long - short) / (RUNS[1] - RUNS[0]) as f64
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Answers each POST with the same reply.
fn upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    println!("{}", listener.local_addr().expect("it is bound"));
    for stream in listener.incoming() {
        let stream = stream.expect("a connection");
        std::thread::spawn(move || while answer(&stream).is_some() {});
    }
}

fn answer(mut stream: &TcpStream) -> Option<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.ends_with(BODY) {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: upstream\r\ndate: Mon, 15 Jun 2026 10:20:30 GMT\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        REPLY.len()
    );
    stream.write_all(&[head.as_bytes(), REPLY].concat()).ok()
}

fn request(address: SocketAddr) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("authorization", HeaderValue::from_static("Bearer 1234567890abcdef"));
    headers.insert("x-tenant", HeaderValue::from_static("north"));
    let target = Target {
        name: "orders".to_owned(),
        timeout: None,
        root: String::new(),
        max_body: 1 << 20,
        redirects: Redirects::None,
        tls: Tls::default(),
        network: EgressPolicy::Any,
        proxy: None,
    };
    Request {
        target: Arc::new(target),
        step: None,
        method: Method::POST,
        url: format!("http://{address}/v1/orders/A-1001/changes?notify=true").parse().expect("a URL"),
        headers,
        body: Some(Bytes::from_static(BODY)),
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn jackfield(address: SocketAddr, exchanges: u64) {
    let transport = HttpTransport::new().expect("a transport");
    let request = request(address);
    for _ in 0..exchanges {
        let response = transport.send(&request, Times::by(deadline())).await.expect("a response");
        assert_eq!(response.body.len(), REPLY.len());
    }
}

/// What a transport over reqwest does at least.
async fn reqwest(address: SocketAddr, exchanges: u64) {
    rustls::crypto::ring::default_provider().install_default().expect("there is none yet");
    let client = reqwest::Client::builder()
        .user_agent("jackfield")
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .build()
        .expect("a client");
    let request = request(address);
    for _ in 0..exchanges {
        let Request { method, url, headers, body, .. } = request.clone();
        let exchange = async {
            let mut outbound = reqwest::Request::new(method, url.as_str().parse().expect("a URL"));
            *outbound.headers_mut() = headers;
            *outbound.body_mut() = body.map(Into::into);
            let mut response = client.execute(outbound).await.expect("a response");
            let mut body = BytesMut::with_capacity(REPLY.len());
            while let Some(chunk) = response.chunk().await.expect("a body") {
                body.extend_from_slice(&chunk);
            }
            (std::mem::take(response.headers_mut()), body.freeze())
        };
        let (_, body) = tokio::time::timeout_at(deadline().into(), exchange).await.expect("in time");
        assert_eq!(body.len(), REPLY.len());
    }
}
