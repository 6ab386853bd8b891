//! Errors of the transport: how failures are classified, and whether the request may have arrived.

use super::*;

#[tokio::test]
async fn failures_before_sending_are_distinguished() {
    // Bound but not listening: the port is reserved and refuses connections.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/?key=hidden", socket.local_addr().unwrap()).parse().unwrap();
    let error = send(get(url, target())).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{error}");
    assert!(
        error.to_string().starts_with("cannot connect: tcp connect error: Connection refused"),
        "{error}"
    );

    let error = send(get("ftp://127.0.0.1/?key=hidden".parse().unwrap(), target())).await.unwrap_err();
    assert_eq!(error.to_string(), "the request could not be sent: URL scheme is not allowed");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/?key=hidden", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });

    let error = send(get(url, target())).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "cannot connect: what answers there does not speak TLS; `http://` may be meant"
    );
}

#[tokio::test]
async fn lost_connections_are_distinguished_from_invalid_responses() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let gzip = compressed("gzip", GZIP);
    let early = "it was closed before the response";
    let cut = "it was closed before the end of the body";
    for (answer, lost, text) in [
        (Vec::new(), true, early),
        (b"HTTP/1.1 20".into(), true, early),
        (format!("{ok}content-length: 9\r\n\r\nhalf").into(), true, cut),
        (format!("{chunked}9\r\nhalf").into(), true, cut),
        (gzip[..gzip.len() - 20].into(), true, cut),
        (b"SSH-2.0-OpenSSH\r\n\r\n".into(), false, "it is not an HTTP/1 response"),
        (format!("{ok}{}\r\n", "x: y\r\n".repeat(101)).into(), false, "it has more than 100 headers"),
        (format!("{ok}content-length: many\r\n\r\n").into(), false, "its `content-length` is not a number"),
        (
            format!("{ok}content-length: 2\u{1}\r\n\r\nok").into(),
            false,
            "its header `content-length` is malformed",
        ),
        (
            format!("{ok}content-length: 2\r\ntransfer-encoding\u{b}: chunked\r\n\r\nok").into(),
            false,
            "its header `transfer-encoding` is malformed",
        ),
        (
            format!("{ok}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n").into(),
            false,
            "the response has the transfer coding `chunked` twice",
        ),
        (
            format!("{ok}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\nf\r\n").into(),
            false,
            "the last transfer coding of the response is not `chunked`",
        ),
        (
            format!("{ok}transfer-encoding: xchunked\r\ncontent-length: 3\r\n\r\nabc").into(),
            false,
            "the last transfer coding of the response is not `chunked`",
        ),
        (
            format!("{chunked}zz\r\n").into(),
            false,
            "the size of a chunk of the body is not a hexadecimal number",
        ),
        (compressed("gzip", &GZIP[..40]), false, "unexpected end of file"),
        (compressed("gzip", &GZIP.replace("ab56", "ffff")), false, "deflate decompression error"),
        (compressed("gzip", &hex::encode("plain")), false, "Invalid gzip header"),
    ] {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        match send_to(answer, Then::Close).await.unwrap_err().cause() {
            TransportError::Lost { detail } if lost => assert_eq!(detail, text, "{shown}"),
            TransportError::Invalid { detail } if !lost => assert_eq!(detail, text, "{shown}"),
            error => panic!("{shown}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_connection_reset_is_a_lost_connection() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
        let error = send_to(answer, Then::Reset).await.unwrap_err();
        assert!(matches!(error.cause(), TransportError::Lost { .. }), "{error}");
        assert!(error.to_string().contains("Connection reset by peer"), "{error}");
    }
}

#[tokio::test]
async fn a_timeout_names_the_phase() {
    let transport = HttpTransport::new().unwrap();
    let phase = async |answer: &str, target: Target, deadline| {
        let upstream = RawUpstream::responding(answer, Then::Hang).await;
        let times = Times::by(target.ends(Instant::now(), deadline));
        match transport.send(&get(upstream.url("/"), target), times).await.unwrap_err() {
            TransportError::Timeout { phase, .. } => phase,
            error => panic!("{error}"),
        }
    };
    let own = Target { timeout: Some(Duration::from_millis(50)), ..target() };
    let long = Target { timeout: Some(Duration::MAX), ..target() };

    assert_eq!(phase("", target(), near()).await, "waiting for the response");
    assert_eq!(phase("HTTP/1.1 200", target(), near()).await, "waiting for the response");
    assert_eq!(phase("", own, far()).await, "waiting for the response");
    assert_eq!(phase("", long, near()).await, "waiting for the response");
    // Longer than the others, because the head must arrive before the deadline.
    let deadline = Instant::now() + Duration::from_millis(500);
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    assert_eq!(phase(half, target(), deadline).await, "reading the body");
}

#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let upstream = RawUpstream::responding(OK, Then::Listen).await;
    let transport = HttpTransport::new().unwrap();

    let error =
        transport.send(&get(upstream.url("/"), target()), Times::by(Instant::now())).await.unwrap_err();

    assert_eq!(error.to_string(), "no answer in time (connecting)");
    assert_eq!(upstream.accepted(), 0);
}

/// On Linux, connections hang when the accept queue is full. Other systems refuse them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_timeout_while_connecting_names_that_phase() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    let wait = Duration::from_millis(50);
    while let Ok(connected) = tokio::time::timeout(wait, TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
    }

    let url = format!("http://{address}/").parse().unwrap();
    let error = HttpTransport::new().unwrap().send(&get(url, target()), Times::by(near())).await.unwrap_err();

    assert!(matches!(error, TransportError::Timeout { phase: "connecting", .. }), "{error}");
}

#[test]
fn an_error_text_is_one_short_line() {
    let inner = io::Error::other(format!("a\r\nb\u{1b}[31m{}", "x".repeat(1000)));
    let text = detail(&inner);
    assert!(text.starts_with("a\\r\\nb\\u{1b}[31mxx"), "{text}");
    assert!(text.len() < 400, "{text}");
}

/// An empty member of a gzip body.
const EMPTY: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn compressed_data_that_decompresses_to_nothing_is_limited() {
    for (coding, endless) in [("gzip", EMPTY), ("gzip", &[0; 4096]), ("br", &[6; 4096])] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n\r\n");
        let begin = if endless[0] == 0 { EMPTY } else { &[] };
        let begun = [head.as_bytes(), begin].concat();
        let error = send_to(begun, Then::Repeat(endless)).await.unwrap_err();
        assert!(matches!(error.cause(), TransportError::TooLarge { .. }), "{coding}: {error}");
    }
}
