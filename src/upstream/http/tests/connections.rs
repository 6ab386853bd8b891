//! When a connection is reused, and when it must not be.

use http::Method;

use super::*;

#[tokio::test]
async fn connections_are_reused_within_an_upstream() {
    let upstream = RawUpstream::responding(OK, Then::Listen).await;
    let transport = HttpTransport::new().unwrap();
    let send =
        async |target| transport.send(&get(upstream.url("/"), target), Times::by(far())).await.unwrap();

    send(target()).await;
    send(Target { max_body: 100, ..target() }).await;
    assert_eq!(upstream.accepted(), 1);

    send(Target { name: "another".to_owned(), ..target() }).await;
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn connections_are_kept_while_their_target_is_listed() {
    let mut upstream = RawUpstream::responding(OK, Then::Listen).await;
    let transport = HttpTransport::new().unwrap();
    let other = Target { name: "other".to_owned(), ..target() };

    transport.prepare([&target()].into_iter()).unwrap();
    transport.send(&get(upstream.url("/"), target()), Times::by(far())).await.unwrap();
    transport.prepare([&other, &target()].into_iter()).unwrap();
    transport.send(&get(upstream.url("/"), target()), Times::by(far())).await.unwrap();
    assert_eq!(upstream.accepted(), 1);

    transport.prepare([&other].into_iter()).unwrap();
    let seen =
        [upstream.requests.recv().await, upstream.requests.recv().await, upstream.requests.recv().await];
    assert_eq!(seen.map(|request| request.unwrap().is_empty()), [false, false, true]);

    transport.send(&get(upstream.url("/"), target()), Times::by(far())).await.unwrap();
    assert_eq!(upstream.accepted(), 2);
}

/// An upstream that responds to the first request of each connection with `OK`, closes the connection and sends a
/// message on the channel.
async fn closing_upstream() -> (SocketAddr, UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, closed) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            drop(stream);
            sender.send(()).unwrap();
        }
    });
    (address, closed)
}

#[tokio::test]
async fn closed_connections_are_not_reused() {
    let (address, mut closed) = closing_upstream().await;
    let transport = HttpTransport::new().unwrap();
    let mut request = get(format!("http://{address}/").parse().unwrap(), target());
    request.method = Method::POST;
    request.body = Some(Bytes::from_static(b"{}"));
    for _ in 0..3 {
        let response = transport.send(&request, Times::by(far())).await.unwrap();
        assert_eq!(response.body, "ok");
        closed.recv().await.unwrap();
        // The runtime polls its sockets before it resumes a task that has yielded.
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_with_unread_bytes_or_connection_close_are_not_reused() {
    for answer in
        [format!("{OK}{OK}"), format!("{OK}x"), OK.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")]
    {
        let upstream = RawUpstream::responding(answer.clone(), Then::Listen).await;
        let transport = HttpTransport::new().unwrap();
        for sent in 1..=2 {
            let response = transport.send(&get(upstream.url("/"), target()), Times::by(far())).await.unwrap();
            assert_eq!(response.body, "ok");
            assert_eq!(upstream.accepted(), sent, "{answer}");
        }
    }
}

/// An upstream that sees another end of the body could make the rest of it the response to another request.
#[tokio::test]
async fn connections_after_ambiguous_responses_are_not_reused() {
    let chunks = "\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for (head, is_reused) in [
        (format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked{chunks}"), true),
        (format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2{chunks}"), false),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 40\r\ntransfer-encoding : chunked{chunks}"), false),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), true),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n".to_owned(), true),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 40\r\n\r\n".to_owned(), false),
        ("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), false),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 40\r\n\r\n".to_owned(), true),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: Keep-Alive\r\n\r\nok".to_owned(), true),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, Close\r\n\r\nok".to_owned(), false),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x\r\nconnection: CLOSE\r\n\r\nok".to_owned(),
            false,
        ),
    ] {
        let upstream = RawUpstream::responding(head.clone(), Then::Listen).await;
        let transport = HttpTransport::new().unwrap();
        for _ in 0..2 {
            let response = transport.send(&get(upstream.url("/"), target()), Times::by(far())).await.unwrap();
            assert_eq!(
                response.body,
                if head.ends_with("\r\n\r\n") && !head.contains("ok") { "" } else { "ok" }
            );
        }
        assert_eq!(upstream.accepted(), if is_reused { 1 } else { 2 }, "{head}");
    }
}

