//! Responses whose body arrives piece by piece.

use std::convert::Infallible;

use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

/// Answers each request with the pieces that a test sends.
#[derive(Clone)]
struct Pieces(Arc<Mutex<Option<UnboundedReceiver<Bytes>>>>);

impl Endpoint for Pieces {
    type Body = UnsyncBoxBody<Bytes, Infallible>;

    async fn answer(self, _: Peer, _: Request<Incoming>) -> Response<Self::Body> {
        let pieces = self.0.lock().take().unwrap();
        let pieces = stream::unfold(pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(piece)), pieces))
        });
        Response::new(StreamBody::new(pieces).boxed_unsync())
    }

    fn note_bad_head(&self, _: Peer, _: &BadHead) {}
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_sent_piece_by_piece() {
    let graceful = GracefulShutdown::new();
    for (version, ended) in [("1.1", "0\r\n\r\n"), ("1.0", "")] {
        let (pieces, receiver) = unbounded_channel();
        let endpoint = Pieces(Arc::new(Mutex::new(Some(receiver))));
        let (mut client, serving) = connected(endpoint, &graceful);
        client.write_all(format!("GET /a HTTP/{version}\r\n\r\n").as_bytes()).await.unwrap();
        // The head does not wait for the first piece.
        let head = until(&mut client, "\r\n\r\n").await;
        assert_eq!(head.contains("transfer-encoding: chunked"), version == "1.1", "{head}");
        for piece in ["one", "two"] {
            pieces.send(Bytes::from(piece)).unwrap();
            let chunk = if version == "1.1" { format!("3\r\n{piece}\r\n") } else { piece.to_owned() };
            assert_eq!(until(&mut client, &chunk).await, chunk);
        }
        // An empty piece is not the end.
        pieces.send(Bytes::new()).unwrap();
        pieces.send(Bytes::from("x".repeat(100_000))).unwrap();
        until(&mut client, &"x".repeat(90_000)).await;
        drop(pieces);
        until(&mut client, if ended.is_empty() { "x" } else { ended }).await;
        drop(client);
        serving.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_client() {
    let graceful = GracefulShutdown::new();
    let (pieces, receiver) = unbounded_channel();
    let (mut client, serving) = connected(Pieces(Arc::new(Mutex::new(Some(receiver)))), &graceful);
    client.write_all(b"GET /a HTTP/1.1\r\n\r\n").await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    drop(client);
    assert_eq!(serving.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert!(pieces.send(Bytes::from("late")).is_err());
}
