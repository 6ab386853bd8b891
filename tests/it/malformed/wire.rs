//! Raw HTTP/1.1 over TCP, for requests that no client would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Case;

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A request with a body of this length.
pub(super) fn request(line: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let length = format!("content-length: {}", body.len());
    raw(line, &[&["host: localhost", &*length], headers].concat(), body)
}

/// A request with these headers and no others.
pub(super) fn raw(line: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let head: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    [format!("{line}\r\n{head}\r\n").as_bytes(), body].concat()
}

/// Sends a case and returns everything received until the connection is closed. The sender closes its side after the
/// expected responses have arrived, so that extra ones are noticed too.
pub(super) async fn exchange(listen: SocketAddr, case: &Case) -> Vec<Answer> {
    let (mut reader, mut writer) = TcpStream::connect(listen).await.unwrap().into_split();
    let write = async {
        // A proxy that has rejected the request need not read the rest.
        let _ = writer.write_all(&case.bytes).await;
        if case.cut_off {
            let _ = writer.shutdown().await;
        }
        writer
    };
    let head = case.bytes.starts_with(b"HEAD ");
    let mut received = Vec::new();
    let read = async {
        loop {
            if answers(&received, head).len() == case.answers.len() && !case.answers.is_empty() {
                return;
            }
            match reader.read_buf(&mut received).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    let (mut writer, ()) = tokio::join!(write, read);
    let _ = writer.shutdown().await;
    let _ = reader.read_to_end(&mut received).await;
    answers(&received, head)
}

/// The complete responses among the received bytes.
fn answers(mut received: &[u8], head: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some((answer, rest)) = first(received, head) {
        received = rest;
        // An informational response.
        if answer.status >= 200 {
            answers.push(answer);
        }
    }
    answers
}

fn first(received: &[u8], head: bool) -> Option<(Answer, &[u8])> {
    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&received[..end]).unwrap().to_lowercase();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let mut rest = &received[end + 4..];
    let mut body = Vec::new();
    if !head && text.contains("\r\ntransfer-encoding: chunked") {
        loop {
            let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            let chunk = rest.get(end + 2..end + 2 + size + 2)?;
            rest = &rest[end + 2 + size + 2..];
            if size == 0 {
                break;
            }
            body.extend(&chunk[..size]);
        }
    } else if !head {
        let length = text.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        body.extend(rest.get(..length)?);
        rest = &rest[length..];
    }
    Some((Answer { status, body }, rest))
}