#[tokio::test]
async fn a_request_that_closes_the_connection_is_the_last_one() {
    for option in ["close", "Close", "x, close"] {
        let upstream = RawUpstream::responding(OK, Then::Listen).await;
        let transport = HttpTransport::new().unwrap();
        let mut request = get(upstream.url("/"), target());
        request.headers.insert(header::CONNECTION, HeaderValue::from_static(option));
        for sent in 1..=2 {
            transport.send(&request, Times::by(far())).await.unwrap();
            assert_eq!(upstream.accepted(), sent, "{option}");
        }
    }
}

#[tokio::test]
async fn a_connection_with_an_unread_body_is_closed() {
    let mut upstream = RawUpstream::responding(
        format!("{}{}", OK.replace("length: 2", "length: 1025"), "x".repeat(1000)),
        Then::Listen,
    )
    .await;
    let transport = HttpTransport::new().unwrap();

    let error = transport.send(&get(upstream.url("/"), target()), Times::by(far())).await.unwrap_err();

    assert!(matches!(error.cause(), TransportError::TooLarge { .. }), "{error}");
    assert!(!upstream.requests.recv().await.unwrap().is_empty());
    assert!(upstream.requests.recv().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_is_closed_after_a_timeout() {
    let mut upstream =
        RawUpstream::responding("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", Then::Listen).await;
    let transport = HttpTransport::new().unwrap();

    transport.send(&get(upstream.url("/"), target()), Times::by(near())).await.unwrap_err();

    assert!(!upstream.requests.recv().await.unwrap().is_empty());
    assert!(upstream.requests.recv().await.unwrap().is_empty());
}

#[tokio::test]
async fn interim_responses_are_skipped_up_to_a_limit() {
    let hints = format!("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}");
    assert_eq!(send_to(hints, Then::Listen).await.unwrap().body, "ok");

    let error = send_to("", Then::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n")).await.unwrap_err();
    assert!(matches!(error, TransportError::Invalid { .. }), "{error}");
    let upstream = RawUpstream::responding("HTTP/1.1 100 Continue\r\n\r\n", Then::Hang).await;
    let transport = HttpTransport::new().unwrap();
    let error = transport.send(&get(upstream.url("/"), target()), Times::by(near())).await.unwrap_err();
    assert!(matches!(error, TransportError::Timeout { phase: "waiting for the response", .. }), "{error}");
}

#[tokio::test]
async fn a_server_of_another_protocol_is_recognised_at_once() {
    // It waits for the client after its first line.
    let error = send_to("SSH-2.0-OpenSSH_9.6\r\n", Then::Hang).await.unwrap_err();
    assert_eq!(error.to_string(), "the response is not valid: it is not an HTTP/1 response");
}

#[tokio::test]
async fn a_response_before_the_end_of_the_request_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        let refusal = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
        stream.write_all(format!("{interim}{refusal}").as_bytes()).await.unwrap();
        // The rest of the request is not read.
        std::future::pending::<()>().await;
        drop(stream);
    });
    let mut request = get(url, target());
    request.method = Method::POST;
    request.body = Some(vec![b'x'; 64 << 20].into());
    let response = send(request).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (413, &b"no"[..]));
}

#[tokio::test]
async fn the_head_of_a_response_is_limited() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    let error = send_to(many, Then::Listen).await.unwrap_err();
    assert!(matches!(error.cause(), TransportError::Invalid { .. }), "{error}");

    let error = send_to("HTTP/1.1 200 OK\r\nx: ", Then::Repeat(&[b'y'; 4096])).await.unwrap_err();
    assert!(matches!(error.cause(), TransportError::Invalid { .. }), "{error}");
}
