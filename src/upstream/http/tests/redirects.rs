//! Which redirects are followed, and how the request changes.

use http::{HeaderValue, Method, StatusCode, header};

use super::*;
use crate::upstream::client::MAX_REDIRECTS;

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn redirects_are_not_followed_by_default() {
    let response = send_to(redirect("/there"), Then::Listen).await.unwrap();

    assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers.get("location"), Some(&b"/there"[..]));
}

#[tokio::test]
async fn a_redirect_to_the_same_origin_is_followed() {
    let answer = |request: &str| match request.starts_with("POST /here?key=hidden") {
        true => redirect("/there").into_bytes(),
        false => OK.as_bytes().to_vec(),
    };
    let mut upstream = RawUpstream::with(answer, Then::Listen).await;
    let same = Target { redirects: Redirects::SameOrigin, ..target() };
    let mut request = get(upstream.url("/here?key=hidden"), same);
    request.method = Method::POST;
    request.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"));
    request.body = Some(Bytes::from_static(b"{}"));

    let response = send(request).await.unwrap();

    assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));
    let first = upstream.requests.recv().await.unwrap();
    let second = upstream.requests.recv().await.unwrap();
    assert_eq!(second, first.replace("/here?key=hidden", "/there"));
    assert!(second.contains("authorization: Bearer t\r\n") && second.ends_with("{}"), "{second}");
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_not_followed() {
    let other = RawUpstream::responding(OK, Then::Listen).await;
    let same = Target { redirects: Redirects::SameOrigin, ..target() };
    let port = other.address.port();
    let elsewhere = [other.url("/").to_string(), format!("//localhost:{port}/")];
    let nowhere = ["https:", "http://1.2.3.4.5/", "mailto:a@b", "a:80", "//[", ""].map(str::to_owned);
    for to in elsewhere.into_iter().chain(nowhere) {
        let upstream = RawUpstream::responding(redirect(&to), Then::Listen).await;
        let response = send(get(upstream.url("/"), same.clone())).await.unwrap();
        assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT, "{to}");
    }
    assert_eq!(other.accepted(), 0);
}

#[tokio::test]
async fn the_number_of_redirects_is_limited() {
    let mut upstream = RawUpstream::responding(redirect("/"), Then::Listen).await;
    let same = Target { redirects: Redirects::SameOrigin, ..target() };

    let response = send(get(upstream.url("/"), same)).await.unwrap();

    assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
    let mut received = 0;
    while upstream.requests.recv().await.is_some_and(|request| !request.is_empty()) {
        received += 1;
    }
    assert_eq!(received, 1 + MAX_REDIRECTS);
}

#[tokio::test]
async fn a_request_may_have_arrived_if_its_redirect_fails() {
    for hangs in [false, true] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            // From now on, new connections are refused, or hang because the accept queue is full.
            let mut waiting = Vec::new();
            let mut held = Some(listener);
            if hangs {
                let full = Duration::from_millis(100);
                while let Ok(more) = tokio::time::timeout(full, TcpStream::connect(address)).await {
                    waiting.push(more.unwrap());
                }
            } else {
                held = None;
            }
            let answer = "HTTP/1.1 303 See Other\r\nlocation: /there\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream);
            std::future::pending::<()>().await;
            drop((held, waiting));
        });
        let same = Target { redirects: Redirects::SameOrigin, ..target() };
        let mut request = get(format!("http://{address}/").parse().unwrap(), same);
        request.method = Method::POST;
        let transport = HttpTransport::new().unwrap();
        let by = Instant::now() + Duration::from_secs(1);

        let error = transport.send(&request, Times::by(by)).await.unwrap_err();

        assert!(error.may_have_arrived(), "{error}");
    }
}
